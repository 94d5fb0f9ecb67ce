"""Real inputs that travel with a model, with what it should answer, as safetensors."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ArtifactError

__all__ = ["SAMPLES_FILE", "Samples", "batches", "load_samples", "save_samples"]

SAMPLES_FILE = "samples.safetensors"


@final
@dataclass(frozen=True, kw_only=True)
class Samples:
    """Data for checks and for calibration; the first axis of every array counts samples.

    Args:
        inputs: One array for each input of the network.
        expected: What the PyTorch model answered, one array for each output.
        labels: Class indices, where they are known.
        calibration: One array for each input, from data that no check uses.
        float_answers: What the user's float network answered, one array for each output; empty
            where it is not known, and for a model that is float itself.
    """

    inputs: tuple[Array, ...]
    expected: tuple[Array, ...]
    labels: Array | None = None
    calibration: tuple[Array, ...] = ()
    float_answers: tuple[Array, ...] = ()

    def batches(self, batch_size: int) -> Iterator[tuple[Array, ...]]:
        """The inputs in runs of ``batch_size`` samples."""
        yield from batches(self.inputs, batch_size)


def batches(arrays: tuple[Array, ...], batch_size: int) -> Iterator[tuple[Array, ...]]:
    """Cut arrays into equal runs along their first axis; an incomplete last run is left out."""
    count = len(arrays[0]) if arrays else 0
    for begin in range(0, count - batch_size + 1, batch_size):
        yield tuple(array[begin : begin + batch_size] for array in arrays)


def save_samples(samples: Samples, path: Path) -> None:
    """Write a safetensors file."""
    from safetensors.numpy import save

    named = {f"input.{i}": array for i, array in enumerate(samples.inputs)}
    named |= {f"expected.{i}": array for i, array in enumerate(samples.expected)}
    named |= {f"calibration.{i}": array for i, array in enumerate(samples.calibration)}
    named |= {f"float.{i}": array for i, array in enumerate(samples.float_answers)}
    if samples.labels is not None:
        named["labels"] = samples.labels
    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in named.items()}))


def load_samples(path: Path) -> Samples:
    """Read what :func:`save_samples` wrote.

    Raises:
        ArtifactError: The file is no safetensors file or lacks the inputs.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        named = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(f"'{path}' is no safetensors file ({error}); export again.") from error
    samples = Samples(
        inputs=_numbered(named, "input"),
        expected=_numbered(named, "expected"),
        labels=named.get("labels"),
        calibration=_numbered(named, "calibration"),
        float_answers=_numbered(named, "float"),
    )
    if not samples.inputs:
        raise ArtifactError(f"'{path}' holds no sample inputs; save the model again with samples.")
    return samples


def _numbered(named: dict[str, Array], prefix: str) -> tuple[Array, ...]:
    count = sum(name.startswith(f"{prefix}.") for name in named)
    return tuple(named[f"{prefix}.{i}"] for i in range(count))
