"""Operations that TFLite lacks, written as several that it has."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from torchedge_tflite.lowering.einsum import einsum
from torchedge_tflite.lowering.gelu import with_gelu
from torchedge_tflite.lowering.groups import one_group_each
from torchedge_tflite.lowering.lines import (
    hard_sigmoid,
    power,
    quotient,
    reciprocal,
    softplus,
    with_biases,
    with_constant,
)
from torchedge_tflite.lowering.meaning import Network, Operation
from torchedge_tflite.lowering.norms import batch_norm, instance_norm, l2_norm, layer_norm
from torchedge_tflite.lowering.understood import require_understood

__all__ = ["expanded"]


def expanded(network: Network) -> Network:
    """The same network of simpler operations.

    Raises:
        ExportError: An operation is of a form that has none.
    """
    require_understood(network)
    network = with_biases(with_gelu(network))
    operations = [o for operation in network.operations for o in _expanded(operation)]
    return replace(network, operations=tuple(operations))


def _expanded(operation: Operation) -> Iterator[Operation]:
    rule = _RULES.get(operation.kind)
    if rule is None:
        yield operation
    else:
        yield from rule(operation)


_RULES: Mapping[str, Callable[[Operation], Iterator[Operation]]] = {
    "Add": with_constant,
    "BatchNormalization": batch_norm,
    "ConvTranspose": one_group_each,
    "Div": quotient,
    "Einsum": einsum,
    "HardSigmoid": hard_sigmoid,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "Mul": with_constant,
    "Pow": power,
    "Reciprocal": reciprocal,
    "ReduceL2": l2_norm,
    "Softplus": softplus,
    "Sub": with_constant,
}
