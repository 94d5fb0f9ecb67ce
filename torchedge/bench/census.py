"""How much of the arithmetic is really integer: counted in multiply-accumulates."""

from dataclasses import dataclass
from typing import final

__all__ = ["Census", "LayerCount"]


@final
@dataclass(frozen=True, kw_only=True)
class LayerCount:
    """One weighted operation as the runtime will execute it.

    Args:
        name: Name of the node.
        operation: Its type, for example ``QLinearConv``.
        macs: Multiply-accumulates of one inference.
        integer: Whether they are done on integers.
        reason: Why not, where that is known.
    """

    name: str
    operation: str
    macs: int
    integer: bool
    reason: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Census:
    """All weighted operations of an artefact.

    Args:
        layers: Operation by operation.
        evidence: Where this was read: the runtime's own graph, or rules only ("eligible, not run").

    Example:
        >>> layers = (LayerCount(name="a", operation="QLinearConv", macs=75, integer=True),
        ...           LayerCount(name="b", operation="Conv", macs=25, integer=False))
        >>> Census(layers=layers, evidence="an example").integer_share
        0.75
    """

    layers: tuple[LayerCount, ...]
    evidence: str

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def integer_share(self) -> float:
        """Share of the multiply-accumulates that are integer; 0 where there are none at all."""
        integer = sum(layer.macs for layer in self.layers if layer.integer)
        return integer / self.macs if self.macs else 0.0
