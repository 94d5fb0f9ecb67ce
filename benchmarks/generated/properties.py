"""What must hold for every network; each check raises ``AssertionError`` with what does not."""

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.unseen.stages import (
    Work,
    answers_apart,
    decibels,
    in_training,
    onnx_found,
    run,
    with_quantisation_off,
    without_gradient,
)
from benchmarks.unseen.subjects import Subject
from torchedge.backends import ONNX_RUNTIME
from torchedge.pruning import ChannelGroup, Limits, channel_groups, prune_by, remove_channels
from torchedge.pruning.dependency import opened
from torchedge.quantization import prepare_qat
from torchedge.quantization.recovery import equalize, quantize

__all__ = ["PROPERTIES"]

_FLOAT = 1e-5  # of the output's range; in float64, where rounding is 1e-9 of that
_LAYERS = 10  # ... for what is kept in float32: factors of channels
_MARGIN_DB = 0.5
_COUNTS_CHANNELS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def off_is_float(made: Subject) -> None:
    """Prepared, with quantisation off, a network is what it was, in evaluation and training."""
    made = _in_double(made)
    off = with_quantisation_off(prepare_qat(made.model, ONNX_RUNTIME, made.example)).eval()
    apart = answers_apart(run(off, made.unseen), run(made.model, made.unseen))
    assert apart <= _FLOAT, f"evaluation: outputs differ by {apart:.2g} of their range"
    apart = answers_apart(in_training(off, made.unseen), in_training(made.model, made.unseen))
    assert apart <= _LAYERS * _FLOAT, f"training: outputs differ by {apart:.2g} of their range"


def equalised_is_float(made: Subject) -> None:
    """Equalisation leaves the float function alone, with data and without."""
    made = _in_double(made)
    wanted = run(made.model, made.seen)
    batches = made.seen.split(16)
    ways = {
        "without data": equalize(made.model, made.example),
        "with data": equalize(made.model, made.example, batches=batches, scheme=ONNX_RUNTIME),
    }
    for way, equalised in ways.items():
        apart = answers_apart(run(equalised.eval(), made.seen), wanted)
        assert apart <= _LAYERS * _FLOAT, f"{way}: outputs differ by {apart:.2g} of their range"


def balanced_is_not_below_fast(made: Subject) -> None:
    """On data that neither has seen, the default is at most 0.5 dB below the cheapest."""
    wanted, batches = run(made.model, made.unseen), made.seen.split(16)
    found = {}
    for effort in ("fast", "balanced"):
        quantised = quantize(made.model, ONNX_RUNTIME, batches, effort=effort).eval()
        found[effort] = decibels(run(quantised, made.unseen), wanted)
    short = found["fast"] - found["balanced"]
    assert short <= _MARGIN_DB, f"balanced {found['balanced']:.1f} dB, fast {found['fast']:.1f} dB"


def exported_is_reference(made: Subject) -> None:
    """ONNX Runtime computes what the saved program does, integer by integer."""
    few = replace(made, unseen=made.unseen[:4])
    with tempfile.TemporaryDirectory() as folder:
        work = Work(few, Path(folder))
        work.quantised = quantize(
            made.model, ONNX_RUNTIME, made.seen.split(16), effort="fast"
        ).eval()
        wrong = onnx_found(work).wrong
    assert not wrong, "; ".join(wrong)


def dead_channels_change_nothing(made: Subject) -> None:
    """Half of each group is made dead, removed, and nobody notices."""
    made = _in_double(made)
    model = opened(made.model).eval()
    groups = channel_groups(model, made.example)
    layers = dict(model.named_modules())
    keep: dict[ChannelGroup, list[int]] = {}
    for group in groups:
        counting = any(isinstance(layers.get(name), _COUNTS_CHANNELS) for name, _ in group.members)
        if group.prunable and not counting:
            keep[group] = list(range(0, group.channels, 2))
    wanted = run(_dead(model, keep), made.unseen)
    removed = remove_channels(_dead(model, keep), keep).eval()
    apart = answers_apart(run(removed, made.unseen), wanted)
    assert apart <= _LAYERS * _FLOAT, f"outputs differ by {apart:.2g} of their range"


def pruned_runs_and_trains(made: Subject) -> None:
    """With half of the channels of each group gone, it answers and every weight learns."""
    pruned = prune_by(made.model, made.example, 0.5, limits=Limits(multiple=4))
    shapes = [x.shape for x in run(pruned.eval(), made.unseen)]
    wanted = [x.shape for x in run(made.model, made.unseen)]
    assert shapes == wanted, f"outputs of shapes {shapes} instead of {wanted}"
    lost = without_gradient(pruned, made.unseen) - without_gradient(made.model, made.unseen)
    assert not lost, f"no gradient for {sorted(lost)}"


def _in_double(made: Subject) -> Subject:
    """In float32 a norm over a channel that is nearly constant makes 1e-4 of a last bit."""
    model = copy.deepcopy(made.model).double()
    return replace(made, model=model, seen=made.seen.double(), unseen=made.unseen.double())


@torch.no_grad()
def _dead(model: nn.Module, keep: Mapping[ChannelGroup, list[int]]) -> nn.Module:
    """A copy where the channels that are not kept carry nothing, and nobody reads them."""
    copied = opened(model).eval()
    tensors: dict[str, Tensor] = dict([*copied.named_parameters(), *copied.named_buffers()])
    for group, kept in keep.items():
        for part in group.slices:
            gone = [i for i, unit in enumerate(part.units) if unit >= 0 and unit not in kept]
            if not part.path.endswith("running_var"):
                tensors[part.path].index_fill_(part.axis, torch.tensor(gone, dtype=torch.long), 0.0)
    return copied


PROPERTIES: Mapping[str, Callable[[Subject], None]] = {
    "off": off_is_float,
    "equalised": equalised_is_float,
    "balanced": balanced_is_not_below_fast,
    "exported": exported_is_reference,
    "dead": dead_channels_change_nothing,
    "pruned": pruned_runs_and_trains,
}
