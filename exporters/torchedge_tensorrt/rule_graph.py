"""An ONNX graph as TensorRT's rules look at it: who writes and reads a tensor, what is constant."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import onnx

from torchedge_onnx.graph import WEIGHTED_OPERATIONS, Constant, attribute, constants, producers

__all__ = ["MOVES", "QUANTIZERS", "RuleGraph", "output_channel_axis", "rule_graph"]

MOVES = frozenset({"Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Unsqueeze"})
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


@final
@dataclass(frozen=True, kw_only=True)
class RuleGraph:
    """Answers for the rules; nothing in it is changed.

    Args:
        model: The file.
        made_by: The node that writes each tensor.
        values: Initialisers and constants by name.
        readers: The nodes that read each tensor, with the position of the input.
    """

    model: onnx.ModelProto
    made_by: dict[str, onnx.NodeProto]
    values: dict[str, Constant]
    readers: dict[str, list[tuple[onnx.NodeProto, int]]]

    def nodes(self, *operations: str) -> Iterator[onnx.NodeProto]:
        """The nodes of these operations, in order; all nodes where none is named."""
        return (n for n in self.model.graph.node if not operations or n.op_type in operations)

    def maker(self, tensor: str) -> str:
        """Operation that writes a tensor; empty for inputs and constants."""
        node = self.made_by.get(tensor)
        return "" if node is None else node.op_type

    def is_dequantized(self, tensor: str) -> bool:
        """Whether a ``DequantizeLinear`` writes it."""
        return self.maker(tensor) == "DequantizeLinear"

    def quantized_source(self, tensor: str) -> str:
        """The tensor before the Q/DQ pair that ends in ``tensor``; itself where there is none."""
        name = tensor
        for operation in reversed(QUANTIZERS):
            if self.maker(name) == operation:
                name = self.made_by[name].input[0]
        return name

    def scale_of(self, tensor: str) -> Constant | None:
        """Constant scale of the ``DequantizeLinear`` that writes a tensor."""
        node = self.made_by.get(tensor)
        if node is None or node.op_type != "DequantizeLinear" or len(node.input) < 2:
            return None
        return self.values.get(node.input[1])

    def is_weight(self, quantizer: onnx.NodeProto) -> bool:
        """Whether a Q or DQ node stands on a constant."""
        return self.quantized_source(quantizer.output[0]) in self.values

    def is_fusable_product(self, tensor: str) -> bool:
        """Written by a quantised layer with weights, or its batch norm, for one reader."""
        node = self.made_by.get(tensor)
        if node is None or len(self.readers.get(tensor, ())) != 1:
            return False
        if node.op_type == "BatchNormalization":
            return self.is_fusable_product(node.input[0])
        return node.op_type in WEIGHTED_OPERATIONS and self.is_dequantized(node.input[0])


def rule_graph(model: onnx.ModelProto) -> RuleGraph:
    """Index a model; ``Constant`` nodes count as initialisers."""
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, position))
    return RuleGraph(
        model=model, made_by=producers(model), values=constants(model), readers=readers
    )


def output_channel_axis(node: onnx.NodeProto, rank: int) -> int:
    """Axis of a layer's weight along which a scale for each channel lies."""
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0)):
        return rank - 1
    return 0
