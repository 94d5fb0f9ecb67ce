"""Calls of what quantises, as people type them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.data import DataLoader

from benchmarks.calls.networks import (
    Branching,
    Functional,
    Keeps,
    Locked,
    NamedLikeOurs,
    Returns,
    Shared,
    Stacked,
    TwoInputs,
    net,
)
from benchmarks.calls.scene import Scene
from torchedge import exporting
from torchedge.batches import Data
from torchedge.models import Classifier
from torchedge.pruning import prune_by
from torchedge.quantization import calibrate, describe, freeze, learn_step_sizes, prepare_qat
from torchedge.quantization.diagnostics import analyse, requantize, sensitivity
from torchedge.quantization.recovery import quantize

__all__ = ["CALLS"]

Call = Callable[[Scene], object]


def _frozen_part() -> nn.Module:
    made = net()
    made[0].requires_grad_(False)
    return made


def _kept(scene: Scene) -> nn.Module:
    made = Keeps()
    made(scene.x).sum().backward()
    return made


def _spoilt() -> nn.Module:
    made = net()
    made[0].weight.data[0, 0, 0, 0] = float("nan")
    return made


def _masked() -> nn.Module:
    made = net()
    prune.l1_unstructured(made[2], "weight", amount=0.5)
    return made


def _dynamic() -> nn.Module:
    with torch.no_grad():
        layer = torch.ao.nn.quantized.dynamic.Linear(256, 4)
    return nn.Sequential(*list(net())[:-1], layer)


def _failing(scene: Scene) -> Iterator[torch.Tensor]:
    yield scene.x
    raise OSError("the disk is gone")


def _pictures_without_transform(scene: Scene) -> DataLoader[Any]:
    from PIL import Image

    return DataLoader([(Image.new("L", (8, 8)), 0)] * 4, 2)  # type: ignore[arg-type]


def _two(scene: Scene) -> nn.Module:
    return prepare_qat(TwoInputs(), "onnx-cpu", (scene.x[:1], scene.x[:1]))


def _with(make: Callable[[], object]) -> Call:
    """A network of the user's, quantised in one line."""
    return lambda s: quantize(make(), "onnx-cpu", s.x, effort="fast")  # type: ignore[arg-type]


def _prepared(make: Callable[[], object]) -> Call:
    return lambda s: prepare_qat(make(), "onnx-cpu", s.x[:1])  # type: ignore[arg-type]


_DATA: Mapping[str, Call] = {
    "calibrate(net, loader)": lambda s: calibrate(s.prepared, s.loader),
    "calibrate(net, dataset)": lambda s: calibrate(s.prepared, s.dataset),
    "calibrate(net, tensor)": lambda s: calibrate(s.prepared, s.x),
    "calibrate(net, array of float64)": lambda s: calibrate(s.prepared, s.x.double().numpy()),
    "calibrate(net, generator)": lambda s: calibrate(s.prepared, (x for x, _ in s.loader)),
    "calibrate(net, list of samples)": lambda s: calibrate(s.prepared, list(s.x)),
    "calibrate(net, dictionary)": lambda s: calibrate(s.prepared, {"image": s.x, "label": s.y}),
    "calibrate(net, ambiguous dictionary)": lambda s: calibrate(s.prepared, {"a": s.x, "b": s.x}),
    "calibrate(net, Data(…, key))": lambda s: calibrate(
        s.prepared, Data({"a": s.x, "b": s.x}, key="b")
    ),
    "calibrate(net, Data(…, wrong key))": lambda s: calibrate(s.prepared, Data([s.x], key="b")),
    "calibrate(net, folder of classes)": lambda s: calibrate(s.prepared, str(s.pictures)),
    "calibrate(net, folder with a NaN)": lambda s: calibrate(s.prepared, s.arrays),
    "calibrate(net, no such folder)": lambda s: calibrate(s.prepared, "nowhere"),
    "calibrate(net, None)": lambda s: calibrate(s.prepared, None),
    "calibrate(net, [])": lambda s: calibrate(s.prepared, []),
    "calibrate(net, 5)": lambda s: calibrate(s.prepared, 5),
    "calibrate(net, [None])": lambda s: calibrate(s.prepared, [None]),
    "calibrate(net, uint8)": lambda s: calibrate(s.prepared, (s.x * 255).to(torch.uint8)),
    "calibrate(net, half)": lambda s: calibrate(s.prepared, s.x.half()),
    "calibrate(net, NaN)": lambda s: calibrate(s.prepared, s.x * float("nan")),
    "calibrate(net, 3 channels)": lambda s: calibrate(s.prepared, s.x.expand(-1, 3, -1, -1)),
    "calibrate(net, another size)": lambda s: calibrate(s.prepared, s.x[..., :5, :5]),
    "calibrate(net, channels last)": lambda s: calibrate(s.prepared, s.x.movedim(1, -1)),
    "calibrate(net, no samples)": lambda s: calibrate(s.prepared, s.x[:0]),
    "calibrate(net, sparse)": lambda s: calibrate(s.prepared, s.x.to_sparse()),
    "calibrate(net, meta)": lambda s: calibrate(s.prepared, s.x.to("meta")),
    "calibrate(net, complex)": lambda s: calibrate(s.prepared, s.x.to(torch.complex64)),
    "calibrate(net, a failing generator)": lambda s: calibrate(s.prepared, _failing(s)),
    "calibrate(net, pictures without transform)": lambda s: calibrate(
        s.prepared, _pictures_without_transform(s)
    ),
    "calibrate(two inputs, pairs)": lambda s: calibrate(_two(s), [(s.x, s.x), (s.x, s.x, s.y)]),
    "calibrate(two inputs, one tensor)": lambda s: calibrate(_two(s), s.x),
    "calibrate(two inputs, dictionary)": lambda s: calibrate(
        _two(s), [{"right": s.x, "left": s.x}]
    ),
}

