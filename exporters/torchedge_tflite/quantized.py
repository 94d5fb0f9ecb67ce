"""The network with quantisers that an integer file is made from: trained, or calibrated here."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

from torchedge.backends import TFLITE, TFLITE_LIMITS
from torchedge.errors import SchemeError
from torchedge.export.artifact import Artifact
from torchedge.export.samples import SAMPLES_FILE, batches, load_samples
from torchedge_onnx.step import MODEL_FILE as ONNX_FILE

if TYPE_CHECKING:
    import onnx

    from torchedge_tflite.trained import Grid

__all__ = ["QuantizedNetwork", "quantized_network"]


@final
@dataclass(frozen=True, kw_only=True)
class QuantizedNetwork:
    """A graph with Q/DQ, and the artefact that it belongs to.

    Args:
        model: The graph.
        artifact: With its scheme and the grids of its outputs.
    """

    model: "onnx.ModelProto"
    artifact: Artifact


def quantized_network(source: Artifact) -> QuantizedNetwork:
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
        return QuantizedNetwork(model=model, artifact=source)
    calibration = load_samples(source.file(SAMPLES_FILE)).calibration
    if not calibration:
        raise SchemeError(
            f"'{source.path}' is a float model without calibration samples, so nothing says which "
            "integers to use; save it with CompressedModel(calibration=…), call prepare_qat, or "
            "ask for OnnxToTFLite(precision='float16')."
        )
    from torchedge_tflite.calibrated import calibrated

    model = calibrated(model, batches(calibration, source.inputs[0].shape[0]), TFLITE)
    grids = _output_grids(model)
    outputs = tuple(
        replace(spec, scale=grids[spec.name].scale, zero_point=grids[spec.name].zero_point)
        for spec in source.outputs
    )
    return QuantizedNetwork(model=model, artifact=replace(source, scheme=TFLITE, outputs=outputs))


def _output_grids(model: "onnx.ModelProto") -> "dict[str, Grid]":
    from torchedge_onnx.graph import producers
    from torchedge_tflite.trained import read_trained

    activations, made_by = read_trained(model).activations, producers(model)
    return {
        output.name: activations[made_by[output.name].input[0]] for output in model.graph.output
    }
