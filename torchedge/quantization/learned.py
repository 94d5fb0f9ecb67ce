"""Learned step sizes: scales that the optimiser moves along with the weights."""

import torch
from torch import Tensor, nn

from torchedge.errors import SchemeError
from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.quantization.functional import fake_quantize, rounded_up, weight_params
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.scales import sum_by_scale, total_magnitude
from torchedge.scheme import QuantSpec

__all__ = ["learn_step_sizes"]

_FEW_BITS = 4
_SHARES = tuple(share / 40 for share in range(4, 41))  # of the largest weight


@kinds_checked()
def learn_step_sizes(model: nn.Module) -> nn.Module:
    """A copy of a prepared model whose scales learn (LSQ, Esser et al. 2020, in relative steps).

    Every activation and every weight gets a parameter ``log_scale_change``. It begins at 0, and
    its scale is ``start · exp(change)``, within 1/16 and 16 times the start. So a step of an
    optimiser is a share of the scale whatever the scale is, as a step of a weight is of a weight:
    Adam at 1e-3 changes a scale by 0.1 % at most, where it would change a scale of 0.01 itself by
    10 %. Weight decay draws a scale to where it began and nowhere else, so all parameters of the
    model may go to one optimiser.

    The start is the scale in use; that of weights is kept as a share of the magnitudes in its
    channel, which it follows. Up to 4 bits a weight scale that nothing has chosen begins at the
    least squared error, because the largest weight wastes the few steps. Zero points, and ranges
    that an operation has by definition, stay. Clipped weights get a gradient, clipped activations
    none. For that of scales see
    :func:`~torchedge.quantization.functional.learned_step_quantize`. Do this after ``calibrate``,
    whose default rule chooses activation ranges by squared error too, and before the optimiser is
    made.

    Args:
        model: A model from ``prepare_qat`` whose activations have a range.

    Raises:
        SchemeError: The model holds nothing quantised, its scales are learned already, or a weight
            is asymmetric, so that its zero point would move with the weight and not with the scale.
        CalibrationError: A quantiser has no range yet.

    Example:
        >>> from torchedge.quantization import QuantScheme, calibrate, minmax, prepare_qat
        >>> net = prepare_qat(nn.Sequential(nn.Linear(2, 2)), QuantScheme(), (torch.zeros(1, 2),))
        >>> learned = learn_step_sizes(calibrate(net, [torch.tensor([[-1.0, 1.27]])], minmax))
        >>> changes = {n: p.tolist() for n, p in learned.named_parameters() if "scale" in n}
        >>> changes["0.log_scale_change"], changes["quantizers.input_1.log_scale_change"]
        ([0.0, 0.0], 0.0)
    """
    learning = copied(model)
    quantizers = {n: m for n, m in learning.named_modules() if isinstance(m, FakeQuantize)}
    layers = {n: m for n, m in learning.named_modules() if isinstance(m, QuantizedLayer)}
    _require_fixed_scales(quantizers, layers)
    for name, quantizer in quantizers.items():
        quantizer.require_calibrated(name)
        if not quantizer.fixed:
            quantizer.log_scale_change = nn.Parameter(torch.zeros_like(quantizer.low))
    for layer in layers.values():
        _learn_weight_scale(layer)
    return learning


def _require_fixed_scales(
    quantizers: dict[str, FakeQuantize], layers: dict[str, QuantizedLayer]
) -> None:
    if not layers:
        raise SchemeError("the model holds no quantised layer; run prepare_qat, then calibrate.")
    for name, layer in layers.items():
        if not layer.spec.symmetric:
            raise SchemeError(
                f"the weight of '{name}' is {layer.spec}; a learned weight scale needs the zero "
                "point 0. Prepare the model with symmetric weights."
            )
    both = [*quantizers.items(), *layers.items()]
    learned = [name for name, module in both if module.log_scale_change is not None]
    if learned:
        raise SchemeError(
            f"'{learned[0]}' and {len(learned) - 1:,} more have a learned scale already; "
            "train this model as it is."
        )


@torch.no_grad()
def _learn_weight_scale(layer: QuantizedLayer) -> None:
    weight, spec = layer.folded()[0], layer.spec
    if layer.weight_scale is None and spec.bits <= _FEW_BITS:
        scale = _least_error_scale(weight, spec)
    else:
        scale, _ = layer.params(weight)
    if spec.scale_bits is not None:
        # Below the short scale by half of the way to the next: rounding up gives it, and goes on
        # giving it while the magnitudes move a little.
        scale = scale * (1 - 2.0 ** -(spec.scale_bits + 1))
    layer.weight_scale = None
    layer.start_share = scale / total_magnitude(weight, spec)
    layer.log_scale_change = nn.Parameter(torch.zeros_like(scale))


def _least_error_scale(weight: Tensor, spec: QuantSpec) -> Tensor:
    """Of shares of the min-max scale, the one whose grid is nearest to the weights."""
    best, zero_point = weight_params(weight, spec)
    least = torch.full_like(best, torch.inf)
    for candidate in [_short(share * best, spec) for share in _SHARES]:
        on_grid = fake_quantize(weight, candidate, zero_point, spec)
        errors = sum_by_scale((on_grid - weight).square(), spec)
        best, least = torch.where(errors <= least, candidate, best), least.minimum(errors)
    return best


def _short(scale: Tensor, spec: QuantSpec) -> Tensor:
    return scale if spec.scale_bits is None else rounded_up(scale, spec.scale_bits)
