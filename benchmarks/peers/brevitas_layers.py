"""Layers of brevitas with its own quantisers: learned activation scales, min-max weight scales."""

from torch import nn

from benchmarks.peers.packages import package, quiet
from benchmarks.quantized.few_bits_networks import Layers

__all__ = ["brevitas_layers"]


def brevitas_layers(weight_bits: int, activation_bits: int) -> Layers:
    """Weights in ``weight_bits`` with a scale for each channel, activations as they default to.

    Raises:
        MissingDependencyError: brevitas is not installed.
    """
    with quiet():
        layers = package("brevitas.nn")
        quantisers = package("brevitas.quant")
    weight = {
        "weight_bit_width": weight_bits,
        "weight_quant": quantisers.Int8WeightPerChannelFloat,
    }

    def convolution(*shape: int, **options: int) -> nn.Module:
        made: nn.Module = layers.QuantConv2d(*shape, **options, **weight)
        return made

    def linear(*shape: int) -> nn.Module:
        made: nn.Module = layers.QuantLinear(*shape, bias=True, **weight)
        return made

    def relu() -> nn.Module:
        made: nn.Module = layers.QuantReLU(bit_width=activation_bits)
        return made

    def value() -> nn.Module:
        made: nn.Module = layers.QuantIdentity(bit_width=activation_bits)
        return made

    return Layers(convolution=convolution, linear=linear, relu=relu, value=value)
