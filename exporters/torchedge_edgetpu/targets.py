"""Coral's Edge TPU."""

from torchedge.backends import TFLITE
from torchedge.devices import EDGE_TPU
from torchedge.exporting.target import Target
from torchedge_edgetpu.step import TFLiteToEdgeTPU
from torchedge_onnx.step import TorchToOnnx
from torchedge_tflite.step import OnnxToTFLite

__all__ = ["CORAL_EDGE_TPU"]

CORAL_EDGE_TPU = Target(
    name="coral-edge-tpu",
    device=EDGE_TPU,
    scheme=TFLITE,
    steps=(TorchToOnnx(), OnnxToTFLite(), TFLiteToEdgeTPU()),
    calibrates=True,
    summary="TFLite int8 for edgetpu_compiler, which is not run",
)
