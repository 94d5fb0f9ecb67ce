"""A float ONNX graph gets quantisers, with ranges from torchedge's own calibration."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
import torch
from onnx import shape_inference

from torchedge.bench.session import Array
from torchedge.errors import CalibrationError
from torchedge.quantization.calibration import Histogram, observe
from torchedge.quantization.functional import affine_params, quantize, weight_params
from torchedge.quantization.range_rules import mse
from torchedge.scheme import QuantScheme, QuantSpec
from torchedge_onnx.graph import add_constant, constants, copied, replace_input
from torchedge_onnx.rewrites import with_float_weights
from torchedge_onnx.session import open_observed
from torchedge_tflite.places import WEIGHTED, Places, quantizer_places
from torchedge_tflite.trained import Grid

__all__ = ["calibrated"]

_INT32 = np.iinfo(np.int32)


def calibrated(
    model: onnx.ModelProto,
    batches: Iterable[tuple[Array, ...]],
    scheme: QuantScheme,
) -> onnx.ModelProto:
    """The graph with integers in its weights and biases, and Q/DQ at its activations.

    As in :func:`torchedge.quantization.calibrate`, activations are observed in float, computed with
    quantised weights, in constant memory; ranges are those of least squared error.

    Args:
        model: A float graph.
        batches: Calibration inputs.
        scheme: The grids.

    Raises:
        SchemeError: An operator has no integer form here.
        CalibrationError: There is no calibration data, or it holds NaN or infinity.
    """
    copy = copied(model)
    places, values = quantizer_places(copy), constants(copy)
    weight_scales = _quantize_weights(copy, values, scheme)
    by_group = _grids(with_float_weights(copy), places, batches, scheme.activation)
    grids = {name: by_group[group] for name, group in places.groups.items()}
    read = {node.output[0]: grids[places.carriers[node.input[0]]] for node in _weighted(copy)}
    bias_scales = {
        result: np.float32(read[result].scale) * scales for result, scales in weight_scales.items()
    }
    _quantize_biases(copy, values, bias_scales)
    _insert_quantizers(copy, grids)
    return shape_inference.infer_shapes(copy)


def _weighted(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in WEIGHTED]


def _grids(
    model: onnx.ModelProto,
    places: Places,
    batches: Iterable[tuple[Array, ...]],
    spec: QuantSpec,
) -> dict[str, Grid]:
    histograms: dict[str, Histogram] = {}
    measured = [name for name, group in places.groups.items() if group not in places.fixed]
    for outputs in _activations(model, measured, batches):
        for name, values in outputs.items():
            group = places.groups[name]
            tensor = torch.from_numpy(np.asarray(values, np.float32))
            histograms[group] = observe(histograms.get(group), tensor)
    if measured and not histograms:
        raise CalibrationError(
            "the calibration set is empty; save the model with calibration=(inputs,), some 100 to "
            "500 of them."
        )
    ranges = {group: mse(histogram, spec) for group, histogram in histograms.items()}
    found = {group: _grid(*ends, spec) for group, ends in ranges.items()}
    return found | {group: _whole_grid(*ends, spec) for group, ends in places.fixed.items()}


def _grid(low: float, high: float, spec: QuantSpec) -> Grid:
    scale, zero_point = affine_params(torch.tensor(low), torch.tensor(high), spec)
    return Grid(scale=float(scale), zero_point=int(zero_point))


def _whole_grid(low: float, high: float, spec: QuantSpec) -> Grid:
    """256 steps whose last one would be ``high``, as TFLite fixes sigmoid, softmax and tanh."""
    scale = (high - low) / (spec.quant_max - spec.quant_min + 1)
    return Grid(scale=scale, zero_point=round(spec.quant_min - low / scale))


def _activations(
    model: onnx.ModelProto, names: list[str], batches: Iterable[tuple[Array, ...]]
) -> Iterator[dict[str, Array]]:
    """What ONNX Runtime computes at these tensors, batch by batch."""
    inputs = [value.name for value in model.graph.input]
    computed = [name for name in names if name not in inputs]
    session = open_observed(model, computed)
    for batch in batches:
        found = dict(zip(inputs, batch, strict=True))
        yield found | dict(zip(computed, session(*batch), strict=True))


def _quantize_weights(
    model: onnx.ModelProto, values: Mapping[str, Array], scheme: QuantScheme
) -> dict[str, Array]:
    """Put int8 constants in the place of weights; their scales, by the results of their nodes."""
    scales_of: dict[str, Array] = {}
    made = {}
    for node in _weighted(model):
        result = node.output[0]
        spec = scheme.weight if node.op_type == "Conv" else scheme.linear_weight or scheme.weight
        weight = torch.from_numpy(values[node.input[1]].copy())
        scale, zero_point = weight_params(weight, spec)
        integers = quantize(weight, scale, zero_point, spec).numpy().astype(np.int8)
        scales_of[result] = scale.numpy().astype(np.float32)
        node.input[1] = f"{result}.weight"
        made[result] = _constant_on_grid(model, node.input[1], integers, scales_of[result])
    _insert_before(model, made)
    return scales_of


def _quantize_biases(
    model: onnx.ModelProto, values: Mapping[str, Array], scales_of: Mapping[str, Array]
) -> None:
    """Likewise int32 in the place of biases, where there are any."""
    made = {}
    for node in _weighted(model):
        if len(node.input) < 3 or not node.input[2]:
            continue
        result = node.output[0]
        real, scales = values[node.input[2]].astype(np.float64), scales_of[result]
        whole = np.rint(real / scales).clip(_INT32.min, _INT32.max).astype(np.int32)
        node.input[2] = f"{result}.bias"
        made[result] = _constant_on_grid(
            model, node.input[2], whole, np.asarray(scales, np.float32)
        )
    _insert_before(model, made)


def _constant_on_grid(
    model: onnx.ModelProto, name: str, integers: Array, scales: Array
) -> onnx.NodeProto:
    """The ``DequantizeLinear`` that makes ``name`` of new constants."""
    zeros = np.zeros(scales.shape, integers.dtype)
    for part, array in (("integers", integers), ("scale", scales), ("zero_point", zeros)):
        add_constant(model, f"{name}.{part}", array)
    inputs = [f"{name}.{part}" for part in ("integers", "scale", "zero_point")]
    return onnx.helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}.dq", axis=0)


def _insert_before(model: onnx.ModelProto, made: Mapping[str, onnx.NodeProto]) -> None:
    """Put nodes before those that have these results."""
    nodes = []
    for node in model.graph.node:
        nodes += [made[node.output[0]], node] if node.output[0] in made else [node]
    _replace_nodes(model, nodes)


def _insert_quantizers(model: onnx.ModelProto, grids: Mapping[str, Grid]) -> None:
    """Let all readers of these tensors, and the graph's outputs of their names, have the grids."""
    nodes = []
    for name in [value.name for value in model.graph.input if value.name in grids]:
        replace_input(model, name, f"{name}.on_grid")
        nodes += _pair(model, name, name, f"{name}.on_grid", grids[name])
    for node in model.graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in grids:
                node.output[index] = f"{name}.real"
                nodes += _pair(model, name, f"{name}.real", name, grids[name])
    _replace_nodes(model, nodes)


def _pair(
    model: onnx.ModelProto, name: str, real: str, result: str, grid: Grid
) -> list[onnx.NodeProto]:
    add_constant(model, f"{name}.scale", np.array(grid.scale, np.float32))
    add_constant(model, f"{name}.zero_point", np.array(grid.zero_point, np.int8))
    numbers, whole = [f"{name}.scale", f"{name}.zero_point"], f"{name}.integers"
    ends = (("QuantizeLinear", real, whole), ("DequantizeLinear", whole, result))
    return [
        onnx.helper.make_node(kind, [source, *numbers], [goal], name=f"{name}.{kind}")
        for kind, source, goal in ends
    ]


def _replace_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    del model.graph.node[:]
    model.graph.node.extend(nodes)
