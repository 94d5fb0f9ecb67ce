"""From ONNX to the bundle that a Jetson builds its engine from."""

import shutil
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, final

from torchedge.backends import TENSORRT_LIMITS
from torchedge.export.artifact import Artifact, Format, file_record, write_artifact
from torchedge.export.samples import SAMPLES_FILE, batches, load_samples
from torchedge_onnx.step import FLOAT_FILE, MODEL_FILE
from torchedge_tensorrt.platforms import Platform

__all__ = ["CACHE_FILE", "PLAIN_FILE", "QUANTIZED_FILE", "OnnxToTensorRTBundle"]

QUANTIZED_FILE = "model_qdq.onnx"
PLAIN_FILE = "model_fp32.onnx"
CACHE_FILE = "calibration.cache"
_SCRIPTS = ("build_engine.py", "benchmark.py")


@final
@dataclass(frozen=True, kw_only=True)
class OnnxToTensorRTBundle:
    """Writes what is copied to the board: two models, a calibration cache, scripts and a README.

    An engine is tied to its GPU and TensorRT version, so the board builds it.

    Args:
        platform: The board and its JetPack.
    """

    platform: Platform

    consumes = Format("onnx")
    produces = Format("tensorrt-bundle")

    def export(self, source: Artifact, folder: Path) -> Artifact:
        """Copy the models, write the same scales as a cache, and add the scripts.

        Raises:
            SchemeError: TensorRT cannot run the scheme; the text has the nearest.
            CalibrationError: The source carries no calibration data.
            ArtifactError: One of its ONNX files is damaged.
        """
        from torchedge_tensorrt.calibration_cache import format_cache
        from torchedge_tensorrt.ranges import tensor_scales

        if source.scheme is not None:
            TENSORRT_LIMITS.require(source.scheme)
        shutil.copyfile(source.file(MODEL_FILE), folder / QUANTIZED_FILE)
        shutil.copyfile(source.file(FLOAT_FILE), folder / PLAIN_FILE)
        calibration = load_samples(source.file(SAMPLES_FILE)).calibration
        batch_size = source.inputs[0].shape[0]
        scales = tensor_scales(
            folder / QUANTIZED_FILE, folder / PLAIN_FILE, batches(calibration, batch_size)
        )
        (folder / CACHE_FILE).write_text(format_cache(scales, self.platform.tensorrt))
        self._write_scripts(source, folder)
        draft = replace(
            source,
            path=folder,
            format=self.produces,
            made_by=(*source.made_by, type(self).__name__),
            details=self._details(source, len(calibration[0])),
        )
        return write_artifact(draft)

    def _write_scripts(self, source: Artifact, folder: Path) -> None:
        scripts = resources.files("torchedge_tensorrt") / "device_scripts"
        for name in _SCRIPTS:
            (folder / name).write_text((scripts / name).read_text())
        template = resources.files("torchedge_tensorrt") / "templates" / "README.md.j2"
        text = _rendered(template.read_text(), name=source.name, platform=self.platform)
        (folder / "README.md").write_text(text)

    def _details(self, source: Artifact, calibration_samples: int) -> dict[str, Any]:
        return {
            "deployed_files": [QUANTIZED_FILE],
            "device": self.platform.device.name,
            "compute_capability": self.platform.compute_capability,
            "jetpack": self.platform.jetpack,
            "tensorrt": ".".join(str(part) for part in self.platform.tensorrt),
            "tensorrt_at_least": "8.0",
            "opset": source.details.get("opset"),
            "precision": "int8",
            "calibration_samples": calibration_samples,
            "calibration_sha256": file_record(source.file(SAMPLES_FILE)).sha256,
            "engine": "not built: engines are built on the board",
        }


def _rendered(template: str, *, name: str, platform: Platform) -> str:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template).render(name=name, platform=platform)
