"""Arguments of a wrong kind, as people give them by mistake."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import torchedge
from benchmarks.calls.scene import Scene
from torchedge import exporting
from torchedge.batches import Data
from torchedge.compressed import CompressedModel
from torchedge.distillation import Hinton
from torchedge.distillation.born_again import Ensemble
from torchedge.distillation.cache import cache_teacher
from torchedge.distillation.lightning import DistillationModule
from torchedge.exporting import Normalisation
from torchedge.exporting.target import configured
from torchedge.models import Classifier
from torchedge.pruning import (
    ChannelGroup,
    Limits,
    NOfM,
    channel_groups,
    lottery_tickets,
    mask_weights,
    prune_by,
    prune_to,
    remove_channels,
    weight_masks,
)
from torchedge.quantization import (
    QuantScheme,
    QuantSpec,
    calibrate,
    freeze,
    learn_step_sizes,
    percentile,
    prepare_qat,
)
from torchedge.quantization.bit_widths import with_bits
from torchedge.quantization.diagnostics import analyse, lint_calibration, requantize, sensitivity
from torchedge.quantization.recovery import (
    Recovery,
    correct_biases,
    equalize,
    quantize,
    reestimate_batchnorm,
    refit_last_layer,
    round_adaptively,
)

__all__ = ["CALLS"]

Call = Callable[[Scene], object]


def _group(scene: Scene) -> ChannelGroup:
    return channel_groups(scene.net, scene.x[:1])[0]


def saved(scene: Scene, **changes: Any) -> object:  # noqa: ANN401 - fields of any type
    """A float network saved with some fields changed."""
    fields = {"module": scene.net, "example_inputs": scene.x[:1], "samples": scene.x}
    return CompressedModel(**{**fields, **changes}).save(scene.new)


class Kw(nn.Module):
    """Takes its input by name alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, **named: Tensor) -> Tensor:
        return self.conv(named["x"])


