"""What a network's inputs went through, for whoever feeds it on the device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torchedge.arguments import is_number, require
from torchedge.errors import UsageError
from torchedge.reading.plain import as_number, each

__all__ = ["Normalisation"]


@final
@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """What the first input went through before the network saw it: ``(x - mean) / deviation``.

    Args:
        mean: One number, or one for each channel: axis 1, or the last axis of pictures whose
            channels come last.
        deviation: As many; none is zero.

    Raises:
        UsageError: They are no numbers, there are not as many of both, or a deviation is not above
            zero.

    Example:
        >>> Normalisation(mean=(0.5,), deviation=(0.25,)).deviation
        (0.25,)
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        for what, values in (("the mean", self.mean), ("the deviation", self.deviation)):
            numbers = isinstance(values, list | tuple) and all(is_number(n) for n in values)
            require(numbers, what, values, "give a tuple of numbers, (0.5,) for one channel")
        if not self.mean or len(self.mean) != len(self.deviation) or min(self.deviation) <= 0:
            raise UsageError(
                f"a normalisation of {len(self.mean)} means and {len(self.deviation)} deviations, "
                f"the least {min(self.deviation, default=0):g}; give one or more of each, and "
                "deviations above zero."
            )

    def require_fit(self, shape: Sequence[int]) -> None:
        """Refuse an input that has neither as many channels nor gets one number for all.

        Raises:
            UsageError: It is so.

        Example:
            >>> Normalisation(mean=(0.5,), deviation=(0.25,)).require_fit((1, 3, 8, 8))
        """
        axis = -1 if len(shape) == 4 and shape[1] > 4 >= shape[3] else 1  # [n, height, width, 3]
        channels = shape[axis] if len(shape) > 1 else 1
        if len(self.mean) not in {1, channels}:
            raise UsageError(
                f"a normalisation of {len(self.mean)} means for an input {list(shape)}; give one, "
                f"or {channels}, one for each channel."
            )

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> "Normalisation":
        """Rebuild it from a manifest's plain values.

        Raises:
            KeyError: A field is missing.
            TypeError: A field is of the wrong type.
        """
        return Normalisation(
            mean=each(plain["mean"], as_number), deviation=each(plain["deviation"], as_number)
        )
