"""Which share of a network's arithmetic ONNX Runtime does on integers."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx

from torchedge.bench.census import Census, LayerCount, counted
from torchedge.errors import VerificationError
from torchedge.writing import temporary_folder
from torchedge_onnx.graph import (
    WEIGHTED_OPERATIONS,
    producers,
    tensor_shapes,
    weight_chain,
    weighted_macs,
)
from torchedge_onnx.reading import checked_model
from torchedge_onnx.session import open_graph, runnable_graph, session_options

__all__ = ["CONVERSIONS", "optimised_graph", "read_model", "runtime_census"]

_WEIGHT_INPUT = {
    "ConvInteger": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "QGemm": 3,
    "QLinearConv": 3,
    "QLinearMatMul": 3,
}
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_FLOAT, _INTEGER = onnx.TensorProto.FLOAT, onnx.TensorProto.INT8
_FLOATS = frozenset({_FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE})
_TO_UNSIGNED = "_s8_2_u8"  # what ONNX Runtime appends to weights that it makes unsigned
_MOVED_QUANTIZER = "_q_to_dq"  # of a result whose quantiser ONNX Runtime moved to before a reshape


def read_model(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file; see :func:`torchedge_onnx.reading.checked_model`.

    Raises:
        ArtifactError: It is cut short or no ONNX file, or holds what must not be loaded.
    """
    return checked_model(path)


def runtime_census(path: Path) -> Census:
    """Count integer multiply-accumulates, and all operators, in ONNX Runtime's optimised graph.

    Each weighted node of the file is looked for there by its weight, whatever it was fused into.

    Args:
        path: The ONNX file.

    Raises:
        ArtifactError: The file cannot be read.
        VerificationError: The optimised graph holds integer arithmetic that no node of the file
            accounts for.
    """
    model = runnable_graph(path)
    optimised = optimised_graph(model)
    operations = _integer_operations(optimised)
    made_by, shapes = producers(model), tensor_shapes(model)
    layers = []
    for node in model.graph.node:
        if node.op_type not in WEIGHTED_OPERATIONS:
            continue
        names = (*weight_chain(node, made_by), *_written(node, model))
        found = _take(operations, names)
        layers.append(
            LayerCount(
                name=node.name,
                operation=found or node.op_type,
                macs=weighted_macs(node, shapes),
                integer=found is not None,
                reason="" if found else "ONNX Runtime runs it in float",
            )
        )
    if unaccounted := sorted(operations.elements()):
        raise VerificationError(f"ONNX Runtime runs {unaccounted}, which '{path}' does not hold.")
    return Census(
        layers=tuple(layers),
        evidence="ONNX Runtime's optimised graph on this CPU",
        operators=counted(_operators(optimised), CONVERSIONS),
    )


def _operators(model: onnx.ModelProto) -> Iterator[tuple[str, bool]]:
    """Every operator, and whether it works on floats; what only moves data, on what it reads."""
    graph = model.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in values}
    for node in graph.node:
        read = next((types[name] for name in node.input if name in types), _FLOAT)
        written = _INTEGER if _writes_integers(node.op_type) else read
        written = _FLOAT if node.op_type == "DequantizeLinear" else written
        for name in node.output:
            types.setdefault(name, written)
        yield node.op_type, types[node.output[0]] in _FLOATS


def _writes_integers(operation: str) -> bool:
    return operation.startswith("QLinear") or operation in {"QuantizeLinear", "QGemm"}


def optimised_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """What ONNX Runtime makes of a graph on this machine before it runs it.

    Args:
        model: Of a file that was opened, or made of one.

    Raises:
        ArtifactError: The runtime cannot read it.
    """
    with temporary_folder("onnx") as folder:
        written = folder / "optimised.onnx"
        options = session_options()
        options.optimized_model_filepath = str(written)
        open_graph(model, options)
        return onnx.load(written)


def _integer_operations(model: onnx.ModelProto) -> Counter[tuple[str, str]]:
    """Each by its weight; a product of two activations by what it writes."""
    constant = {tensor.name for tensor in model.graph.initializer}
    found = Counter[tuple[str, str]]()
    for node in model.graph.node:
        if node.op_type in _WEIGHT_INPUT:
            weight = node.input[_WEIGHT_INPUT[node.op_type]]
            name = weight.removesuffix(_TO_UNSIGNED) if weight in constant else node.output[0]
            name = name.removesuffix(_MOVED_QUANTIZER)
            found[name, node.op_type] += 1
    return found


def _written(node: onnx.NodeProto, model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of a node's result, as it is and quantised."""
    readers = [reader for reader in model.graph.node if reader.op_type == "QuantizeLinear"]
    return node.output[0], *(r.output[0] for r in readers if r.input[0] == node.output[0])


def _take(operations: Counter[tuple[str, str]], names: tuple[str, ...]) -> str | None:
    for weight, operation in operations:
        if weight in names and operations[weight, operation] > 0:
            operations[weight, operation] -= 1
            return operation
    return None
