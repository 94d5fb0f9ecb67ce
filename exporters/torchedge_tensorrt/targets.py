"""The Jetsons whose GPU computes in 8 bits. ``jetson`` is the Orin Nano with JetPack 6."""

from torchedge.backends import TENSORRT
from torchedge.export.target import Target
from torchedge_onnx.step import TorchToOnnx
from torchedge_tensorrt.platforms import PLATFORMS
from torchedge_tensorrt.step import OnnxToTensorRTBundle

__all__ = [
    "JETSON_AGX_ORIN",
    "JETSON_AGX_XAVIER",
    "JETSON_ORIN_NANO",
    "JETSON_ORIN_NX",
    "JETSON_THOR",
    "JETSON_XAVIER_NX",
]

_OPSET = 13  # read by TensorRT 8.0 to 11


def _jetson(name: str) -> Target:
    platform = PLATFORMS[name]
    return Target(
        name=name,
        device=platform.device,
        scheme=TENSORRT,
        steps=(
            TorchToOnnx(opset=_OPSET, integer_weights=False),
            OnnxToTensorRTBundle(platform=platform),
        ),
        summary=f"TensorRT INT8 bundle, JetPack {platform.jetpack}",
    )


JETSON_XAVIER_NX = _jetson("jetson-xavier-nx")
JETSON_AGX_XAVIER = _jetson("jetson-agx-xavier")
JETSON_ORIN_NANO = _jetson("jetson-orin-nano")
JETSON_ORIN_NX = _jetson("jetson-orin-nx")
JETSON_AGX_ORIN = _jetson("jetson-agx-orin")
JETSON_THOR = _jetson("jetson-thor")
