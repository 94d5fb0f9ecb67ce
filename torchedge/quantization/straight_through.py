"""The gradients of rounding and of fake quantisation, written once.

Plain torch operations inside ``autograd.Function``: ``torch.compile`` traces through them. In eager
mode the forward pass is one division into a new tensor and three passes in place, and the backward
pass one native kernel; torch's own fake quantisation is slower, and multiplies by ``1 / scale``
where ONNX divides, so that it rounds some values to the neighbouring integer.
"""

import math
from typing import Any, cast, final

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "LearnedStepFakeQuantize",
    "RelativeStep",
    "StraightThroughFakeQuantize",
    "StraightThroughRound",
    "StraightThroughValue",
    "covers",
    "first_clipped",
]

_MORE_THAN_IS_UNROLLED = 16
_MOST_OCTAVES = 4
_DIVIDES = 1e-30  # a gradient over it is finite
_BOUND = _MOST_OCTAVES * math.log(2)


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
class StraightThroughValue(torch.autograd.Function):
    """Puts another value in place of ``x``; the gradient goes to ``x`` as if it were itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:  # noqa: ANN401
        """Return ``value``."""
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Hand the gradient on unchanged."""
        return gradients[0], None


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
        """Return ``scale · clip(round(x / scale), quant_min - zero_point, quant_max - …)``."""
        scale, zero_point = _computed_once(scale), _computed_once(zero_point)
        ctx.save_for_backward(x, scale, zero_point)
        ctx.quant_min, ctx.quant_max = quant_min, quant_max
        return _on_grid(x, scale, *_bounds(x, scale, zero_point, quant_min, quant_max))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Zero the gradient of what was clipped."""
        x, scale, zero_point = ctx.saved_tensors
        lower, upper = _bounds(x, scale, zero_point, ctx.quant_min, ctx.quant_max)
        return _masked(gradients[0], x, scale, lower, upper), None, None, None, None


@final
class LearnedStepFakeQuantize(torch.autograd.Function):
    """Fake quantisation whose scale learns too (Esser et al. 2020, section 2.1)."""

    @staticmethod
    def forward(  # noqa: PLR0913
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        quant_min: int,
        quant_max: int,
        gradient_factor: float,
        frees_clipped: bool,
    ) -> Tensor:
        """Return what :class:`StraightThroughFakeQuantize` returns."""
        scale, zero_point = _computed_once(scale), _computed_once(zero_point)
        lower, upper = quant_min - zero_point, quant_max - zero_point
        ctx.save_for_backward(x, scale, lower, upper)
        ctx.gradient_factor, ctx.frees_clipped = gradient_factor, frees_clipped
        return _on_grid(x, scale, lower, upper)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Zero the gradient of what was clipped, or not; sum up the scale's over what shares it.

        ``∂/∂s`` is ``round(x/s) - x/s`` inside and the bound outside, times ``gradient_factor``.
        """
        x, scale, lower, upper = ctx.saved_tensors
        steps = x / scale
        integers = torch.round(steps)
        inside = (integers >= lower) & (integers <= upper)
        slopes = torch.where(inside, integers - steps, integers.clamp(lower, upper))
        of_scale = (gradients[0] * slopes).sum_to_size(scale.shape) * ctx.gradient_factor
        of_x = gradients[0] if ctx.frees_clipped else torch.where(inside, gradients[0], 0.0)
        return of_x, of_scale.to(scale.dtype), None, None, None, None, None


@final
class RelativeStep(torch.autograd.Function):
    """A step as a factor of where it starts; 1 where what learns is 0, within 1/16 and 16."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, log_change: Tensor) -> Tensor:  # noqa: ANN401
        """Return ``start · exp(B · tanh(log_change / B))`` with ``B = log 16``."""
        squashed = torch.tanh(log_change / _BOUND)
        scale = (start * torch.exp(_BOUND * squashed)).clamp(min=torch.finfo(start.dtype).tiny)
        ctx.save_for_backward(scale, squashed)
        return scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Divide by the scale: the same relative step as gradient descent on the scale itself.

        Descent on ``s`` changes it by the share ``rate · ∂/∂s / s``; descent on ``log_change`` by
        ``rate`` times what is returned here.
        """
        scale, squashed = ctx.saved_tensors
        return None, gradients[0] / scale.clamp(min=_DIVIDES) * (1 - squashed * squashed)


