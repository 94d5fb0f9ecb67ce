"""Quantisation with state: activations that remember their range, layers with integer weights."""

from typing import ClassVar, TypeAlias, final

import torch
from torch import Tensor, nn

from torchedge.errors import CalibrationError
from torchedge.graph.copies import copied
from torchedge.quantization.distributed import range_over_processes
from torchedge.quantization.functional import (
    affine_params,
    fake_quantize,
    fake_quantize_unclipped,
    fold_batchnorm,
    learned_step,
    learned_step_quantize,
    scale_channels,
    weight_params,
)
from torchedge.quantization.layers import (
    TRANSPOSED,
    WeightedLayer,
    apply_layer,
    masked_parameters,
)
from torchedge.quantization.scales import extremes, total_magnitude
from torchedge.quantization.straight_through import StraightThroughValue, covers
from torchedge.scheme import QuantSpec

__all__ = [
    "TRANSPOSED",
    "BatchNorm",
    "FakeQuantize",
    "QuantizedLayer",
    "WeightedLayer",
    "apply_layer",
    "masked_parameters",
    "without_quantization",
]

BatchNorm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d

_TINY_FACTOR = 1e-6


@final
class FakeQuantize(nn.Module):
    """Stateful form of :func:`~torchedge.quantization.functional.fake_quantize`.

    While it observes (training mode only), the range follows a moving average of each batch's
    smallest and largest value, over all processes of a distributed training; the first batch sets
    it. The range is the only state, as buffers: scale and zero point are computed from it, so that
    a checkpoint or an average of several models never holds a scale that belongs to another range.
    Where a scale is learned (:func:`~torchedge.quantization.learned.learn_step_sizes`), the range
    stays where it is, and what learns is how far its scale has changed: 0 is no change.

    Args:
        spec: Integer grid.
        averaging: Share of a new batch in the moving average, in (0, 1].
        fixed: The range that the operation before it always has, as ``(low, high)``; it is then
            neither observed nor calibrated.

    Example:
        >>> quantizer = FakeQuantize(QuantSpec())
        >>> quantizer(torch.tensor([1.27, 0.014]))
        tensor([1.2700, 0.0100])
    """

    traced_whole: ClassVar[bool] = True
    low: Tensor
    high: Tensor
    log_scale_change: nn.Parameter | None

    def __init__(
        self,
        spec: QuantSpec,
        *,
        averaging: float = 0.01,
        fixed: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.averaging = averaging
        self.fixed = fixed is not None
        self.enabled = True
        self.excluded = False  # by choice, which no schedule undoes
        self.observing = True
        low, high = (float("inf"), float("-inf")) if fixed is None else fixed
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))
        self.register_parameter("log_scale_change", None)

    @property
    def calibrated(self) -> bool:
        """Whether a range has been observed or set."""
        return bool(self.low <= self.high)

    @property
    def scale(self) -> Tensor:
        """Width of one step, as a number and not as something to learn."""
        return self.params()[0].detach()

    @property
    def zero_point(self) -> Tensor:
        """The integer that stands for zero."""
        return self.params()[1]

    def params(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point of the range, the scale changed by what was learned."""
        scale, zero_point = affine_params(self.low, self.high, self.spec)
        change = self.log_scale_change
        return (scale if change is None else learned_step(scale, change, self.spec)), zero_point

    def forward(self, x: Tensor) -> Tensor:
        """Observe ``x`` where that is on, and return it on the grid where that is on."""
        observed: tuple[Tensor, Tensor] | None = None
        if self.observing and self.training and not self.fixed and self.log_scale_change is None:
            observed = self._observe(x.detach())
        if not self.enabled:
            return x
        scale, zero_point = self.params()
        if self.log_scale_change is not None:
            features = max(x.numel() // max(len(x), 1), 1)
            return learned_step_quantize(x, scale, zero_point, self.spec, features)
        inside = observed is not None and self._covers(*observed, scale, zero_point)
        return (fake_quantize_unclipped if inside else fake_quantize)(
            x, scale, zero_point, self.spec
        )

    def _covers(self, low: Tensor, high: Tensor, scale: Tensor, zero_point: Tensor) -> bool:
        return covers(low, high, scale, zero_point, self.spec.quant_min, self.spec.quant_max)

    @torch.no_grad()
    def _observe(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Move the range towards that of ``x``, and return the latter."""
        smallest, largest = extremes(x)
        low, high = range_over_processes(smallest.to(self.low), largest.to(self.high))
        first = self.low > self.high
        self.set_range(
            torch.where(first, low, torch.lerp(self.low, low, self.averaging)),
            torch.where(first, high, torch.lerp(self.high, high, self.averaging)),
        )
        return smallest, largest

    @torch.no_grad()
    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Represent ``[low, high]`` from now on."""
        self.low.copy_(low)
        self.high.copy_(high)

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


@final
class QuantizedLayer(nn.Module):
    """A convolution or linear layer that computes with integer weights, its batch norm folded in.

    In training with live batch-norm statistics the weight is scaled by ``γ/σ`` of the *running*
    statistics before it is quantised, and the result is scaled back for the batch norm to
    normalise (Krishnamoorthi 2018, section 3.2.3). In evaluation, or once ``batchnorm_frozen`` is
    set, the folded weight and bias are used as the device will use them.

    While the statistics are live, ``γ/σ`` only chooses the grid and gets no gradient from the
    weight: the min-max scale of a channel grows with it, so that dividing by it again leaves
    nothing of it.

    The scale of the weight is ``weight_scale`` where one was chosen; else learned, a share of the
    sum of magnitudes in use: ``start_share`` at first, changed by what was learned, so that the
    grid follows the weight and the batch norm; else the min-max of the weight in use.

    Args:
        layer: The layer; its ``weight`` may be parametrised, or pruned with
            ``torch.nn.utils.prune``.
        spec: Grid of the weight.
        batchnorm: The batch norm that follows the layer, if any.
    """

    traced_whole: ClassVar[bool] = True
    weight_scale: Tensor | None
    start_share: Tensor | None
    log_scale_change: nn.Parameter | None

    def __init__(
        self, layer: WeightedLayer, spec: QuantSpec, batchnorm: BatchNorm | None = None
    ) -> None:
        super().__init__()
        self.layer = layer
        self.spec = spec
        self.batchnorm = batchnorm
        self.enabled = True
        self.excluded = False  # by choice, which no schedule undoes
        self.batchnorm_frozen = False
        self.register_buffer("weight_scale", None)
        self.register_buffer("start_share", None)
        self.register_parameter("log_scale_change", None)

    @property
    def groups(self) -> int:
        """Groups of a transposed convolution, whose output channels are split over two axes."""
        return self.layer.groups if isinstance(self.layer, TRANSPOSED) else 0

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer and its batch norm."""
        if self.batchnorm is None or not self.training or self.batchnorm_frozen:
            weight, bias = self.folded()
            return apply_layer(self.layer, x, self.on_grid(weight), bias)
        weight, bias = masked_parameters(self.layer)
        y = apply_layer(self.layer, x, self._unfolded_on_grid(weight, self.batchnorm), bias)
        normalised: Tensor = self.batchnorm(y)
        return normalised

    def _unfolded_on_grid(self, weight: Tensor, norm: BatchNorm) -> Tensor:
        """Folded, put on the grid, and scaled back: here, because the output is a larger tensor."""
        if not self.enabled:
            return weight
        factor = self._batchnorm_factor(norm)
        if self._may_clip:
            return self._there_and_back(weight, factor)
        unfolded: Tensor = StraightThroughValue.apply(
            weight, self._there_and_back(weight.detach(), factor)
        )
        return unfolded

    def _there_and_back(self, weight: Tensor, factor: Tensor) -> Tensor:
        folded = self.on_grid(scale_channels(weight, factor, self.groups))
        return scale_channels(folded, 1 / factor, self.groups)

    @property
    def _may_clip(self) -> bool:
        """Whether a weight can lie outside its grid; a symmetric min-max scale covers them all."""
        moved = self.weight_scale is not None or self.log_scale_change is not None
        return moved or not self.spec.symmetric

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias with the batch norm in them, not yet quantised."""
        norm = self.batchnorm
        weight, bias = masked_parameters(self.layer)
        if norm is None:
            return weight, bias
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return fold_batchnorm(
            weight,
            bias,
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            norm.eps,
            transposed_groups=self.groups,
        )

    def params(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and zero point for a folded weight: chosen, learned, or else its min-max."""
        chosen, change = self.weight_scale, self.log_scale_change
        if chosen is None and change is not None and self.start_share is not None:
            start = total_magnitude(weight, self.spec) * self.start_share
            chosen = learned_step(start, change, self.spec)
        if chosen is None:
            return weight_params(weight, self.spec)
        if self.spec.symmetric:
            return chosen, torch.zeros_like(chosen, dtype=torch.int32)
        return chosen, weight_params(weight, self.spec)[1]

    def on_grid(self, weight: Tensor) -> Tensor:
        """A folded weight as its integers mean it, where quantisation is on."""
        if not self.enabled:
            return weight
        scale, zero_point = self.params(weight)
        if self.log_scale_change is not None and self.weight_scale is None:
            sharing = weight.numel() // scale.numel()
            return learned_step_quantize(
                weight, scale, zero_point, self.spec, sharing, frees_clipped=True
            )
        on_grid = fake_quantize if self._may_clip else fake_quantize_unclipped
        return on_grid(weight, scale, zero_point, self.spec)

    @staticmethod
    @torch.no_grad()
    def _batchnorm_factor(norm: BatchNorm) -> Tensor:
        """``γ/σ`` of each channel, kept off zero because the weight is divided by it again."""
        assert norm.running_var is not None
        factor = torch.rsqrt(norm.running_var + norm.eps)
        factor = factor if norm.weight is None else factor * norm.weight
        return torch.where(factor.abs() < _TINY_FACTOR, _TINY_FACTOR, factor)

    def extra_repr(self) -> str:
        """Show the grid and the state in ``print(model)``."""
        return f"{self.spec}, enabled={self.enabled}, batchnorm_frozen={self.batchnorm_frozen}"


def without_quantization(model: nn.Module) -> nn.Module:
    """A copy of a prepared model with every quantiser off: the float network, in its own mode.

    Example:
        >>> quantizer = FakeQuantize(QuantSpec())
        >>> without_quantization(nn.Sequential(quantizer))(torch.tensor([0.014]))
        tensor([0.0140])
    """
    reference = copied(model)
    for module in reference.modules():
        if isinstance(module, FakeQuantize | QuantizedLayer):
            module.enabled = False
    return reference
