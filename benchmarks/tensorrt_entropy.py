"""Every entropy scale of four networks against a brute-force search that shares no code with it.

    python -m benchmarks.tensorrt_entropy [NAME ...]

For each network three sets of scales are held against
``tests/exporters/torchedge_tensorrt/entropy_by_hand.py``, which tries candidate after candidate:
those of ``torchedge calibration create`` on the float network (every float tensor), those of the
network's quantisers (rounded up to four significant bits, see ADR 18), and those of the
bundle's calibration.cache. No tensor is left out; *by_squared_error* counts those whose entropy
threshold clips too much, which are judged by their error. Written to runs/tensorrt_entropy.json as
well.
"""

import copy
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import cyclopts
import numpy as np
from torch import Tensor, nn

from benchmarks.rows import rows_of_networks
from benchmarks.tensorrt import NETWORKS, prepared_network, saved
from tests.exporters.torchedge_tensorrt.entropy_by_hand import guarded_scale, is_right
from torchedge.bench.session import Array
from torchedge.exporting.artifact import Artifact
from torchedge.quantization import calibrate, entropy
from torchedge.quantization.modules import FakeQuantize
from torchedge_onnx.census import read_model
from torchedge_onnx.graph import real_inputs
from torchedge_onnx.session import open_observed
from torchedge_onnx.step import TorchToOnnx
from torchedge_tensorrt.calibration_cache import read_cache
from torchedge_tensorrt.host_calibration import calibrate_onnx
from torchedge_tensorrt.platforms import PLATFORMS
from torchedge_tensorrt.scales import float_tensors, trained_scales
from torchedge_tensorrt.step import CACHE_FILE, PLAIN_FILE, QUANTIZED_FILE, OnnxToTensorRTBundle

if TYPE_CHECKING:
    import onnx

Scales: TypeAlias = dict[str, float]
Values: TypeAlias = dict[str, list[Array]]
_SHARING = {"Clip", "Flatten", "Identity", "MaxPool", "Relu", "Reshape", "Squeeze", "Unsqueeze"}


def main(*names: str) -> None:
    """Print a line for each network and set of scales; ends with 1 where one differs.

    Args:
        names: Networks; default all four.
    """
    rows = rows_of_networks(names or NETWORKS, _rows, Path("runs/tensorrt_entropy.json"))
    if any(row["equal"] != row["tensors"] for row in rows):
        sys.exit("a scale is not that of the brute-force search.")


def _rows(name: str, folder: Path) -> list[dict[str, Any]]:
    prepared, images = prepared_network(name)
    found, seen = _quantisers(prepared, images)
    bundle = _bundle(saved(name, prepared, images, folder / "torch"), folder)
    single = [(image[None],) for image in images.numpy()]
    plain = read_model(bundle.file(PLAIN_FILE))
    values = _values(plain, float_tensors(plain), single)
    host = calibrate_onnx(bundle.file(PLAIN_FILE), single).scales
    return [
        {"network": name, "scales": "calibration create", **_judged(host, values)},
        {"network": name, "scales": "quantisers", **_judged(found, seen, _short)},
        {"network": name, "scales": "bundle", **_of_bundle(bundle, found, single)},
    ]


def _quantisers(prepared: nn.Module, images: Tensor) -> tuple[Scales, Values]:
    """Scale of each quantiser after ``calibrate``, and what it was given then."""
    watched = copy.deepcopy(prepared)
    seen: Values = {}
    for name, module in watched.named_modules():
        if isinstance(module, FakeQuantize) and not module.fixed:
            module.register_forward_pre_hook(
                lambda _, given, name=name: seen.setdefault(name, []).append(
                    given[0].numpy().copy()
                )
            )
    calibrated = dict(calibrate(watched, [images], entropy).named_modules())
    return {name: float(calibrated[name].scale) for name in seen}, seen


def _short(scale: float) -> float:
    """The next number with four significant bits, see ADR 18."""
    mantissa, exponent = math.frexp(scale)
    return math.ldexp(math.ceil(mantissa * 16) / 16, exponent)


def _bundle(source: Artifact, folder: Path) -> Artifact:
    onnx, place = folder / "onnx", folder / "bundle"
    onnx.mkdir()
    place.mkdir()
    step = OnnxToTensorRTBundle(platform=PLATFORMS["jetson-orin-nano"])
    return step.export(TorchToOnnx(opset=13, integer_weights=False).export(source, onnx), place)


def _values(
    model: "onnx.ModelProto", names: tuple[str, ...], batches: list[tuple[Array, ...]]
) -> Values:
    """What tensors of the float network are, batch by batch."""
    (given,) = (value.name for value in real_inputs(model))
    computed = [name for name in names if name != given]
    session = open_observed(model, computed)
    values: Values = {}
    for (batch,) in batches:
        for name, array in zip([given, *computed], [batch, *session(batch)], strict=True):
            values.setdefault(name, []).append(np.asarray(array, np.float32))
    return {name: values[name] for name in names}


def _judged(
    found: Scales, values: Values, rounded: Callable[[float], float] = float
) -> dict[str, int]:
    """How many scales are right, and how many of the tensors the squared error decides for."""
    names = found.keys() | values.keys()
    both = found.keys() & values.keys()
    equal = sum(is_right(found[name], values[name], rounded) for name in both)
    refused = sum(guarded_scale(values[name]) is None for name in both)
    return {"tensors": len(names), "equal": equal, "by_squared_error": refused}


def _of_bundle(
    bundle: Artifact, quantisers: Scales, batches: list[tuple[Array, ...]]
) -> dict[str, int]:
    """Trained and shared scales are a quantiser's; the others are searched for by hand."""
    _, scales = read_cache(bundle.file(CACHE_FILE))
    trained = trained_scales(read_model(bundle.file(QUANTIZED_FILE)))
    plain, of_quantisers = read_model(bundle.file(PLAIN_FILE)), set(quantisers.values())
    names, related = float_tensors(plain), _related(plain)
    near = {n: {trained[other] for other in related.get(n, {n}) & trained.keys()} for n in names}
    shared = {n for n in names if n not in trained and scales.get(n) in near[n]}
    searched = tuple(n for n in names if n not in trained and n not in shared)
    # ONNX Runtime fuses what is not asked for, so the same tensors are asked for as in the export.
    judged = _judged({n: scales[n] for n in searched}, _values(plain, searched, batches))
    equal = len(shared) + judged["equal"]
    equal += sum(scales.get(n) == trained[n] in of_quantisers for n in names if n in trained)
    counts = {"trained": len(trained), "shared": len(shared), "searched": len(searched)}
    return {"tensors": len(names), "equal": equal, **counts}


def _related(model: "onnx.ModelProto") -> dict[str, set[str]]:
    """For each tensor all that are made of it, or it of them, by moving and clipping values."""
    related: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.op_type in _SHARING:
            ends = (node.input[0], node.output[0])
            joined = set(ends).union(*(related.get(name, set()) for name in ends))
            related |= dict.fromkeys(joined, joined)
    return related


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
