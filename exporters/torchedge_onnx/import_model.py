"""A float ONNX file from elsewhere becomes an artefact that the targets' steps read."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ArtifactError, CalibrationError, UsageError
from torchedge.exporting.artifact import Artifact, Format, TensorSpec, write_artifact
from torchedge.exporting.normalisation import Normalisation
from torchedge.exporting.pipeline import staged_folder
from torchedge.exporting.samples import SAMPLES_FILE, Samples, save_samples
from torchedge_onnx.foreign_graph import OPSET, normal_form, plain_form
from torchedge_onnx.foreign_kinds import require_known_kind
from torchedge_onnx.foreign_sizes import Input, inputs_of, with_shapes
from torchedge_onnx.same_answers import file_answers, require_same_answers
from torchedge_onnx.session import open_model
from torchedge_onnx.step import FLOAT_DETAILS, FLOAT_FILE, MODEL_FILE

if TYPE_CHECKING:
    import onnx

__all__ = ["import_onnx", "read_foreign"]

_CHECKED_EVERY = 4  # of the batches, this one is kept for checks
_WAY_ON = (  # where a target takes no float network
    "for a Jetson, torchedge calibration create {} DATA OUT --qdq writes Q/DQ into the file, and "
    "--precision fp16 needs none; android, raspberry-pi-5 and microcontrollers calibrate it."
)
_MOST_KEPT_BYTES = 8 * 2**30
_FEWEST = 2  # batches: one for checks and one for calibration


def import_onnx(
    model: Path,
    batches: Iterable[tuple[Array, ...]],
    folder: Path,
    *,
    normalisation: Normalisation | None = None,
    overwrite: bool = False,
) -> Artifact:
    """Write an artefact of a float ONNX file, with data that it is calibrated on and checked with.

    Local functions are inlined, constants and batch norms folded, and the graph is written at opset
    18. On all data it must answer as the file does in ONNX Runtime without optimisations. Every
    fourth batch is kept for checks, beginning with the first; the others are for calibration.

    Args:
        model: The file.
        batches: One array for each input; sizes that the file leaves open are those of the first
            batch. See :func:`torchedge_onnx.foreign_samples.samples_for`.
        folder: New folder; it appears only when everything is written.
        normalisation: What the first input went through; ``None`` where that is not known.
        overwrite: Replace the folder if it exists.

    Raises:
        ArtifactError: The file is damaged, cannot be run on the data, or has Q/DQ, whose scheme is
            not known here.
        UsageError: It is no plain network of tensors, its inputs and outputs do not share their
            first axis, or the normalisation does not fit.
        ExportError: It cannot be written at opset 18, or would answer otherwise there.
        VerificationError: It answers with NaN or infinity.
        CalibrationError: There are fewer than two batches, they do not fit, are not finite, or
            take more than 8 GiB.
        OutputExistsError: The folder exists.
    """
    with staged_folder(folder, overwrite=overwrite, inputs=(model,)) as staging:
        given = _kept(batches)
        source = read_foreign(model)
        inputs = _fitted(inputs_of(model, source), given)
        _require_batch_first(model, inputs)
        if normalisation is not None:
            normalisation.require_fit(inputs[0].shape)
        names = [value.name for value in source.graph.input]
        answers = file_answers(model, given)
        shapes = {name: spec.shape for name, spec in zip(names, inputs, strict=True)}
        graph = normal_form(model, with_shapes(source, shapes))
        _require_rows(model, answers[0], inputs[0].shape[0])
        data = graph.SerializeToString()
        for name in (MODEL_FILE, FLOAT_FILE):
            (staging / name).write_bytes(data)
        require_same_answers(model, open_model(staging / FLOAT_FILE), given, answers)
        save_samples(_samples(given, answers), staging / SAMPLES_FILE)
        draft = Artifact(
            path=staging,
            format=Format("onnx"),
            inputs=inputs,
            outputs=_outputs(answers[0]),
            made_by=("import_onnx",),
            name=model.stem,
            details={
                "opset": OPSET,
                "deployed_files": [MODEL_FILE],
                "way_on": _WAY_ON.format(model.name),
                **FLOAT_DETAILS,
            },
            normalisation=normalisation,
        )
        artifact = write_artifact(draft)
    return replace(artifact, path=folder)


def _kept(batches: Iterable[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
    """All batches, as far as a computer may be expected to keep them."""
    kept, taken = list[tuple[Array, ...]](), 0
    for batch in batches:
        taken += sum(array.nbytes for array in batch)
        if taken > _MOST_KEPT_BYTES:
            raise CalibrationError(
                f"the first {len(kept) + 1:,} batches take {taken:,} bytes, and all are kept in "
                f"memory, up to {_MOST_KEPT_BYTES:,}; give fewer samples or smaller ones."
            )
        kept.append(batch)
    return kept


def read_foreign(path: Path) -> "onnx.ModelProto":
    """A float file without local functions and with no constant among its inputs.

    Raises:
        ArtifactError: It is missing or damaged, or has Q/DQ, whose scheme is not known here.
        UsageError: It is no plain network of tensors.
    """
    from torchedge_onnx.census import read_model

    if not path.is_file():
        raise ArtifactError(f"'{path}' is no file; name an ONNX file.")
    model = plain_form(read_model(path))
    require_known_kind(path, model)
    return model


def _fitted(inputs: tuple[Input, ...], batches: list[tuple[Array, ...]]) -> tuple[TensorSpec, ...]:
    """What the network takes, open sizes as in the first batch, which every batch fits."""
    if len(batches) < _FEWEST:
        raise CalibrationError(
            f"{len(batches)} batches of samples; give at least {_FEWEST}, and some 100 to 500."
        )
    shapes = [array.shape for array in batches[0]] + [()] * len(inputs)
    specs = tuple(
        TensorSpec(f"input_{index}", _filled(each.sizes, shapes[index]), each.dtype)
        for index, each in enumerate(inputs)
    )
    wanted = [(spec.shape, spec.dtype) for spec in specs]
    for index, batch in enumerate(batches):
        found = [(array.shape, str(array.dtype)) for array in batch]
        if found != wanted:
            raise CalibrationError(
                f"batch {index} holds {_shown(found)}, the network takes {_shown(wanted)}; give "
                "every input as such an array."
            )
        _require_finite(index, batch)
    return specs


def _filled(sizes: tuple[int | None, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of the file, and of an array where the file leaves them open."""
    given = shape if len(shape) == len(sizes) else (0,) * len(sizes)
    return tuple(there if own is None else own for own, there in zip(sizes, given, strict=True))


