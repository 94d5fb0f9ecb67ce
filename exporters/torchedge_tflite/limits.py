"""What TFLite's integer kernels cannot take, refused before minutes of conversion."""

import onnx

from torchedge.errors import ExportError
from torchedge_onnx.graph import tensor_shapes

__all__ = ["require_four_axes"]

_MOST_AXES = 4
_MOVES = frozenset(
    {
        *("DequantizeLinear", "Flatten", "Identity", "QuantizeLinear"),
        *("Reshape", "Squeeze", "Transpose", "Unsqueeze"),
    }
)


def require_four_axes(model: onnx.ModelProto) -> None:
    """Refuse arithmetic on tensors of five axes and more; moving them is possible.

    Raises:
        ExportError: There is some; the text names the operation and the shape.
    """
    shapes = tensor_shapes(model)
    for node in model.graph.node:
        if node.op_type in _MOVES:
            continue
        wide = [
            shapes[n] for n in (*node.input, *node.output) if len(shapes.get(n, ())) > _MOST_AXES
        ]
        if wide:
            raise ExportError(
                f"'{node.name}' ({node.op_type}) works on {len(wide[0])} axes {list(wide[0])}, and "
                f"TFLite's integer kernels on {_MOST_AXES}; fold two axes into one, use layers "
                "over one or two axes, or ask for precision float16."
            )
