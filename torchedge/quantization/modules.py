"""Quantisation with state: activations that remember their range, layers with integer weights."""

from typing import TypeAlias, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchedge.errors import CalibrationError
from torchedge.quantization.functional import (
    affine_params,
    fake_quantize,
    fold_batchnorm,
    tensor_range,
    weight_params,
)
from torchedge.scheme import QuantSpec

__all__ = ["BatchNorm", "FakeQuantize", "QuantizedLayer", "WeightedLayer", "apply_layer"]

WeightedLayer: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
BatchNorm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

_TINY_FACTOR = 1e-6


@final
class FakeQuantize(nn.Module):
    """Stateful form of :func:`~torchedge.quantization.functional.fake_quantize`.

    While it observes (training mode only), the range follows a moving average of each batch's
    smallest and largest value; the first batch sets it. ``scale`` and ``zero_point`` are buffers,
    so a checkpoint is complete.

    Args:
        spec: Integer grid.
        averaging: Share of a new batch in the moving average, in (0, 1].

    Example:
        >>> quantizer = FakeQuantize(QuantSpec())
        >>> quantizer(torch.tensor([1.27, 0.014]))
        tensor([1.2700, 0.0100])
    """

    low: Tensor
    high: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self, spec: QuantSpec, *, averaging: float = 0.01) -> None:
        super().__init__()
        self.spec = spec
        self.averaging = averaging
        self.enabled = True
        self.observing = True
        self.register_buffer("low", torch.tensor(float("inf")))
        self.register_buffer("high", torch.tensor(float("-inf")))
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))

    @property
    def calibrated(self) -> bool:
        """Whether a range has been observed or set."""
        return bool(self.low <= self.high)

    def forward(self, x: Tensor) -> Tensor:
        """Observe ``x`` where that is on, and return it on the grid where that is on."""
        if self.observing and self.training:
            self._observe(x.detach())
        if not self.enabled:
            return x
        # Copies, because the buffers change in place before the backward pass has used them.
        return fake_quantize(x, self.scale.clone(), self.zero_point.clone(), self.spec)

    @torch.no_grad()
    def _observe(self, x: Tensor) -> None:
        low, high = tensor_range(x, None)
        first = self.low > self.high
        self.set_range(
            torch.where(first, low, torch.lerp(self.low, low.to(self.low), self.averaging)),
            torch.where(first, high, torch.lerp(self.high, high.to(self.high), self.averaging)),
        )

    @torch.no_grad()
    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Represent ``[low, high]`` from now on."""
        scale, zero_point = affine_params(low, high, self.spec)
        self.low.copy_(low)
        self.high.copy_(high)
        self.scale.copy_(scale)
        self.zero_point.copy_(zero_point)

    def require_calibrated(self, name: str) -> None:
        """Refuse to go on with a range that nothing has determined.

        Raises:
            CalibrationError: No batch has been observed and no range was set.
        """
        if not self.calibrated:
            raise CalibrationError(
                f"the quantiser '{name}' has seen no data, so it has no range; run "
                "calibrate(model, batches), or train at least one batch with observers on."
            )

    def extra_repr(self) -> str:
        """Show the grid and the state in ``print(model)``."""
        return f"{self.spec}, enabled={self.enabled}, observing={self.observing}"


def apply_layer(layer: WeightedLayer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What ``layer`` computes, with another weight and bias in place of its own."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, bias)
    convolved: Tensor = layer._conv_forward(x, weight, bias)
    return convolved


@final
class QuantizedLayer(nn.Module):
    """A convolution or linear layer that computes with integer weights, its batch norm folded in.

    In training with live batch-norm statistics the weight is scaled by ``γ/σ`` of the *running*
    statistics before it is quantised, and the result is scaled back for the batch norm to
    normalise (Krishnamoorthi 2018, section 3.2.3). In evaluation, or once ``batchnorm_frozen`` is
    set, the folded weight and bias are used as the device will use them.

    Args:
        layer: The layer; its ``weight`` may be parametrised, for example by a pruning mask.
        spec: Grid of the weight.
        batchnorm: The batch norm that follows the layer, if any.
    """

    def __init__(
        self, layer: WeightedLayer, spec: QuantSpec, batchnorm: BatchNorm | None = None
    ) -> None:
        super().__init__()
        self.layer = layer
        self.spec = spec
        self.batchnorm = batchnorm
        self.enabled = True
        self.batchnorm_frozen = False

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer and its batch norm."""
        if self.batchnorm is None or not self.training or self.batchnorm_frozen:
            weight, bias = self.folded()
            return apply_layer(self.layer, x, self._on_grid(weight), bias)
        factor = self._batchnorm_factor(self.batchnorm)
        weight = self.layer.weight * factor.view(-1, *[1] * (self.layer.weight.ndim - 1))
        y = apply_layer(self.layer, x, self._on_grid(weight), None)
        y = y / factor.view(-1, *[1] * (y.ndim - 2))
        if self.layer.bias is not None:
            y = y + self.layer.bias.view(-1, *[1] * (y.ndim - 2))
        normalised: Tensor = self.batchnorm(y)
        return normalised

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias with the batch norm in them, not yet quantised."""
        norm = self.batchnorm
        if norm is None:
            return self.layer.weight, self.layer.bias
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return fold_batchnorm(
            self.layer.weight,
            self.layer.bias,
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            norm.eps,
        )

    def _on_grid(self, weight: Tensor) -> Tensor:
        if not self.enabled:
            return weight
        scale, zero_point = weight_params(weight, self.spec)
        return fake_quantize(weight, scale, zero_point, self.spec)

    @staticmethod
    def _batchnorm_factor(norm: BatchNorm) -> Tensor:
        """``γ/σ`` of each channel, kept off zero because the result is divided by it again."""
        assert norm.running_var is not None
        factor = torch.rsqrt(norm.running_var + norm.eps)
        factor = factor if norm.weight is None else factor * norm.weight
        return torch.where(factor.abs() < _TINY_FACTOR, _TINY_FACTOR, factor)

    def extra_repr(self) -> str:
        """Show the grid and the state in ``print(model)``."""
        return f"{self.spec}, enabled={self.enabled}, batchnorm_frozen={self.batchnorm_frozen}"
