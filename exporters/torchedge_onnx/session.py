"""Opening an ONNX file in ONNX Runtime so that it computes what the file says."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torchedge.bench.session import Array, Session
from torchedge.errors import ArtifactError, MissingDependencyError
from torchedge_onnx.cpu import may_saturate

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = ["observable", "open_model", "open_observed", "session_options"]

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
        try:
            return tuple(session.run(None, dict(zip(names, inputs, strict=True))))
        except Exception as error:  # likewise
            said = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ArtifactError(f"ONNX Runtime cannot run '{path}': {said}") from error

    return run


def open_observed(
    model: "onnx.ModelProto", names: Sequence[str], *, as_deployed: bool = False
) -> Session:
    """A session that returns these tensors of a graph, inner ones too, in this order.

    Args:
        model: Is not changed.
        names: Results of nodes; the runtime finds their types.
        as_deployed: Compute to the last bit as :func:`open_model` does. Otherwise the layouts of
            tensors are left alone: changing them, ONNX Runtime 1.32 loses outputs of some graphs.

    Raises:
        ArtifactError: ONNX Runtime cannot read the graph.
        MissingDependencyError: onnxruntime is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "observable.onnx")
        path.write_bytes(observable(model, names).SerializeToString())
        return open_model(path, session_options() if as_deployed else _without_layouts())


def _without_layouts() -> "onnxruntime.SessionOptions":
    options = session_options()
    import onnxruntime

    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return options


def observable(model: "onnx.ModelProto", names: Sequence[str]) -> "onnx.ModelProto":
    """A copy of a graph whose outputs are these tensors, inner ones too, in this order."""
    import onnx

    from torchedge_onnx.graph import copied

    copy = copied(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy
