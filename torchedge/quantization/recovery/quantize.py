"""Post-training quantisation in one call."""

from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final, get_args

import torch
from torch import nn

from torchedge.arguments import is_whole, require
from torchedge.errors import UnknownNameError
from torchedge.graph.wrappers import unwrapped
from torchedge.kinds import fields_checked, kinds_checked
from torchedge.quantization.batches import Inputs
from torchedge.quantization.batchnorm_folding import fold_batchnorms
from torchedge.quantization.bit_widths import FLOAT_BITS, with_bits
from torchedge.quantization.modules import QuantizedLayer
from torchedge.quantization.names import scheme_of
from torchedge.quantization.origin import with_float_network
from torchedge.quantization.range_rules import mse
from torchedge.quantization.ranges import calibrate
from torchedge.quantization.recovery.bias_correction import correct_step
from torchedge.quantization.recovery.equalize import equalize
from torchedge.quantization.recovery.held_out import Parts, held_out
from torchedge.quantization.recovery.layer_choice import WeightRepairs, repair_weight
from torchedge.quantization.recovery.layerwise import in_float, kept_batches, layer_steps
from torchedge.quantization.recovery.network_judge import Contest
from torchedge.quantization.recovery.rescaling import Relu6Mode
from torchedge.quantization.requirements import require_float, require_usable_weights
from torchedge.quantization.transform import prepare_qat
from torchedge.scheme import QuantScheme

__all__ = ["Effort", "Recovery", "quantize"]

# Scaled channels cost where calibration data is narrower than what comes later; that has to pay.
_WORTH_SCALING = 0.1

Effort: TypeAlias = Literal["fast", "balanced", "best"]


@final
@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What post-training quantisation does beyond choosing activation ranges.

    Args:
        equalize: Bring the channels of the float network to like ranges first.
        relu6: What equalisation does with a ReLU6.
        gains: Scale weights where a layer's output comes out too small or too large by a factor.
        weight_scales: Clip weights where that makes a layer's output better: by the squared error
            of the output where there is rounding, else of the weight.
        rounding: Round each weight up or down for its layer's output.
        rounding_iterations: Steps of Adam a layer; with 0, weights are only turned one by one.
        biases: Correct the mean of each layer's output.

    Raises:
        UsageError: The iterations are no count.
        UnknownNameError: There is no such treatment of a ReLU6.
    """

    equalize: bool = True
    relu6: Relu6Mode = "keep"
    gains: bool = True
    weight_scales: bool = True
    rounding: bool = True
    rounding_iterations: int = 0
    biases: bool = True

    def __post_init__(self) -> None:
        fields_checked(self)
        iterations, modes = self.rounding_iterations, get_args(Relu6Mode)
        way_out = "give a whole number from 0 up"
        require(
            is_whole(iterations) and iterations >= 0, "rounding_iterations", iterations, way_out
        )
        way_out = f"give one of {', '.join(modes)}"
        require(self.relu6 in modes, "relu6", self.relu6, way_out, UnknownNameError)

    @staticmethod
    def of(effort: Effort) -> "Recovery":
        """The switches of a named effort.

        Raises:
            UnknownNameError: There is no effort of that name.

        Example:
            >>> Recovery.of("fast").rounding
            False
        """
        if effort not in get_args(Effort):
            raise UnknownNameError(
                f"there is no effort {effort!r}; use one of {', '.join(get_args(Effort))}, or a "
                "Recovery of your own."
            )
        if effort == "fast":
            return Recovery(equalize=False, rounding=False)
        return Recovery(rounding_iterations=200 if effort == "best" else 0)


@kinds_checked("model", "scheme", "float_layers", "effort")
def quantize(
    model: nn.Module,
    scheme: QuantScheme | str,
    batches: object,
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
        model: A trained float network that torch.fx can follow.
        scheme: Numbers of the device, usually ``target.scheme``; or the name of a target.
        batches: Inputs as the network sees them in use, some 50 to 500 in all; they and their
            activations are held in memory. A ``DataLoader``, whose labels are left out, a tensor, a
            list, a folder and more; for several inputs tuples or dictionaries. See
            :class:`~torchedge.batches.data.Data`.
        effort: ``fast`` only corrects biases, ``balanced`` does everything but the long search for
            roundings, ``best`` that too; or a :class:`Recovery` of one's own.
        float_layers: Paths of layers whose weights stay in float, with the activations that only
            they read and write; :func:`~torchedge.quantization.diagnostics.choose_bits` finds those
            that lose the most.
        seed: Of the choice of positions in images; the same seed gives the same model.

    Raises:
        CalibrationError: There is no batch, or one cannot be used.
        TraceError: torch.fx cannot follow the model.
        SchemeError: The scheme's weights have zero points, or the model is quantised already.
        UnknownNameError: There is no layer of that name to leave in float, or no such target.

    Example:
        >>> x = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> error = quantize(net, QuantScheme(), [x])(x) - net(x)
        >>> bool(error.abs().max() < 0.02)
        True
    """
    recovery = effort if isinstance(effort, Recovery) else Recovery.of(effort)
    require(is_whole(seed), "the seed", seed, "give a whole number")
    scheme, model = scheme_of(scheme), unwrapped(model)
    require_float(model)
    require_usable_weights(model)
    names = (float_layers,) if isinstance(float_layers, str) else float_layers
    way_out = "give the paths of layers, ('head',), or leave them out"
    require(isinstance(names, Collection), "float_layers", float_layers, way_out)
    samples = _Samples.of(kept_batches(model, batches), seed)
    best = _best(model, scheme, samples, recovery, names)
    return with_float_network(best, model).train(model.training)