_ORDER: Mapping[str, Call] = {
    "calibrate(float network)": lambda s: calibrate(s.net, s.x),
    "calibrate twice": lambda s: calibrate(s.calibrated, s.x),
    "calibrate(frozen network)": lambda s: calibrate(freeze(s.calibrated), s.x),
    "calibrate(data, network)": lambda s: calibrate(s.x, s.prepared),  # type: ignore[arg-type]
    "calibrate(None, data)": lambda s: calibrate(None, s.x),  # type: ignore[arg-type]
    "calibrate(net, data, 'minmax')": lambda s: calibrate(s.prepared, s.x, "minmax"),
    "calibrate(net, data, 'best')": lambda s: calibrate(s.prepared, s.x, "best"),
    "calibrate(net, data, 5)": lambda s: calibrate(s.prepared, s.x, 5),  # type: ignore[arg-type]
    "prepare_qat twice": lambda s: prepare_qat(s.prepared, "jetson", s.x[:1]),
    "freeze(float network)": lambda s: freeze(s.net),
    "freeze(without ranges)": lambda s: freeze(s.prepared),
    "learn_step_sizes(float network)": lambda s: learn_step_sizes(s.net),
    "describe(float network)": lambda s: describe(s.net),
    "quantize(quantised network)": lambda s: quantize(s.calibrated, "onnx-cpu", s.x),
    "quantize(pruned network)": lambda s: quantize(
        prune_by(s.net, s.x[:1], 0.5), "onnx-cpu", s.x, effort="fast"
    ),
    "quantize(net, 'iphone', x)": lambda s: quantize(s.net, "iphone", s.x),
    "quantize(net, None, x)": lambda s: quantize(s.net, None, s.x),  # type: ignore[arg-type]
    "quantize(net, target, x)": lambda s: quantize(
        s.net,
        exporting.target("jetson"),  # type: ignore[arg-type]
        s.x,
        effort="fast",
    ),
    "quantize(net, x, scheme)": lambda s: quantize(s.net, s.x, "jetson"),  # type: ignore[arg-type]
    "quantize(…, effort='fastest')": lambda s: quantize(
        s.net,
        "jetson",
        s.x,
        effort="fastest",  # type: ignore[arg-type]
    ),
    "quantize(…, effort=None)": lambda s: quantize(
        s.net,
        "jetson",
        s.x,
        effort=None,  # type: ignore[arg-type]
    ),
    "quantize(…, float_layers='0')": lambda s: quantize(
        s.net, "jetson", s.x, effort="fast", float_layers="0"
    ),
    "quantize(…, float_layers=['head'])": lambda s: quantize(
        s.net, "jetson", s.x, effort="fast", float_layers=["head"]
    ),
    "quantize(net, …, folder)": lambda s: quantize(s.net, "jetson", s.pictures),
    "quantize(net, …, Data(folder, input_shape))": lambda s: quantize(
        s.net, "jetson", Data(s.pictures, input_shape=(1, 8, 8)), effort="fast"
    ),
    "requantize(float network)": lambda s: requantize(s.net, "jetson", s.x),
    "requantize(net, 'jetson', loader)": lambda s: requantize(s.calibrated, "jetson", s.loader),
    "analyse(float network)": lambda s: analyse(s.net, s.x),
    "analyse(without ranges)": lambda s: analyse(s.prepared, s.x),
    "sensitivity(net, loader)": lambda s: sensitivity(s.calibrated, s.loader, bits=(4,)),
}

