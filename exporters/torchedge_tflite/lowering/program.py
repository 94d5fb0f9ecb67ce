"""A network, operation by operation, into a draft of a .tflite file."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from torchedge.errors import ExportError
from torchedge_tflite.lowering import elementwise, moves, pools, products
from torchedge_tflite.lowering.affine import affine
from torchedge_tflite.lowering.draft import Draft
from torchedge_tflite.lowering.expanding import expanded
from torchedge_tflite.lowering.meaning import MOVES, Network, Operation, Value, network_of
from torchedge_tflite.lowering.orders import channels_last
from torchedge_tflite.lowering.packing import packed
from torchedge_tflite.lowering.padding import pad
from torchedge_tflite.lowering.resizing import resize
from torchedge_tflite.lowering.store import Store
from torchedge_tflite.lowering.stretching import expand, tile
from torchedge_tflite.lowering.transposed import transposed_convolution
from torchedge_tflite.lowering.weighted import convolution
from torchedge_tflite.process import PortType
from torchedge_tflite.qdq_reader import Grid

if TYPE_CHECKING:
    import onnx

__all__ = ["Lowered", "lowered"]

_LOWERINGS: Mapping[str, Callable[[Operation, Store], None]] = {
    "Abs": elementwise.curve("ABS"),
    "Add": elementwise.binary("ADD"),
    "Affine": affine,
    "AveragePool": pools.average_pool,
    "Clip": elementwise.clip,
    "Concat": moves.concatenation,
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "DepthToSpace": pools.depth_to_space,
    "Div": elementwise.binary("DIV"),
    "Dropout": moves.identity,
    "Elu": elementwise.curve("ELU"),
    "Exp": elementwise.curve("EXP"),
    "Expand": expand,
    "Flatten": moves.reshape,
    "Gather": moves.gather,
    "GatherND": moves.gather_nd,
    "Gemm": products.gemm,
    "Gelu": elementwise.gelu,
    "GlobalAveragePool": pools.global_average,
    "HardSwish": elementwise.curve("HARD_SWISH"),
    "Identity": moves.identity,
    "LeakyRelu": elementwise.leaky_relu,
    "Log": elementwise.curve("LOG"),
    "MatMul": products.matmul,
    "MaxPool": pools.max_pool,
    "Mul": elementwise.binary("MUL"),
    "Neg": elementwise.curve("NEG"),
    "PRelu": elementwise.prelu,
    "Pad": pad,
    "Pow": elementwise.binary("POW"),
    "ReduceMax": pools.reduced("REDUCE_MAX"),
    "ReduceMean": pools.reduced("MEAN"),
    "ReduceSum": pools.reduced("SUM"),
    "Relu": elementwise.clip,
    "Reshape": moves.reshape,
    "Resize": resize,
    "Rsqrt": elementwise.curve("RSQRT"),
    "Sigmoid": elementwise.curve("LOGISTIC"),
    "Slice": moves.slice_of,
    "Softmax": pools.softmax,
    "SpaceToDepth": pools.space_to_depth,
    "Split": moves.split,
    "Sqrt": elementwise.curve("SQRT"),
    "Squeeze": moves.reshape,
    "Sub": elementwise.binary("SUB"),
    "Tanh": elementwise.curve("TANH"),
    "Tile": tile,
    "Transpose": moves.transpose,
    "Unsqueeze": moves.reshape,
}
_UNSIGNED = 128
_KEEPS_VALUES = MOVES | {"Clip", "Concat", "Relu"}  # of all operands, those that are joined


@final
@dataclass(frozen=True, kw_only=True)
class Lowered:
    """A file, and where it has what.

    Args:
        data: Its bytes.
        network: What it was written from.
        places: Indices of tensors by the names that the network has for them.
    """

    data: bytes
    network: Network
    places: Mapping[str, frozenset[int]]


def lowered(model: "onnx.ModelProto", io: PortType = "int8") -> Lowered:
    """Write the .tflite file of a graph: integers where it has Q/DQ, floats elsewhere.

    Args:
        model: With static shapes.
        io: Of inputs and outputs that are on grids.

    Raises:
        ExportError: TFLite has no operator for something; the text names it.
    """
    network = expanded(network_of(model))
    draft = Draft()
    store = Store(draft, _wanted(network), _readers(network))
    inputs = {value.name: _input(value, store, io) for value in network.inputs}
    for operation in network.operations:
        _lower(operation, store)
    outputs = {name: _output(value, store, io) for name, value in network.outputs.items()}
    data = packed(draft, inputs, outputs)
    return Lowered(data=data, network=network, places=store.places())


def _lower(operation: Operation, store: Store) -> None:
    lowering = _LOWERINGS.get(operation.kind)
    if lowering is None:
        raise ExportError(
            f"'{operation.name}' is a {operation.kind}, for which no TFLite operator is written "
            "here."
        )
    lowering(operation, store)


def _readers(network: Network) -> dict[str, int]:
    counts: dict[str, int] = {}
    for operand in _all_read(network):
        counts[operand.name] = counts.get(operand.name, 0) + 1
    return counts


def _all_read(network: Network) -> Iterator[Value]:
    for operation in network.operations:
        yield from (o for o in operation.operands if isinstance(o, Value))
    yield from network.outputs.values()


def _wanted(network: Network) -> dict[str, Grid]:
    """The grid that all readers of a tensor round it to, also behind what only moves it.

    A tensor that one of them reads as it is has none: on a grid it would be another one.
    """
    asked: dict[str, set[Grid | None]] = {}
    for value in network.outputs.values():
        asked.setdefault(value.name, set()).add(_first(value))
    for operation in reversed(network.operations):
        behind = {grid for result in operation.results for grid in asked.get(result.name, ())}
        for place, operand in enumerate(operation.operands):
            if isinstance(operand, Value):
                kept = operation.kind in _KEEPS_VALUES and (
                    place == 0 or operation.kind == "Concat"
                )
                moved = kept and not operand.grids
                asked.setdefault(operand.name, set()).update(behind if moved else {_first(operand)})
    found = {name: _widest(grids) for name, grids in asked.items()}
    return {name: grid for name, grid in found.items() if grid is not None}


def _first(value: Value) -> Grid | None:
    return value.grids[0] if value.grids else None


def _widest(asked: set[Grid | None]) -> Grid | None:
    """The one that holds what any of them holds; ``None`` where there is none."""
    grids = {grid for grid in asked if grid is not None}
    if len(grids) != len(asked):
        return None
    for grid in sorted(grids, key=lambda g: -g.scale):
        low, high = _ends(grid)
        if all(
            low <= _ends(g)[0] + g.scale / 2 and _ends(g)[1] - g.scale / 2 <= high for g in grids
        ):
            return grid
    return None


def _ends(grid: Grid) -> tuple[float, float]:
    return (-128 - grid.zero_point) * grid.scale, (127 - grid.zero_point) * grid.scale


def _input(value: Value, store: Store, io: PortType) -> int:
    """What is given: as the network reads it, or converted at once."""
    order, grid = channels_last(len(value.shape)), store.wanted.get(value.name)
    index = store.put(value, order, grid)
    if grid is None or io == "int8":
        return index
    port = _port(store, f"{value.name}/port", index, grid, io)
    store.draft.operator("QUANTIZE", [port], [index])
    return port


def _output(value: Value, store: Store, io: PortType) -> int:
    found = store.get(value, channels_last(len(value.shape)))
    if found.grid is None or io == "int8":
        return found.index
    port = _port(store, f"{value.name}/port", found.index, found.grid, io)
    kind = "DEQUANTIZE" if io == "float32" else "QUANTIZE"
    store.draft.operator(kind, [found.index], [port])
    return port


def _port(store: Store, name: str, index: int, grid: Grid, io: PortType) -> int:
    shape = store.draft.tensors[index].shape
    if io == "float32":
        return store.draft.activation(name, shape, None)
    unsigned = replace(grid, zero_point=grid.zero_point + _UNSIGNED)
    return store.draft.activation(name, shape, unsigned, "uint8")
