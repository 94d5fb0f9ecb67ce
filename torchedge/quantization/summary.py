"""What a prepared model computes with, operation by operation."""

from dataclasses import dataclass
from typing import final

from torch import fx, nn

from torchedge.errors import SchemeError
from torchedge.kinds import kinds_checked
from torchedge.quantization.float_steps import float_reason
from torchedge.quantization.modules import QuantizedLayer
from torchedge.quantization.operations import Kind, kind_of
from torchedge.quantization.scale_source import input_scale_source

__all__ = ["OperationSummary", "describe"]


@final
@dataclass(frozen=True, kw_only=True)
class OperationSummary:
    """One operation of a prepared model.

    Args:
        name: Node of the graph.
        kind: What it does; ``float`` operations have no integer form here.
        weight_bits: Width of its integer weights, or ``None``.
        integer_input: Whether its first input is on an integer grid.
        float_reason: Why it computes on floats; empty where it computes on integers, or only moves
            values.
    """

    name: str
    kind: Kind
    weight_bits: int | None
    integer_input: bool
    float_reason: str = ""


@kinds_checked()
def describe(model: nn.Module) -> tuple[OperationSummary, ...]:
    """What each operation of a prepared model computes with, and why, where that is floats.

    Raises:
        SchemeError: The model does not come from :func:`prepare_qat`.

    Example:
        >>> import torch
        >>> from torchedge.quantization import QuantScheme, prepare_qat
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softplus())
        >>> prepared = prepare_qat(net, QuantScheme(), (torch.zeros(1, 1, 8, 8),))
        >>> [(row.name, row.kind, row.weight_bits) for row in describe(prepared)]
        [('_0', 'conv', 8), ('_1', 'nonlinear', None)]
        >>> [(row.name, row.float_reason) for row in describe(prepared) if row.float_reason]
        [('_1', 'the scheme leaves Softplus in float')]
    """
    if not isinstance(model, fx.GraphModule):
        raise SchemeError("describe() reads models made by prepare_qat; prepare the model first.")
    rows = []
    for node in model.graph.nodes:
        kind = kind_of(node, model)
        if kind in {"input", "output", "quantizer"}:
            continue
        module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        bits = None
        if isinstance(module, QuantizedLayer) and not module.excluded:
            bits = module.spec.bits
        integer = input_scale_source(node, model) is not None
        rows.append(
            OperationSummary(
                name=node.name,
                kind=kind,
                weight_bits=bits,
                integer_input=integer,
                float_reason=float_reason(node, model),
            )
        )
    return tuple(rows)
