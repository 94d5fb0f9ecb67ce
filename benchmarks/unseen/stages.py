"""The stages that a network is taken through, each against the float network as it was given."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import torchedge
from benchmarks.peers.measure import sqnr_db, top1_agreement
from benchmarks.unseen.subjects import Subject, tensors_of_answer
from torchedge import exporting
from torchedge.backends import ONNX_RUNTIME, TENSORRT
from torchedge.bench import Gate
from torchedge.bench.session import Array
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.exporting import Artifact
from torchedge.graph.copies import copied
from torchedge.pruning import prune_to, remove_channels
from torchedge.quantization import FakeQuantize, QuantizedLayer, calibrate, mse, prepare_qat
from torchedge.quantization.recovery import quantize
from torchedge.quantization.recovery.quantize import Effort
from torchedge_onnx.census import read_model, runtime_census
from torchedge_onnx.differences import tensor_differences
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE

__all__ = [
    *("Found", "Work", "against_float", "answers_apart", "calibrate_found", "decibels"),
    *("in_session", "in_training", "jetson_found", "onnx_found", "prepare_found", "prune_found"),
    *("quantize_found", "run", "with_quantisation_off", "without_gradient"),
]

_FLOAT = 1e-3  # of the output's range: sums in another order, through some fifty layers
_MARGIN_DB = 0.5
_COMPARED = 4
# Integer kernels whose roundings the reference has (docs/adr/0019).
_REPRODUCED = frozenset(
    {
        *("QLinearAdd", "QLinearConv", "QLinearGlobalAveragePool", "QLinearMul"),
        *("QLinearSigmoid", "QGemm"),
    }
)
_UNTRAINED = Gate(forced=True)  # random scores are near to each other; the figures tell how far


@final
@dataclass(frozen=True, kw_only=True)
class Found:
    """What a stage showed.

    Args:
        figures: By name.
        wrong: What is not as it should be though nothing was refused; empty where all is right.
        unclean: Rules of the target that the result breaks; it is slower for it, not wrong.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    unclean: tuple[str, ...] = ()


@final
class Work:
    """One network's results so far; later stages take what earlier ones made.

    Args:
        subject: The network and its inputs.
        folder: Empty; files go there.
        effort: Of the quantised network that is judged and exported.
    """

    def __init__(self, subject: Subject, folder: Path, effort: Effort = "balanced") -> None:
        self.subject, self.folder, self.effort = subject, folder, effort

    @cached_property
    def answer(self) -> tuple[Tensor, ...]:
        """What the float network says of the unseen inputs."""
        return run(self.subject.model, self.subject.unseen)

    @cached_property
    def prepared(self) -> nn.Module:
        """With quantisers that have no range yet."""
        return prepare_qat(self.subject.model, ONNX_RUNTIME, self.subject.example)

    @cached_property
    def quantised(self) -> nn.Module:
        """As ``quantize`` gives it."""
        data = self.subject
        batches = data.seen.split(4)
        return quantize(data.model, ONNX_RUNTIME, batches, effort=self.effort).eval()

    def artifact(self, target: str, quantised: nn.Module) -> tuple[Artifact, Artifact]:
        """Save and export: the PyTorch program, and what the target's last step made."""
        data = self.subject
        source = CompressedModel(
            module=quantised,
            example_inputs=data.example,
            samples=(data.unseen[:_COMPARED],),
            calibration=(data.seen,),
            scheme=exporting.target(target).scheme,
        ).save(self.folder / f"{target}-torch")
        made = torchedge.export(
            source, exporting.target(target), self.folder / target, gate=_UNTRAINED
        ).artifact
        return source, made


def prepare_found(work: Work) -> Found:
    """With quantisation off, the same function, in evaluation and in training."""
    off = with_quantisation_off(work.prepared)
    evaluated = answers_apart(run(off.eval(), work.subject.unseen), work.answer)
    trained = answers_apart(
        in_training(off, work.subject.unseen), in_training(work.subject.model, work.subject.unseen)
    )
    wrong = []
    if not evaluated <= _FLOAT:
        wrong.append(f"with quantisation off, outputs differ by {evaluated:.2g} of their range")
    if not trained <= 10 * _FLOAT:
        wrong.append(f"in training with quantisation off, outputs differ by {trained:.2g}")
    return Found(figures={"eval": evaluated, "training": trained}, wrong=tuple(wrong))


def calibrate_found(work: Work) -> Found:
    calibrated = calibrate(work.prepared, work.subject.seen.split(4)).eval()
    return against_float(work, run(calibrated, work.subject.unseen))


def quantize_found(work: Work) -> Found:
    """The default is not worse than the cheapest on inputs that neither has seen."""
    data = work.subject
    fast = quantize(data.model, ONNX_RUNTIME, data.seen.split(4), effort="fast").eval()
    cheapest = against_float(work, run(fast, data.unseen)).figures["sqnr_db"]
    found = against_float(work, run(work.quantised, data.unseen))
    wrong = found.wrong
    if not found.figures["sqnr_db"] >= cheapest - _MARGIN_DB:
        wrong += (f"{found.figures['sqnr_db']:.1f} dB where effort='fast' has {cheapest:.1f}",)
    return Found(figures={**found.figures, "fast_db": cheapest}, wrong=wrong)


