"""What a network's inputs and outputs stand for, for whoever feeds it on the device."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from torchedge.errors import UsageError

__all__ = ["Meaning", "Normalisation"]


@final
@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """What the first input went through before the network saw it: ``(x - mean) / deviation``.

    Args:
        mean: One number, or one for each channel (axis 1).
        deviation: As many; none is zero.

    Raises:
        UsageError: There are not as many of both, or a deviation is not above zero.

    Example:
        >>> Normalisation(mean=(0.5,), deviation=(0.25,)).deviation
        (0.25,)
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.deviation) or min(self.deviation) <= 0:
            raise UsageError(
                f"a normalisation of {len(self.mean)} means and {len(self.deviation)} deviations, "
                f"the least {min(self.deviation, default=0):g}; give one or more of each, and "
                "deviations above zero."
            )


@final
@dataclass(frozen=True, kw_only=True)
class Meaning:
    """Names of the classes and what inputs went through; both travel with every artefact.

    Args:
        class_names: One for each class of the first output, in order; none where unknown.
        normalisation: ``None`` where the network takes raw numbers, or it is unknown.

    Example:
        >>> Meaning.from_dict(Meaning(class_names=("yes", "no")).to_dict()).class_names
        ('yes', 'no')
    """

    class_names: tuple[str, ...] = ()
    normalisation: Normalisation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest; the inverse of :meth:`from_dict`."""
        return asdict(self)

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> "Meaning":
        """Rebuild it from a manifest; older ones do not have it.

        Raises:
            TypeError: A field is of the wrong type.
        """
        numbers = plain.get("normalisation")
        return Meaning(
            class_names=tuple(str(name) for name in plain.get("class_names", ())),
            normalisation=None
            if numbers is None
            else Normalisation(
                mean=_floats(numbers["mean"]), deviation=_floats(numbers["deviation"])
            ),
        )


def _floats(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
