"""Changing the width of a prepared layer's weights."""

from dataclasses import replace

from torchedge.errors import SchemeError
from torchedge.quantization.modules import QuantizedLayer

__all__ = ["FLOAT_BITS", "set_weight_bits"]

FLOAT_BITS = 32


def set_weight_bits(layer: QuantizedLayer, bits: int, name: str) -> QuantizedLayer:
    """Give a layer's weights another width, in place, and return it.

    A scale that was chosen for another width is dropped: the min-max of each channel takes its
    place. At 32 bits the weights stay in float.

    Raises:
        SchemeError: There are no integers of that width.
    """
    layer.kept_in_float = bits == FLOAT_BITS
    if layer.kept_in_float:
        layer.enabled = False
        return layer
    if not 2 <= bits <= 8:
        raise SchemeError(
            f"'{name}' cannot have weights of {bits} bits; integers have 2 to 8, and "
            f"{FLOAT_BITS} leaves them in float."
        )
    if bits != layer.spec.bits:
        layer.spec = replace(layer.spec, bits=bits)
        del layer.weight_scale  # a parameter where it was learned, which may not become a buffer
        layer.register_buffer("weight_scale", None)
    layer.enabled = True
    return layer
