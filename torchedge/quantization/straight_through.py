"""The gradients of rounding and of fake quantisation, written once.

Plain torch operations inside ``autograd.Function``: ``torch.compile`` traces through them, and in
eager mode they keep one tensor for the backward pass instead of five.
"""

from typing import Any, final

import torch
from torch import Tensor

__all__ = ["StraightThroughFakeQuantize", "StraightThroughRound"]


@final
class StraightThroughRound(torch.autograd.Function):
    """Rounds half to even; the gradient passes as if nothing had been rounded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        """Round half to even."""
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401
        """Hand the gradient on unchanged."""
        return gradients[0]


@final
class StraightThroughFakeQuantize(torch.autograd.Function):
    """Rounds to the grid and back; the gradient is 1 inside the clipping range and 0 outside."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        quant_min: int,
        quant_max: int,
    ) -> Tensor:
        """Return ``scale · (clip(round(x / scale) + zero_point) - zero_point)``."""
        ctx.save_for_backward(x, scale, zero_point)
        ctx.quant_min, ctx.quant_max = quant_min, quant_max
        integers = torch.clamp(torch.round(x / scale) + zero_point, quant_min, quant_max)
        return (integers - zero_point) * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Zero the gradient of what was clipped."""
        x, scale, zero_point = ctx.saved_tensors
        integers = torch.round(x / scale) + zero_point
        inside = (integers >= ctx.quant_min) & (integers <= ctx.quant_max)
        return gradients[0] * inside, None, None, None, None
