"""A float ONNX file from elsewhere becomes an artefact that the targets' steps read."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ArtifactError, CalibrationError, ExportError, UsageError
from torchedge.export.artifact import Artifact, Format, TensorSpec, write_artifact
from torchedge.export.normalisation import Normalisation
from torchedge.export.pipeline import staged_folder
from torchedge.export.samples import SAMPLES_FILE, Samples, save_samples
from torchedge.writing import temporary_folder
from torchedge_onnx.session import open_model, session_options
from torchedge_onnx.step import FLOAT_DETAILS, FLOAT_FILE, MODEL_FILE

if TYPE_CHECKING:
    import onnx

__all__ = ["import_onnx"]

_OPSET = 18
_CHECKED_EVERY = 4  # of the batches, this one is kept for checks


def import_onnx(
    model: Path,
    batches: Iterable[tuple[Array, ...]],
    folder: Path,
    *,
    normalisation: Normalisation | None = None,
    overwrite: bool = False,
) -> Artifact:
    """Write an artefact of a float ONNX file, with data that it is calibrated on and checked with.

    Constants and batch norms are folded, and the graph is written at opset 18. Every fourth batch
    is kept for checks, beginning with the first; the others are for calibration.

    Args:
        model: The file.
        batches: One array for each input; their length is the batch size where the file leaves it
            open. See :func:`torchedge_onnx.sample_folder.folder_batches`.
        folder: New folder; it appears only when everything is written.
        normalisation: What the first input went through; ``None`` where that is not known.
        overwrite: Replace the folder if it exists.

    Raises:
        ArtifactError: The file is damaged, or has Q/DQ, whose scheme is not known here.
        UsageError: A size is open, an input is not float32, or the normalisation does not fit.
        ExportError: It cannot be written at opset 18.
        CalibrationError: There are fewer than two batches, or they do not fit.
        OutputExistsError: The folder exists.
    """
    with staged_folder(folder, overwrite=overwrite, inputs=(model,)) as staging:
        given = list(batches)
        graph = _prepared(model, batch_size=len(given[0][0]) if given and given[0] else 1)
        inputs = _specs(graph.graph.input)
        _require_fitting(given, inputs)
        if normalisation is not None:
            normalisation.require_fit(inputs[0].shape)
        data = graph.SerializeToString()
        for name in (MODEL_FILE, FLOAT_FILE):
            (staging / name).write_bytes(data)
        samples = _samples(staging / FLOAT_FILE, given)
        save_samples(samples, staging / SAMPLES_FILE)
        draft = Artifact(
            path=staging,
            format=Format("onnx"),
            inputs=inputs,
            outputs=_specs(graph.graph.output),
            made_by=("import_onnx",),
            name=model.stem,
            details={"opset": _OPSET, "deployed_files": [MODEL_FILE], **FLOAT_DETAILS},
            normalisation=normalisation,
        )
        artifact = write_artifact(draft)
    return replace(artifact, path=folder)


def _prepared(path: Path, *, batch_size: int) -> "onnx.ModelProto":
    """The graph with names of our own, static shapes and folded constants."""
    from torchedge_onnx import integer_forms, rewrites
    from torchedge_onnx.census import read_model

    model = read_model(path)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise ArtifactError(
            f"'{path}' has QuantizeLinear nodes, and a file does not say which scheme they were "
            "trained for. Give the float network."
        )
    _fix_batch(model, batch_size)
    _require_static(path, model)
    model = rewrites.without_metadata(_named(_folded(_folded(_at_opset(path, model)))))
    model = integer_forms.fold_padding(rewrites.mean_to_global_pool(model))
    import onnx

    return onnx.shape_inference.infer_shapes(model)


def _fix_batch(model: "onnx.ModelProto", batch_size: int) -> None:
    """Give inputs whose first size is open the batch size; results are inferred again."""
    from torchedge_onnx.graph import real_inputs

    first = [v.type.tensor_type.shape.dim[:1] for v in real_inputs(model)]
    is_open = [dim for dims in first for dim in dims if not dim.dim_value]
    for dim in is_open:
        dim.dim_value = batch_size
    if is_open:
        del model.graph.value_info[:]
        for output in model.graph.output:
            output.type.tensor_type.ClearField("shape")


def _require_static(path: Path, model: "onnx.ModelProto") -> None:
    from onnx import TensorProto

    from torchedge_onnx.graph import real_inputs

    for value in real_inputs(model):
        kind = value.type.tensor_type
        sizes = [dim.dim_value or dim.dim_param or "?" for dim in kind.shape.dim]
        if not all(isinstance(size, int) for size in sizes):
            raise UsageError(
                f"input '{value.name}' of '{path}' has the open shape {sizes}; export the network "
                "with one fixed shape."
            )
        if kind.elem_type != TensorProto.FLOAT:
            raise UsageError(
                f"input '{value.name}' of '{path}' is no float32; begin the network behind it."
            )


def _at_opset(path: Path, model: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    from torchedge_onnx.graph import opset_of

    found = opset_of(model)
    if found == _OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OPSET)
    except Exception as error:  # it raises what its C++ raises
        raise ExportError(
            f"'{path}' is of opset {found} and cannot be written at {_OPSET} "
            f"({str(error).splitlines()[0][:200]}); export the network at opset {_OPSET}."
        ) from error


def _folded(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """By ONNX Runtime's basic optimisations, which keep to ONNX's own operators.

    They fold batch norms before constants: one that reads a computed constant takes a second round.
    """
    import onnx
    import onnxruntime

    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with temporary_folder("onnx") as folder:
        source, written = folder / "source.onnx", folder / "folded.onnx"
        source.write_bytes(model.SerializeToString())
        options.optimized_model_filepath = str(written)
        open_model(source, options)
        folded = onnx.load(written)
    for extra in [o for o in folded.opset_import if o.domain not in {"", "ai.onnx"}]:
        folded.opset_import.remove(extra)
    return folded


def _named(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Inputs and outputs have the names of this package's files, and every node has one."""
    from torchedge_onnx.graph import real_inputs, rename_values

    new = {value.name: f"input_{i}" for i, value in enumerate(real_inputs(model))}
    new |= {value.name: f"output_{i}" for i, value in enumerate(model.graph.output)}
    rename_values(model, new)
    for index, node in enumerate(model.graph.node):
        node.name = f"{index}_{node.name or node.op_type}"
    return model


