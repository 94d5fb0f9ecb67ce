"""Windows that slide over pictures and rows, and the borders around those."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, final

import numpy as np

from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Operation
from torchedge_tflite.lowering.orders import Order, channels_last
from torchedge_tflite.lowering.store import Store, Stored

__all__ = ["Windows", "bordered", "picture_order", "whole_numbers", "windows_of"]

_BYTE_MIN = -128


@final
@dataclass(frozen=True, kw_only=True)
class Windows:
    """Sizes over two axes.

    Args:
        kernel: Height and width.
        strides: Likewise.
        dilations: Likewise.
        pads: Before and after, for height and then for width.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    @property
    def reach(self) -> tuple[int, int]:
        """How many places a window spans."""
        height, width = (
            (size - 1) * step + 1 for size, step in zip(self.kernel, self.dilations, strict=True)
        )
        return height, width


def whole_numbers(operation: Operation, name: str, default: Sequence[int]) -> list[int]:
    """An attribute that lists whole numbers."""
    return list(cast(Sequence[int], operation.attributes.get(name, default)))


def picture_order(rank: int) -> Order:
    """Channels last; a row is a picture of height 1.

    Example:
        >>> picture_order(3)
        (0, -1, 2, 1)
    """
    return (0, -1, 2, 1) if rank == 3 else channels_last(rank)


def windows_of(operation: Operation, kernel: Sequence[int]) -> Windows:
    """Read the attributes; a row gets a height of 1.

    Raises:
        ExportError: There are more than two axes of places.
    """
    places = len(kernel)
    if places > 2:
        raise ExportError(
            f"'{operation.name}' ({operation.kind}) works on {places + 2} axes "
            f"{list(operation.results[0].shape)}, and TFLite's integer kernels on 4; use layers "
            "over one or two axes."
        )
    strides = whole_numbers(operation, "strides", [1] * places)
    dilations = whole_numbers(operation, "dilations", [1] * places)
    pads = _pads(operation, kernel, strides, dilations)
    if places == 1:  # TensorFlow wants one stride for both axes; along a height of 1 any will do
        return Windows(
            kernel=(1, kernel[0]),
            strides=(strides[0], strides[0]),
            dilations=(1, dilations[0]),
            pads=(0, 0, pads[0], pads[1]),
        )
    return Windows(
        kernel=(kernel[0], kernel[1]),
        strides=(strides[0], strides[1]),
        dilations=(dilations[0], dilations[1]),
        pads=(pads[0], pads[2], pads[1], pads[3]),
    )


def _pads(
    operation: Operation, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """As they are given, or as ``auto_pad`` says; before all axes, then behind them.

    Raises:
        ExportError: The rule is not known, or as many windows do not fit.
    """
    rule = cast(bytes, operation.attributes.get("auto_pad", b"NOTSET")).decode()
    source = operation.operands[0]
    assert source is not None
    sizes = list(zip(source.shape[2:], kernel, strides, dilations, strict=True))
    if rule in {"SAME_UPPER", "SAME_LOWER"}:
        missing = [
            max((-(-size // stride) - 1) * stride + (k - 1) * step + 1 - size, 0)
            for size, k, stride, step in sizes
        ]
        less, more = [m // 2 for m in missing], [m - m // 2 for m in missing]
        return [*less, *more] if rule == "SAME_UPPER" else [*more, *less]
    if rule not in {"NOTSET", "VALID"}:
        raise ExportError(f"'{operation.name}' has auto_pad={rule!r}, which ONNX does not know.")
    return (
        whole_numbers(operation, "pads", [0] * 2 * len(kernel))
        if rule == "NOTSET"
        else ([0] * 2 * len(kernel))
    )


def bordered(
    store: Store,
    name: str,
    source: Stored,
    windows: Windows,
    *,
    lowest: bool = False,
    own_borders: bool = True,
) -> tuple[int, str]:
    """A picture with its borders, written out where TensorFlow's own rule gives other ones.

    Args:
        store: Where the picture is.
        name: Of the result.
        source: The picture, channels last.
        windows: Their pads are the borders.
        lowest: Filled with the smallest number instead of zeros, for a maximum.
        own_borders: TensorFlow's rule may be used at all.

    Returns:
        The tensor, and TFLite's name for the rest: ``SAME`` or ``VALID``.
    """
    if not any(windows.pads):
        return source.index, "VALID"
    tensor = store.draft.tensors[source.index]
    if own_borders and _is_same(tensor.shape[1:3], windows):
        return source.index, "SAME"
    top, bottom, left, right = windows.pads
    batch, height, width, channels = tensor.shape
    shape = (batch, height + top + bottom, width + left + right, channels)
    sizes = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    read = [source.index, store.draft.constant("pads", sizes)]
    if lowest:
        read.append(_lowest(store, source))
    result = store.draft.activation(f"{name}_padded", shape, source.grid)
    store.draft.operator("PADV2" if lowest else "PAD", read, [result])
    return result, "VALID"


def _lowest(store: Store, source: Stored) -> int:
    if source.grid is None:
        return store.draft.constant("lowest", np.array(np.finfo(np.float32).min, np.float32))
    numbers = store.draft.tensors[source.index]
    return store.draft.constant(
        "lowest", np.array(_BYTE_MIN, np.int8), numbers.scales, numbers.zero_points
    )


def _is_same(places: Sequence[int], windows: Windows) -> bool:
    """Whether these are the borders that TensorFlow calls SAME."""
    for axis, size in enumerate(places):
        stride, reach = windows.strides[axis], windows.reach[axis]
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        if windows.pads[2 * axis : 2 * axis + 2] != (total // 2, total - total // 2):
            return False
    return True
