"""What the Edge TPU compiler maps, by coral.ai, "TensorFlow models on the Edge TPU"."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, final

from torchedge_tflite.flatbuffer import FlatModel, Operator

__all__ = ["Mapped", "mapped_operators"]

_Rule: TypeAlias = Callable[[Operator, FlatModel], str]


@final
@dataclass(frozen=True, kw_only=True)
class Mapped:
    """Where one operator will run.

    Args:
        operator: The operator.
        reason: Why it stays on the CPU; empty where it is mapped.
    """

    operator: Operator
    reason: str


def mapped_operators(flat: FlatModel) -> tuple[Mapped, ...]:
    """Each operator in order; all that come after one which is not supported stay on the CPU.

    Example:
        >>> mapped_operators(FlatModel(tensors=(), operators=(), inputs=(), outputs=()))
        ()
    """
    return tuple(_mapped(flat))


def _mapped(flat: FlatModel) -> Iterator[Mapped]:
    first = ""
    for operator in flat.operators:
        reason = _reason(operator, flat)
        after = f"comes after {first}" if first else ""
        yield Mapped(operator=operator, reason=reason or after)
        first = first or (operator.name if reason else "")


def _reason(operator: Operator, flat: FlatModel) -> str:
    if operator.name not in _RULES:
        return "not among the compiler's operators"
    if any(_extent(flat, index) > 3 for index in (*operator.inputs, *operator.outputs)):
        return "a tensor has more than three axes longer than 1"
    return _RULES[operator.name](operator, flat)


def _extent(flat: FlatModel, index: int) -> int:
    tensor = flat.tensors[index] if index >= 0 else None
    if tensor is None or tensor.values is not None:
        return 0
    return sum(size > 1 for size in tensor.shape)


def _anything(_: Operator, __: FlatModel) -> str:
    return ""


def _no_activation(operator: Operator, _: FlatModel) -> str:
    fused = operator.options.get("fusedActivationFunction", 0)
    return "an activation is fused into it" if fused else ""


def _equal_dilation(operator: Operator, _: FlatModel) -> str:
    height, width = (operator.options.get(f"dilation{a}Factor", 1) for a in "HW")
    return "" if height == width else "its dilation differs between the axes"


def _no_dilation(operator: Operator, _: FlatModel) -> str:
    factors = {operator.options.get(f"dilation{a}Factor", 1) for a in "HW"}
    return "" if factors <= {0, 1} else "its kernel is dilated"


def _picture_axes(operator: Operator, flat: FlatModel) -> str:
    axes = flat.tensors[operator.inputs[1]].values
    known = axes is not None and {int(a) for a in axes.ravel()} <= {1, 2}
    return "" if known else "it averages over other axes than height and width"


def _picture_borders(operator: Operator, flat: FlatModel) -> str:
    widths = flat.tensors[operator.inputs[1]].values
    known = widths is not None and not widths[0].any() and not widths[-1].any()
    return "" if known else "it pads other axes than height and width"


def _short_row(operator: Operator, flat: FlatModel) -> str:
    length = flat.tensors[operator.inputs[0]].shape[-1]
    return "" if length <= 16_000 else f"a row has {length:,} scores, more than 16,000"


def _grouped(operator: Operator, flat: FlatModel) -> str:
    depth = flat.tensors[operator.inputs[0]].shape[-1]
    inner = flat.tensors[operator.inputs[1]].shape[-1]
    return "it has groups" if depth != inner else _equal_dilation(operator, flat)


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(
        (
            *("ADD", "EXPAND_DIMS", "FULLY_CONNECTED", "L2_NORMALIZATION"),
            *("LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "PRELU", "QUANTIZE", "REDUCE_MAX"),
            *("RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR"),
            *("RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE"),
            *("STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV"),
        ),
        _anything,
    ),
    "AVERAGE_POOL_2D": _no_activation,
    "CONCATENATION": _no_activation,
    "CONV_2D": _grouped,
    "DEPTHWISE_CONV_2D": _no_dilation,
    "MAX_POOL_2D": _no_activation,
    "MEAN": _picture_axes,
    "PAD": _picture_borders,
    "SOFTMAX": _short_row,
}
