"""Where ONNX Runtime runs."""

from torchedge.backends import ONNX_RUNTIME
from torchedge.devices import HOST
from torchedge.exporting.target import Target
from torchedge_onnx.step import TorchToOnnx

__all__ = ["ONNX_CPU"]

ONNX_CPU = Target(
    name="onnx-cpu",
    device=HOST,
    scheme=ONNX_RUNTIME,
    steps=(TorchToOnnx(),),
    summary="ONNX with Q/DQ, run by ONNX Runtime",
)
