"""A float ONNX graph gets quantisers, with ranges from torchedge's own calibration."""

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import torch
from onnx import shape_inference

from torchedge.bench.session import Array
from torchedge.errors import CalibrationError
from torchedge.quantization.calibration import Histogram, RangeRule, observe
from torchedge.quantization.functional import affine_params, quantize, weight_params
from torchedge.quantization.range_rules import mse
from torchedge.scheme import QuantScheme, QuantSpec
from torchedge_onnx.graph import add_constant, constants, copied, producers, replace_input
from torchedge_onnx.rewrites import with_float_weights
from torchedge_onnx.session import open_observed
from torchedge_tflite.places import Places, quantizer_places
from torchedge_tflite.trained import Grid

__all__ = ["calibrated"]

_WEIGHTED = frozenset({"Conv", "Gemm"})
_INT32 = np.iinfo(np.int32)


def calibrated(
    model: onnx.ModelProto,
    batches: Iterable[tuple[Array, ...]],
    scheme: QuantScheme,
    rule: RangeRule = mse,
) -> onnx.ModelProto:
    """The graph with integers in its weights and biases, and Q/DQ at its activations.

    As in :func:`torchedge.quantization.calibrate`, activations are observed in float, computed with
    quantised weights, in constant memory.

    Args:
        model: A float graph.
        batches: Calibration inputs.
        scheme: The grids.
        rule: Chooses a range from a histogram, as in :func:`torchedge.quantization.calibrate`.

    Raises:
        SchemeError: An operator has no integer form here.
        CalibrationError: There is no calibration data, or it holds NaN or infinity.
    """
    copy = copied(model)
    places = quantizer_places(copy)
    weighted = [node for node in copy.graph.node if node.op_type in _WEIGHTED]
    weight_scales = {}
    for node in weighted:
        spec = scheme.weight if node.op_type == "Conv" else scheme.linear_weight or scheme.weight
        weight_scales[node.output[0]] = _quantize_weight(copy, node, spec)
    by_group = _grids(with_float_weights(copy), places, batches, scheme.activation, rule)
    grids = {name: by_group[group] for name, group in places.groups.items()}
    for node in weighted:
        read = grids[places.carriers[node.input[0]]]
        _quantize_bias(copy, node, np.float32(read.scale) * weight_scales[node.output[0]])
    for name, grid in grids.items():
        _insert_quantizer(copy, name, grid)
    # onnx2tf 2.6.9 drops the transposition before a Flatten whose operand has no shape.
    return shape_inference.infer_shapes(copy)


def _grids(
    model: onnx.ModelProto,
    places: Places,
    batches: Iterable[tuple[Array, ...]],
    spec: QuantSpec,
    rule: RangeRule,
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
    ranges = {group: rule(histogram, spec) for group, histogram in histograms.items()}
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


def _quantize_weight(model: onnx.ModelProto, node: onnx.NodeProto, spec: QuantSpec) -> Array:
    """Put int8 constants with a ``DequantizeLinear`` in place of a weight; their scales."""
    weight = torch.from_numpy(constants(model)[node.input[1]].copy())
    scale, zero_point = weight_params(weight, spec)
    integers = quantize(weight, scale, zero_point, spec).numpy().astype(np.int8)
    scales = scale.numpy().astype(np.float32)
    node.input[1] = _constant_on_grid(model, node, f"{node.output[0]}.weight", integers, scales)
    return scales


def _quantize_bias(model: onnx.ModelProto, node: onnx.NodeProto, scales: Array) -> None:
    """Likewise int32 in place of a bias, if there is one."""
    if len(node.input) < 3 or not node.input[2]:
        return
    real = constants(model)[node.input[2]].astype(np.float64)
    whole = np.rint(real / scales).clip(_INT32.min, _INT32.max).astype(np.int32)
    steps = np.asarray(scales, np.float32)
    node.input[2] = _constant_on_grid(model, node, f"{node.output[0]}.bias", whole, steps)


def _constant_on_grid(
    model: onnx.ModelProto, reader: onnx.NodeProto, name: str, integers: Array, scales: Array
) -> str:
    zeros = np.zeros(scales.shape, integers.dtype)
    for part, array in (("integers", integers), ("scale", scales), ("zero_point", zeros)):
        add_constant(model, f"{name}.{part}", array)
    inputs = [f"{name}.{part}" for part in ("integers", "scale", "zero_point")]
    made = onnx.helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}.dq", axis=0)
    model.graph.node.insert(list(model.graph.node).index(reader), made)
    return name


def _insert_quantizer(model: onnx.ModelProto, name: str, grid: Grid) -> None:
    """Let all readers of a tensor, and the graph's output of its name, have it on its grid."""
    add_constant(model, f"{name}.scale", np.array(grid.scale, np.float32))
    add_constant(model, f"{name}.zero_point", np.array(grid.zero_point, np.int8))
    numbers = [f"{name}.scale", f"{name}.zero_point"]
    maker = producers(model).get(name)
    if maker is None:
        real, result, place = name, f"{name}.on_grid", 0
        replace_input(model, name, result)
    else:
        real, result = f"{name}.real", name
        maker.output[list(maker.output).index(name)] = real
        place = list(model.graph.node).index(maker) + 1
    whole = f"{name}.integers"
    pair = (("QuantizeLinear", real, whole), ("DequantizeLinear", whole, result))
    for offset, (kind, source, goal) in enumerate(pair):
        made = onnx.helper.make_node(kind, [source, *numbers], [goal], name=f"{name}.{kind}")
        model.graph.node.insert(place + offset, made)
