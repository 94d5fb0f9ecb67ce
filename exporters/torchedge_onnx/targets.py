"""Where ONNX Runtime runs."""

from torchedge.devices import HOST
from torchedge.export.target import Target
from torchedge.scheme import QuantScheme, QuantSpec
from torchedge_onnx.step import TorchToOnnx

__all__ = ["ONNX_CPU"]

# uint8 activations: on x86-64 ONNX Runtime rewrites int8 ones to uint8, and a tensor with two
# readers is left out of that rewriting, which keeps its convolutions in float. Asymmetric, because
# a ReLU is dropped only where the grid begins at zero; one that stays keeps a convolution float.
ONNX_CPU = Target(
    name="onnx-cpu",
    device=HOST,
    scheme=QuantScheme(
        weight=QuantSpec(axis=0, narrow=True),
        activation=QuantSpec(symmetric=False, signed=False),
        bias="int32",
    ),
    steps=(TorchToOnnx(),),
    summary="ONNX with Q/DQ, run by ONNX Runtime",
)