def _best(
    model: nn.Module,
    scheme: QuantScheme,
    samples: "_Samples",
    recovery: Recovery,
    float_layers: Collection[str],
) -> nn.Module:
    """What does best on held-out samples among the steps that the recovery may take."""
    start = _calibrated(model, scheme, samples, float_layers)
    plain = replace(recovery, equalize=False, rounding=False)
    best = _repaired(start, samples, plain)
    if not (recovery.equalize or recovery.rounding):
        return best
    contest = Contest(model, samples.parts.held, best)
    if recovery.equalize:
        equalized = _equalized(model, scheme, samples, recovery)
        scaled = _calibrated(equalized, scheme, samples, float_layers)
        if contest.is_won_by(_repaired(scaled, samples, plain), least_gain=_WORTH_SCALING):
            start = scaled
    searches = {0, recovery.rounding_iterations} if recovery.rounding else set()
    for iterations in sorted(searches):
        rounded = replace(recovery, rounding_iterations=iterations)
        contest.is_won_by(_repaired(start, samples, rounded))
    return contest.best


@final
@dataclass(frozen=True, kw_only=True)
class _Samples:
    """The calibration data: all of it, in two parts, and how positions in images are drawn."""

    all: tuple[Inputs, ...]
    parts: Parts
    seed: int

    @staticmethod
    def of(batches: tuple[Inputs, ...], seed: int) -> "_Samples":
        return _Samples(all=batches, parts=held_out(batches, seed=seed), seed=seed)

    @property
    def example(self) -> Inputs:
        return tuple(tensor[:1] for tensor in self.all[0])


def _equalized(
    model: nn.Module, scheme: QuantScheme, samples: _Samples, recovery: Recovery
) -> nn.Module:
    return equalize(
        model,
        samples.example,
        batches=samples.all,
        scheme=scheme,
        relu6=recovery.relu6,
        seed=samples.seed,
    )


def _calibrated(
    model: nn.Module, scheme: QuantScheme, samples: _Samples, float_layers: Collection[str]
) -> nn.Module:
    """Prepared, with ranges of the float network's activations: those of the corrected layers."""
    merged = fold_batchnorms(prepare_qat(model, scheme, samples.example))
    prepared = with_bits(merged, dict.fromkeys(float_layers, FLOAT_BITS))
    _set_layers_enabled(prepared, enabled=False)
    calibrated = calibrate(prepared, samples.all, mse)
    _set_layers_enabled(calibrated, enabled=True)
    return calibrated.eval()


def _set_layers_enabled(model: nn.Module, *, enabled: bool) -> None:
    for module in model.modules():
        if isinstance(module, QuantizedLayer) and not module.excluded:
            module.enabled = enabled


@torch.no_grad()
def _repaired(start: nn.Module, samples: _Samples, recovery: Recovery) -> nn.Module:
    """A copy of a calibrated network whose layers were repaired one after another."""
    model, parts = deepcopy(start), samples.parts
    generator = torch.Generator().manual_seed(samples.seed)
    repairs = WeightRepairs(
        gains=recovery.gains,
        scales=recovery.weight_scales,
        rounding=recovery.rounding,
        iterations=recovery.rounding_iterations,
    )
    for step in layer_steps(model, in_float(start), parts.fit + parts.held):
        repair_weight(step, len(parts.held), repairs, generator)
        if recovery.biases:
            correct_step(step, held=len(parts.held))
    return model
