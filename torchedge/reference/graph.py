"""Reading the graph of an exported program: quantisers, what moves values, windows of pools."""

import math
import operator
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

from torchedge.quantization.operator import fake_quantize_operator

__all__ = [
    *("ADDITIONS", "AVERAGES", "AVERAGE_POOL", "HARD_GATES", "MATRIX_PRODUCTS", "MEAN", "NORM"),
    *("PIECES", "PRODUCTS", "QUANTIZE", "RESIZES", "SAME_VALUES", "TRANSPOSED", "WEIGHTED"),
    *("axes_of", "before_clip", "has_whole_windows", "quantizer_behind", "weight_quantizer"),
    *("whole_arguments", "windows_of"),
]

assert fake_quantize_operator is not None  # its import registers the operator
Operators: TypeAlias = AbstractSet[Any]

_ATEN = torch.ops.aten
QUANTIZE = torch.ops.torchedge.fake_quantize.default
TRANSPOSED: Operators = frozenset(
    {
        *(_ATEN.conv_transpose1d.default, _ATEN.conv_transpose2d.input),
        _ATEN.conv_transpose3d.input,
    }
)
WEIGHTED: Operators = TRANSPOSED | {
    *(_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv3d.default),
    *(_ATEN.conv1d.padding, _ATEN.conv2d.padding, _ATEN.conv3d.padding),
    _ATEN.linear.default,
}
ADDITIONS: Operators = frozenset({_ATEN.add.Tensor, _ATEN.add_.Tensor})
PRODUCTS: Operators = frozenset({_ATEN.mul.Tensor, _ATEN.mul_.Tensor})
MATRIX_PRODUCTS: Operators = frozenset({_ATEN.matmul.default, _ATEN.bmm.default})
HARD_GATES: Operators = frozenset({_ATEN.hardsigmoid.default, _ATEN.hardsigmoid_.default})
NORM = _ATEN.batch_norm.default
MEAN = _ATEN.mean.dim
AVERAGE_POOL = _ATEN.avg_pool2d.default
AVERAGES: Operators = frozenset({_ATEN.adaptive_avg_pool2d.default, MEAN, AVERAGE_POOL})
RESIZES: Operators = frozenset({_ATEN.upsample_bilinear2d.vec, _ATEN.upsample_linear1d.vec})
_CLIPS: Operators = frozenset(
    {
        *(_ATEN.relu.default, _ATEN.relu_.default, _ATEN.relu6.default, _ATEN.relu6_.default),
        *(_ATEN.hardtanh.default, _ATEN.hardtanh_.default),
        *(_ATEN.clamp.default, _ATEN.clamp_.default),
    }
)
_RESHAPES: Operators = frozenset(
    {
        *(_ATEN.flatten.using_ints, _ATEN.view.default, _ATEN.reshape.default),
        *(_ATEN.squeeze.dim, _ATEN.unsqueeze.default, _ATEN.contiguous.default),
        *(_ATEN.permute.default, _ATEN.transpose.int),
    }
)
SAME_VALUES: Operators = _RESHAPES | {
    *(_ATEN.max_pool1d.default, _ATEN.max_pool2d.default, _ATEN.max_pool3d.default),
    *(_ATEN.squeeze.default, _ATEN.dropout.default, _ATEN.pad.default, _ATEN.unflatten.int),
}
_COPIES: Operators = frozenset({_ATEN.reshape_as.default, _ATEN.view_as.default})
PIECES: Operators = _COPIES | {
    *(operator.getitem, _ATEN.chunk.default, _ATEN.split.Tensor, _ATEN.unbind.int),
    *(_ATEN.split_with_sizes.default, _ATEN.select.int, _ATEN.slice.Tensor),
    *(_ATEN.expand.default, _ATEN.as_strided.default, _ATEN.clone.default),
    *(_ATEN.pixel_shuffle.default, _ATEN.roll.default, _ATEN.flip.default),
    _ATEN.expand_as.default,
}
_MOVED: Operators = _RESHAPES | {_ATEN.as_strided.default}


def quantizer_behind(node: object, passed: Operators) -> fx.Node | None:
    """The quantiser whose values a tensor has, through operations that keep values."""
    while isinstance(node, fx.Node) and node.target in passed:
        node = node.args[0]
    return node if isinstance(node, fx.Node) and node.target is QUANTIZE else None


def weight_quantizer(weight: object, axis: int) -> fx.Node | None:
    """The quantiser of a weight that may have been reshaped since, its channels along one axis."""
    found = quantizer_behind(weight, _COPIES | {_ATEN.view.default, _ATEN.reshape.default})
    if found is None or found is weight:
        return found
    made, read = _shape_of(found), _shape_of(weight)
    assert made is not None
    assert read is not None
    first = int(str(found.args[3]))
    return found if _channels(made, first) == _channels(read, axis) else None


def _channels(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    """How many numbers lie before an axis, and along it: where each channel is in memory."""
    return math.prod(shape[:axis]), shape[axis]


def before_clip(node: fx.Node) -> fx.Node | None:
    """The operation whose result, moved or perhaps after a ReLU, only the quantiser reads."""
    passed = _MOVED | _CLIPS
    while node.target in passed and len(node.users) == 1 and isinstance(node.args[0], fx.Node):
        passed = passed - _CLIPS if node.target in _CLIPS else passed
        node = node.args[0]
    return node if len(node.users) == 1 else None


def axes_of(node: object) -> int | None:
    """How many axes a tensor has."""
    shape = _shape_of(node)
    return None if shape is None else len(shape)


def has_whole_windows(pool: fx.Node) -> bool:
    """Whether no window of an average reaches beyond the borders, and none has its own divisor."""
    rounds_up = any(pool.args[4:5])
    return len(pool.args) < 7 and not (rounds_up and _has_windows_over_the_edge(pool))


def windows_of(pool: fx.Node) -> tuple[list[int], list[int], list[int]]:
    """Kernel, stride and borders of a pool."""
    kernel, stride, borders = (
        whole_arguments(pool.args[index]) if len(pool.args) > index else [] for index in (1, 2, 3)
    )
    return kernel, stride or kernel, borders or [0] * len(kernel)


def whole_arguments(argument: object) -> list[int]:
    """A list of whole numbers; empty where there is none."""
    return [int(str(value)) for value in argument] if isinstance(argument, list | tuple) else []


def _shape_of(node: object) -> tuple[int, ...] | None:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _has_windows_over_the_edge(pool: fx.Node) -> bool:
    sizes = _shape_of(pool.args[0])
    assert sizes is not None
    kernel, stride, borders = windows_of(pool)
    return any(
        (int(size) + 2 * border - window) % step
        for size, border, window, step in zip(sizes[2:], borders, kernel, stride, strict=True)
    )