def _require_fitting(batches: list[tuple[Array, ...]], inputs: tuple[TensorSpec, ...]) -> None:
    wanted = [(spec.shape, spec.dtype) for spec in inputs]
    for index, batch in enumerate(batches):
        found = [(array.shape, str(array.dtype)) for array in batch]
        if found != wanted:
            raise CalibrationError(
                f"batch {index} holds {_shown(found)}, the network takes {_shown(wanted)}; give "
                "every input as such an array."
            )


def _shown(arrays: list[tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{kind} {list(shape)}" for shape, kind in arrays) or "nothing"


def _samples(model: Path, batches: list[tuple[Array, ...]]) -> Samples:
    checked = [b for i, b in enumerate(batches) if i % _CHECKED_EVERY == 0]
    seen = [b for i, b in enumerate(batches) if i % _CHECKED_EVERY]
    if not seen:
        raise CalibrationError(
            f"{len(batches)} batches of samples; give at least 2, and some 100 to 500."
        )
    session = open_model(model)
    return Samples(
        inputs=_joined(checked),
        expected=_joined([session(*batch) for batch in checked]),
        calibration=_joined(seen),
    )


def _joined(batches: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    return tuple(np.concatenate(column) for column in zip(*batches, strict=True))


def _specs(values: "Iterable[onnx.ValueInfoProto]") -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            value.name,
            tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim),
            "float32",
        )
        for value in values
    )
