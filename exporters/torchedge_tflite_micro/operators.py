"""Which operators TensorFlow Lite Micro has, and what its resolver calls them."""

from torchedge.errors import ExportError
from torchedge_tflite.flatbuffer import FlatModel, FlatTensor, Operator

__all__ = ["model_operators", "require_runnable", "resolver_method"]

_NAMES = """
ABS ADD ADD_N ARG_MAX ARG_MIN AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_TO CAST
CEIL CONCATENATION CONV_2D COS DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV ELU EQUAL EXP
EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GREATER
GREATER_EQUAL HARD_SWISH L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND
LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG
NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE REDUCE_MAX RELU RELU6 RESHAPE RESIZE_BILINEAR
RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF
TANH TRANSPOSE TRANSPOSE_CONV UNPACK ZEROS_LIKE
"""
_KNOWN = frozenset(_NAMES.split())
_ALTERNATIVES = {
    "GELU": "ReLU, ReLU6 or hard-swish",
    "CONV_3D": "convolutions over two axes",
    "CUMSUM": "a convolution with ones",
    "TOPK_V2": "sorting the scores in your own code",
    "RELU_N1_TO_1": "ReLU6 or tanh",
    "REVERSE_V2": "training with the other order",
    "TILE": "a concatenation",
    "POW": "a product",
}
_MOVES = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE", "TRANSPOSE"})
_MOST_AXES = 4


def resolver_method(operator: str) -> str:
    """The method of ``MicroMutableOpResolver`` that adds an operator.

    Example:
        >>> [resolver_method(name) for name in ("DEPTHWISE_CONV_2D", "PADV2", "RELU6")]
        ['AddDepthwiseConv2D', 'AddPadV2', 'AddRelu6']
    """
    if operator == "PADV2":
        return "AddPadV2"
    words = "".join(word.capitalize() for word in operator.split("_"))
    return f"Add{words.replace('2d', '2D')}"


def model_operators(flat: FlatModel) -> tuple[str, ...]:
    """The operators of a file, each once, in alphabetical order."""
    return tuple(sorted({operator.name for operator in flat.operators}))


def require_runnable(flat: FlatModel) -> None:
    """Refuse what no microcontroller project could run, before anything is measured.

    Raises:
        ExportError: An operator has no kernel there, a size is known at run time only, an operator
            reads more than four axes, or the file does not take and return int8.
    """
    for operator in flat.operators:
        _require_kernel(operator, flat)
        for index in (*operator.inputs, *operator.outputs):
            if index >= 0:
                _require_static(flat.tensors[index], operator)
    for index in (*flat.inputs, *flat.outputs):
        _require_int8(flat.tensors[index])


def _require_kernel(operator: Operator, flat: FlatModel) -> None:
    if operator.name in _KNOWN:
        return
    instead = _ALTERNATIVES.get(operator.name, "another operation")
    raise ExportError(
        f"TensorFlow Lite Micro has no {operator.name}, which makes "
        f"'{flat.tensors[operator.outputs[0]].name}'; use {instead} in its place, or choose a "
        "target with LiteRT, for example raspberry-pi-5."
    )


def _require_static(tensor: FlatTensor, operator: Operator) -> None:
    if tensor.dynamic:
        raise ExportError(
            f"tensor '{tensor.name}' {tensor.shape} has a size that is known at run time only, and "
            "a microcontroller plans its memory before; export with example inputs of one shape."
        )
    if len(tensor.shape) > _MOST_AXES and operator.name not in _MOVES:
        raise ExportError(
            f"{operator.name} works on '{tensor.name}' with {len(tensor.shape)} axes "
            f"{tensor.shape}, and TensorFlow Lite Micro on {_MOST_AXES}; fold two axes into one."
        )


def _require_int8(tensor: FlatTensor) -> None:
    if tensor.dtype != "int8":
        raise ExportError(
            f"'{tensor.name}' is {tensor.dtype}, and a microcontroller project takes and returns "
            "int8; export the .tflite file with int8 inputs and outputs."
        )
