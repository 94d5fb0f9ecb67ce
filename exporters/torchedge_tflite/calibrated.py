"""A float ONNX graph gets quantisers, with ranges from torchedge's own calibration."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import onnx
import torch
from onnx import shape_inference

from torchedge.bench.session import Array
from torchedge.errors import CalibrationError
from torchedge.quantization.calibration import Histogram, observe
from torchedge.quantization.functional import affine_params
from torchedge.quantization.range_rules import mse
from torchedge.scheme import QuantScheme, QuantSpec
from torchedge_onnx.graph import add_constant, remove_unused, replace_input
from torchedge_onnx.session import open_observed
from torchedge_tflite.calibrated_layers import float_layers, with_integers, with_rounded_weights
from torchedge_tflite.lowering.gelu import with_gelu
from torchedge_tflite.lowering.lines import with_biases
from torchedge_tflite.lowering.meaning import network_of
from torchedge_tflite.places import Places, quantizer_places
from torchedge_tflite.qdq_reader import Grid

__all__ = ["calibrated"]


def calibrated(
    model: onnx.ModelProto,
    batches: Iterable[tuple[Array, ...]],
    scheme: QuantScheme,
) -> onnx.ModelProto:
    """The graph with integers in its weights and biases, and Q/DQ at its activations.

    As in :func:`torchedge.quantization.calibrate`, activations are observed in float, computed with
    quantised weights, in constant memory; ranges are those of least squared error. Operations that
    have no integer kernel stay in floats. A channel whose weights are nearly zero gets the scale at
    which its bias fits into int32.

    Args:
        model: A float graph with static shapes.
        batches: Calibration inputs.
        scheme: The grids.

    Raises:
        ExportError: A shape is not known, or an output is a constant.
        CalibrationError: There is no calibration data, or it holds NaN or infinity.
    """
    network = with_biases(with_gelu(network_of(model)))
    places, layers = quantizer_places(network), float_layers(model, network, scheme)
    mark = _unused_mark(model)
    rounded = with_rounded_weights(model, layers, mark)
    by_group = _grids(rounded, places, batches, scheme.activation)
    grids = {name: by_group[group] for name, group in places.groups.items()}
    input_scales = {layer.source: grids[places.carriers[layer.source]].scale for layer in layers}
    made = with_integers(model, layers, input_scales, mark)
    _insert_quantizers(made, grids, mark)
    remove_unused(made)
    return shape_inference.infer_shapes(made)


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
        found = {n: x for n, x in zip(inputs, batch, strict=True) if n in names}
        yield found | dict(zip(computed, session(*batch), strict=True))


def _unused_mark(model: onnx.ModelProto) -> str:
    """What no name of the graph holds, so that names with it are new."""
    names = [name for node in model.graph.node for name in (*node.input, *node.output)]
    names += [value.name for value in (*model.graph.input, *model.graph.initializer)]
    mark = ".quantized"
    while any(mark in name for name in names):
        mark += "_"
    return mark


def _insert_quantizers(model: onnx.ModelProto, grids: Mapping[str, Grid], mark: str) -> None:
    """Let all readers of these tensors, and the graph's outputs of their names, have the grids."""
    nodes = []
    for name in [value.name for value in model.graph.input if value.name in grids]:
        replace_input(model, name, f"{name}{mark}")
        nodes += _pair(model, f"{name}{mark}", name, f"{name}{mark}", grids[name])
    for node in model.graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in grids:
                node.output[index] = f"{name}{mark}.real"
                nodes += _pair(model, f"{name}{mark}", f"{name}{mark}.real", name, grids[name])
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _pair(
    model: onnx.ModelProto, base: str, real: str, result: str, grid: Grid
) -> list[onnx.NodeProto]:
    add_constant(model, f"{base}.scale", np.array(grid.scale, np.float32))
    add_constant(model, f"{base}.zero_point", np.array(grid.zero_point, np.int8))
    numbers, whole = [f"{base}.scale", f"{base}.zero_point"], f"{base}.integers"
    ends = (("QuantizeLinear", real, whole), ("DequantizeLinear", whole, result))
    return [
        onnx.helper.make_node(kind, [source, *numbers], [goal], name=f"{base}.{kind}")
        for kind, source, goal in ends
    ]
