"""Running a network while labels of channels follow the data through its operators."""

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence, ValuesView
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast, final

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary
from typing_extensions import override

from torchedge.pruning.labels import Labels
from torchedge.pruning.units import Units

__all__ = ["Axis", "Call", "Rule", "Tracker", "Tracking", "Work", "tensors_in"]

_MANY_GROUPS, _VECTOR, _WIDE = 4, 8, 64  # groups, and channels of one


@final
@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a parameter or buffer, and the labels along it.

    Args:
        path: Name of the parameter or buffer.
        axis: Number of the axis.
        labels: A label for each index.
    """

    path: str
    axis: int
    labels: Tensor


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """Multiply-accumulates of one operator, and the labels that they are proportional to.

    Args:
        macs: Of the whole network.
        factors: Labels along each axis that counts.
    """

    macs: int
    factors: tuple[Tensor, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Call:
    """One operator as it was called."""

    name: str
    function: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any

    def argument(self, name: str, default: object = None) -> Any:  # noqa: ANN401
        """An argument by its name in the operator's schema."""
        if name in self.kwargs:
            return self.kwargs[name]
        names = [a.name for a in self.function._schema.arguments]
        place = names.index(name) if name in names else len(self.args)
        return self.args[place] if place < len(self.args) else default


Rule: TypeAlias = Callable[["Tracker", Call], None]


@final
@dataclass(kw_only=True, eq=False)
class Tracker:
    """Everything that one run of a network shows.

    Args:
        units: What is removed together.
        axes: Of all parameters and buffers.
        works: Multiply-accumulates, operator by operator.
        inputs: Axes of weights that read channels.
        writers: Axes of weights that make channels, in execution order.
        grids: Labels that differ along several axes of a tensor, which stays a grid.
        mixed: Labels of channels that are summed or normalised over with no weights that read
            them: what is left of such a sum changes with any of its channels.
        narrowed: Weights of convolutions all of whose groups are made narrower, because they
            would otherwise stay or go together.
        whole: Weights of convolutions that lose whole groups.
    """

    units: Units = field(default_factory=Units)
    axes: list[Axis] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)
    inputs: set[tuple[str, int]] = field(default_factory=set)
    writers: dict[tuple[str, int], None] = field(default_factory=dict)
    grids: list[Tensor] = field(default_factory=list)
    mixed: list[Tensor] = field(default_factory=list)
    narrowed: frozenset[str] = frozenset()
    whole: set[str] = field(default_factory=set)
    _known: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    _begins: list[int] = field(default_factory=list)

    def register(self, model: nn.Module) -> None:
        """Label every parameter and buffer along every axis."""
        for path, tensor in (*model.named_parameters(), *model.named_buffers()):
            layers = []
            for axis, size in enumerate(tensor.shape):
                labels = self.units.fresh(size)
                self._begins.append(int(labels[0]) if size else 0)
                self.axes.append(Axis(path=path, axis=axis, labels=labels))
                if size > 1:
                    shape = [1] * tensor.ndim
                    shape[axis] = size
                    layers.append(labels.view(shape))
            self._known[tensor] = Labels(
                shape=tuple(tensor.shape), layers=tuple(layers), parameter=path
            )

    def of(self, tensor: Tensor) -> Labels:
        """What is known of a tensor."""
        found = self._known.get(tensor)
        return cast(Labels, found) if found is not None else Labels(shape=tuple(tensor.shape))

    def put(self, tensor: Tensor, labels: Labels) -> None:
        """Say what a tensor's labels are; those that differ along several axes are noted."""
        self.grids.extend(
            layer for layer in labels.layers if sum(size > 1 for size in layer.shape) > 1
        )
        self._known[tensor] = labels

    def close(self, values: object, reason: str) -> None:
        """Nothing that these tensors hold can be removed."""
        for tensor in tensors_in(values):
            for layer in self.of(tensor).layers:
                self.units.close(layer, reason)

    def loses_groups(self, path: str, width: int, groups: int) -> bool:
        """Whether a convolution loses whole groups, rather than a part of each.

        Runtimes have kernels for groups of some widths; a narrower one often takes as long.
        """
        kernel = groups >= _MANY_GROUPS or width % _VECTOR == 0
        whole = bool(path) and path not in self.narrowed and width < _WIDE and kernel
        if whole:
            self.whole.add(path)
        return whole

    def axis_of(self, labels: Tensor) -> tuple[str, int] | None:
        """The axis of a parameter that untouched labels are from."""
        if not self._begins:
            return None
        first = int(labels.reshape(-1)[0])
        found = self.axes[bisect.bisect_right(self._begins, first) - 1]
        return found.path, found.axis


@final
class Tracking(TorchDispatchMode):
    """Applies a rule to every operator; one without a rule closes what it touches."""

    def __init__(self, tracker: Tracker, rule_of: Callable[[Call], Rule | None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tracker = tracker
        self.rule_of = rule_of

    @override
    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        call = Call(name=name, function=func, args=args, kwargs=kwargs or {}, result=result)
        rule = self.rule_of(call)
        reason = f"pruning does not know the operator '{name}' that it passes through"
        if rule is not None:
            reason = self._applied(rule, call)
        if reason and any(self.tracker.of(t).layers for t in tensors_in((args, kwargs))):
            self.tracker.close((args, kwargs), reason)
        return result

    def _applied(self, rule: Rule, call: Call) -> str:
        """Why the rule does not hold here, or an empty text."""
        try:
            rule(self.tracker, call)
        except (RuntimeError, ValueError, IndexError, TypeError):
            return f"pruning cannot follow its channels through this '{call.name}'"
        return ""


def tensors_in(values: object) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(values, Tensor):
        yield values
        return
    inner = values.values() if isinstance(values, Mapping) else values
    for value in inner if isinstance(inner, tuple | list | ValuesView) else ():
        yield from tensors_in(value)
