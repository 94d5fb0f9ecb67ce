"""Channels that go together, as values."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, final

from torch import Tensor

__all__ = ["ChannelGroup", "Side", "SizeConstant", "Slice"]

Side: TypeAlias = Literal["out", "in"]


@final
@dataclass(frozen=True, kw_only=True)
class Slice:
    """Where a group's channels are in one parameter or buffer.

    Args:
        path: Its name.
        axis: The axis along which they are.
        side: Whether it makes or carries the channels, or reads them.
        units: For each index along the axis the channel of the group, -1 for one of another group.
    """

    path: str
    axis: int
    side: Side
    units: tuple[int, ...]

    @property
    def layer(self) -> str:
        """Name of the module that holds the parameter."""
        return self.path.partition(".parametrizations.")[0] if _masked(self.path) else _owner(self)


@final
@dataclass(frozen=True, kw_only=True)
class SizeConstant:
    """A number in the network's code that counts channels.

    Args:
        node: Node of the traced graph that holds it.
        place: Which of its arguments.
        value: What it is.
        units: The channels that it counts, -1 for those of other groups.
    """

    node: str
    place: str
    value: int
    units: tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True)
class ChannelGroup:
    """Channels of several layers that must be removed together.

    Args:
        name: The layer that makes the channels; the first, if there are several.
        members: Layers, and the side on which each has the channels.
        channels: How many can be removed one by one.
        reason: Why none can be removed; ``None`` for a group that can be pruned.
        slices: Where the channels are, parameter by parameter.
        constants: Numbers in the network's code that change with the group.
        example_inputs: What the network ran on when the group was found.
    """

    name: str
    members: tuple[tuple[str, Side], ...]
    channels: int
    reason: str | None = None
    slices: tuple[Slice, ...] = field(default=(), compare=False, repr=False)
    constants: tuple[SizeConstant, ...] = field(default=(), compare=False, repr=False)
    example_inputs: tuple[Tensor, ...] = field(default=(), compare=False, repr=False)

    @property
    def prunable(self) -> bool:
        """Whether channels can be removed."""
        return self.reason is None

    def details(self) -> str:
        """The group for people: a line for its size, and one for each parameter.

        Example:
            >>> slices = (Slice(path="conv.weight", axis=0, side="out", units=(0, 1)),
            ...           Slice(path="fc.weight", axis=1, side="in", units=(0, 0, 1, 1)))
            >>> print(ChannelGroup(name="conv", members=(("conv", "out"), ("fc", "in")), channels=2,
            ...                    slices=slices).details())
            conv: 2 channels
              conv.weight, axis 0, out
              fc.weight, axis 1, in, 2 of its 4 for each channel
        """
        state = "" if self.reason is None else f", cannot be pruned: {self.reason}"
        return "\n".join(
            [f"{self.name}: {self.channels} channels{state}", *map(_line, self.slices)]
        )


def _line(part: Slice) -> str:
    mine = [unit for unit in part.units if unit >= 0]
    each = len(mine) // max(len(set(mine)), 1)
    text = f"  {part.path}, axis {part.axis}, {part.side}"
    if each > 1:
        text += f", {each} of its {len(part.units)} for each channel"
    elif len(mine) < len(part.units):
        text += f", {len(mine)} of its {len(part.units)}"
    return text


def _masked(path: str) -> bool:
    return ".parametrizations." in path


def _owner(part: Slice) -> str:
    return part.path.rpartition(".")[0]