def onnx_found(work: Work) -> Found:
    """ONNX Runtime computes the reference's integers, and what the float network meant."""
    source, made = work.artifact("onnx-cpu", work.quantised)
    path = made.file(MODEL_FILE)
    batches = [(x.numpy(),) for x in work.subject.unseen[:_COMPARED].split(1)]
    found = in_session(open_model(path), batches)
    with TorchRunner().open(source) as reference:
        wanted = in_session(reference, batches)
    same = min(float(np.mean(f == w)) for f, w in zip(found, wanted, strict=True))
    figures = against_float(work, tuple(map(torch.from_numpy, found))).figures
    wrong = () if same == 1 else tuple(_parts_that_differ(source, path, batches[:1]))
    share = runtime_census(path).integer_share
    kinds = [node.op_type for node in read_model(path).graph.node]
    counts = {k: kinds.count(k) for k in ("BatchNormalization", "Transpose", "QuantizeLinear")}
    return Found(figures={**figures, "identical": same, "integers": share, **counts}, wrong=wrong)


def _parts_that_differ(
    source: Artifact, path: Path, batches: Sequence[tuple[Array, ...]]
) -> list[str]:
    """Tensors that are wrong where PyTorch reads what the runtime has computed before.

    What an integer kernel writes is equal; what is computed in float, at most one step off.
    """
    rows = tensor_differences(source, path, batches)
    return [
        f"'{row.name}' differs by itself: {row.local_identical:.2%} equal, "
        f"{row.local_within_one:.2%} within a step ({row.operation})"
        for row in rows
        if (row.local_identical if row.operation in _REPRODUCED else row.local_within_one) < 1
    ]


def prune_found(work: Work) -> Found:
    """By nothing it is the same network; by half it runs forward and backward, on any batch."""
    data = work.subject
    same = answers_apart(run(remove_channels(data.model, {}), data.unseen), work.answer)
    wrong: tuple[str, ...] = ()
    if not same <= _FLOAT:
        wrong += (f"pruned by nothing, outputs differ by {same:.2g}",)
    pruned = prune_to(data.model, data.example, macs=0.5)
    left = _operations(pruned, data.example) / _operations(data.model, data.example)
    outputs = run(pruned.eval(), data.unseen)
    shapes = [x.shape for x in outputs], [x.shape for x in work.answer]
    if shapes[0] != shapes[1]:
        wrong += (f"outputs of shapes {shapes[0]} instead of {shapes[1]}",)
    if not left <= 0.51:
        wrong += (f"{left:.1%} of the operations are left",)
    missing = without_gradient(pruned, data.unseen) - without_gradient(data.model, data.unseen)
    if missing:
        wrong += (f"no finite gradient for {sorted(missing)[:3]}",)
    return Found(figures={"by_nothing": same, "operations": left}, wrong=wrong)


def jetson_found(work: Work) -> Found:
    """The bundle keeps to the rules."""
    data = work.subject
    prepared = prepare_qat(data.model, TENSORRT, data.example)
    calibrated = calibrate(prepared, data.seen.split(4), mse).eval()
    found = against_float(work, run(calibrated, data.unseen))
    _, made = work.artifact("jetson", calibrated)
    broken = tuple(made.details["rules_broken"])
    return Found(
        figures={**found.figures, "broken": len(broken)}, unclean=broken, wrong=found.wrong
    )


def with_quantisation_off(prepared: nn.Module) -> nn.Module:
    """A copy that computes in float what it would quantise.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2))
        >>> prepared = prepare_qat(net, ONNX_RUNTIME, (torch.ones(1, 2),))
        >>> torch.equal(with_quantisation_off(prepared)(torch.ones(1, 2)), net(torch.ones(1, 2)))
        True
    """
    off = copied(prepared)
    for module in off.modules():
        if isinstance(module, FakeQuantize | QuantizedLayer):
            module.enabled = False
    return off


def run(model: nn.Module, data: Tensor) -> tuple[Tensor, ...]:
    """What a network answers, four inputs at a time."""
    with torch.no_grad():
        parts = [tensors_of_answer(model(batch)) for batch in data.split(4)]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def in_session(
    session: Callable[..., tuple[Array, ...]], batches: Sequence[tuple[Array, ...]]
) -> tuple[Array, ...]:
    """What a session answers to all batches."""
    answers = [session(*batch) for batch in batches]
    return tuple(np.concatenate(column) for column in zip(*answers, strict=True))


def in_training(model: nn.Module, data: Tensor) -> tuple[Tensor, ...]:
    """What a copy answers in training mode, with the same random numbers each time."""
    tried = copied(model).train()
    torch.manual_seed(3)
    with torch.no_grad():
        return tensors_of_answer(tried(data[:8]))


def answers_apart(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> float:
    """Largest difference as a share of the range; infinite where the shapes differ."""
    if [x.shape for x in found] != [x.shape for x in wanted]:
        return math.inf
    shares = [
        float((f - w).abs().max() / w.abs().max().clamp(min=1e-12))
        for f, w in zip(found, wanted, strict=True)
    ]
    return max(shares)


def against_float(work: Work, found: tuple[Tensor, ...]) -> Found:
    """The worst output's distance from float; classes where the first output has them."""
    wanted = tuple(w[: len(f)] for f, w in zip(found, work.answer, strict=True))
    figures = {"sqnr_db": decibels(found, wanted)}
    if found[0].ndim == 2:
        figures["top1"] = top1_agreement(found[0], wanted[0])
    finite = all(bool(f.isfinite().all()) for f in found)
    return Found(figures=figures, wrong=() if finite else ("outputs are not finite",))


def decibels(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> float:
    """Signal to noise of the worst output."""
    return min(sqnr_db(f, w) for f, w in zip(found, wanted, strict=True))


def _operations(model: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return int(counter.get_total_flops())


def without_gradient(model: nn.Module, data: Tensor) -> set[str]:
    """Parameters that a step of training would leave alone, or ruin."""
    trained = copied(model).train()
    answers = tensors_of_answer(trained(data[:4]))
    torch.stack([answer.float().square().mean() for answer in answers]).sum().backward()
    gradients = {name: p.grad for name, p in trained.named_parameters()}
    return {n for n, g in gradients.items() if g is None or not bool(g.isfinite().all())}
