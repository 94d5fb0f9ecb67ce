"""Real inputs that travel with a model, with what it should answer, as safetensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ArtifactError
from torchedge.exporting.records import Artifact, TensorSpec
from torchedge.reading.names import one_line
from torchedge.reading.tensors import read_arrays

__all__ = [
    "SAMPLES_FILE",
    "Samples",
    "batches",
    "load_samples",
    "require_fitting_samples",
    "save_samples",
]

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
        ArtifactError: The file is no safetensors file, lacks the inputs or one of its numbered
            arrays, or has not as many samples in each.
    """
    named = read_arrays(path)
    try:
        samples = Samples(
            inputs=_numbered(named, "input"),
            expected=_numbered(named, "expected"),
            labels=named.get("labels"),
            calibration=_numbered(named, "calibration"),
            float_answers=_numbered(named, "float"),
        )
    except KeyError as error:
        raise ArtifactError(f"'{path}' holds no array {one_line(error)}; export again.") from error
    if not samples.inputs:
        raise ArtifactError(f"'{path}' holds no sample inputs; save the model again with samples.")
    _require_as_many(path, samples)
    return samples


def _require_as_many(path: Path, samples: Samples) -> None:
    labels = () if samples.labels is None else (samples.labels,)
    for array in (*samples.inputs, *samples.calibration):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ArtifactError(f"'{path}' holds samples with NaN or infinite values; save again.")
    answered = (*samples.inputs, *samples.expected, *samples.float_answers, *labels)
    for arrays in (answered, samples.calibration):
        counts = {len(array) if array.ndim else 0 for array in arrays}
        if len(counts) > 1 or 0 in counts:
            raise ArtifactError(
                f"'{path}' holds arrays of {sorted(counts)} samples; they belong to each other, so "
                "that they are as many in all. Export again."
            )


def require_fitting_samples(samples: Samples, artifact: Artifact) -> None:
    """Refuse samples that are not of the network that the manifest describes.

    Args:
        samples: Labels and answers may be missing.
        artifact: What they travel with.

    Raises:
        ArtifactError: There are more or fewer inputs or outputs, or they are of another shape.
    """
    described = (
        ("inputs", samples.inputs, artifact.inputs),
        ("calibration data", samples.calibration or None, artifact.inputs),
        ("answers", samples.expected or None, artifact.outputs),
        ("float answers", samples.float_answers or None, artifact.outputs),
    )
    for what, arrays, specs in described:
        if arrays is not None and not _fit(arrays, specs):
            raise ArtifactError(
                f"'{artifact.path}' holds {what} of {[list(array.shape[1:]) for array in arrays]} "
                f"each, the manifest says {[list(spec.shape[1:]) for spec in specs]}; export again."
            )
    if not all(spec.shape and spec.shape[0] > 0 for spec in (*artifact.inputs, *artifact.outputs)):
        raise ArtifactError(
            f"the manifest of '{artifact.path}' has an input or output without a batch; export "
            "the model again."
        )


def _fit(arrays: Sequence[Array], specs: Sequence[TensorSpec]) -> bool:
    pairs = zip(arrays, specs, strict=False)
    return len(arrays) == len(specs) > 0 and all(a.shape[1:] == s.shape[1:] for a, s in pairs)


def _numbered(named: dict[str, Array], prefix: str) -> tuple[Array, ...]:
    count = sum(name.startswith(f"{prefix}.") for name in named)
    return tuple(named[f"{prefix}.{i}"] for i in range(count))
