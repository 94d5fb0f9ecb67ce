"""Data with what has to be said about it where that cannot be seen."""

from dataclasses import KW_ONLY, dataclass
from typing import final

from torchedge.errors import UsageError
from torchedge.kinds import fields_checked

__all__ = ["BATCH_SIZE", "Data"]

BATCH_SIZE = 32


@final
@dataclass(frozen=True)
class Data:
    """Data with options; stands wherever data is taken.

    Args:
        source: A ``DataLoader`` or ``Dataset`` (labels may come with it), a tensor or array with
            samples along its first axis, a list or generator of batches, a dictionary of arrays, or
            a folder of pictures, ``.npy`` or ``.npz`` files.
        key: Which entry of a dictionary is the input; several names for several inputs.
        batch_size: Samples at once, where the source does not come in batches.
        input_shape: Of one sample, for a folder where the network does not tell it.
        mean: Subtracted from pictures of a folder, whose pixels are in [0, 1].
        std: Then divides them.

    Raises:
        UsageError: A size is no count, or an option is of another kind.

    Example:
        >>> Data("pictures", input_shape=(3, 224, 224)).batch_size
        32
    """

    source: object
    _: KW_ONLY
    key: str | tuple[str, ...] | None = None
    batch_size: int = BATCH_SIZE
    input_shape: tuple[int, ...] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        fields_checked(self)
        sizes = (self.batch_size, *(self.input_shape or ()))
        if min(sizes) < 1:
            raise UsageError(
                f"batch_size={self.batch_size!r}, input_shape={self.input_shape!r}; give whole "
                "numbers above zero."
            )