def _shown(arrays: list[tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{kind} {list(shape)}" for shape, kind in arrays) or "nothing"


def _require_finite(index: int, batch: tuple[Array, ...]) -> None:
    for place, array in enumerate(batch):
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            raise CalibrationError(
                f"batch {index} holds NaN or infinity for input {place}; leave that sample out."
            )


def _require_batch_first(path: Path, inputs: tuple[TensorSpec, ...]) -> None:
    """Samples are kept, and cut into batches, along the first axis of every input."""
    sizes = [spec.shape[0] if spec.shape else None for spec in inputs]
    if not inputs or None in sizes or len(set(sizes)) > 1:
        listed = ", ".join(str(list(spec.shape)) for spec in inputs) or "none"
        raise UsageError(
            f"the inputs of '{path}' are {listed}; each must have the batch, as large for all, as "
            "its first axis. Make constants of the others."
        )


def _require_rows(path: Path, answers: tuple[Array, ...], batch_size: int) -> None:
    """Answers are kept beside the samples that they answer, row by row; a number is one row."""
    for place, answer in enumerate(answers):
        if len(np.atleast_1d(answer)) != batch_size:
            raise UsageError(
                f"output {place} of '{path}' is {list(answer.shape)} for {batch_size} samples; "
                "each must have the batch as its first axis, or be one number at batch size 1. "
                "torchedge calibration create takes others."
            )


def _samples(batches: list[tuple[Array, ...]], answers: list[tuple[Array, ...]]) -> Samples:
    checked = range(0, len(batches), _CHECKED_EVERY)
    return Samples(
        inputs=_joined([batches[i] for i in checked]),
        expected=_joined([answers[i] for i in checked]),
        calibration=_joined([b for i, b in enumerate(batches) if i % _CHECKED_EVERY]),
    )


def _joined(batches: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    """One array for each place; numbers without an axis become rows of one."""
    columns = zip(*batches, strict=True)
    return tuple(np.concatenate([np.atleast_1d(x) for x in column]) for column in columns)


def _outputs(answers: tuple[Array, ...]) -> tuple[TensorSpec, ...]:
    """As they lie in the samples, where a number is a row of one."""
    return tuple(
        TensorSpec(f"output_{index}", np.atleast_1d(array).shape, str(array.dtype))
        for index, array in enumerate(answers)
    )
