"""Post-training quantisation in one call."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from torch import Tensor, nn

from torchedge.quantization.merge import merge_batchnorms
from torchedge.quantization.modules import QuantizedLayer
from torchedge.quantization.origin import with_float_network
from torchedge.quantization.range_rules import mse
from torchedge.quantization.ranges import calibrate
from torchedge.quantization.recovery.bias_correction import correct_step
from torchedge.quantization.recovery.equalize import Relu6Mode, equalize
from torchedge.quantization.recovery.lockstep import in_float, layer_steps, tensors_of
from torchedge.quantization.recovery.reconstruction import reconstruction
from torchedge.quantization.recovery.rounding import round_step
from torchedge.quantization.recovery.weight_ranges import choose_scale
from torchedge.quantization.transform import prepare_qat
from torchedge.quantization.widths import FLOAT_BITS, with_bits
from torchedge.scheme import QuantScheme

__all__ = ["Effort", "Recovery", "quantize"]

Effort: TypeAlias = Literal["fast", "balanced", "best"]


@final
@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What post-training quantisation does beyond choosing activation ranges.

    Args:
        equalize: Bring the channels of the float network to like ranges first.
        relu6: What equalisation does with a ReLU6.
        weight_scales: Clip weights where that makes a layer's output better.
        rounding: Round each weight up or down for its layer's output.
        rounding_iterations: Steps of Adam a layer; with 0, weights are only turned one by one.
        biases: Correct the mean of each layer's output.
    """

    equalize: bool = True
    relu6: Relu6Mode = "keep"
    weight_scales: bool = True
    rounding: bool = True
    rounding_iterations: int = 0
    biases: bool = True

    @staticmethod
    def of(effort: Effort) -> "Recovery":
        """The switches of a named effort.

        Example:
            >>> Recovery.of("fast").rounding
            False
        """
        if effort == "fast":
            return Recovery(equalize=False, weight_scales=False, rounding=False)
        return Recovery(rounding_iterations=200 if effort == "best" else 0)


def quantize(
    model: nn.Module,
    scheme: QuantScheme,
    batches: Iterable[Tensor],
    *,
    effort: Effort | Recovery = "balanced",
    float_layers: Collection[str] = (),
    seed: int = 0,
) -> nn.Module:
    """The quantised form of a trained float network, without training.

    Equalises channels, prepares, chooses activation ranges by squared error; then walks through the
    layers once, and for each chooses weight scales, rounds weights and corrects the bias, with the
    inputs that the layers quantised before it produce. The result is exported like one from
    quantisation-aware training, and can be trained on.

    Args:
        model: A trained float network that torch.fx can follow, with one input.
        scheme: Numbers of the device, usually ``target.scheme``.
        batches: Inputs as the network sees them in use, unlabelled, some 50 to 500 in all; they
            and their activations are held in memory.
        effort: ``fast`` only corrects biases, ``balanced`` does everything but the long search for
            roundings, ``best`` that too; or a :class:`Recovery` of one's own.
        float_layers: Paths of layers whose weights stay in float, with the activations that only
            they read and write; :func:`~torchedge.quantization.diagnostics.choose_bits` finds those
            that lose the most.
        seed: Of the choice of positions in images; the same seed gives the same model.

    Raises:
        CalibrationError: There is no batch, or it does not fit the model.
        TraceError: torch.fx cannot follow the model.
        SchemeError: The scheme's weights have zero points, or the model is quantised already.
        UnknownNameError: There is no layer of that name to leave in float.

    Example:
        >>> x = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> error = quantize(net, QuantScheme(), [x])(x) - net(x)
        >>> bool(error.abs().max() < 0.02)
        True
    """
    recovery = effort if isinstance(effort, Recovery) else Recovery.of(effort)
    kept = tensors_of(batches)
    example, original = (kept[0][:1],), model
    if recovery.equalize:
        model = equalize(model, example, batches=kept, scheme=scheme, relu6=recovery.relu6)
    merged = merge_batchnorms(prepare_qat(model, scheme, example))
    widths = dict.fromkeys(float_layers, FLOAT_BITS)
    prepared = _calibrated_in_float(with_bits(merged, widths), kept)
    _recover(prepared.eval(), kept, recovery, seed)
    return with_float_network(prepared, original).train(model.training)


def _calibrated_in_float(model: nn.Module, batches: tuple[Tensor, ...]) -> nn.Module:
    """Ranges of the float network's activations: those that the corrected layers will have."""
    _set_layers_enabled(model, enabled=False)
    calibrated = calibrate(model, batches, mse)
    _set_layers_enabled(calibrated, enabled=True)
    return calibrated


def _set_layers_enabled(model: nn.Module, *, enabled: bool) -> None:
    for module in model.modules():
        if isinstance(module, QuantizedLayer) and not module.kept_in_float:
            module.enabled = enabled


@torch.no_grad()
def _recover(model: nn.Module, batches: tuple[Tensor, ...], recovery: Recovery, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for step in layer_steps(model, in_float(model), batches):
        if step.layer.enabled and (recovery.weight_scales or recovery.rounding):
            target = reconstruction(step, generator)
            if recovery.weight_scales:
                step.layer.weight_scale = choose_scale(step.layer, target)
            if recovery.rounding:
                round_step(step, target, iterations=recovery.rounding_iterations)
        if recovery.biases:
            correct_step(step)
