"""A network with fewer channels, run beside the original: its numbers written anew, and proved."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, fx

from torchedge.errors import PruningError
from torchedge.graph.tracer import line_of
from torchedge.pruning.kept import Left
from torchedge.pruning.rewriting import freeze_numbers, number_at, set_numbers
from torchedge.pruning.tracking import tensors_in

__all__ = ["Settling"]


@final
class Settling(fx.Interpreter):
    """Runs the graph with fewer channels node by node, beside the original.

    A number of the code that is not what it must be for the channels that are left is written
    anew, in place; one that the code computes rightly by itself stays. Then every result has to be
    what is left of the original's.

    Args:
        graph_module: With fewer channels in its weights.
        numbers: For each node, what its numbers must be, by place.
        left: What is left of each result.
    """

    def __init__(
        self, graph_module: fx.GraphModule, numbers: Mapping[str, Mapping[str, int]], left: Left
    ) -> None:
        super().__init__(graph_module, garbage_collect_values=False)
        self.extra_traceback = False
        self.numbers = numbers
        self.left = left
        self.original = _Steps(left.found.graph)
        self.rewritten = False

    def settle(self, example_inputs: tuple[Tensor, ...]) -> None:
        """Run both.

        Raises:
            PruningError: With fewer channels the network cannot run, or computes something else.
        """
        self.original.begin(example_inputs)
        self.args_iter = iter([x.clone() for x in example_inputs])
        self.env = {}
        for node in list(self.graph_nodes()):
            before = self.original.step(node.name)
            self.env[node] = self._settled(node, before)
        self._drop_failed()

    def graph_nodes(self) -> list[fx.Node]:
        """The nodes as they are now."""
        assert isinstance(self.module, fx.GraphModule)
        return list(self.module.graph.nodes)

    def _settled(self, node: fx.Node, before: object) -> object:
        makes_tensors = node.op.startswith("call") and any(True for _ in tensors_in(before))
        if isinstance(before, int | float):
            return self._number(node)
        if makes_tensors and not self._fits(node):
            self._write(node)
        found, problem = self._run(node, before)
        if problem and makes_tensors and self._write(node):
            found, problem = self._run(node, before)
        if problem:
            raise PruningError(self._message(node, problem))
        return found

    def _number(self, node: fx.Node) -> object:
        """A number that the code computes; ``None`` where it cannot be: what uses it is frozen."""
        try:
            return self.run_node(node)
        except (ArithmeticError, TypeError, ValueError, IndexError):
            self.rewritten = True
            return None

    def _drop_failed(self) -> None:
        """Erase numbers that cannot be computed; nothing uses them any more."""
        for node in reversed(self.graph_nodes()):
            number = self.original.numbers.get(node.name) is not None
            if number and self.env.get(node) is None and not node.users:
                node.graph.erase_node(node)

    def _run(self, node: fx.Node, before: object) -> tuple[object, str]:
        try:
            found = self.run_node(node)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            return None, f"fails ({str(error).splitlines()[0]})"
        return found, self.left.difference(node, before, found)

    def _fits(self, node: fx.Node) -> bool:
        """Whether all numbers that a node takes are what they must be."""
        numbers = self.numbers.get(node.name, {})
        known = {place: number_at(node, place, self.env) for place in numbers}
        if any(known[p] != value for p, value in numbers.items() if not p.startswith("section")):
            return False
        return bool(numbers) or not any(map(self._changed, node.all_input_nodes))

    def _changed(self, node: fx.Node) -> bool:
        old, new = self.original.numbers.get(node.name), self.env.get(node)
        return old is not None and not isinstance(new, Tensor) and old != new

    def _write(self, node: fx.Node) -> bool:
        """Write all numbers of a node anew; whether anything changed."""
        was = (node.op, node.target, node.args, node.kwargs)
        known = {n: self.original.numbers.get(n.name) for n in node.all_input_nodes}
        before = set(self.graph_nodes())
        numbers = self.numbers.get(node.name, {})
        if numbers:
            set_numbers(node, numbers, self.env)
            for new in (n for n in self.graph_nodes() if n not in before):
                self.env[new] = self.run_node(new)
        freeze_numbers(node, known, self.env)
        for new in (n for n in self.graph_nodes() if n not in before and n not in self.env):
            self.env[new] = self.run_node(new)
        changed = was != (node.op, node.target, node.args, node.kwargs)
        self.rewritten = self.rewritten or changed
        return changed

    def _message(self, node: fx.Node, problem: str) -> str:
        groups = self.left.groups_at(node)
        names = ", ".join(f"'{name}'" for name in groups)
        comma = "," if len(groups) == 1 else ""
        return (
            f"with fewer channels of {names}, '{node.name}' in {_where(node)} {problem}; "
            f"nothing was pruned. Leave these out: Limits(leave_out=({names}{comma}))."
        )


def _where(node: fx.Node) -> str:
    line = line_of(node)
    if node.op == "call_module":
        return f"'{node.target}'{line}"
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()] if isinstance(stack, dict) else []
    return (f"'{paths[-1]}'" if paths and paths[-1] else "the model itself") + line


@final
class _Steps(fx.Interpreter):
    """The original, one node at a time; of tensors only the shapes are kept, and all numbers."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        self.extra_traceback = False
        self.numbers: dict[str, Any] = {}
        self.ahead = iter(graph_module.graph.nodes)

    def begin(self, example_inputs: tuple[Tensor, ...]) -> None:
        self.args_iter = iter([x.clone() for x in example_inputs])
        self.env = {}

    def step(self, name: str) -> object:
        """The value of the node of that name."""
        for node in self.ahead:
            value = self.env[node] = self.run_node(node)
            if isinstance(value, int | float | torch.Size):
                self.numbers[node.name] = value
            elif isinstance(value, Tensor):
                self.numbers[node.name] = value.shape
            for last in self.user_to_last_uses.get(node, []):
                del self.env[last]
            if node.name == name:
                return value
        raise AssertionError(name)