_EXAMPLES: Mapping[str, Call] = {
    "prepare_qat(net, 'jetson', x)": lambda s: prepare_qat(s.net, "jetson", s.x[:1]),
    "prepare_qat(…, array)": lambda s: prepare_qat(
        s.net,
        "jetson",
        s.x[:1].numpy(),  # type: ignore[arg-type]
    ),
    "prepare_qat(…, loader)": lambda s: prepare_qat(s.net, "jetson", s.loader),  # type: ignore[arg-type]
    "prepare_qat(…, None)": lambda s: prepare_qat(s.net, "jetson", None),  # type: ignore[arg-type]
    "prepare_qat(…, ())": lambda s: prepare_qat(s.net, "jetson", ()),
    "prepare_qat(…, {'input': x})": lambda s: prepare_qat(
        s.net,
        "jetson",
        {"input": s.x[:1]},  # type: ignore[arg-type]
    ),
    "prepare_qat(…, {'image': x})": lambda s: prepare_qat(
        s.net,
        "jetson",
        {"image": s.x[:1]},  # type: ignore[arg-type]
    ),
    "prepare_qat(…, (1, 8, 8))": lambda s: prepare_qat(
        s.net,
        "jetson",
        (1, 8, 8),  # type: ignore[arg-type]
    ),
    "prepare_qat(…, wrong shape)": lambda s: prepare_qat(s.net, "jetson", s.x[:1, :, :5]),
    "prepare_qat(…, integers)": lambda s: prepare_qat(s.net, "jetson", s.x[:1].int()),
    "prepare_qat(…, NaN)": lambda s: prepare_qat(s.net, "jetson", s.x[:1] * float("nan")),
    "prepare_qat(…, no sample)": lambda s: prepare_qat(s.net, "jetson", s.x[:0]),
    "prepare_qat(…, meta)": lambda s: prepare_qat(s.net, "jetson", s.x[:1].to("meta")),
}

_NETWORKS: Mapping[str, Call] = {
    "quantize(DataParallel)": _with(lambda: nn.DataParallel(net())),
    "quantize(torch.compile(net))": _with(lambda: torch.compile(net())),
    "quantize(torch.jit.trace(net))": lambda s: quantize(
        torch.jit.trace(s.net, s.x), "jetson", s.x
    ),
    "quantize(torch.export.export(net))": lambda s: quantize(
        torch.export.export(s.net, (s.x,)),  # type: ignore[arg-type]
        "jetson",
        s.x,
    ),
    "quantize(the class)": _with(lambda: Stacked),
    "quantize(path)": _with(lambda: "net.pth"),
    "quantize(state dict)": _with(lambda: net().state_dict()),
    "quantize(list of networks)": _with(lambda: [net(), net()]),
    "quantize(ModuleList)": _with(lambda: nn.ModuleList([net()])),
    "quantize(half)": _with(lambda: net().half()),
    "quantize(bfloat16)": _with(lambda: net().bfloat16()),
    "quantize(float64)": _with(lambda: net().double()),
    "quantize(in training mode)": _with(lambda: net().train()),
    "quantize(without gradients)": _with(lambda: net().requires_grad_(False)),
    "quantize(a frozen layer)": _with(_frozen_part),
    "quantize(shared layers)": _with(Shared),
    "quantize(a Sequential of one's own)": _with(Stacked),
    "quantize(LightningModule)": _with(lambda: Classifier(net())),
    "quantize(empty LightningModule)": _with(pl.LightningModule),
    "quantize(weights on meta)": _with(lambda: net().to("meta")),
    "quantize(lazy layers)": _with(lambda: nn.Sequential(nn.LazyConv2d(4, 3))),
    "quantize(complex weights)": _with(lambda: net().to(torch.complex64)),
    "quantize(torch.ao's)": _with(_dynamic),
    "quantize(masked by torch)": _with(_masked),
    "quantize(NaN in weights)": _with(_spoilt),
    "quantize(keeps a lock)": _with(Locked),
    "quantize(branches on values)": _with(Branching),
    "quantize(no parameters)": _with(Functional),
    "quantize(empty Sequential)": _with(nn.Sequential),
    "quantize(two inputs)": _with(TwoInputs),
    "quantize(names like ours)": _with(NamedLikeOurs),
    "prepare_qat(keeps activations)": lambda s: prepare_qat(_kept(s), "jetson", s.x[:1]),
    "prepare_qat(returns None)": _prepared(lambda: Returns("none")),
    "prepare_qat(returns text)": _prepared(lambda: Returns("text")),
    "prepare_qat(returns nested)": _prepared(lambda: Returns("nested")),
    "prepare_qat(returns ())": _prepared(lambda: Returns("empty")),
}

CALLS: Mapping[str, Call] = {**_DATA, **_ORDER, **_EXAMPLES, **_NETWORKS}
