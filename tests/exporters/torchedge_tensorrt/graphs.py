"""ONNX files made by hand, node by node."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, kw_only=True)
class Quantizer:
    """Scale and zero point of a Q/DQ pair; without a zero point it has two inputs only."""

    scale: Array
    zero_point: Array | None
    axis: int = 1
    constant_scale: bool = True


def per_tensor(zero_point: Array | None) -> Quantizer:
    """One scale for the whole tensor."""
    return Quantizer(scale=np.float32(0.05), zero_point=zero_point)


def per_channel(channels: int, axis: int) -> Quantizer:
    """A scale for each channel, int8 and symmetric."""
    scale = np.linspace(0.01, 0.02, channels, dtype=np.float32)
    return Quantizer(scale=scale, zero_point=np.zeros(channels, np.int8), axis=axis)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Array],
    shapes: dict[str, tuple[int, ...]],
    *,
    outputs: Sequence[str],
) -> Path:
    """Write an opset-13 file whose inputs are the names in ``shapes`` that are no outputs."""
    infos = {name: helper.make_tensor_value_info(name, FLOAT, s) for name, s in shapes.items()}
    graph = helper.make_graph(
        list(nodes),
        "by_hand",
        [info for name, info in infos.items() if name not in outputs],
        [infos[name] for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def with_constant_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph, in which ``Constant`` nodes take the place of initialisers."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    held = [
        helper.make_node("Constant", [], [tensor.name], name=f"{tensor.name}_node", value=tensor)
        for tensor in model.graph.initializer
    ]
    del changed.graph.initializer[:]
    del changed.graph.node[:]
    changed.graph.node.extend([*held, *model.graph.node])
    return changed


class Chain:
    """Nodes and constants of a graph that is written down from input to output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def quantized(self, name: str, quantizer: Quantizer | None) -> str:
        """Name of the tensor behind a Q/DQ pair, or the tensor itself where there is none."""
        if quantizer is None:
            return name
        parameters = [self._scale(name, quantizer)]
        if quantizer.zero_point is not None:
            self.constants[f"{name}_zero"] = quantizer.zero_point
            parameters.append(f"{name}_zero")
        integers, real = f"{name}_q", f"{name}_dq"
        for operation, source, result in (
            ("QuantizeLinear", name, integers),
            ("DequantizeLinear", integers, real),
        ):
            self.node(operation, [source, *parameters], result, axis=quantizer.axis)
        return real

    def _scale(self, name: str, quantizer: Quantizer) -> str:
        self.constants[f"{name}_scale"] = quantizer.scale
        if quantizer.constant_scale:
            return f"{name}_scale"
        return self.node("Identity", [f"{name}_scale"], f"{name}_computed_scale")

    def node(self, operation: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """Append a node named after its output."""
        self.nodes.append(
            helper.make_node(operation, list(inputs), [output], name=output, **attributes)
        )
        return output
