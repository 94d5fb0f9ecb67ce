"""A mask in a form that can be copied and exported."""

from typing import final

from torch import Tensor, nn

__all__ = ["Mask"]


@final
class Mask(nn.Module):
    """A parametrisation that keeps what a mask removed at zero.

    Args:
        mask: Ones and zeros in the shape of the parameter.

    Example:
        >>> import torch
        >>> Mask(torch.tensor([1.0, 0.0]))(torch.tensor([3.0, 4.0]))
        tensor([3., 0.])
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, parameter: Tensor) -> Tensor:
        """Multiply by the mask."""
        return parameter * self.mask
