"""Opening an ONNX file in ONNX Runtime so that it computes what the file says."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchedge.bench.session import Array, Session
from torchedge.errors import ArtifactError, MissingDependencyError
from torchedge_onnx.cpu import may_saturate

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["open_model", "session_options"]

_FATAL_ONLY = 4
# It rounds float biases to int32 behind the file's back; TensorRT's graphs keep them in float.
_ROUNDS_FLOAT_BIASES = "WeightBiasQuantization"


def session_options() -> "onnxruntime.SessionOptions":
    """Quiet, fully optimised, and exact on x86 processors without VNNI."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "running ONNX needs the package onnxruntime; type: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    if may_saturate():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def open_model(path: Path, options: "onnxruntime.SessionOptions | None" = None) -> Session:
    """A callable session of any ONNX file.

    Args:
        path: The file.
        options: Defaults to :func:`session_options`.

    Raises:
        ArtifactError: ONNX Runtime cannot read the file.
        MissingDependencyError: onnxruntime is not installed.
    """
    options = options or session_options()
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(
            path.read_bytes(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=[_ROUNDS_FLOAT_BIASES],
        )
    except Exception as error:  # its own exceptions have no common base
        raise ArtifactError(
            f"ONNX Runtime cannot read '{path}' ({path.stat().st_size:,} bytes): "
            f"{str(error).splitlines()[0]} Copy or export it again."
        ) from error
    names = [node.name for node in session.get_inputs()]

    def run(*inputs: Array) -> tuple[Array, ...]:
        return tuple(session.run(None, dict(zip(names, inputs, strict=True))))

    return run
