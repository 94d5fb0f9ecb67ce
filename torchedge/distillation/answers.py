"""What a teacher is asked, sample by sample, and what it shows."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast, final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate
from typing_extensions import override

from torchedge.batches.inputs import NetworkInputs
from torchedge.batches.parts import taken_apart
from torchedge.batches.tensors import as_tensor
from torchedge.distillation.sources import LiveTeacher
from torchedge.distillation.taps import Taps
from torchedge.errors import CalibrationError, DistillationError

__all__ = ["FEATURE", "OUTPUT", "Inputs", "SizedDataset", "answers", "sized"]

OUTPUT, FEATURE = "output", "feature:"  # names of tensors in a cache
_ONE_INPUT = NetworkInputs(names=("input",))


class SizedDataset(Protocol):
    """A dataset with a length, whose samples are tensors or begin with one."""

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, index: int, /) -> Any:  # noqa: ANN401
        """One sample."""


def sized(data: object) -> SizedDataset:
    """The dataset of a loader, or what was given, if its samples have numbers.

    Raises:
        DistillationError: It can only be read from the first to the last sample.

    Example:
        >>> len(sized(DataLoader(torch.zeros(3, 2))))
        3
    """
    found = data.dataset if isinstance(data, DataLoader) else data
    has_numbers = hasattr(found, "__len__") and hasattr(found, "__getitem__")
    if isinstance(found, IterableDataset | Mapping | str | type) or not has_numbers:
        raise DistillationError(
            f"the data is a {type(found).__name__}, and a cache asks for samples by number; give a "
            "dataset with __len__ and __getitem__, a tensor or a list."
        )
    return cast(SizedDataset, found)


def answers(live: LiveTeacher, data: SizedDataset, batch_size: int) -> dict[str, Tensor]:
    """What the teacher shows for all samples: its output, and each layer that it was prepared for.

    Raises:
        DistillationError: Samples have several shapes, or the teacher does not run on them.
    """
    parts: dict[str, list[Tensor]] = {}
    loader: DataLoader[Any] = DataLoader(Inputs(data), batch_size, collate_fn=default_collate)
    for batch in _running(loader):
        seen = _shown_by(live, batch)
        parts.setdefault(OUTPUT, []).append(seen.feature(None))
        for layer in live.layers:
            parts.setdefault(f"{FEATURE}{layer}", []).append(seen.feature(layer))
    return {name: torch.cat(found).contiguous() for name, found in parts.items()}


def _running(loader: DataLoader[Any]) -> Iterator[Tensor]:
    try:
        yield from loader
    except RuntimeError as error:
        raise DistillationError(
            f"samples cannot be put together in a batch ({str(error).splitlines()[0]}); bring them "
            "to one shape."
        ) from error


def _shown_by(live: LiveTeacher, batch: Tensor) -> Taps:
    try:
        return live.taps((batch,), None)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        kind = str(batch.dtype).removeprefix("torch.")
        raise DistillationError(
            f"the teacher does not run on samples of {kind} {tuple(batch.shape[1:])}: "
            f"{str(error).splitlines()[0].rstrip('.')}. Give them as it was trained on."
        ) from error


@final
class Inputs(Dataset[Tensor]):
    """The tensor that each sample is, or begins with."""

    def __init__(self, data: SizedDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    @override
    def __getitem__(self, index: int) -> Tensor:
        sample, where = self.data[index], f"sample {index}"
        try:
            values, _ = taken_apart(sample, where, _ONE_INPUT)
            return as_tensor(values[0], where)
        except CalibrationError as error:
            raise DistillationError(
                f"sample {index} is a {type(sample).__name__}, and a cache wants tensors, or "
                f"tuples that begin with one ({error})"
            ) from error