def _computed_once(value: Tensor) -> Tensor:
    """The same number; under ``torch.compile`` one that is stored before the loop over ``x``.

    Inductor writes the arithmetic of a single number into every loop that reads it, here some 30
    operations for each vector of ``x``, but stores the result of a reduction.
    """
    if value.ndim > 0 or not torch.compiler.is_compiling():
        return value
    return value.expand(_MORE_THAN_IS_UNROLLED).amax()


def _bounds(
    x: Tensor, scale: Tensor, zero_point: Tensor, quant_min: int, quant_max: int
) -> tuple[Tensor, Tensor] | tuple[int, int]:
    """Smallest and largest ``round(x / scale)``; numbers where reading them costs nothing."""
    if _numbers_are_free(x, scale):
        zero = int(zero_point)
        return quant_min - zero, quant_max - zero
    return quant_min - zero_point, quant_max - zero_point


def _numbers_are_free(x: Tensor, scale: Tensor) -> bool:
    """Whether this runs on a CPU, one operation at a time, with one scale."""
    plain = type(x) in {Tensor, torch.nn.Parameter} and x.device.type == "cpu"
    return plain and scale.ndim == 0 and not torch.compiler.is_compiling()


def _on_grid(x: Tensor, scale: Tensor, lower: Tensor | int, upper: Tensor | int) -> Tensor:
    low, high = cast(int, lower), cast(int, upper)  # or two tensors; the signatures are apart
    return torch.div(x, scale).round_().clamp_(low, high).mul_(scale)


def _masked(
    gradient: Tensor, x: Tensor, scale: Tensor, lower: Tensor | int, upper: Tensor | int
) -> Tensor:
    if isinstance(lower, int) and isinstance(upper, int) and x.dtype is torch.float32:
        below = first_clipped(float(scale), lower, -1)
        above = first_clipped(float(scale), upper, 1)
        masked: Tensor = torch.ops.aten.hardtanh_backward(gradient, x, below, above)
        return masked
    integers = torch.round(x / scale)
    return torch.where((integers >= lower) & (integers <= upper), gradient, 0.0)


def covers(
    low: Tensor, high: Tensor, scale: Tensor, zero_point: Tensor, quant_min: int, quant_max: int
) -> bool:
    """Whether nothing in ``[low, high]`` is clipped; ``False`` where asking would make us wait.

    Example:
        >>> one = torch.tensor(1.0)
        >>> covers(-one, 8 * one, one, torch.tensor(0), -8, 7)
        False
    """
    if not (_numbers_are_free(low, scale) and low.dtype is torch.float32):
        return False
    step, zero = np.float32(scale.item()), int(zero_point)
    lowest, highest = np.rint(np.float32(low) / step), np.rint(np.float32(high) / step)
    return bool(quant_min - zero <= lowest and highest <= quant_max - zero)


def first_clipped(scale: float, integer: int, direction: int) -> float:
    """The first float32 that rounds beyond ``integer``, going up or down.

    ``round(x / scale)`` never falls as ``x`` grows, so one number on each side tells what is
    clipped; that number is near ``scale · (integer ± ½)`` and found by stepping from there.

    Args:
        scale: A positive float32.
        integer: The last integer of the grid on this side.
        direction: 1 for the upper side, -1 for the lower.

    Example:
        >>> first_clipped(1.0, 4, 1) > 4.5, first_clipped(1.0, 3, 1) == 3.5
        (True, True)
    """
    step, outwards = np.float32(scale), np.float32(direction * math.inf)
    with np.errstate(over="ignore"):  # beyond every float32: then nothing is clipped
        edge = np.float32(scale * (integer + direction / 2))
    while np.isfinite(edge) and direction * np.rint(edge / step) <= direction * integer:
        edge = np.nextafter(edge, outwards)
    while (
        direction * np.rint((inner := np.nextafter(edge, -outwards)) / step) > direction * integer
    ):
        edge = inner
    return float(edge)
