"""A tracer that runs the example inputs beside the graph that it writes."""

import builtins
import functools
import inspect
import operator
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, final

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn
from torch.fx.node import Target
from typing_extensions import override

from torchedge.graph.hooks import has_hooks, run_with_hooks
from torchedge.graph.in_place import Call, out_of_place
from torchedge.graph.sizes import sizes_traced
from torchedge.graph.values import ValueProxy, note_unchanged, value_of

__all__ = ["LIBRARIES", "ExampleTracer", "line_of"]

_LINE = "torchedge_line"
_TORCHEDGE = Path(__file__).parent.parent
LIBRARIES = (
    str(_TORCHEDGE / "kinds.py"),
    *(
        f"{folder}/"
        for folder in (
            Path(torch.__file__).parent,
            *(_TORCHEDGE / room for room in ("distillation", "graph", "pruning", "quantization")),
        )
    ),
)

# What Python asks of a tensor without reading its values, and what reads them.
_FACTS = frozenset({"dim", "ndimension", "element_size", "get_device"})
_READS_VALUES = frozenset({"item", "tolist", "equal", "allclose", "is_nonzero", "numpy"})
# The shape of their results changes with the data.
_CHOOSE_BY_VALUES = frozenset(
    {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount", "nms"}
)


@final
class ExampleTracer(fx.Tracer):
    """Writes the graph of a module while the module runs on one set of inputs.

    Arguments that are not given keep their defaults; a tensor inside a list or a dict has an input
    of its own, in the order of ``torch.utils._pytree``.

    Args:
        args: Arguments of ``forward``.
        kwargs: Its keyword arguments.
        leaves: Paths of modules that stay one node.
        whole: Whether a module stays one node for what it is.
    """

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        leaves: Collection[str],
        whole: Callable[[nn.Module], bool],
    ) -> None:
        super().__init__()
        self.example_args = args
        self.example_kwargs = dict(kwargs)
        self.leaves = frozenset(leaves)
        self.whole = whole
        self.running = False
        self.inside: list[str] = []

    @override
    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        with sizes_traced(self), _lengths_traced(root):
            graph = super().trace(root, concrete_args)
        graph._tracer_cls = fx.Tracer  # with it a pickled module is traced again, without examples
        for node in reversed(graph.nodes):  # parts of a result that nothing reads
            if node.target is operator.getitem and not node.users:
                graph.erase_node(node)
        return graph

    @override
    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        parameters = list(inspect.signature(root_fn).parameters.values())[1:]
        names = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
        names += [f"input_{i}" for i in range(len(names), len(self.example_args))]
        args = [self._inputs(n, v) for n, v in zip(names, self.example_args, strict=False)]
        kwargs = {name: self._inputs(name, v) for name, v in self.example_kwargs.items()}

        def called(root: nn.Module, *given: Any) -> Any:
            return run_with_hooks(root, functools.partial(root_fn, root), given, kwargs)

        return called, [self.root, *args]

    def _inputs(self, name: str, value: Any) -> Any:
        leaves, spec = pytree.tree_flatten(value)
        names = [name] if len(leaves) == 1 else [f"{name}_{i}" for i in range(len(leaves))]
        given = [self._input(n, v) for n, v in zip(names, leaves, strict=True)]
        return pytree.tree_unflatten(given, spec)

    def _input(self, name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        node = self.create_node("placeholder", name, (), {})
        return ValueProxy(node, self, value.clone())

    @override
    def create_arg(self, a: Any) -> Any:
        return a.node if issubclass(type(a), ValueProxy) else super().create_arg(a)

    @override
    def create_proxy(
        self,
        kind: str,
        target: Target,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
        proxy_factory_fn: Any = None,
    ) -> Any:
        call = Call(target=target, args=args, kwargs=kwargs)
        call = out_of_place(kind, call, self.root)
        target, args, kwargs = call.target, call.args, call.kwargs
        called = target if isinstance(target, str) else getattr(target, "__name__", "")
        if kind in {"call_function", "call_method"}:
            _require_independent(called, args)
        value = self._run(kind, target, args, kwargs)
        if _is_fact(value) or (called in _FACTS and kind == "call_method"):
            return value
        given = self.create_arg(args), self.create_arg(kwargs)
        node = self.create_node(kind, target, *given, name, type_expr)
        if kind == "call_module" and str(target) in self.leaves:
            note_unchanged(node, value_of(args[0]) if args else None, value)
        frame = _user_frame()
        if frame is not None:
            node.meta[_LINE] = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        result = self._wrapped(node, value)
        if call.changes_first and args and _is_tensor(args[0]):
            args[0].become(result)
        return result

    def _wrapped(self, node: fx.Node, value: object) -> Any:
        """A stand-in; what returns a tuple or a list is taken apart at once."""
        if type(value) not in (tuple, list):
            return ValueProxy(node, self, value)
        assert isinstance(value, tuple | list)
        return type(value)(
            part
            if _is_fact(part)
            else self._wrapped(self._create(operator.getitem, (node, index)), part)
            for index, part in enumerate(value)
        )

    def _create(self, function: Callable[..., Any], args: tuple[Any, ...]) -> fx.Node:
        return self.create_node("call_function", function, args, {})

    def _run(self, kind: str, target: Target, args: Any, kwargs: Any) -> Any:
        args, kwargs = pytree.tree_map(value_of, (args, kwargs))
        self.running = True
        try:
            if kind == "call_function":
                assert callable(target)
                return target(*args, **kwargs)
            if kind == "call_method":
                return getattr(args[0], str(target))(*args[1:], **kwargs)
            if kind == "call_module":
                module = self.root.get_submodule(str(target))
                in_place = getattr(module, "inplace", False) is True
                return module(*(_own(args) if in_place else args), **kwargs)
            return _attribute(self.root, str(target))
        finally:
            self.running = False

    @override
    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        return attr_val if self.running else super().getattr(attr, attr_val, parameter_proxy_cache)

    @override
    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self.running:
            return forward(*args, **kwargs)
        self.inside.append(self.path_of_module(m))
        with _lengths_traced(m):
            call = functools.partial(super().call_module, m, forward)
            if self.is_leaf_module(m, self.inside[-1]) and has_hooks(m):
                result = run_with_hooks(m, lambda *a, **k: call(a, k), args, kwargs)
            else:
                result = call(args, kwargs)
        self.inside.pop()
        return result

    @override
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        kept = module_qualified_name in self.leaves or self.whole(m)
        return kept or super().is_leaf_module(m, module_qualified_name)


def _require_independent(called: str, args: tuple[Any, ...]) -> None:
    if called in _READS_VALUES:
        raise TypeError(f"'{called}' reads the values of a tensor, which change with the data")
    index = pytree.tree_leaves(args[1:]) if called == "getitem" else ()
    values = [value_of(part) for part in index]
    masks = any(isinstance(v, Tensor) and v.dtype == torch.bool for v in values)
    if called in _CHOOSE_BY_VALUES or masks:
        what = "an index of booleans" if masks else f"'{called}'"
        raise TypeError(f"{what} gives a tensor whose size changes with the data")


def _is_fact(value: object) -> bool:
    """What a graph cannot hold as the result of a node, and need not."""
    facts = bool | str | torch.dtype | torch.device | torch.layout | torch.memory_format
    return value is None or isinstance(value, facts)


def _is_tensor(item: Any) -> bool:
    return type(item) is ValueProxy and isinstance(item.value, Tensor)


def _own(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.clone() if isinstance(a, Tensor) else a for a in args)


def _attribute(root: nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    return getattr(root.get_submodule(owner), name)


@contextmanager
def _lengths_traced(module: Any) -> Iterator[None]:
    """``len(x)`` in a module's own code gives a traced size, as ``x.shape[0]`` does."""
    names = getattr(inspect.unwrap(type(module).forward), "__globals__", {})
    if "len" in names:
        yield
        return
    names["len"] = _traced_length
    try:
        yield
    finally:
        del names["len"]


def _traced_length(item: Any) -> Any:
    if issubclass(type(item), ValueProxy) and isinstance(item.value, Tensor):
        return item.shape[0]
    return builtins.len(item)


def line_of(node: fx.Node) -> str:
    """Where the code is that a node was traced from, for a message; empty if that is not known."""
    line = node.meta.get(_LINE)
    return f" (called at {line})" if line else ""


def _user_frame() -> FrameType | None:
    """The innermost frame of code that is neither torch's nor the tracer's."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(LIBRARIES):
        frame = frame.f_back
    return frame
