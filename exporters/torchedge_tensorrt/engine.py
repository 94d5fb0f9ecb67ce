"""Building an engine for the GPU of this very computer, from a bundle."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, final

from torchedge.errors import ExportError, MissingDependencyError
from torchedge.exporting.artifact import Artifact, Format
from torchedge.exporting.step import write_result
from torchedge_tensorrt.api import Members, TensorRT
from torchedge_tensorrt.platforms import Precision

__all__ = ["OnnxToTensorRT"]


@final
@dataclass(frozen=True, kw_only=True)
class OnnxToTensorRT:
    """Builds an engine where TensorRT 8 to 11 and a GPU are, with the code of ``build_engine.py``.

    An engine runs on the kind of GPU that built it and nowhere else, so its name has the GPU and
    the version of TensorRT. It is never called an engine for a Jetson.

    Args:
        precision: ``int8``, or ``fp16``; TensorRT 11 takes that from ``model_fp16.onnx``.
        calibration: ``qdq``, or ``cache`` before TensorRT 11.
        workspace_mib: Memory that the builder may use.
        dla_core: Deep learning accelerator, with the GPU as fall-back.
        timing_cache: File that keeps timings of kernels from build to build.
        gpu: Its compute capability, for example ``8.9``; default what PyTorch says.
    """

    precision: Precision = "int8"
    calibration: Literal["qdq", "cache"] = "qdq"
    workspace_mib: int = 4096
    dla_core: int | None = None
    timing_cache: Path | None = None
    gpu: str | None = None

    consumes = Format("tensorrt-bundle")
    produces = Format("tensorrt-engine")

    def export(self, source: Artifact, folder: Path) -> Artifact:
        """Write ``<model>-<precision>-sm<gpu>-trt<version>.engine``.

        Raises:
            MissingDependencyError: TensorRT or a GPU is missing.
            ExportError: TensorRT could not build it, or not as asked.
        """
        from torchedge_tensorrt.device_scripts import build_engine as builder

        trt = _tensorrt()
        gpu = self.gpu or _compute_capability()
        try:
            if self.calibration == "cache":
                builder.check_pair(str(source.path))
            plan, layers = builder.build_with_module(trt, str(source.path), self._options(folder))
        except builder.BuildError as error:
            raise ExportError(str(error)) from error
        integer, total = builder.int8_layers(layers) if layers else (None, None)
        if self.precision == "int8" and integer == 0:
            raise ExportError(f"none of the {total} layers has an INT8 output; it is not used.")
        version = ".".join(str(part) for part in builder.version_numbers(trt.__version__))
        name = f"{source.name}-{self.precision}-sm{gpu.replace('.', '')}-trt{version}.engine"
        (folder / name).write_bytes(plan)
        details = {
            "deployed_files": [name],
            "tensorrt": version,
            "compute_capability": gpu,
            "precision": self.precision,
            "int8_layers": integer,
            "layers": total,
            "device": "the GPU of the computer that built it",
        }
        return write_result(self, source, folder, details)

    def _options(self, folder: Path) -> Namespace:
        return Namespace(
            precision=self.precision,
            calibration=self.calibration,
            workspace_mib=self.workspace_mib,
            dla=self.dla_core,
            timing_cache=str(self.timing_cache or folder / "timing.cache"),
        )


def _tensorrt() -> TensorRT:
    found: Members | None
    try:
        import tensorrt

        found = tensorrt
    except ImportError:
        found = None
    if not hasattr(found, "__version__"):  # type stubs alone can be imported too
        raise MissingDependencyError(
            "building an engine needs the package 'tensorrt'; type: pip install tensorrt. "
            "A Jetson builds its own from the bundle."
        )
    return cast(TensorRT, found)


def _compute_capability() -> str:
    import torch

    if not torch.cuda.is_available():
        raise MissingDependencyError(
            "building an engine needs an NVIDIA GPU; a Jetson builds its own from the bundle."
        )
    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}"
