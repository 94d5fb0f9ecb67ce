"""Whether a model carries the scheme that it is saved with."""

from collections.abc import Iterator
from dataclasses import fields, replace

from torch import nn

from torchedge.errors import SchemeError
from torchedge.quantization.layers import TRANSPOSED
from torchedge.quantization.modules import FakeQuantize, QuantizedLayer
from torchedge.quantization.origin import origin_of
from torchedge.scheme import QuantScheme, QuantSpec

__all__ = ["require_carried"]


def require_carried(model: nn.Module, scheme: QuantScheme) -> None:
    """Refuse a scheme that is not the one in the model's quantisers and layers.

    What ``prepare_qat`` was given is compared, and the grid of every quantiser and weight; a layer
    may have weights of fewer bits (:func:`~torchedge.quantization.bit_widths.with_bits`), or none.

    Args:
        model: From ``prepare_qat``, before it is frozen.
        scheme: What it is said to be.

    Raises:
        SchemeError: The text names what differs first, with both numbers.
    """
    origin = origin_of(model)
    differences = [
        *([] if origin is None else _between(origin.scheme, scheme)),
        *_in_modules(model, scheme),
    ]
    if differences:
        raise SchemeError(
            f"the model carries other numbers than the scheme that it is saved with: "
            f"{differences[0]}. Save it with the scheme that prepare_qat was given, or change it "
            "to the other one with requantize(model, scheme, batches)."
        )


def _between(carried: QuantScheme, given: QuantScheme) -> Iterator[str]:
    for found in fields(QuantScheme):
        first, second = getattr(carried, found.name), getattr(given, found.name)
        if first == second:
            continue
        if found.name == "placement":
            yield "its quantisers sit elsewhere than that scheme puts them"
        else:
            yield f"its {found.name.replace('_', ' ')} is {_both(first, second)}"


def _in_modules(model: nn.Module, scheme: QuantScheme) -> Iterator[str]:
    for name, module in model.named_modules():
        if isinstance(module, FakeQuantize) and module.spec != scheme.activation:
            yield f"'{name}' is {_both(module.spec, scheme.activation)}"
        if isinstance(module, QuantizedLayer) and not module.excluded:
            wanted = replace(_weight_spec(module, scheme), bits=module.spec.bits)
            if module.spec != wanted:
                yield f"the weight of '{name}' is {_both(module.spec, wanted)}"


def _both(carried: object, given: object) -> str:
    """Two values in words, or the fields that the words leave out."""
    if str(carried) != str(given) or not isinstance(carried, QuantSpec):
        return f"{carried}, and the scheme's {given}"
    names = [found.name for found in fields(QuantSpec)]
    pairs = [(name, getattr(carried, name), getattr(given, name)) for name in names]
    differing = [f"{n} {one}, and the scheme's {other}" for n, one, other in pairs if one != other]
    return f"{carried} with {'; '.join(differing)}"


def _weight_spec(quantized: QuantizedLayer, scheme: QuantScheme) -> QuantSpec:
    if isinstance(quantized.layer, nn.Linear):
        return scheme.linear_weight or scheme.weight
    if isinstance(quantized.layer, TRANSPOSED) and scheme.weight.axis == 0:
        return replace(scheme.weight, axis=1)  # where a transposed convolution has its outputs
    return scheme.weight
