"""From ONNX with Q/DQ to a .tflite file that holds the same integers."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from torchedge.errors import UsageError
from torchedge.export.artifact import Artifact, Format
from torchedge.export.samples import SAMPLES_FILE, load_samples, save_samples
from torchedge.export.step import write_result
from torchedge.writing import temporary_folder
from torchedge_onnx.step import FLOAT_FILE as ONNX_FLOAT_FILE
from torchedge_tflite.embedded import with_embedded
from torchedge_tflite.process import (
    Conversion,
    Converter,
    PortType,
    Precision,
    convert,
    find_converter,
)
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

    onnx2tf runs in a process of its own: this interpreter if it has onnx2tf, else the one that
    ``TORCHEDGE_TFLITE_PYTHON`` names. Nothing is downloaded.

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
        """Convert, put the trained numbers in, read them back and compare.

        A float model that is to be ``int8`` is calibrated first, on its calibration samples.

        Raises:
            SchemeError: TFLite cannot run the scheme; the text has the nearest. Or the model is
                float and carries no samples to calibrate with.
            MissingDependencyError: No interpreter with onnx2tf, or ai-edge-litert is missing here.
            ArtifactError: The ONNX file is damaged.
            ExportError: The network computes on five axes. Or onnx2tf failed; the text has its last
                complaint and where its log is.
            VerificationError: A scale, zero point or integer of the file is not the trained one.
        """
        from torchedge_tflite.flatbuffer import schema

        schema()  # refused before minutes of work, not after
        converter = find_converter()
        samples = load_samples(source.file(SAMPLES_FILE))
        with temporary_folder("tflite") as scratch:
            if self.precision == "int8":
                network = quantized_network(source, samples)
                data = self._integer(converter, network.model, source, scratch, folder)
            else:
                network = float_network(source, samples)
                data = self._float(converter, source, scratch, folder)
        (folder / MODEL_FILE).write_bytes(with_embedded(data, network.artifact))
        save_samples(network.samples, folder / SAMPLES_FILE)
        details = {
            **self._details(data),
            "onnx2tf": converter.version,
            "compared_with": network.compared_with,
        }
        return write_result(self, network.artifact, folder, details)

    def _integer(
        self,
        converter: Converter,
        model: "onnx.ModelProto",
        source: Artifact,
        scratch: Path,
        folder: Path,
    ) -> bytes:
        from torchedge_tflite.flatbuffer import parse
        from torchedge_tflite.matching import expected_numbers, require_trained
        from torchedge_tflite.patching import with_numbers
        from torchedge_tflite.told import distinguishable, told_model
        from torchedge_tflite.trained import read_trained

        trained = read_trained(model)
        told = distinguishable(trained.activations)
        wanted = Conversion(graph=scratch / "quantized.onnx", out=scratch / MODEL_FILE, io=self.io)
        wanted.graph.write_bytes(told_model(model, told).SerializeToString())
        self._convert(converter, [wanted, _twin(source, scratch, folder)], source)
        as_converted = wanted.out.read_bytes()
        expected = expected_numbers(parse(as_converted), trained, told)
        data = with_numbers(as_converted, expected)
        require_trained(parse(data), expected)
        return data

    def _float(self, converter: Converter, source: Artifact, scratch: Path, folder: Path) -> bytes:
        twin = _twin(source, scratch, folder)
        if self.precision == "float32":
            self._convert(converter, [twin], source)
            return twin.out.read_bytes()
        wanted = replace(twin, out=scratch / MODEL_FILE, precision=self.precision)
        self._convert(converter, [wanted, twin], source)
        return wanted.out.read_bytes()

    def _convert(
        self, converter: Converter, conversions: list[Conversion], source: Artifact
    ) -> None:
        names = [spec.name for spec in source.outputs]
        convert(converter, conversions, names, time_limit_s=self.time_limit_s)

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


def _twin(source: Artifact, scratch: Path, folder: Path) -> Conversion:
    """The float network, written to the folder of the result."""
    from torchedge_onnx.census import read_model
    from torchedge_tflite.told import without_shapes_of_sums

    graph = scratch / "float.onnx"
    floating = without_shapes_of_sums(read_model(source.file(ONNX_FLOAT_FILE)))
    graph.write_bytes(floating.SerializeToString())
    return Conversion(graph=graph, out=folder / FLOAT_FILE, precision="float32")
