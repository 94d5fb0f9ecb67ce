"""Stand-ins for tensors and sizes that carry the value of the example while a network is traced."""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx
from torch.fx.proxy import TracerBase
from typing_extensions import override

from torchedge.graph.in_place import set_items

__all__ = [
    "Attribute",
    "Result",
    "ValueProxy",
    "is_number",
    "is_unchanged",
    "note_unchanged",
    "result_of",
    "value_of",
]

_RESULT = "torchedge_result"
_UNCHANGED = "torchedge_unchanged"
_NUMBER = "torchedge_number"


@final
@dataclass(frozen=True, kw_only=True)
class Result:
    """What a node of a graph returned for the example inputs.

    Args:
        shape: Its shape.
        dtype: Its element type.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype


def result_of(node: fx.Node) -> Result | None:
    """What the node returned while the graph was traced, if it was a tensor."""
    found = node.meta.get(_RESULT)
    return found if isinstance(found, Result) else None


def is_number(node: fx.Node) -> bool:
    """Whether the node returned a number of Python, such as a size or what is computed of sizes."""
    return bool(node.meta.get(_NUMBER))


def is_unchanged(node: fx.Node) -> bool:
    """Whether the node is a module that, in evaluation mode, returned what it was given."""
    return bool(node.meta.get(_UNCHANGED))


def note_unchanged(node: fx.Node, given: object, returned: object) -> None:
    """Remember of a module's node that it returned what it was given."""
    if not isinstance(given, Tensor) or not isinstance(returned, Tensor):
        return
    if given is returned or torch.equal(given, returned):
        node.meta[_UNCHANGED] = True


class ValueProxy(fx.Proxy):
    """A node of the graph beside the value that it has for the example inputs.

    Tensors and sizes go into the graph; what Python asks of them (types, numbers of axes, lengths,
    comparisons of sizes) is answered from the value.
    """

    def __init__(self, node: fx.Node, tracer: TracerBase, value: object) -> None:
        super().__init__(node, tracer)
        self.value = value
        if isinstance(value, Tensor):
            node.meta[_RESULT] = Result(shape=tuple(value.shape), dtype=value.dtype)
        node.meta[_NUMBER] = isinstance(value, int | float)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The value's class, so that ``isinstance(x, torch.Tensor)`` is answered for the value."""
        return type(self.value)

    @override
    def __getattr__(self, k: str) -> Any:
        found = getattr(self.value, k)
        if isinstance(found, Tensor | torch.Size) or callable(found):
            return Attribute(self, k, found)
        return found

    @override
    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(_length(self.value))])  # type: ignore[index]

    @override
    def __len__(self) -> int:
        return _length(self.value)

    @override
    def __bool__(self) -> bool:
        return (
            bool(self._number("a branch")) if isinstance(self.value, Tensor) else bool(self.value)
        )

    def __int__(self) -> int:
        return int(self._number("int()"))

    def __index__(self) -> int:
        return operator.index(self._number("an index"))

    def __float__(self) -> float:
        return float(self._number("float()"))

    def __contains__(self, item: object) -> bool:
        return value_of(item) in self._number("'in'")

    def become(self, result: "ValueProxy") -> None:
        """Stand for what an operation in place has left of the tensor."""
        self.node, self.value = result.node, result.value

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", set_items, (self, index, value), {})

    def __iadd__(self, other: Any) -> Any:
        return self._changed(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._changed(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._changed(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._changed(operator.itruediv, other)

    def _changed(self, function: Callable[..., Any], other: Any) -> Any:
        """The result of an assignment such as ``+=``, which gives a number a new name."""
        made = self.tracer.create_proxy("call_function", function, (self, other), {})
        return self if isinstance(self.value, Tensor) else made

    @override
    def __hash__(self) -> int:
        return hash(self.node)

    def _number(self, purpose: str) -> Any:
        if isinstance(self.value, Tensor):
            raise TypeError(f"{purpose} needs the values of a tensor, which change with the data")
        return self.value


@final
class Attribute(ValueProxy):
    """An attribute of a stand-in: a node only where it is more than the name of a method."""

    def __init__(self, root: ValueProxy, name: str, value: object) -> None:
        self.root = root
        self.attribute = name
        self.tracer = root.tracer
        self.value = value
        self._made: fx.Node | None = None

    @property
    def node(self) -> fx.Node:  # type: ignore[override]
        """The node that reads the attribute."""
        if self._made is None:
            made = self.tracer.create_proxy(
                "call_function", getattr, (self.root, self.attribute), {}
            )
            self._made = made.node
        return self._made

    @override
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attribute, (self.root, *args), kwargs)


def value_of(item: Any) -> Any:
    """The value of a stand-in, or what was given."""
    return item.value if issubclass(type(item), ValueProxy) else item


def _length(value: Any) -> int:
    if isinstance(value, Tensor) and value.ndim == 0:
        raise TypeError("iteration over a tensor without axes")
    return len(value)
