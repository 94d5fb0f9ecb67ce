"""Opening an ONNX file in ONNX Runtime so that it computes what the file says."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torchedge.bench.session import Array, Session
from torchedge.errors import ArtifactError, MissingDependencyError
from torchedge.reading.bounds import allowed_bytes
from torchedge.reading.names import one_line
from torchedge_onnx.cpu import may_saturate

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = [
    "observable",
    "open_graph",
    "open_model",
    "open_observed",
    "runnable_graph",
    "session_options",
]

_FATAL_ONLY = 4
_PLACE_OF_IDENTIFIER, _ORT_FORMAT = slice(4, 8), b"ORTM"
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
    """A callable session of any ONNX file whose shapes do not depend on values.

    The runtime gets neither the file nor its bytes, but a model that was read and checked, with
    what it keeps in other files: it opens nothing by itself.

    Args:
        path: The file.
        options: Defaults to :func:`session_options`.

    Raises:
        ArtifactError: ONNX Runtime cannot read the file; or it holds what must not be loaded, or
            running it would take more memory than a file of its size may.
        MissingDependencyError: onnxruntime is not installed.
    """
    options = options or session_options()
    data: bytes = runnable_graph(path).SerializeToString()
    return _session(data, f"'{path}' ({path.stat().st_size:,} bytes)", options)


def runnable_graph(path: Path) -> "onnx.ModelProto":
    """A checked file that takes no more memory than it may.

    Raises:
        ArtifactError: It is damaged, holds what must not be loaded, or takes more.
    """
    from torchedge_onnx.memory import require_modest
    from torchedge_onnx.reading import checked_model

    model = checked_model(path)
    size = model.ByteSize()
    try:
        require_modest(model, allowed_bytes(size))
    except Exception as error:  # onnx's exceptions have no common base
        raise ArtifactError(f"'{path}' ({size:,} bytes) is not run: {one_line(error)}") from error
    return model


def open_graph(
    model: "onnx.ModelProto", options: "onnxruntime.SessionOptions | None" = None
) -> Session:
    """A session of a graph that this package has made of a checked file; it is not checked again.

    Args:
        model: The graph.
        options: Defaults to :func:`session_options`.

    Raises:
        ArtifactError: ONNX Runtime cannot read the graph.
        MissingDependencyError: onnxruntime is not installed.
    """
    return _session(model.SerializeToString(), "the graph", options or session_options())


def _session(data: bytes, what: str, options: "onnxruntime.SessionOptions") -> Session:
    import onnxruntime

    if data[_PLACE_OF_IDENTIFIER] == _ORT_FORMAT:
        raise ArtifactError(f"{what} is an ONNX file that claims to be one of ONNX Runtime's own.")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = onnxruntime.InferenceSession(
            data,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=[_ROUNDS_FLOAT_BIASES],
        )
    except Exception as error:  # its own exceptions have no common base
        raise ArtifactError(
            f"ONNX Runtime cannot read {what}: {one_line(error)} Copy or export it again."
        ) from error
    names = [node.name for node in session.get_inputs()]

    def run(*inputs: Array) -> tuple[Array, ...]:
        try:
            return tuple(session.run(None, dict(zip(names, inputs, strict=True))))
        except Exception as error:  # likewise
            raise ArtifactError(f"ONNX Runtime cannot run {what}: {one_line(error)}") from error

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
    options = session_options() if as_deployed else _without_layouts()
    return open_graph(observable(model, names), options)


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