CALLS: Mapping[str, Call] = {
    "calibrate(prepared, {'image': x, 'label': s.y[:3]})": lambda s: calibrate(
        s.prepared, {"image": s.x, "label": s.y[:3]}
    ),
    "quantize(net, 'jetson', x, effort='fast', seed='a')": lambda s: quantize(
        s.net, "jetson", s.x, effort="fast", seed="a"
    ),
    "quantize(net, 'jetson', x, effort='fast', seed=-1)": lambda s: quantize(
        s.net, "jetson", s.x, effort="fast", seed=-1
    ),
    "quantize(net, 'jetson', x, effort='fast', seed=None)": lambda s: quantize(
        s.net, "jetson", s.x, effort="fast", seed=None
    ),
    "quantize(net, 'jetson', x, effort=Recovery)": lambda s: quantize(
        s.net, "jetson", s.x, effort=Recovery
    ),
    "iterations -1: quantize(net, 'jetson', x, effort=Recovery(round…": lambda s: quantize(
        s.net, "jetson", s.x, effort=Recovery(rounding_iterations=-1)
    ),
    "iterations text: quantize(net, 'jetson', x, effort=Recovery(round…": lambda s: quantize(
        s.net, "jetson", s.x, effort=Recovery(rounding_iterations="many")
    ),
    "quantize(net, 'jetson', x, effort=Recovery(relu6='clip'))": lambda s: quantize(
        s.net, "jetson", s.x, effort=Recovery(relu6="clip")
    ),
    "quantize(net, 'jetson', x, effort='fast', float_layers=None)": lambda s: quantize(
        s.net, "jetson", s.x, effort="fast", float_layers=None
    ),
    "quantize(net, 'jetson', x, effort='fast', float_layers=[0])": lambda s: quantize(
        s.net, "jetson", s.x, effort="fast", float_layers=[0]
    ),
    "prepare_qat(Kw(), 'jetson', x[:1])": lambda s: prepare_qat(Kw(), "jetson", s.x[:1]),
    "save(calibration='nowhere')": lambda s: saved(s, calibration="nowhere"),
    "save(normalisation=(0.5, 0.5))": lambda s: saved(s, normalisation=(0.5, 0.5)),
    "Normalisation(mean='a', deviation='b')": lambda s: Normalisation(mean="a", deviation="b"),
    "Normalisation(mean=0.5, deviation=0.5)": lambda s: Normalisation(mean=0.5, deviation=0.5),
    "save(float_module=[net])": lambda s: saved(s, float_module=[s.net]),
    "save(scheme=5)": lambda s: saved(s, scheme=5),
    "save(labels='cat')": lambda s: saved(s, labels="cat"),
    "save(labels=5)": lambda s: saved(s, labels=5),
    "save(metrics='good')": lambda s: saved(s, metrics="good"),
    "Limits(most='x')": lambda s: Limits(most="x"),
    "Limits(multiple=2.5)": lambda s: Limits(multiple=2.5),
    "prune_to(net, x[:1], macs=0.5, limits=Limits(leave_out='0'))": lambda s: prune_to(
        s.net, s.x[:1], macs=0.5, limits=Limits(leave_out="0")
    ),
    "Limits leave_out None: prune_to(net, x[:1], macs=0.5, limits=Limits(lea…": lambda s: prune_to(
        s.net, s.x[:1], macs=0.5, limits=Limits(leave_out=None)
    ),
    "Limits types: prune_to(net, x[:1], macs=0.5, limits=Limits(lea…": lambda s: prune_to(
        s.net, s.x[:1], macs=0.5, limits=Limits(leave_out_types=nn.Linear)
    ),
    "Limits types list: prune_to(net, x[:1], macs=0.5, limits=Limits(lea…": lambda s: prune_to(
        s.net, s.x[:1], macs=0.5, limits=Limits(leave_out_types=[nn.Linear])
    ),
    "prune_by(net, x[:1], {'0': 'x'})": lambda s: prune_by(s.net, s.x[:1], {"0": "x"}),
    "prune_by(net, x[:1], [0.5])": lambda s: prune_by(s.net, s.x[:1], [0.5]),
    "remove_channels(net, {group: 3})": lambda s: remove_channels(s.net, {_group(s): 3}),
    "remove_channels(net, {group: [0.5]})": lambda s: remove_channels(s.net, {_group(s): [0.5]}),
    "remove_channels(net, {'0': [1]})": lambda s: remove_channels(s.net, {"0": [1]}),
    "remove_channels(net, {group: [True] * 16})": lambda s: remove_channels(
        s.net, {_group(s): [True] * 16}
    ),
    "remove_channels(net, {group: torch.tensor([0, 1])})": lambda s: remove_channels(
        s.net, {_group(s): torch.tensor([0, 1])}
    ),
    "prune_to(net, x[:1], latency=0.5, timer='x')": lambda s: prune_to(
        s.net, s.x[:1], latency=0.5, timer="x"
    ),
    "prune_to(net, x[:1], macs=0.5, scores=lambda m, g: None)": lambda s: prune_to(
        s.net, s.x[:1], macs=0.5, scores=lambda m, g: None
    ),
    "scores list: prune_to(net, x[:1], macs=0.5, scores=lambda m, …": lambda s: prune_to(
        s.net, s.x[:1], macs=0.5, scores=lambda m, g: [1.0] * g.channels
    ),
    "mask_weights(net, None)": lambda s: mask_weights(s.net, None),
    "mask_weights(net, {'0.weight': [1, 0]})": lambda s: mask_weights(s.net, {"0.weight": [1, 0]}),
    "weight_masks(net, 0.5, scores=5)": lambda s: weight_masks(s.net, 0.5, scores=5),
    "weight_masks(net, 0.5, leave_out=5)": lambda s: weight_masks(s.net, 0.5, leave_out=5),
    "weight_masks(net, 0.5, leave_out='0')": lambda s: weight_masks(s.net, 0.5, leave_out="0"),
    "weight_masks(net, 0.5, pattern=NOfM(n=5, m=4))": lambda s: weight_masks(
        s.net, 0.5, pattern=NOfM(n=5, m=4)
    ),
    "lottery rounds: list(lottery_tickets(net, lambda n: None, sparsi…": lambda s: list(
        lottery_tickets(
            s.net, lambda n: None, sparsity_per_round=0.5, rounds="a", rewind_to=s.net.state_dict()
        )
    ),
    "lottery rewind: list(lottery_tickets(net, lambda n: None, sparsi…": lambda s: list(
        lottery_tickets(s.net, lambda n: None, sparsity_per_round=0.5, rounds=1, rewind_to=None)
    ),
    "lottery fit: list(lottery_tickets(net, None, sparsity_per_rou…": lambda s: list(
        lottery_tickets(s.net, None, sparsity_per_round=0.5, rounds=1, rewind_to=s.net.state_dict())
    ),
    "QuantSpec(bits=0)": lambda s: QuantSpec(bits=0),
    "QuantSpec(bits='8')": lambda s: QuantSpec(bits="8"),
    "QuantScheme(weight=8)": lambda s: QuantScheme(weight=8),
    "prepare_qat(net, QuantScheme(weight=8), x[:1])": lambda s: prepare_qat(
        s.net, QuantScheme(weight=8), s.x[:1]
    ),
    "QuantSpec(bits=2.5)": lambda s: QuantSpec(bits=2.5),
    "axis: prepare_qat(net, QuantScheme(weight=QuantSpec(ax…": lambda s: prepare_qat(
        s.net, QuantScheme(weight=QuantSpec(axis=7)), s.x[:1]
    ),
    "with_bits(prepared, {'0': 3.5})": lambda s: with_bits(s.prepared, {"0": 3.5}),
    "with_bits(prepared, {'head': 4})": lambda s: with_bits(s.prepared, {"head": 4}),
    "with_bits(prepared, None)": lambda s: with_bits(s.prepared, None),
    "with_bits(prepared, ['0'])": lambda s: with_bits(s.prepared, ["0"]),
    "with_bits(prepared, {'0': '8'})": lambda s: with_bits(s.prepared, {"0": "8"}),
    "equalize(net, x[:1], relu6='clip')": lambda s: equalize(s.net, s.x[:1], relu6="clip"),
    "equalize(calibrated, x[:1])": lambda s: equalize(s.calibrated, s.x[:1]),
    "equalize(net, x[:1], batches=s.loader)": lambda s: equalize(s.net, s.x[:1], batches=s.loader),
    "calibrate(prepared, x, percentile(5))": lambda s: calibrate(s.prepared, s.x, percentile(5)),
    "percentile('99')": lambda s: percentile("99"),
    "calibrate(prepared, x, lambda h, s: None)": lambda s: calibrate(
        s.prepared, s.x, lambda h, s: None
    ),
    "terms fn: DistillationModule(Classifier(net), net, {'h': (…": lambda s: DistillationModule(
        Classifier(s.net), s.net, {"h": (1, lambda a, b: a)}
    ),
    "terms text: DistillationModule(Classifier(net), net, {'h': (…": lambda s: DistillationModule(
        Classifier(s.net), s.net, {"h": ("1", Hinton())}
    ),
    "DistillationModule(Classifier(net), net, {'h': (1, 5)})": lambda s: DistillationModule(
        Classifier(s.net), s.net, {"h": (1, 5)}
    ),
    "swapped: DistillationModule(Classifier(net), net, {'h': (…": lambda s: DistillationModule(
        Classifier(s.net), s.net, {"h": (Hinton(), 1.0)}
    ),
    "hint_epochs: DistillationModule(Classifier(net), net, {'h': (…": lambda s: DistillationModule(
        Classifier(s.net), s.net, {"h": (1, Hinton())}, hint_epochs="x"
    ),
    "hard None: DistillationModule(Classifier(net), net, {'h': (…": lambda s: DistillationModule(
        Classifier(s.net), s.net, {"h": (1, Hinton())}, hard_weight=None
    ),
    "example tensor: DistillationModule(Classifier(net), net, {'h': (…": lambda s: (
        DistillationModule(Classifier(s.net), s.net, {"h": (1, Hinton())}, example_inputs=s.x[:2])
    ),
    "example wrong: DistillationModule(Classifier(net), net, {'h': (…": lambda s: (
        DistillationModule(
            Classifier(s.net), s.net, {"h": (1, Hinton())}, example_inputs=s.x[:2, :, :3]
        )
    ),
    "teacher other: DistillationModule(Classifier(net), nn.Sequentia…": lambda s: (
        DistillationModule(
            Classifier(s.net),
            nn.Sequential(nn.Flatten(), nn.Linear(64, 9)),
            {"h": (1, Hinton())},
            example_inputs=(s.x[:2],),
        )
    ),
    "DistillationModule(None, net, {'h': (1, Hinton())})": lambda s: DistillationModule(
        None, s.net, {"h": (1, Hinton())}
    ),
    "cache_teacher(net, s.dataset, s.new, batch_size=0)": lambda s: cache_teacher(
        s.net, s.dataset, s.new, batch_size=0
    ),
    "cache_teacher(net, s.dataset, s.new, layers='0')": lambda s: cache_teacher(
        s.net, s.dataset, s.new, layers="0"
    ),
    "cache_teacher(net, s.dataset, s.new, layers=['nope'])": lambda s: cache_teacher(
        s.net, s.dataset, s.new, layers=["nope"]
    ),
    "cache_teacher(net, x[:, :, :3], s.new)": lambda s: cache_teacher(s.net, s.x[:, :, :3], s.new),
    "cache_teacher(net, (x * 255).byte(), s.new)": lambda s: cache_teacher(
        s.net, (s.x * 255).byte(), s.new
    ),
    "cache_teacher(net, x, None)": lambda s: cache_teacher(s.net, s.x, None),
    "cache_teacher(net, [x[0], x[0, :, :4]], s.new)": lambda s: cache_teacher(
        s.net, [s.x[0], s.x[0, :, :4]], s.new
    ),
    "Ensemble([])": lambda s: Ensemble([]),
    "lint_calibration(x, labels=[0] * 16)": lambda s: lint_calibration(s.x, labels=[0] * 16),
    "lint_calibration(x, expected_range=5)": lambda s: lint_calibration(s.x, expected_range=5),
    "lint_calibration(x, model=net)": lambda s: lint_calibration(s.x, model=s.net),
    "lint_calibration(None)": lambda s: lint_calibration(None),
    "sensitivity(calibrated, x, bits=4)": lambda s: sensitivity(s.calibrated, s.x, bits=4),
    "sensitivity(calibrated, x, bits=(1,))": lambda s: sensitivity(s.calibrated, s.x, bits=(1,)),
    "sensitivity(calibrated, x, metric='acc')": lambda s: sensitivity(
        s.calibrated, s.x, metric="acc"
    ),
    "analyse(calibrated, s.loader)": lambda s: analyse(s.calibrated, s.loader),
    "analyse(calibrated, [(x, x, x)])": lambda s: analyse(s.calibrated, [(s.x, s.x, s.x)]),
    "configured(exporting.target('jetson'), jetpack=5.1)": lambda s: configured(
        exporting.target("jetson"), jetpack=5.1
    ),
    "configured(exporting.target('jetson'), precision=8)": lambda s: configured(
        exporting.target("jetson"), precision=8
    ),
    "torchedge.export(s.saved.path, 'onnx-cpu', s.new)": lambda s: torchedge.export(
        s.saved.path, "onnx-cpu", s.new
    ),
    "torchedge.export(s.saved, 'onnx-cpu', s.new)": lambda s: torchedge.export(
        s.saved, "onnx-cpu", s.new
    ),
    "freeze(freeze(calibrated))": lambda s: freeze(freeze(s.calibrated)),
    "freeze(calibrated, bias='int8')": lambda s: freeze(s.calibrated, bias="int8"),
    "learn_step_sizes(None)": lambda s: learn_step_sizes(None),
    "calibrate(torch.compile(prepared), x)": lambda s: calibrate(torch.compile(s.prepared), s.x),
    "refit_last_layer(calibrated, None, x)": lambda s: refit_last_layer(s.calibrated, None, s.x),
    "correct_biases(net, x)": lambda s: correct_biases(s.net, s.x),
    "round_adaptively(net, x)": lambda s: round_adaptively(s.net, s.x),
    "reestimate_batchnorm(net, s.loader)": lambda s: reestimate_batchnorm(s.net, s.loader),
    "requantize(calibrated, 'jetson', [])": lambda s: requantize(s.calibrated, "jetson", []),
    "requantize(calibrated, 'jetson', x, rule='nope')": lambda s: requantize(
        s.calibrated, "jetson", s.x, rule="nope"
    ),
    "calibrate(prepared, Data(None))": lambda s: calibrate(s.prepared, Data(None)),
    "calibrate(prepared, Data(Data(x)))": lambda s: calibrate(s.prepared, Data(Data(s.x))),
    "calibrate(prepared, Data(s.pictures, mean=(0.5, 0.5)))": lambda s: calibrate(
        s.prepared, Data(s.pictures, mean=(0.5, 0.5))
    ),
    "Data(s.pictures, std=0)": lambda s: Data(s.pictures, std=0),
    "calibrate(prepared, Data([{'x': x}], key=5))": lambda s: calibrate(
        s.prepared, Data([{"x": s.x}], key=5)
    ),
    "Data(x, batch_size='8')": lambda s: Data(s.x, batch_size="8"),
}
