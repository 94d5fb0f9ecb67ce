"""From ONNX with Q/DQ to a .tflite file that holds the same integers."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from torchedge.backends import TFLITE_LIMITS
from torchedge.errors import SchemeError
from torchedge.export.artifact import Artifact, Format
from torchedge.export.samples import SAMPLES_FILE
from torchedge.export.step import write_result
from torchedge_onnx.step import FLOAT_FILE as ONNX_FLOAT_FILE
from torchedge_onnx.step import MODEL_FILE as ONNX_FILE
from torchedge_tflite.process import VERSION, Conversion, convert, converter_python

if TYPE_CHECKING:
    import onnx

__all__ = ["FLOAT_FILE", "MODEL_FILE", "OnnxToTFLite"]

MODEL_FILE = "model.tflite"
FLOAT_FILE = "model_fp32.tflite"
_DEFAULT_LIMIT_S = 1800.0


@final
@dataclass(frozen=True, kw_only=True)
class OnnxToTFLite:
    """Writes ``model.tflite`` with the trained integers, and its float twin.

    onnx2tf runs in a process of its own: this interpreter if it has onnx2tf, else the one that
    ``TORCHEDGE_TFLITE_PYTHON`` names. Nothing is downloaded.

    Args:
        time_limit_s: When the conversion is given up.
    """

    time_limit_s: float = _DEFAULT_LIMIT_S

    consumes = Format("onnx")
    produces = Format("tflite")

    def export(self, source: Artifact, folder: Path) -> Artifact:
        """Convert, put the trained numbers in, read them back and compare.

        Raises:
            SchemeError: TFLite cannot run the scheme; the text has the nearest.
            MissingDependencyError: No interpreter with onnx2tf, or ai-edge-litert is missing here.
            ArtifactError: The ONNX file is damaged.
            ExportError: onnx2tf failed; the text has its last complaint and where its log is.
            VerificationError: A scale, zero point or integer of the file is not the trained one.
        """
        from torchedge_onnx.census import read_model
        from torchedge_tflite.flatbuffer import schema

        _require_int8(source)
        schema()  # refused before minutes of work, not after
        python = converter_python()
        model = read_model(source.file(ONNX_FILE))
        with tempfile.TemporaryDirectory(prefix="torchedge-tflite-") as scratch:
            data = self._converted(python, model, source, Path(scratch), folder)
        (folder / MODEL_FILE).write_bytes(data)
        shutil.copyfile(source.file(SAMPLES_FILE), folder / SAMPLES_FILE)
        return write_result(self, source, folder, _details(data))

    def _converted(
        self, python: str, model: "onnx.ModelProto", source: Artifact, scratch: Path, folder: Path
    ) -> bytes:
        from torchedge_onnx.census import read_model
        from torchedge_tflite.flatbuffer import parse
        from torchedge_tflite.matching import expected_numbers, require_trained
        from torchedge_tflite.patching import with_numbers
        from torchedge_tflite.told import distinguishable, told_model, without_shapes_of_sums
        from torchedge_tflite.trained import read_trained

        trained = read_trained(model)
        told = distinguishable(trained.activations)
        conversion = Conversion(
            quantized=scratch / "quantized.onnx",
            float=scratch / "float.onnx",
            quantized_out=scratch / MODEL_FILE,
            float_out=folder / FLOAT_FILE,
            outputs=tuple(spec.name for spec in source.outputs),
        )
        conversion.quantized.write_bytes(told_model(model, told).SerializeToString())
        floating = without_shapes_of_sums(read_model(source.file(ONNX_FLOAT_FILE)))
        conversion.float.write_bytes(floating.SerializeToString())
        convert(python, conversion, time_limit_s=self.time_limit_s)
        as_converted = conversion.quantized_out.read_bytes()
        expected = expected_numbers(parse(as_converted), trained, told)
        data = with_numbers(as_converted, expected)
        require_trained(parse(data), expected)
        return data


def _require_int8(source: Artifact) -> None:
    """Refuse what the converter would have to choose numbers for.

    Raises:
        SchemeError: The model is float, or its scheme is not TFLite's.
    """
    if source.scheme is None:
        raise SchemeError(
            f"'{source.path}' is a float model; call prepare_qat with the target's scheme, so that "
            "the numbers in the .tflite file are trained or calibrated ones."
        )
    TFLITE_LIMITS.require(source.scheme)


def _details(data: bytes) -> dict[str, Any]:
    from torchedge_tflite.flatbuffer import parse

    flat = parse(data)
    ports = [flat.tensors[index] for index in (*flat.inputs, *flat.outputs)]
    return {
        "deployed_files": [MODEL_FILE],
        "layout": "channels last",
        "io_dtypes": sorted({port.dtype for port in ports}),
        "operators": sorted({operator.name for operator in flat.operators}),
        "onnx2tf": VERSION,
    }
