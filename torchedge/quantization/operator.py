"""The operator ``torchedge::fake_quantize``, which ``torch.export`` keeps as one node.

Importing this module registers the operator with torch: a program that was saved with it can be
loaded only after that. Training never calls it; :func:`~torchedge.quantization.freeze.freeze` does.
"""

import torch
from torch import Tensor

__all__ = ["fake_quantize_operator"]


@torch.library.custom_op("torchedge::fake_quantize", mutates_args=())
def fake_quantize_operator(
    x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """``scale · (clip(round(x / scale) + zero_point, quant_min, quant_max) - zero_point)``.

    Args:
        x: Real values, of any shape.
        scale: One step, of shape ``()`` or ``(channels,)``.
        zero_point: The integer that stands for zero; its dtype names the integer type on the
            device (int8, uint8 or int32).
        axis: Channel axis; without effect where the scale has no channels.
        quant_min: Smallest integer.
        quant_max: Largest integer.

    Returns:
        A tensor like ``x``.
    """
    shape = [-1 if d == axis else 1 for d in range(x.ndim)] if scale.ndim else []
    step, zero = scale.view(shape), zero_point.view(shape).to(x.dtype)
    return (torch.clamp(torch.round(x / step) + zero, quant_min, quant_max) - zero) * step


@fake_quantize_operator.register_fake
def _(
    x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    return torch.empty_like(x)
