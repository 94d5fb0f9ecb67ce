"""Transposed convolutions."""

import numpy as np

from torchedge.errors import ExportError
from torchedge_tflite.lowering.meaning import Constant, Operation, Value
from torchedge_tflite.lowering.orders import in_order
from torchedge_tflite.lowering.store import Store
from torchedge_tflite.lowering.weighted import biases_of
from torchedge_tflite.lowering.windows import picture_order, windows_of

__all__ = ["transposed_convolution"]


def transposed_convolution(operation: Operation, store: Store) -> None:
    """``ConvTranspose``: everything that the windows reach, and then the part that is wanted."""
    source, weight = operation.operands[:2]
    result = operation.results[0]
    if not isinstance(source, Value) or not isinstance(weight, Constant):
        raise ExportError(f"the weight of '{operation.name}' is computed; TFLite wants a constant.")
    sizes = windows_of(operation, weight.shape[2:])
    if max(sizes.dilations) > 1:
        raise ExportError(
            f"'{operation.name}' is a transposed convolution with dilations {sizes.dilations}, "
            "which TFLite does not have; use an upsampling and a convolution."
        )
    grid = store.wanted.get(result.name)
    integer = weight.integers is not None and store.grid_of(source) is not None and grid is not None
    order = picture_order(len(source.shape))
    found = (store.get if integer else store.floats)(source, order)
    batch, height, width, _ = store.draft.tensors[found.index].shape
    reach = [
        (size - 1) * stride + kernel
        for size, stride, kernel in zip((height, width), sizes.strides, sizes.kernel, strict=True)
    ]
    wanted = in_order(result.shape, order)
    # Rows beyond the last window hold the bias alone: the operator makes them if it is told to.
    whole = [max(r, sizes.pads[2 * i] + wanted[1 + i]) for i, r in enumerate(reach)]
    channels = result.shape[1]
    index = _filter(store, weight, integer)
    bias = operation.operands[2] if len(operation.operands) > 2 else None
    biases = biases_of(store, operation, bias, weight, found.grid if integer else None)
    shape = store.draft.constant("shape", np.array([batch, *whole, channels], np.int32))
    full = store.draft.activation(
        f"{result.name}_whole", (batch, *whole, channels), grid if integer else None
    )
    store.draft.operator(
        "TRANSPOSE_CONV",
        [shape, index, found.index, biases],
        [full],
        padding="VALID",
        strideH=sizes.strides[0],
        strideW=sizes.strides[1],
        fusedActivationFunction="NONE",
    )
    out = store.put(result, order, grid if integer else None)
    numbers = (("begin", (0, sizes.pads[0], sizes.pads[2], 0)), ("size", wanted))
    read = [store.draft.constant(name, np.array(value, np.int32)) for name, value in numbers]
    store.draft.operator("SLICE", [full, *read], [out])


def _filter(store: Store, weight: Constant, integer: bool) -> int:
    """From (inputs, outputs, places) to outputs first and inputs last."""
    values = weight.integers if integer else weight.values
    assert values is not None
    wide = values[:, :, None] if values.ndim == 3 else values
    stored = wide.transpose(1, 2, 3, 0)
    if not integer:
        return store.draft.constant(weight.name, stored.astype(np.float32))
    return store.draft.constant(
        weight.name, stored.astype(np.int8), weight.scales, weight.zero_points, 0
    )
