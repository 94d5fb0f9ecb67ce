"""Activation ranges chosen from data: hooks, histograms, and the rule that reads them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from typing_extensions import override

from torchedge.errors import CalibrationError
from torchedge.graph.copies import copied
from torchedge.graph.wrappers import unwrapped
from torchedge.kinds import kinds_checked
from torchedge.quantization.batches import calibration_batches
from torchedge.quantization.batchnorm_folding import fold_batchnorms
from torchedge.quantization.clipping import chosen_range, notes_on
from torchedge.quantization.histogram import Histogram, RangeRule, observe
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.names import rule_of
from torchedge.quantization.range_rules import mse
from torchedge.telling import warn

__all__ = ["calibrate"]


@kinds_checked("model", "rule")
def calibrate(model: nn.Module, batches: object, rule: RangeRule | str = mse) -> nn.Module:
    """A copy of ``model`` whose activation ranges were chosen from data.

    The activations of all batches, not yet rounded but computed with quantised weights, are counted
    in one histogram a quantiser, in constant memory; then ``rule`` chooses each range. A warning
    names the quantisers whose range clips more of the values than one integer stands for on
    average (0.8 % at 8 bits), and those where the entropy rule was refused.

    Args:
        model: A model from :func:`prepare_qat`.
        batches: Inputs as the network sees them in use, without augmentation: a ``DataLoader``,
            whose labels are left out, a tensor, a list, a folder and more; see
            :class:`~torchedge.batches.data.Data`. Networks with several inputs take tuples.
        rule: ``mse``, ``minmax``, ``percentile(99.99)``, ``entropy``, or any function from a
            histogram and a spec to a range; or the name of one.

    Raises:
        CalibrationError: There is no batch, a batch does not fit the model (the text names the
            layer), a value is NaN or infinite (the text names the batch and the quantiser), the
            rule gives no range, or the model has no quantisers.
        UnknownNameError: There is no rule of that name.

    Example:
        >>> from torchedge.quantization import QuantScheme, minmax, prepare_qat
        >>> net = prepare_qat(nn.Sequential(nn.Linear(2, 2)), QuantScheme(), (torch.zeros(1, 2),))
        >>> net = calibrate(net, [torch.tensor([[-1.0, 1.27]])], minmax)
        >>> round(float(net.quantizers.input_1.scale), 6)
        0.01
    """
    rule = rule_of(rule)
    calibrated = copied(unwrapped(model))
    quantizers = {n: m for n, m in calibrated.named_modules() if isinstance(m, FakeQuantize)}
    if not quantizers:
        raise CalibrationError("the model has no quantisers; run prepare_qat(model, …) first.")
    histograms = _histograms(_with_fixed_weights(calibrated), batches)
    chosen = {}
    for name, histogram in histograms.items():
        with _told_where(name):
            chosen[name] = chosen_range(histogram, quantizers[name].spec, rule)
        ends = torch.tensor([chosen[name].low, chosen[name].high])
        quantizers[name].set_range(*ends)
    for note in notes_on(chosen):
        warn(note, stacklevel=2)
    return calibrated


@contextmanager
def _told_where(name: str) -> Iterator[None]:
    """Errors inside begin with the quantiser's name."""
    try:
        yield
    except CalibrationError as error:
        raise CalibrationError(f"at '{name}': {error}") from error


@torch.no_grad()
def _with_fixed_weights(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose weights are on their grids once and for all batches."""
    fixed = fold_batchnorms(model).eval()
    for module in fixed.modules():
        if isinstance(module, QuantizedLayer):
            module.layer.weight.copy_(module.on_grid(module.layer.weight))
            module.enabled = False
        elif isinstance(module, FakeQuantize):
            module.enabled = False
    return fixed


def _histograms(model: nn.Module, data: object) -> dict[str, Histogram]:
    histograms: dict[str, Histogram] = {}

    def count(name: str, x: Tensor) -> None:
        with _told_where(name):
            histograms[name] = observe(histograms.get(name), x)

    for name, module in model.named_modules():
        if isinstance(module, FakeQuantize) and not module.fixed:
            module.register_forward_pre_hook(lambda _, x, name=name: count(name, x[0]))
    with torch.no_grad():
        for number, batch in enumerate(calibration_batches(model, data)):
            _run(model, batch.inputs, number)
    return histograms


def _run(model: nn.Module, inputs: tuple[Tensor, ...], number: int) -> None:
    try:
        model(*inputs)
    except CalibrationError as error:
        raise CalibrationError(f"calibration batch {number}, {error}") from error
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise CalibrationError(
            f"calibration batch {number} of shape {shapes} does not fit the model: "
            f"{_failing_layer(model, inputs)}{str(error).splitlines()[0].rstrip('.')}. Give "
            "batches as the network sees them in use."
        ) from error


@final
class _Watching(fx.Interpreter):
    """Remembers the node that it came to."""

    reached = ""

    @override
    def run_node(self, n: fx.Node) -> Any:
        self.reached = str(n.target) if n.op == "call_module" else n.name
        return super().run_node(n)


def _failing_layer(model: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Which node of the graph fails, found by running it once more."""
    if not isinstance(model, fx.GraphModule):
        return ""
    watching = _Watching(model)
    watching.extra_traceback = False
    try:
        watching.run(*inputs)
    except Exception:  # the caller raises it; here only its place is wanted
        return f"at '{watching.reached}', "
    return ""
