"""What a .tflite file is made from: the network as trained, calibrated here, or in float."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from torchedge.backends import TFLITE, TFLITE_LIMITS
from torchedge.errors import SchemeError
from torchedge.exporting.artifact import Artifact, TensorSpec
from torchedge.exporting.samples import Samples, batches
from torchedge_onnx.step import FLOAT_FILE as ONNX_FLOAT_FILE
from torchedge_onnx.step import MODEL_FILE as ONNX_FILE

if TYPE_CHECKING:
    import onnx

    from torchedge_tflite.qdq_reader import Grid

__all__ = ["SourceNetwork", "float_network", "quantized_network"]


@final
@dataclass(frozen=True, kw_only=True)
class SourceNetwork:
    """A graph, the artefact that it belongs to, and what the file made from it must answer.

    Args:
        model: With Q/DQ, or float.
        artifact: With its scheme and the grids of its outputs.
        samples: Inputs, and answers of this very network.
        compared_with: Whose answers they are; empty for those that came with the artefact.
    """

    model: "onnx.ModelProto"
    artifact: Artifact
    samples: Samples
    compared_with: str = ""


def quantized_network(source: Artifact, samples: Samples) -> SourceNetwork:
    """The graph as it was trained, or a float one after calibration on its own samples.

    Raises:
        SchemeError: TFLite cannot run the scheme, or a float model has no calibration samples.
        ArtifactError: The ONNX file is damaged.
        CalibrationError: A range cannot be chosen from the samples.
    """
    from torchedge_onnx.census import read_model

    model = read_model(source.file(ONNX_FILE))
    if source.scheme is not None:
        TFLITE_LIMITS.require(source.scheme)
        return SourceNetwork(model=model, artifact=source, samples=samples)
    if not samples.calibration:
        raise SchemeError(
            f"'{source.path}' has neither quantisers nor calibration samples, so nothing says "
            "which integers to use; call prepare_qat, save it with CompressedModel(calibration=…), "
            "or ask for precision float16."
        )
    return _calibrated(model, source, samples)


def _calibrated(model: "onnx.ModelProto", source: Artifact, samples: Samples) -> SourceNetwork:
    from torchedge_tflite.calibrated import calibrated
    from torchedge_tflite.reference_outputs import agreement_text, with_answers_of

    batch_size, count = source.inputs[0].shape[0], len(samples.calibration[0])
    model = calibrated(model, batches(samples.calibration, batch_size), TFLITE)
    answered = with_answers_of(model, samples, batch_size)
    grids = _output_grids(model)
    outputs = tuple(_with_grid(spec, grids.get(spec.name)) for spec in source.outputs)
    return SourceNetwork(
        model=model,
        artifact=replace(source, scheme=TFLITE, outputs=outputs),
        samples=answered,
        compared_with=(
            f"the network calibrated in this export on {count:,} samples, whose "
            f"{agreement_text(answered, samples)} with the float network"
        ),
    )


def _with_grid(output: TensorSpec, grid: "Grid | None") -> TensorSpec:
    if grid is None:  # it is computed in floats
        return output
    return replace(output, scale=grid.scale, zero_point=grid.zero_point)


def _output_grids(model: "onnx.ModelProto") -> "dict[str, Grid]":
    """Of the outputs that are on one, also behind what only moves values."""
    from torchedge_onnx.graph import producers
    from torchedge_tflite.lowering.meaning import MOVES
    from torchedge_tflite.qdq_reader import read_trained

    activations, made_by = read_trained(model).activations, producers(model)
    grids = {}
    for output in model.graph.output:
        node = made_by.get(output.name)
        while node is not None and node.op_type in {*MOVES, "Pad"}:
            node = made_by.get(node.input[0])
        if node is not None and node.op_type == "DequantizeLinear":
            grids[output.name] = activations[node.input[0]]
    return grids


def float_network(source: Artifact, samples: Samples) -> SourceNetwork:
    """The float form of any network; of a trained quantised one, the same weights.

    Raises:
        ArtifactError: The ONNX file is damaged.
    """
    from torchedge_onnx.census import read_model
    from torchedge_tflite.reference_outputs import agreement_text, with_answers_of

    model = read_model(source.file(ONNX_FLOAT_FILE))
    if source.scheme is None:
        return SourceNetwork(model=model, artifact=source, samples=samples)
    answered = with_answers_of(model, samples, source.inputs[0].shape[0])
    outputs = tuple(replace(spec, scale=None, zero_point=None) for spec in source.outputs)
    return SourceNetwork(
        model=model,
        artifact=replace(source, scheme=None, outputs=outputs),
        samples=answered,
        compared_with=(
            "the float network with the trained weights, whose "
            f"{agreement_text(answered, samples)} with the fake-quantised one"
        ),
    )
