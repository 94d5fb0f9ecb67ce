"""From ONNX to the bundle that a Jetson builds its engine from."""

import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, final

from torchedge.backends import TENSORRT_LIMITS
from torchedge.errors import ArtifactError, CalibrationError, ExportError
from torchedge.exporting.artifact import Artifact, Format, file_record
from torchedge.exporting.samples import SAMPLES_FILE, Samples, batches, load_samples
from torchedge.exporting.step import write_result
from torchedge.exporting.templates import rendered
from torchedge_onnx.step import FLOAT_FILE, MODEL_FILE
from torchedge_tensorrt.calibration_record import (
    CACHE_FILE,
    HostCalibration,
    write_calibration,
)
from torchedge_tensorrt.jetpacks import Version, oldest_tensorrt
from torchedge_tensorrt.platforms import Platform, Precision, require_precision

__all__ = ["CACHE_FILE", "HALF_FILE", "PLAIN_FILE", "QUANTIZED_FILE", "OnnxToTensorRTBundle"]

QUANTIZED_FILE = "model_qdq.onnx"
PLAIN_FILE = "model_fp32.onnx"
HALF_FILE = "model_fp16.onnx"
_SCRIPTS = ("build_engine.py", "benchmark.py")


@final
@dataclass(frozen=True, kw_only=True)
class OnnxToTensorRTBundle:
    """Writes what is copied to the board: models, a calibration cache, samples, scripts, a README.

    An engine is tied to its GPU and TensorRT version, so the board builds it.

    Args:
        platform: The board and its JetPack.
        precision: ``int8``, or ``fp16`` for the float network alone.
    """

    platform: Platform
    precision: Precision = "int8"

    consumes = Format("onnx")
    produces = Format("tensorrt-bundle")

    def export(self, source: Artifact, folder: Path) -> Artifact:
        """Copy the models, write the same scales as a cache, and add samples and scripts.

        Raises:
            SchemeError: TensorRT cannot run the scheme, or the GPU not the precision.
            CalibrationError: INT8 is wanted and the source carries no calibration data.
            ExportError: The parser of the board's TensorRT does not know an operator.
            ArtifactError: One of its ONNX files is damaged.
        """
        require_precision(self.platform, self.precision)
        _require_floats(source)
        samples = load_samples(source.file(SAMPLES_FILE))
        shutil.copyfile(source.file(FLOAT_FILE), folder / PLAIN_FILE)
        details = self._details(source) | self._half(folder)
        if self.precision == "int8":
            if source.scheme is not None:
                TENSORRT_LIMITS.require(source.scheme)
            shutil.copyfile(source.file(MODEL_FILE), folder / QUANTIZED_FILE)
            details |= self._calibrated(source, samples, folder)
        details["rules_broken"] = self._rules_broken(folder)
        details |= self._golden(source, samples, folder)
        self._write_scripts(source, folder)
        return write_result(self, source, folder, details)

    def _half(self, folder: Path) -> dict[str, Any]:
        """TensorRT 11 builds FP16 from a float16 file only; boards that never get it need none."""
        from torchedge_onnx.census import read_model
        from torchedge_onnx.half import half_precision
        from torchedge_onnx.session import open_model

        if not self.platform.may_have_tensorrt_11:
            return {}
        path = folder / HALF_FILE
        try:
            path.write_bytes(half_precision(read_model(folder / PLAIN_FILE)).SerializeToString())
            open_model(path)
        except (ExportError, ArtifactError) as error:
            path.unlink(missing_ok=True)
            return {"fp16_file": f"left out: {error}"}
        return {"fp16_file": HALF_FILE}

    def _calibrated(self, source: Artifact, samples: Samples, folder: Path) -> dict[str, Any]:
        from torchedge_tensorrt.scales import tensor_scales

        if not samples.calibration:
            raise CalibrationError(
                "the calibration set is empty; save the model with calibration=(images,), "
                "some 100 to 500 of them."
            )
        seen = batches(samples.calibration, source.inputs[0].shape[0])
        scales, notes = tensor_scales(folder / QUANTIZED_FILE, folder / PLAIN_FILE, seen)
        found = HostCalibration(
            scales=scales,
            notes=notes,
            samples=len(samples.calibration[0]),
            model_sha256=file_record(folder / PLAIN_FILE).sha256,
            data_sha256=file_record(source.file(SAMPLES_FILE)).sha256,
        )
        write_calibration(found, folder, self.platform.tensorrt)
        return {"calibration_samples": found.samples, "calibration_sha256": found.data_sha256}

    def _rules_broken(self, folder: Path) -> list[str]:
        """Rules that cost speed only are reported; what cannot be read ends the export."""
        from torchedge_onnx.census import read_model
        from torchedge_tensorrt.rules import broken_rules

        name = QUANTIZED_FILE if self.precision == "int8" else PLAIN_FILE
        broken = broken_rules(read_model(folder / name), self.platform.tensorrt)
        for violation in broken:
            if violation.rule == "Q12":
                raise ExportError(f"'{violation.node}': {violation.text}.")
        return [f"{v.rule} {v.operation} '{v.node}': {v.text}" for v in broken]

    def _golden(self, source: Artifact, samples: Samples, folder: Path) -> dict[str, Any]:
        from torchedge_tensorrt.golden import write_golden

        count = write_golden(
            samples,
            source.inputs[0].shape[0],
            folder / PLAIN_FILE,
            folder,
            quantized=self.precision == "int8",
        )
        return {"golden_batches": count}

    def _write_scripts(self, source: Artifact, folder: Path) -> None:
        scripts = resources.files("torchedge_tensorrt") / "device_scripts"
        for name in _SCRIPTS:
            (folder / name).write_text(
                (scripts / name).read_text(encoding="utf-8"), encoding="utf-8"
            )
        values = {
            "name": source.name,
            "platform": self.platform,
            "precision": self.precision,
            "has_half": (folder / HALF_FILE).is_file(),
            "opset": source.details.get("opset"),
            "oldest": _text(oldest_tensorrt(source.details.get("opset") or self.platform.opset)),
        }
        text = rendered("torchedge_tensorrt", "README.md.j2", values)
        (folder / "README.md").write_text(text, encoding="utf-8")

    def _details(self, source: Artifact) -> dict[str, Any]:
        opset = source.details.get("opset")
        return {
            "deployed_files": [QUANTIZED_FILE if self.precision == "int8" else PLAIN_FILE],
            "device": self.platform.device.name,
            "device_model_names": list(self.platform.model_names),
            "compute_capability": self.platform.compute_capability,
            "int8": self.platform.int8,
            "dla_cores": self.platform.dla_cores,
            "jetpack": self.platform.jetpack,
            "tensorrt": _text(self.platform.tensorrt),
            "tensorrt_at_least": _text(oldest_tensorrt(opset or self.platform.opset)),
            "tensorrt_below": "12.0.0",
            "opset": opset,
            "precision": self.precision,
            "engine": "not built: engines are built on the board",
        }


def _require_floats(source: Artifact) -> None:
    """Samples of a bundle are float32, which is how a board feeds the engine."""
    for spec in source.inputs:
        if spec.dtype != "float32":
            raise ExportError(
                f"input '{spec.name}' of '{source.name}' is {spec.dtype}, and a bundle's scripts "
                "feed float32; begin the network behind it."
            )


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)
