"""Where a teacher's answers come from: a network that runs, or a file that it wrote."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from torchedge.distillation.calls import Call
from torchedge.distillation.taps import Taps, require_layers, taps
from torchedge.graph.copies import copied
from torchedge.graph.wrappers import without_wrappers

__all__ = ["NONE_NAMED", "LiveTeacher", "TeacherSource"]

NONE_NAMED: Mapping[str, Any] = MappingProxyType({})


class TeacherSource(Protocol):
    """Gives, for what the student was given, what the teacher shows."""

    def prepare(self, layers: tuple[str, ...]) -> None:
        """Be ready to show these layers; refuse what is not there."""

    def to(self, device: torch.device) -> None:
        """Answer on this device from now on."""

    def unpacked(self, batch: Any) -> tuple[Any, Tensor | None]:  # noqa: ANN401
        """The task's own batch, and the indices of its samples where they were asked for."""

    def taps(
        self,
        inputs: tuple[Any, ...],
        indices: Tensor | None,
        named: Mapping[str, Any] = NONE_NAMED,
    ) -> Taps:
        """What the teacher shows for these arguments of the student, without a gradient."""


@final
class LiveTeacher:
    """A copy of a network: frozen, in evaluation mode, and nobody's submodule.

    Args:
        network: The teacher; it stays as it is.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = copied(without_wrappers(network)).eval().requires_grad_(False)
        self.layers: tuple[str, ...] = ()

    def prepare(self, layers: tuple[str, ...]) -> None:
        """Show these layers.

        Raises:
            DistillationError: A layer does not exist.
        """
        require_layers(self.network, layers, "teacher")
        self.layers = layers

    def to(self, device: torch.device) -> None:
        """Move the network."""
        self.network.to(device)

    def unpacked(self, batch: Any) -> tuple[Any, None]:  # noqa: ANN401
        """The batch as it is."""
        return batch, None

    def taps(
        self,
        inputs: tuple[Any, ...],
        indices: Tensor | None,
        named: Mapping[str, Any] = NONE_NAMED,
    ) -> Taps:
        """Run the network on all that the student was given.

        Raises:
            DistillationError: It does not take these arguments, or writes into them.
        """
        call = Call.of(inputs, named)
        call.require_accepted(self.network)
        with torch.no_grad(), taps(self.network, self.layers) as tap:
            self.network(*inputs, **named)
            call.require_unchanged("teacher")
            return tap.last()[1]
