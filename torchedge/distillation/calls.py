"""What a network was called with, so that another one can be called alike."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torchedge.batches.inputs import NetworkInputs, inputs_of
from torchedge.batches.parts import taken_apart
from torchedge.errors import CalibrationError, DistillationError

__all__ = ["Call", "inputs_in", "require_only_the_sample"]

_ONE_INPUT = NetworkInputs(names=("input",))


@final
@dataclass(frozen=True, kw_only=True)
class Call:
    """Positional and keyword arguments of one call, as they were when it began.

    Args:
        args: By place.
        named: By keyword.
        versions: How often each tensor in them had been written to, in torch's count.
    """

    args: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    versions: tuple[int, ...] = ()

    @staticmethod
    def of(args: tuple[Any, ...], named: Mapping[str, Any]) -> "Call":
        """Keep arguments: containers are copied, tensors are not.

        A network that takes entries out of a dictionary does not take them from the copy.

        Example:
            >>> given = {"x": 1}
            >>> call = Call.of((given,), {})
            >>> given.pop("x"), call.args
            (1, ({'x': 1},))
        """
        kept_args, kept_named = pytree.tree_map(lambda leaf: leaf, (args, dict(named)))
        call = Call(args=kept_args, named=kept_named)
        return Call(args=kept_args, named=kept_named, versions=call._versions_now())

    def leaves(self) -> dict[str, Any]:
        """Every value in the arguments, by a name that a reader can find it by.

        Example:
            >>> Call.of((5, [6]), {"mask": 7}).leaves()
            {'argument 1': 5, 'argument 2[0]': 6, 'mask': 7}
        """
        places = {f"argument {n + 1}": value for n, value in enumerate(self.args)} | dict(
            self.named
        )
        found = {}
        for name, value in places.items():
            for path, leaf in pytree.tree_flatten_with_path(value)[0]:
                found[f"{name}{pytree.keystr(path)}"] = leaf
        return found

    def require_unchanged(self, whose: str) -> None:
        """Refuse a network that has written into what it was given.

        Args:
            whose: The network that ran, in words.

        Raises:
            DistillationError: A tensor was changed in place since the call began.
        """
        now = self._versions_now()
        names = [name for name, leaf in self.leaves().items() if isinstance(leaf, Tensor)]
        for name, before, after in zip(names, self.versions, now, strict=True):
            if before != after:
                raise DistillationError(
                    f"the {whose} changes {name} in place, so student and teacher would not see "
                    "the same; use inplace=False in its first layers, or clone there."
                )

    def require_accepted(self, network: nn.Module) -> None:
        """Refuse a teacher that cannot be called as the student was.

        Raises:
            DistillationError: Its ``forward`` does not take these arguments, or one can be read
                only once.
        """
        for name, leaf in self.leaves().items():
            if isinstance(leaf, Iterator):
                raise DistillationError(
                    f"{name} of the student is a {type(leaf).__name__}, which can be read only "
                    "once; give a list, so that the teacher can read it too."
                )
        try:
            inspect.signature(network.forward).bind(*self.args, **self.named)
        except ValueError:
            return  # compiled code has no signature to ask
        except TypeError as error:
            raise DistillationError(
                f"the student is called with {self._described()}, which the forward of the teacher "
                f"({type(network).__name__}) does not take: {error}. Wrap the teacher in a module "
                "that takes what the student takes."
            ) from error

    def _versions_now(self) -> tuple[int, ...]:
        tensors = [leaf for leaf in self.leaves().values() if isinstance(leaf, Tensor)]
        return tuple(0 if x.is_inference() else x._version for x in tensors)

    def _described(self) -> str:
        count = len(self.args)
        named = "".join(f", {name}=…" for name in self.named)
        return f"{count} positional argument{'s' * (count != 1)}{named}"


def inputs_in(batch: object, student: nn.Module) -> tuple[Tensor, ...]:
    """What a student is run on of a batch that no task takes apart: as many inputs as it takes.

    Raises:
        DistillationError: It cannot be told what the inputs are, or one is no tensor.

    Example:
        >>> x, y = torch.zeros(2, 3), torch.tensor([0, 1])
        >>> [tuple(found.shape) for found in inputs_in([x, y], nn.Linear(3, 2))]
        [(2, 3)]
    """
    wanted = inputs_of(student)
    try:
        values, _ = taken_apart(batch, "the batch", wanted if wanted.count else _ONE_INPUT)
    except CalibrationError as error:
        raise DistillationError(
            f"with hard_weight=0 the student runs on the batch; {error}"
        ) from error
    tensors = tuple(value for value in values if isinstance(value, Tensor))
    if len(tensors) != len(values):
        raise DistillationError(
            "with hard_weight=0 the student runs on the batch, which holds "
            f"{', '.join(type(value).__name__ for value in values)}; give tensors, or tuples that "
            "begin with them."
        )
    return tensors


def require_only_the_sample(
    args: tuple[Any, ...], named: Mapping[str, Any], sample: Tensor | None
) -> None:
    """Refuse a call with anything but the sample, where a teacher has answered to samples.

    Shape and type of the sample may be the student's own; its values may not.

    Args:
        args: What the student was given by place.
        named: And by keyword.
        sample: What the teacher has answered to; ``None`` where that is not known.

    Raises:
        DistillationError: There is another argument, or another value.

    Example:
        >>> sample = torch.rand(2, 3, 3)
        >>> require_only_the_sample((sample.flatten(1),), {}, sample)
    """
    more = [f"argument {n + 1}" for n, _ in enumerate(args) if n] + [f"'{n}'" for n in named]
    if more:
        raise DistillationError(
            f"the student is called with {', '.join(more)} beside its input, and the cache holds "
            "what the teacher said to the input alone; give the teacher itself instead of a cache."
        )
    given = args[0] if args else None
    if sample is None or given is None or given is sample:
        return
    same = isinstance(given, Tensor) and given.numel() == sample.numel()
    if not (same and torch.equal(given.flatten(), sample.flatten().to(given.dtype))):
        raise DistillationError(
            "the task gives its student something else than the sample, and the cache holds what "
            "the teacher said to the sample; change samples in the dataset, before the teacher is "
            "asked, or give the teacher itself instead of a cache."
        )
