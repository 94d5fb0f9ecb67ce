"""The Jetsons whose GPU computes in 8 bits. ``jetson`` is the Orin Nano with JetPack 6."""

from torchedge.export.target import Target
from torchedge.scheme import Placement, QuantScheme, QuantSpec
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
    "TENSORRT_SCHEME",
]

# TensorRT quantises symmetrically, fuses a convolution with the addition after it, and keeps
# biases and the network's inputs and outputs in float. Opset 13 is read by TensorRT 8.0 to 11.
# Scales of four bits and biases on the product's grid make the sums exact in float32: without a
# Jetson, ONNX Runtime must simulate these integers in float, and PyTorch too; sums that differ in
# their last bit now and then round an activation to another integer.
TENSORRT_SCHEME = QuantScheme(
    weight=QuantSpec(axis=0, narrow=True, scale_bits=4),
    activation=QuantSpec(scale_bits=4),
    bias="float_on_grid",
    placement=Placement(inputs_of=frozenset({"conv", "linear", "average_pool"}), fused_add=True),
)
_OPSET = 13


def _jetson(name: str) -> Target:
    platform = PLATFORMS[name]
    return Target(
        name=name,
        device=platform.device,
        scheme=TENSORRT_SCHEME,
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
