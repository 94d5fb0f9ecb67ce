"""Where a teacher's answers come from: a network that runs, or a file that it wrote."""

import copy
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from torchedge.distillation.taps import Taps, require_layers, taps

__all__ = ["LiveTeacher", "TeacherSource"]


class TeacherSource(Protocol):
    """Gives, for what the student was given, what the teacher shows."""

    def prepare(self, layers: tuple[str, ...]) -> None:
        """Be ready to show these layers; refuse what is not there."""

    def to(self, device: torch.device) -> None:
        """Answer on this device from now on."""

    def unpacked(self, batch: Any) -> tuple[Any, Tensor | None]:  # noqa: ANN401
        """The task's own batch, and the indices of its samples where they were asked for."""

    def taps(self, inputs: tuple[Any, ...], indices: Tensor | None) -> Taps:
        """What the teacher shows for these inputs, without a gradient."""


@final
class LiveTeacher:
    """A copy of a network: frozen, in evaluation mode, and nobody's submodule.

    Args:
        network: The teacher; it stays as it is.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
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

    def taps(self, inputs: tuple[Any, ...], indices: Tensor | None) -> Taps:
        """Run the network on the student's inputs."""
        with torch.no_grad(), taps(self.network, self.layers) as tap:
            self.network(*inputs)
            return tap.last()[1]
