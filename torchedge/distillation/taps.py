"""Seeing what a network computes inside, by layer name."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from torchedge.distillation.calls import Call
from torchedge.errors import DistillationError

__all__ = ["Tap", "Taps", "require_layers", "taps"]


@final
@dataclass(frozen=True)
class Taps:
    """What one forward pass of a network showed.

    Args:
        output: What the network returned, usually logits.
        features: What each tapped layer returned, by its name.
    """

    output: Any
    features: Mapping[str, Tensor]

    def feature(self, layer: str | None) -> Tensor:
        """One tapped tensor; the network's output where ``layer`` is ``None``.

        Raises:
            DistillationError: It is no tensor.

        Example:
            >>> import torch
            >>> Taps(torch.tensor(2.0), {}).feature(None)
            tensor(2.)
        """
        value = self.output if layer is None else self.features[layer]
        if not isinstance(value, Tensor):
            what = "the network returns" if layer is None else f"the layer '{layer}' returns"
            raise DistillationError(
                f"{what} a {type(value).__name__}, not a tensor; name a layer inside it whose "
                "result is one."
            )
        return value

    def in_float32(self) -> "Taps":
        """The same in full precision, which sums of squares and logarithms need."""
        features = {name: _in_float32(value) for name, value in self.features.items()}
        return Taps(_in_float32(self.output), features)


def _in_float32(value: Any) -> Any:  # noqa: ANN401 - whatever a network returns
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.float() if floating else value


@final
class Tap:
    """Hooks on a network and on layers inside it, until :meth:`remove`.

    The hooks stay in place from call to call, so a compiled network keeps its graph; put them
    there before it is compiled. A layer that is called twice in one pass has no *one* feature:
    reading it is refused.

    Args:
        model: The network whose passes are watched; may come from ``torch.compile``.
        layers: Names as in ``named_modules()``.

    Raises:
        DistillationError: A layer does not exist; the nearest names are offered.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str]) -> None:
        self.layers = tuple(dict.fromkeys(layers))
        self._seen: dict[str, list[Any]] = {}
        self._passes = 0
        self._call = Call()
        self._output: Any = None
        inside = _written(model)
        require_layers(model, self.layers)
        # Before hooks of the user's, which a teacher may have as well: what the caller gave.
        begin = model.register_forward_pre_hook(self._begin, prepend=True, with_kwargs=True)
        self._handles = [begin]
        self._handles += [
            inside.get_submodule(layer).register_forward_hook(self._hook(layer))
            for layer in self.layers
        ]
        self._handles.append(model.register_forward_hook(self._end))

    def _begin(self, _module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        for layer in self.layers:
            self._seen[layer] = []
        self._passes += 1
        self._call = Call.of(args, named)

    def _hook(self, layer: str) -> Any:  # noqa: ANN401 - torch's own type of a hook
        self._seen[layer] = []
        seen = self._seen

        def remember(_module: nn.Module, _args: tuple[Any, ...], result: Any) -> None:  # noqa: ANN401
            seen[layer].append(result)

        return remember

    def _end(self, _module: nn.Module, _args: tuple[Any, ...], result: Any) -> None:  # noqa: ANN401
        self._output = result

    def last(self) -> tuple[tuple[Any, ...], Taps]:
        """The positional arguments of the one pass since :meth:`forget`, and what it showed.

        Raises:
            DistillationError: There was no pass, or more than one, or a layer ran twice in it.
        """
        call, seen = self.last_call()
        return call.args, seen

    def last_call(self) -> tuple[Call, Taps]:
        """All that the one pass since :meth:`forget` was given, and what it showed.

        Raises:
            DistillationError: There was no pass, or more than one, or a layer ran twice in it.
        """
        if self._passes != 1:
            raise DistillationError(
                f"the network ran {self._passes} times in one step and not once, so it is not "
                "clear which of its outputs to compare; call it once in training_step."
            )
        features = {layer: self._one(layer) for layer in self.layers}
        call, output = self._call, self._output
        self.forget()
        return call, Taps(output, features)

    def _one(self, layer: str) -> Tensor:
        found = self._seen[layer]
        if len(found) != 1:
            raise DistillationError(
                f"the layer '{layer}' ran {len(found)} times in one pass, so it has not one "
                "feature; put an nn.Identity where the one you mean is, and name that."
            )
        value: Tensor = found[0]
        return value

    def forget(self) -> None:
        """Let go of what was seen; passes are counted from here."""
        self._passes, self._call, self._output = 0, Call(), None
        for layer in self.layers:
            self._seen[layer] = []

    def remove(self) -> None:
        """Take the hooks off and let go of what was seen."""
        for handle in self._handles:
            handle.remove()
        self.forget()


@contextmanager
def taps(model: nn.Module, layers: Sequence[str]) -> Iterator[Tap]:
    """Watch layers of a network; the hooks are gone on exit, also after an error.

    Args:
        model: A network, compiled or not.
        layers: Names as in ``named_modules()``.

    Raises:
        DistillationError: A layer does not exist; the nearest names are offered.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
        >>> with taps(net, ["1"]) as tap:
        ...     _ = net(torch.zeros(5, 2))
        ...     _, seen = tap.last()
        >>> seen.output.shape, seen.features["1"].shape
        (torch.Size([5, 4]), torch.Size([5, 3]))
    """
    tap = Tap(model, layers)
    try:
        yield tap
    finally:
        tap.remove()


def _written(model: nn.Module) -> nn.Module:
    """The network as its author wrote it, without what ``torch.compile`` puts around it."""
    inside: nn.Module = getattr(model, "_orig_mod", model)
    return inside


def require_layers(model: nn.Module, layers: Sequence[str], whose: str = "network") -> None:
    """Refuse names that the network does not have.

    Raises:
        DistillationError: A layer does not exist; the nearest names are offered.

    Example:
        >>> require_layers(nn.Sequential(nn.ReLU()), ["1"], "student")
        Traceback (most recent call last):
            ...
        torchedge.errors.DistillationError: the student has no layer '1'; nearest: '0'.
    """
    names = [name for name, _ in _written(model).named_modules() if name]
    for layer in layers:
        if layer not in names:
            near = difflib.get_close_matches(layer, names, 5, cutoff=0.0)
            offered = ", ".join(f"'{name}'" for name in near) or "none, it has no layers"
            raise DistillationError(f"the {whose} has no layer '{layer}'; nearest: {offered}.")
