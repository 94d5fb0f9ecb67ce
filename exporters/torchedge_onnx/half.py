"""A float network with float16 weights and tensors, for runtimes that take types from the file."""

import numpy as np
import onnx

from torchedge.errors import ExportError
from torchedge_onnx.graph import constants, copied

__all__ = ["half_precision"]

_LARGEST = float(np.finfo(np.float16).max)


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in float16, whose inputs and outputs stay float32.

    By ONNX Runtime's converter. Weights below the smallest float16 number become that number.

    Args:
        model: A float32 graph; is not changed.

    Raises:
        ExportError: A weight is beyond the range of float16.
    """
    for name, values in constants(model).items():
        if values.dtype != np.float32 or not values.size:
            continue
        largest = float(np.abs(values.astype(np.float64)).max())
        if not largest <= _LARGEST:
            raise ExportError(
                f"'{name}' holds {largest:g}, beyond the {_LARGEST:,.0f} of float16; keep float32."
            )
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    half: onnx.ModelProto = convert_float_to_float16(copied(model), keep_io_types=True)
    OnnxModel.graph_topological_sort(half.graph)
    return half
