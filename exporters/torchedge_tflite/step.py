"""From ONNX with Q/DQ to a .tflite file that holds the same integers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from torchedge.errors import UsageError
from torchedge.exporting.artifact import Artifact, Format
from torchedge.exporting.samples import SAMPLES_FILE, load_samples, save_samples
from torchedge.exporting.step import write_result
from torchedge.writing import temporary_folder
from torchedge_onnx.step import FLOAT_FILE as ONNX_FLOAT_FILE
from torchedge_tflite.metadata import with_embedded
from torchedge_tflite.process import Conversion, PortType, Precision, convert, find_converter
from torchedge_tflite.quantized import float_network, quantized_network

if TYPE_CHECKING:
    import onnx

__all__ = ["FLOAT_FILE", "MODEL_FILE", "OnnxToTFLite"]

MODEL_FILE = "model.tflite"
FLOAT_FILE = "model_fp32.tflite"
_DEFAULT_LIMIT_S = 1800.0


@final
@dataclass(frozen=True, kw_only=True)
class OnnxToTFLite:
    """Writes ``model.tflite`` and its float twin; with ``int8``, the integers are the trained ones.

    Integers and float32 are written here. For the other precisions onnx2tf runs in a process of its
    own: this interpreter if it has onnx2tf, else the one that ``TORCHEDGE_TFLITE_PYTHON`` names.
    Nothing is downloaded.

    Args:
        precision: ``int8`` for integers throughout. The others compute on floats: ``float32``;
            ``float16``, which stores weights in half the bytes; ``dynamic-range``, which stores
            int8 weights that TensorFlow's converter chose.
        io: What the file of precision ``int8`` takes and returns; ``uint8`` and ``float32`` cost a
            ``QUANTIZE`` or ``DEQUANTIZE`` at each end.
        time_limit_s: When the conversion is given up.

    Raises:
        UsageError: Inputs and outputs other than ``int8`` were asked of another precision.
    """

    precision: Precision = "int8"
    io: PortType = "int8"
    time_limit_s: float = _DEFAULT_LIMIT_S

    consumes = Format("onnx")
    produces = Format("tflite")

    def __post_init__(self) -> None:
        if self.precision != "int8" and self.io != "int8":
            raise UsageError(
                f"a file of precision {self.precision} takes and returns float32; leave out "
                f"io='{self.io}'."
            )

    def export(self, source: Artifact, folder: Path) -> Artifact:
        """Write the file, read it back and compare it with the trained numbers.

        A float model that is to be ``int8`` is calibrated first, on its calibration samples.

        Raises:
            SchemeError: TFLite cannot run the scheme; the text has the nearest. Or the model is
                float and carries no samples to calibrate with.
            MissingDependencyError: ai-edge-litert is missing, or onnx2tf where it is needed.
            ArtifactError: The ONNX file is damaged.
            ExportError: TFLite has no operator for something, which the text names. Or onnx2tf
                failed; the text has its last complaint and where its log is.
            VerificationError: A scale, zero point or integer of the file is not the trained one.
        """
        from torchedge_tflite.flatbuffer import schema

        schema()  # refused before anything else is done
        samples = load_samples(source.file(SAMPLES_FILE))
        if self.precision == "int8":
            network, version = quantized_network(source, samples), ""
            data = self._integer(network.model, source, folder)
        else:
            network = float_network(source, samples)
            data, version = self._float(source, folder)
        (folder / MODEL_FILE).write_bytes(with_embedded(data, network.artifact))
        save_samples(network.samples, folder / SAMPLES_FILE)
        details = {**self._details(data), "compared_with": network.compared_with}
        if version:
            details["onnx2tf"] = version
        return write_result(self, network.artifact, folder, details)

    def _integer(self, model: "onnx.ModelProto", source: Artifact, folder: Path) -> bytes:
        from torchedge_onnx.census import read_model
        from torchedge_tflite.lowering.program import lowered
        from torchedge_tflite.lowering.reading_back import require_trained

        written = lowered(model, self.io)
        require_trained(written)
        floating = read_model(source.file(ONNX_FLOAT_FILE))
        (folder / FLOAT_FILE).write_bytes(lowered(floating).data)
        return written.data

    def _float(self, source: Artifact, folder: Path) -> tuple[bytes, str]:
        """The file, and the version of onnx2tf that wrote it; none did for float32."""
        from torchedge_onnx.census import read_model
        from torchedge_tflite.float_graph import without_shapes_of_sums
        from torchedge_tflite.lowering.program import lowered

        floating = read_model(source.file(ONNX_FLOAT_FILE))
        twin = lowered(floating).data
        (folder / FLOAT_FILE).write_bytes(twin)
        if self.precision == "float32":
            return twin, ""
        converter = find_converter()
        with temporary_folder("tflite") as scratch:
            graph, out = scratch / "float.onnx", scratch / MODEL_FILE
            graph.write_bytes(without_shapes_of_sums(floating).SerializeToString())
            wanted = Conversion(graph=graph, out=out, precision=self.precision)
            names = [spec.name for spec in source.outputs]
            convert(converter, [wanted], names, time_limit_s=self.time_limit_s)
            return out.read_bytes(), converter.version

    def _details(self, data: bytes) -> dict[str, Any]:
        from torchedge_tflite.flatbuffer import parse

        flat = parse(data)
        ports = [flat.tensors[index] for index in (*flat.inputs, *flat.outputs)]
        ends = "" if self.io == "int8" else f" with {self.io} at both ends"
        return {
            "deployed_files": [MODEL_FILE],
            "layout": "channels last",
            "precision": self.precision,
            f"{self.produces}_label": f"{self.precision}{ends}, LiteRT",
            "io_dtypes": sorted({port.dtype for port in ports}),
            "operators": sorted({operator.name for operator in flat.operators}),
        }
