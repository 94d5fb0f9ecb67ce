"""Pictures of another size, where TFLite places pixels as ONNX does; else by looking them up."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Operation, Value
from torchedge_tflite.lowering.moves import looked_up_along
from torchedge_tflite.lowering.orders import in_order
from torchedge_tflite.lowering.store import Store, Stored
from torchedge_tflite.lowering.windows import picture_order

__all__ = ["resize"]

_Places: TypeAlias = Callable[[Array, int, int], Array]

# Where the centre of a new pixel lies among the old ones, by ONNX's names.
_COORDINATES: Mapping[str, _Places] = {
    "asymmetric": lambda x, old, new: x * old / new,
    "half_pixel": lambda x, old, new: (x + 0.5) * old / new - 0.5,
    "pytorch_half_pixel": lambda x, old, new: (x + 0.5) * old / new - 0.5 if new > 1 else 0 * x,
    "align_corners": lambda x, old, new: x * (old - 1) / max(new - 1, 1),
}
_ROUNDINGS: Mapping[str, Callable[[Array], Array]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}
# TFLite's bilinear operator: whether corners are aligned, whether pixels have centres.
_LINEAR = {
    "half_pixel": (False, True),
    "pytorch_half_pixel": (False, True),
    "align_corners": (True, False),
    "asymmetric": (False, False),
}


def resize(operation: Operation, store: Store) -> None:
    """``Resize`` of pictures and rows, nearest or linear.

    Raises:
        ExportError: It is of another kind, or changes the batch or the channels.
    """
    source, result = operation.operands[0], operation.results[0]
    mode = _text(operation, "mode", "nearest")
    places = _text(operation, "coordinate_transformation_mode", "half_pixel")
    if (
        not isinstance(source, Value)
        or places not in _COORDINATES
        or mode
        not in {
            "nearest",
            "linear",
        }
    ):
        raise _refused(operation, f"by '{mode}' with coordinates '{places}'")
    if source.shape[:2] != result.shape[:2] or len(source.shape) not in {3, 4}:
        raise _refused(operation, f"{list(source.shape)} to {list(result.shape)}")
    _require_whole_scales(operation, source, result)
    order = picture_order(len(source.shape))
    if mode == "nearest":
        _nearest(operation, store, store.get(source, order), places)
    else:
        _linear(operation, store, source, places)


def _nearest(operation: Operation, store: Store, found: Stored, places: str) -> None:
    """Looked up, unless TFLite's own rule finds the same pixels."""
    result = operation.results[0]
    rounding = _ROUNDINGS[_text(operation, "nearest_mode", "round_prefer_floor")]
    old = store.draft.tensors[found.index].shape
    new = in_order(result.shape, found.order)
    wanted = [
        rounding(_COORDINATES[places](np.arange(new[a]), old[a], new[a])).clip(0, old[a] - 1)
        for a in (1, 2)
    ]
    for centred in (False, True):
        own = [np.floor((np.arange(new[a]) + centred / 2) * old[a] / new[a]) for a in (1, 2)]
        if all(np.array_equal(w, o) for w, o in zip(wanted, own, strict=True)):
            _write(store, "RESIZE_NEAREST_NEIGHBOR", found, result, (False, centred))
            return
    store.keep(
        result, looked_up_along(store, found, dict(zip((1, 2), wanted, strict=True)), result)
    )


def _linear(operation: Operation, store: Store, source: Value, places: str) -> None:
    result = operation.results[0]
    order = picture_order(len(source.shape))
    shrunk = [new == 1 != old for old, new in zip(source.shape[2:], result.shape[2:], strict=True)]
    if places == "pytorch_half_pixel" and any(shrunk):
        raise _refused(operation, "to a single pixel by PyTorch's rule")
    found = store.get(source, order)
    if found.grid is not None and store.wanted.get(result.name) != found.grid:
        found = store.floats(source, order)  # what is between pixels is rounded to another grid
    _write(store, "RESIZE_BILINEAR", found, result, _LINEAR[places])


def _write(
    store: Store, kind: str, found: Stored, result: Value, options: tuple[bool, bool]
) -> None:
    out = store.put(result, found.order, found.grid)
    sizes = np.array(in_order(result.shape, found.order)[1:3], np.int32)
    read = store.draft.constant("size", sizes)
    corners, centres = options
    store.draft.operator(
        kind, [found.index, read], [out], alignCorners=corners, halfPixelCenters=centres
    )


def _require_whole_scales(operation: Operation, source: Value, result: Value) -> None:
    """ONNX places pixels by the scales that are given, TFLite by the sizes that follow."""
    given = operation.operands[2] if len(operation.operands) > 2 else None
    if not isinstance(given, Constant) or not given.values.size:
        return
    ratios = [new / old for old, new in zip(source.shape, result.shape, strict=True)]
    own = [r for r in ratios if r != 1.0]
    scales = [float(s) for s in given.values if s != 1.0]
    if len(scales) != len(own) or not np.allclose(sorted(scales), sorted(own), rtol=1e-6):
        raise _refused(operation, f"by {scales}, which gives no whole number of pixels")


def _refused(operation: Operation, how: str) -> ExportError:
    return ExportError(
        f"'{operation.name}' resizes {how}, which TFLite does not have; give whole sizes and "
        "bilinear or nearest resizing of pictures."
    )


def _text(operation: Operation, name: str, default: str) -> str:
    value = operation.attributes.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)
