"""Running a program on tensors that have a shape and no memory, to see what it would take."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from torchedge.reading.bounds import Value, most_live_bytes
from torchedge.reading.costs import operations, require_few_parts, tensors_in

__all__ = ["require_modest"]

_Name: TypeAlias = Callable[[Tensor], str]

_MOST_OPERATIONS = 4 * 10**12
_MOST_CALLS = 200_000


def require_modest(program: ExportedProgram, most_bytes: int) -> None:
    """Refuse a program whose tensors are others than it declares, or take more than allowed.

    Args:
        program: Its nodes carry the shapes that the file declares.
        most_bytes: For all that lives at one time, and for each tensor as it is indexed.

    Raises:
        ValueError: It is so, or it would take more than 4·10¹² operations, or a shape depends on
            values.
    """
    declared = [tensors_in(node.meta.get("val")) for node in program.graph.nodes]
    for tensor in (tensor for tensors in declared for tensor in tensors):
        _require_small(tensor, most_bytes)
    watch = _Watch(most_bytes)
    run = _Propagation(program.graph_module, watch)
    inputs = [n.meta["val"] for n in program.graph.nodes if n.op == "placeholder"]
    mode = next((t.fake_mode for t in map(_first, inputs) if t is not None), None)
    if mode is None:
        raise ValueError("it takes no tensor")
    with torch.no_grad(), mode:
        run.run(*inputs)
    peak = run.most_live_bytes()
    if peak > most_bytes:
        raise ValueError(
            f"running it takes {peak:,} bytes at one time, more than the {most_bytes:,} that a "
            "file of its size may; export it with a smaller batch"
        )


def _first(value: object) -> Any:  # noqa: ANN401 - a FakeTensor, which torch does not export
    return next(iter(tensors_in(value)), None)


def _require_small(tensor: Tensor, most_bytes: int) -> None:
    if not all(isinstance(size, int) for size in tensor.shape):
        raise ValueError("the shape of a tensor depends on values")
    size = math.prod(tensor.shape) * tensor.element_size()
    if size > most_bytes:
        raise ValueError(
            f"a tensor of {list(tensor.shape)} takes {size:,} bytes, more than {most_bytes:,}"
        )


@final
class _Watch(TorchDispatchMode):
    """Sees every operation that an operator is made of, before and after."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._most_bytes = most_bytes
        self._calls = self._operations = 0

    @override
    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self._calls += 1
        self.count(require_few_parts(func, args))
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            _require_small(tensor, self._most_bytes)
        self.count(operations(func, args, kwargs or {}, result))
        return result

    def count(self, operations: int) -> None:
        """Add work, and refuse too much of it."""
        self._operations += operations
        if self._calls > _MOST_CALLS or self._operations > _MOST_OPERATIONS:
            raise ValueError(
                f"running it takes {self._operations:,} operations in {self._calls:,} steps; "
                f"{_MOST_OPERATIONS:,} in {_MOST_CALLS:,} are the most"
            )


@final
class _Propagation(fx.Interpreter):
    """Runs node by node, and holds each result against what the file declares of it."""

    def __init__(self, module: fx.GraphModule, watch: _Watch) -> None:
        super().__init__(module, garbage_collect_values=False)  # their memory is their name
        self._watch = watch
        self._results: list[tuple[fx.Node, tuple[Tensor, ...]]] = []

    @override
    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_function":  # some operators cut before anything is seen of their parts
            self._watch.count(require_few_parts(n.target, self.fetch_args_kwargs_from_env(n)[0]))
        with self._watch:
            result = super().run_node(n)
        found = tensors_in(result)
        declared = tensors_in(n.meta.get("val"))
        if n.op == "call_function" and _described(found) != _described(declared):
            raise ValueError(f"'{n.name}' is declared as {_shown(declared)} and is {_shown(found)}")
        self._results.append((n, found))
        return result

    def most_live_bytes(self) -> int:
        """Of inputs and weights all the time, of everything else until its last reader."""
        made = [[_value(t) for t in found] for _, found in self._results]
        by_node = {node: [_memory(t) for t in found] for node, found in self._results}
        read = [
            [name for source in node.all_input_nodes for name in by_node[source]]
            for node, _ in self._results
        ]
        return most_live_bytes(made, read, kept=_kept(by_node))


def _kept(by_node: Mapping[fx.Node, list[str]]) -> Iterator[str]:
    return (name for node, names in by_node.items() if node.op == "placeholder" for name in names)


def _memory(tensor: Tensor) -> str:
    return str(tensor.untyped_storage()._cdata)


def _value(tensor: Tensor) -> Value:
    return Value(name=_memory(tensor), bytes=int(tensor.untyped_storage().nbytes()))


def _described(tensors: Sequence[Tensor]) -> list[tuple[torch.Size, torch.dtype]]:
    return [(tensor.shape, tensor.dtype) for tensor in tensors]


def _shown(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{list(t.shape)} of {str(t.dtype).removeprefix('torch.')}" for t in tensors)
