"""An opened artefact, whatever its runtime: arrays in, arrays out."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy.typing as npt

from torchedge.bench.census import Census
from torchedge.bench.memory import Fit

if TYPE_CHECKING:
    from torchedge.exporting.artifact import Artifact, Format

__all__ = ["Array", "CountsIntegers", "HasFloatTwin", "Runner", "Session", "WeighsMemory"]

Array: TypeAlias = npt.NDArray[Any]


class Session(Protocol):
    """A network ready to run. Inputs and outputs are float arrays in PyTorch's layout."""

    def __call__(self, *inputs: Array) -> tuple[Array, ...]:
        """Run once."""
        ...


class Runner(Protocol):
    """Opens artefacts of one format in the format's own runtime."""

    @property
    def format(self) -> "Format":
        """What it opens."""
        ...

    @property
    def label(self) -> str:
        """What a report calls this form of the network."""
        ...

    def open(self, artifact: "Artifact") -> AbstractContextManager[Session]:
        """Load the artefact.

        Raises:
            NotRunError: This machine has no runtime for it.
            MissingDependencyError: The runtime's package is not installed.
            ArtifactError: The runtime cannot read the file.
        """
        ...


@runtime_checkable
class CountsIntegers(Protocol):
    """A runner that can tell how much of an artefact's arithmetic is integer."""

    def census(self, artifact: "Artifact") -> Census:
        """Count, by the runtime's own graph or by its rules.

        Raises:
            ArtifactError: The artefact cannot be read.
        """
        ...


@runtime_checkable
class HasFloatTwin(Protocol):
    """A runner whose artefacts carry the same network in float32."""

    def open_float(self, artifact: "Artifact") -> AbstractContextManager[Session]:
        """Load the float32 network.

        Raises:
            ArtifactError: The runtime cannot read the file.
        """
        ...


@runtime_checkable
class WeighsMemory(Protocol):
    """A runner whose artefacts know what they take of a device's memories."""

    def fit(self, artifact: "Artifact") -> Fit:
        """Every part, measured or estimated.

        Raises:
            ArtifactError: The manifest has none of it.
        """
        ...
