"""Calls of what prunes, distils, saves and exports, as people type them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

import torchedge
from benchmarks.calls.networks import Branching, Functional, Locked, Returns, TwoInputs
from benchmarks.calls.scene import Scene
from torchedge import exporting
from torchedge.compressed import CompressedModel
from torchedge.distillation import Hinton
from torchedge.distillation.cache import cache_teacher
from torchedge.distillation.functional import hinton_loss
from torchedge.distillation.lightning import DistillationModule
from torchedge.exporting import Normalisation, load_artifact
from torchedge.models import Classifier
from torchedge.pruning import (
    Limits,
    bake_masks,
    channel_groups,
    mask_weights,
    prune_by,
    prune_to,
    remove_channels,
    weight_masks,
)
from torchedge.quantization import prepare_qat

__all__ = ["CALLS"]

Call = Callable[[Scene], object]


def _other_groups(scene: Scene) -> object:
    other = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
    return remove_channels(scene.net, {channel_groups(other, scene.x[:1])[0]: [0]})


def _save(**changes: Any) -> Call:  # noqa: ANN401 - fields of any type
    """A float network saved with some fields changed; functions are asked for their value."""

    def call(scene: Scene) -> object:
        fields = {"module": scene.net, "example_inputs": scene.x[:1], "samples": scene.x}
        made = {n: v(scene) if callable(v) else v for n, v in changes.items()}
        folder = made.pop("folder", scene.new)
        return CompressedModel(**{**fields, **made}).save(folder)

    return call


_PRUNING: Mapping[str, Call] = {
    "prune_to(net, x, macs=0.5)": lambda s: prune_to(s.net, s.x[:1], macs=0.5),
    "prune_to(net, x)": lambda s: prune_to(s.net, s.x[:1]),
    "prune_to(…, macs=0)": lambda s: prune_to(s.net, s.x[:1], macs=0),
    "prune_to(…, macs=50)": lambda s: prune_to(s.net, s.x[:1], macs=50),
    "prune_to(…, macs='half')": lambda s: prune_to(
        s.net,
        s.x[:1],
        macs="half",  # type: ignore[arg-type]
    ),
    "prune_to(…, macs=NaN)": lambda s: prune_to(s.net, s.x[:1], macs=float("nan")),
    "prune_to(…, two targets)": lambda s: prune_to(s.net, s.x[:1], macs=0.5, memory=0.5),
    "prune_to(…, latency, no timer)": lambda s: prune_to(s.net, s.x[:1], latency=0.5),
    "prune_to(…, macs=0.0001)": lambda s: prune_to(s.net, s.x[:1], macs=0.0001),
    "prune_to(…, scores='l1')": lambda s: prune_to(
        s.net,
        s.x[:1],
        macs=0.5,
        scores="l1",  # type: ignore[arg-type]
    ),
    "prune_to(…, limits=None)": lambda s: prune_to(
        s.net,
        s.x[:1],
        macs=0.5,
        limits=None,  # type: ignore[arg-type]
    ),
    "prune_to(…, limits of 0)": lambda s: prune_to(
        s.net, s.x[:1], macs=0.5, limits=Limits(multiple=0)
    ),
    "prune_to(quantised network)": lambda s: prune_to(s.calibrated, s.x[:1], macs=0.5),
    "prune_to(no parameters)": lambda s: prune_to(Functional(), s.x[:1], macs=0.5),
    "prune_to(branches on values)": lambda s: prune_to(Branching(), s.x[:1], macs=0.5),
    "prune_to(None)": lambda s: prune_to(None, s.x[:1], macs=0.5),  # type: ignore[arg-type]
    "prune_by(…, 1.0)": lambda s: prune_by(s.net, s.x[:1], 1.0),
    "prune_by(…, '50%')": lambda s: prune_by(s.net, s.x[:1], "50%"),  # type: ignore[arg-type]
    "prune_by(…, None)": lambda s: prune_by(s.net, s.x[:1], None),  # type: ignore[arg-type]
    "prune_by(…, unknown layer)": lambda s: prune_by(s.net, s.x[:1], {"head": 0.5}),
    "prune_by(wrong shape)": lambda s: prune_by(s.net, s.x[:1, 0], 0.5),
    "remove_channels(another's groups)": _other_groups,
    "remove_channels(net, None)": lambda s: remove_channels(s.net, None),  # type: ignore[arg-type]
    "weight_masks(net, 2.0)": lambda s: weight_masks(s.net, 2.0),
    "weight_masks(net, 'half')": lambda s: weight_masks(s.net, "half"),  # type: ignore[arg-type]
    "weight_masks(quantised network)": lambda s: weight_masks(s.calibrated, 0.5),
    "weight_masks(no parameters)": lambda s: weight_masks(Functional(), 0.5),
    "weight_masks(None)": lambda s: weight_masks(None, 0.5),  # type: ignore[arg-type]
    "mask_weights(net, {unknown})": lambda s: mask_weights(s.net, {"head.weight": s.x}),
    "mask_weights twice": lambda s: mask_weights(
        mask_weights(s.net, weight_masks(s.net, 0.5)), weight_masks(s.net, 0.5)
    ),
    "bake_masks(without masks)": lambda s: bake_masks(s.net),
}

_DISTILLATION: Mapping[str, Call] = {
    "Hinton(temperature=-1)": lambda s: Hinton(temperature=-1),
    "Hinton(temperature='4')": lambda s: Hinton(temperature="4"),  # type: ignore[arg-type]
    "hinton_loss(probabilities)": lambda s: hinton_loss(
        torch.rand(4, 3).softmax(1), torch.rand(4, 3), 4.0
    ),
    "cache_teacher(net, loader)": lambda s: cache_teacher(s.net, s.loader, s.new),  # type: ignore[arg-type]
    "cache_teacher(net, tensor)": lambda s: cache_teacher(s.net, s.x, str(s.new)),
    "cache_teacher(net, generator)": lambda s: cache_teacher(s.net, iter([s.x]), s.new),  # type: ignore[arg-type]
    "cache_teacher(net, None)": lambda s: cache_teacher(s.net, None, s.new),  # type: ignore[arg-type]
    "cache_teacher(path, data)": lambda s: cache_teacher("net.pth", s.x, s.new),  # type: ignore[arg-type]
    "DistillationModule(network)": lambda s: DistillationModule(
        s.net,  # type: ignore[arg-type]
        s.net,
        {"hinton": (1.0, Hinton())},
    ),
    "DistillationModule(…, no terms)": lambda s: DistillationModule(Classifier(s.net), s.net, {}),
    "DistillationModule(…, bare term)": lambda s: DistillationModule(
        Classifier(s.net),
        s.net,
        {"hinton": Hinton()},  # type: ignore[dict-item]
    ),
    "DistillationModule(…, student='net')": lambda s: DistillationModule(
        Classifier(s.net), s.net, {"hinton": (1.0, Hinton())}, student="net"
    ),
    "DistillationModule(…, teacher=None)": lambda s: DistillationModule(
        Classifier(s.net),
        None,  # type: ignore[arg-type]
        {"hinton": (1.0, Hinton())},
    ),
}

_SAVING: Mapping[str, Call] = {
    "save(str)": _save(folder=lambda s: str(s.new)),
    "save(loader)": _save(samples=lambda s: s.loader),
    "save(folder of pictures)": _save(samples=lambda s: s.pictures),
    "save(array)": _save(samples=lambda s: s.x.numpy()),
    "save(float64 samples)": _save(samples=lambda s: s.x.double()),
    "save(uint8 samples)": _save(samples=lambda s: (s.x * 255).to(torch.uint8)),
    "save(no samples)": _save(samples=None),
    "save(samples of another size)": _save(samples=lambda s: s.x[..., :5, :5]),
    "save(samples for batches of 5)": _save(example_inputs=lambda s: s.x[:5]),
    "save(list of labels)": _save(labels=[0, 1, 2, 3] * 4),
    "save(texts for labels)": _save(labels=["cat"] * 16),
    "save(labels beyond the scores)": _save(labels=[9] * 16),
    "save(too few labels)": _save(labels=[1, 2]),
    "save(class_names='cat')": _save(class_names="cat"),
    "save(list of class names)": _save(class_names=list("abcd")),
    "save(metrics=None)": _save(metrics=None),
    "save(metrics of NaN)": _save(metrics={"accuracy": float("nan")}),
    "save(name='a/b')": _save(name="a/b"),
    "save(name='')": _save(name=""),
    "save(example_inputs=None)": _save(example_inputs=None),
    "save(example of a wrong shape)": _save(
        example_inputs=lambda s: s.x[:1, :, :4], samples=lambda s: s.x[:, :, :4]
    ),
    "save(module=None)": _save(module=None),
    "save(torch.compile)": _save(module=lambda s: torch.compile(s.net)),
    "save(scripted)": _save(module=lambda s: torch.jit.trace(s.net, s.x)),
    "save(returns None)": _save(module=lambda s: Returns("none")),
    "save(returns text)": _save(module=lambda s: Returns("text")),
    "save(returns nested)": _save(module=lambda s: Returns("nested")),
    "save(two inputs, one given)": _save(module=lambda s: TwoInputs()),
    "save(branches on values)": _save(module=lambda s: Branching()),
    "save(keeps a lock)": _save(module=lambda s: Locked()),
    "save(in training mode)": _save(module=lambda s: s.net.train()),
    "save(quantised, no scheme)": _save(module=lambda s: s.calibrated),
    "save(float, with a scheme)": _save(scheme="jetson"),
    "save(quantised, scheme by name)": _save(module=lambda s: s.calibrated, scheme="onnx-cpu"),
    "save(quantised, another scheme)": _save(module=lambda s: s.calibrated, scheme="jetson"),
    "save(without ranges)": _save(module=lambda s: s.prepared, scheme="onnx-cpu"),
    "save(float_module='net.pth')": _save(
        module=lambda s: s.calibrated, scheme="onnx-cpu", float_module=lambda s: "net.pth"
    ),
    "save(two means for one channel)": _save(
        normalisation=Normalisation(mean=(0.5, 0.5), deviation=(1.0, 1.0))
    ),
    "save where a folder is": _save(folder=lambda s: s.saved.path),
    "save below a file": _save(folder=lambda s: s.file("a-file") / "x"),
    "save(None)": _save(folder=None),
}

_EXPORT: Mapping[str, Call] = {
    "exporting.target('iphone')": lambda s: exporting.target("iphone"),
    "exporting.target(None)": lambda s: exporting.target(None),  # type: ignore[arg-type]
    "load_artifact(nowhere)": lambda s: load_artifact("nowhere"),
    "load_artifact(a file)": lambda s: load_artifact(s.file("a.pt2")),
    "load_artifact(of pictures)": lambda s: load_artifact(s.pictures),
    "export(artefact, target, folder)": lambda s: torchedge.export(
        s.saved, exporting.target("onnx-cpu"), s.new
    ),
    "export(float artefact, 'jetson')": lambda s: torchedge.export(
        s.saved_float, exporting.target("jetson"), s.new
    ),
    "export to another target": lambda s: torchedge.export(
        s.saved, exporting.target("jetson"), str(s.new)
    ),
    "prepare_qat(…, OpenVINO)": lambda s: prepare_qat(s.net, "OpenVINO", s.x[:1]),
}

CALLS: Mapping[str, Call] = {**_PRUNING, **_DISTILLATION, **_SAVING, **_EXPORT}
