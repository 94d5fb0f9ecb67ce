"""Operators that only move integers, and resizing, which also weighs them."""

from collections.abc import Sequence

import numpy as np

from torchedge.bench.session import Array
from torchedge_tflite.simulator.call import Call

__all__ = [
    "concatenated",
    "depth_to_space",
    "padded",
    "resized_bilinear",
    "resized_nearest",
    "sliced",
    "space_to_depth",
    "split",
    "strided",
    "transposed",
    "unchanged",
]

_ONE_BITS = 10  # positions between two pixels have so many bits


def unchanged(call: Call) -> Array:
    """``RESHAPE``, ``SQUEEZE`` and ``EXPAND_DIMS``: the same integers in another shape."""
    return call.array(0).reshape(call.output.shape)


def transposed(call: Call) -> Array:
    """``TRANSPOSE`` by the axes of the second input."""
    return call.array(0).transpose([int(axis) for axis in call.array(1).ravel()])


def concatenated(call: Call) -> Array:
    """``CONCATENATION``; all operands have the grid of the result."""
    return np.concatenate([call.array(i) for i in range(len(call.inputs))], call.number("axis"))


def padded(call: Call) -> Array:
    """``PAD`` with zeros, which are the zero point, or ``PADV2`` with the third input."""
    value = int(call.array(2).item()) if call.has(2) else call.out_zero_point
    widths = [(int(a), int(b)) for a, b in call.array(1)]
    return np.pad(call.array(0), widths, constant_values=value)


def sliced(call: Call) -> Array:
    """``SLICE``: from the second input, as far as the third says; -1 is to the end."""
    begins, sizes = (call.array(i).ravel().astype(int) for i in (1, 2))
    parts = [slice(b, None if s < 0 else b + s) for b, s in zip(begins, sizes, strict=True)]
    return call.array(0)[tuple(parts)]


def strided(call: Call) -> Array:
    """``STRIDED_SLICE`` with constant ends, masks included."""
    begins, ends, strides = (call.array(i).ravel().astype(int) for i in (1, 2, 3))
    masks = [call.number(name) for name in ("beginMask", "endMask", "shrinkAxisMask")]
    parts: list[slice | int] = []
    for axis, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        open_begin, open_end, single = (bool(mask >> axis & 1) for mask in masks)
        span = slice(None if open_begin else begin, None if open_end else end, stride)
        parts.append(int(begin) if single else span)
    return call.array(0)[tuple(parts)].reshape(call.output.shape)


def split(call: Call) -> tuple[Array, ...]:
    """``SPLIT``, whose first input is the axis and whose second is what is split."""
    axis = int(call.array(0).item())
    return tuple(np.split(call.array(1), len(call.outputs), axis))


def depth_to_space(call: Call) -> Array:
    """``DEPTH_TO_SPACE``: blocks of channels become squares of pixels."""
    batch, height, width, depth = call.tensor(0).shape
    block = call.number("blockSize")
    x = call.array(0).reshape(batch, height, width, block, block, depth // block**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(call.output.shape)


def space_to_depth(call: Call) -> Array:
    """``SPACE_TO_DEPTH``, the way back."""
    batch, height, width, depth = call.tensor(0).shape
    block = call.number("blockSize")
    x = call.array(0).reshape(batch, height // block, block, width // block, block, depth)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(call.output.shape)


def resized_nearest(call: Call) -> Array:
    """``RESIZE_NEAREST_NEIGHBOR``; positions are computed in float32."""
    rows, columns = (_nearest(call, axis) for axis in (1, 2))
    return call.array(0)[:, rows][:, :, columns]


def _nearest(call: Call, axis: int) -> Array:
    size, result = call.tensor(0).shape[axis], call.output.shape[axis]
    aligned = bool(call.number("alignCorners")) and result > 1
    ratio = np.float32(size - 1) / np.float32(result - 1) if aligned else None
    step = np.float32(size) / np.float32(result) if ratio is None else ratio
    offset = np.float32(0.5 if call.number("halfPixelCenters") else 0.0)
    places = (np.arange(result, dtype=np.float32) + offset) * step
    whole = np.floor(places + np.float32(0.5)) if aligned else np.floor(places)
    return np.asarray(np.clip(whole.astype(int), 0, size - 1))


def resized_bilinear(call: Call) -> Array:
    """``RESIZE_BILINEAR``: weights of ten bits, their product rounded half away from zero."""
    x = call.array(0).astype(np.int64)
    for_rows, for_columns = (_weights(call, axis) for axis in (1, 2))
    total = sum(
        row_weight[None, :, None, None]
        * column_weight[None, None, :, None]
        * x[:, rows][:, :, columns]
        for rows, row_weight in for_rows
        for columns, column_weight in for_columns
    )
    whole = np.asarray(total)
    half = 1 << (2 * _ONE_BITS - 1)
    return np.asarray(np.sign(whole) * ((np.abs(whole) + half) >> (2 * _ONE_BITS))).astype(np.int8)


def _weights(call: Call, axis: int) -> Sequence[tuple[Array, Array]]:
    """Indices and weights of the neighbour before and of the one after each pixel."""
    size, result = call.tensor(0).shape[axis], call.output.shape[axis]
    one = 1 << _ONE_BITS
    step = (one * size + result // 2) // result
    if call.number("alignCorners") and result > 1:
        step = (one * (size - 1) + (result - 1) // 2) // (result - 1)
    places = np.arange(result, dtype=np.int64) * step
    if call.number("halfPixelCenters"):
        places = places + step // 2 - (1 << (_ONE_BITS - 1))
    before = np.maximum(_toward_zero(places, one), 0)
    after = np.minimum(_toward_zero(places + one - 1, one), size - 1)
    share = places - one * before
    return [(before, one - share), (after, share)]


def _toward_zero(x: Array, by: int) -> Array:
    return np.asarray(np.sign(x) * (np.abs(x) // by))
