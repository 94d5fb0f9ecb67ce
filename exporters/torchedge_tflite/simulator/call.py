"""One operator with the arrays that it reads: what every kernel of the simulator takes."""

from dataclasses import dataclass
from typing import final

from torchedge.bench.session import Array
from torchedge_tflite.flatbuffer import FlatTensor, Option

__all__ = ["Call"]


@final
@dataclass(frozen=True, kw_only=True)
class Call:
    """An operator about to run.

    Args:
        name: Of the operator, for example ``CONV_2D``.
        options: Its numbers by the schema's names.
        inputs: What the file says about each input; ``None`` for one that is left out.
        outputs: Likewise.
        arrays: The integers of each input.
    """

    name: str
    options: dict[str, Option]
    inputs: tuple[FlatTensor | None, ...]
    outputs: tuple[FlatTensor, ...]
    arrays: tuple[Array | None, ...]

    def has(self, place: int) -> bool:
        """Whether an optional input is there."""
        return len(self.inputs) > place and self.inputs[place] is not None

    def tensor(self, place: int) -> FlatTensor:
        """What the file says about an input that must be there."""
        found = self.inputs[place]
        assert found is not None
        return found

    def array(self, place: int) -> Array:
        """The integers of an input that must be there."""
        found = self.arrays[place]
        assert found is not None
        return found

    def scale(self, place: int) -> float:
        """The one scale of an input."""
        return self.tensor(place).scales[0]

    def zero_point(self, place: int) -> int:
        """The one zero point of an input."""
        return self.tensor(place).zero_points[0]

    def steps(self, place: int) -> Array:
        """An input in whole steps from its zero point, 64 bits wide."""
        return self.array(place).astype("int64") - self.zero_point(place)

    @property
    def output(self) -> FlatTensor:
        """The only output."""
        return self.outputs[0]

    @property
    def out_scale(self) -> float:
        """Its scale."""
        return self.output.scales[0]

    @property
    def out_zero_point(self) -> int:
        """Its zero point."""
        return self.output.zero_points[0]

    def number(self, name: str) -> int:
        """An option that is a whole number; 0 where the file leaves it out."""
        return int(self.options.get(name, 0))
