"""The numbers of each backend as data: one scheme to train with, and what it cannot compute."""

from dataclasses import dataclass, replace
from typing import final

from torchedge.errors import SchemeError
from torchedge.scheme import EVERYWHERE, Placement, QuantScheme, QuantSpec

__all__ = [
    "CORE_ML",
    "ONNX_LIMITS",
    "ONNX_RUNTIME",
    "OPENVINO",
    "TENSORRT",
    "TENSORRT_LIMITS",
    "TFLITE",
    "TFLITE_LIMITS",
    "Limits",
]


@final
@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a backend's integer kernels, or the file that feeds them, cannot express.

    Args:
        backend: Its name in messages.
        symmetric_activations: Zero points of activations must be 0.
        grouped_weights: Several scales within an output channel can be written.
        signed_activations: Activations must be signed.
        int32_biases: Biases must be int32.

    Example:
        >>> grouped = QuantScheme(weight=QuantSpec(bits=4, axis=0, group_size=32))
        >>> ONNX_LIMITS.nearest(grouped).weight.group_size is None
        True
    """

    backend: str
    symmetric_activations: bool = False
    grouped_weights: bool = False
    signed_activations: bool = False
    int32_biases: bool = False

    def require(self, scheme: QuantScheme) -> None:
        """Refuse a scheme that the backend cannot run.

        Raises:
            SchemeError: The text has every reason and the nearest scheme that it can run.
        """
        reasons = self._reasons(scheme)
        if reasons:
            nearest = self.nearest(scheme)
            raise SchemeError(
                f"{self.backend} cannot run this scheme: {'; '.join(reasons)}. The nearest that it "
                f"can: weights {nearest.weight}; activations {nearest.activation}. Use "
                "requantize(model, scheme, batches) to change to it without training."
            )

    def nearest(self, scheme: QuantScheme) -> QuantScheme:
        """The scheme with as few changes as possible that the backend can run."""
        activation = replace(scheme.activation, bits=8, narrow=False)
        if self.symmetric_activations:
            activation = replace(activation, symmetric=True, signed=True)
        elif self.signed_activations:
            activation = replace(activation, signed=True)
        return replace(
            scheme,
            activation=activation,
            bias="int32" if self.int32_biases else scheme.bias,
            weight=self._nearest_weight(scheme.weight),
            linear_weight=scheme.linear_weight and self._nearest_weight(scheme.linear_weight),
        )

    def _nearest_weight(self, weight: QuantSpec) -> QuantSpec:
        weight = weight if self.grouped_weights else replace(weight, group_size=None)
        return weight if weight.signed else replace(weight, signed=True, symmetric=True)

    def _reasons(self, scheme: QuantScheme) -> list[str]:
        activation, weights = scheme.activation, (scheme.weight, scheme.linear_weight)
        found = {
            f"activations of {activation.bits} bits are stored in 8": activation.bits != 8,
            "a narrow grid of activations cannot be told to it": activation.narrow,
            "activations are not symmetric": self.symmetric_activations
            and not activation.symmetric,
            "weights have several scales within an output channel": not self.grouped_weights
            and any(spec is not None and spec.group_size is not None for spec in weights),
            "activations are unsigned": self.signed_activations and not activation.signed,
            f"biases are {scheme.bias}": self.int32_biases and scheme.bias != "int32",
            "weights are unsigned": any(spec is not None and not spec.signed for spec in weights),
        }
        return [reason for reason, holds in found.items() if holds]


ONNX_LIMITS = Limits(backend="ONNX QuantizeLinear below opset 21")
TENSORRT_LIMITS = Limits(backend="TensorRT", symmetric_activations=True)
TFLITE_LIMITS = Limits(backend="TFLite", signed_activations=True, int32_biases=True)

# uint8 activations: on x86-64 ONNX Runtime rewrites int8 ones to uint8, and a tensor with two
# readers is left out of that rewriting, which keeps its convolutions in float. Asymmetric, because
# a ReLU is dropped only where the grid begins at zero; one that stays keeps a convolution float.
# It has integer kernels for products and sigmoids, and none for SiLU and Hardswish as a whole.
ONNX_RUNTIME = QuantScheme(
    weight=QuantSpec(axis=0, narrow=True),
    activation=QuantSpec(symmetric=False, signed=False),
    bias="int32",
    placement=replace(
        EVERYWHERE,
        inputs_of=EVERYWHERE.inputs_of | {"multiply"},
        gated=frozenset({"silu", "hardswish"}),
    ),
)

# It reads the same files and computes the same integers on a CPU.
OPENVINO = ONNX_RUNTIME

# TensorRT quantises symmetrically, fuses a convolution with the addition after it, and keeps
# biases and the network's inputs and outputs in float. Scales of four bits and biases on the
# product's grid make the sums exact in float32: without a Jetson, ONNX Runtime must simulate these
# integers in float, and PyTorch too; sums that differ in their last bit now and then round an
# activation to another integer.
TENSORRT = QuantScheme(
    weight=QuantSpec(axis=0, narrow=True, scale_bits=4),
    activation=QuantSpec(scale_bits=4),
    bias="float_on_grid",
    placement=Placement(inputs_of=frozenset({"conv", "linear", "average_pool"}), fused_add=True),
)

# Every tensor is int8; what a kernel cannot rescale has one scale on both sides.
TFLITE = QuantScheme(
    weight=QuantSpec(axis=0, narrow=True),
    linear_weight=QuantSpec(narrow=True),  # per tensor, as CMSIS-NN and older runtimes need
    activation=QuantSpec(symmetric=False),
    bias="int32",
    placement=Placement(
        inputs_of=frozenset(
            {
                *("conv", "linear", "add", "multiply", "concat", "average_pool", "resize"),
                *("batch_norm", "nonlinear", "sigmoid", "tanh", "softmax"),
            }
        ),
        outputs_of=frozenset(
            {
                *("input", "conv", "linear", "add", "multiply", "average_pool", "resize"),
                *("batch_norm", "nonlinear", "sigmoid", "tanh", "softmax"),
            }
        ),
        same_scale=frozenset({"concat", "average_pool", "resize"}),
        fixed_outputs=True,
        gated=frozenset({"silu", "hardswish"}),
    ),
)

# Weights and the inputs of weighted layers, both symmetric; the rest is 16-bit float there.
CORE_ML = QuantScheme(
    weight=QuantSpec(axis=0, narrow=True),
    activation=QuantSpec(narrow=True),
    placement=Placement(inputs_of=frozenset({"conv", "linear"})),
)
