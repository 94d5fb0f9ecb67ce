"""Opening a .tflite file in LiteRT; its layout and its integers stay inside."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np

from torchedge.bench.session import Array, Session
from torchedge.errors import ArtifactError, MissingDependencyError
from torchedge.reading.files import read_bounded
from torchedge.reading.names import one_line
from torchedge_tflite.layout import tflite_axes
from torchedge_tflite.probe import require_survived
from torchedge_tflite.soundness import require_sound

if TYPE_CHECKING:
    from torchedge.exporting.artifact import TensorSpec

__all__ = ["Kernels", "Port", "open_model"]

Kernels = Literal["xnnpack", "reference"]
_RESOLVERS: Mapping[Kernels, str] = {"xnnpack": "AUTO", "reference": "BUILTIN_REF"}
_MOST_BYTES = 2**31 - 1


@final
@dataclass(frozen=True, kw_only=True)
class Port:
    """One input or output: from PyTorch's real numbers to what the file has, and back.

    Args:
        index: Of the tensor in the interpreter.
        axes: PyTorch's axes in the file's order.
        dtype: Of the file's tensor.
        scale: 0 for a tensor that is not quantised.
        zero_point: Of the same.
    """

    index: int
    axes: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: np.float32
    zero_point: int

    def stored(self, x: Array) -> Array:
        """What the interpreter reads: channels last, rounded as XNNPACK's QUANTIZE rounds."""
        moved = x.transpose(self.axes)
        if not self.scale:
            return np.ascontiguousarray(moved, self.dtype)
        limits = np.iinfo(self.dtype)
        steps = np.rint(moved * (np.float32(1) / self.scale)) + self.zero_point
        return np.asarray(np.clip(steps, limits.min, limits.max).astype(self.dtype))

    def real(self, x: Array) -> Array:
        """What PyTorch would have returned."""
        if self.scale:
            x = (x.astype(np.float32) - np.float32(self.zero_point)) * self.scale
        return np.ascontiguousarray(x.transpose(np.argsort(self.axes)))


def open_model(
    path: Path,
    inputs: tuple["TensorSpec", ...],
    outputs: tuple["TensorSpec", ...],
    *,
    kernels: Kernels = "xnnpack",
) -> Session:
    """A callable session of a .tflite file, on one thread.

    The file is followed offset by offset, then opened and run once in a process that may die of it.

    Args:
        path: The file.
        inputs: In PyTorch's layout, in order.
        outputs: Likewise.
        kernels: XNNPACK, as phones use them, or LiteRT's plain reference kernels.

    Raises:
        ArtifactError: LiteRT cannot read the file, or dies of it; it has operators that this
            package never writes, takes more memory than it may, or has other inputs and outputs.
        MissingDependencyError: ai-edge-litert is not installed.
    """
    data = read_bounded(path, _MOST_BYTES)
    _, tensor_bytes = require_sound(data, f"'{path}'")
    litert = _litert()
    resolver = _RESOLVERS[kernels]
    require_survived(data, f"'{path}'", "litert", tensor_bytes=tensor_bytes, resolver=resolver)
    try:
        interpreter = litert.Interpreter(
            model_content=data,
            num_threads=1,
            experimental_op_resolver_type=getattr(litert.OpResolverType, resolver),
        )
        interpreter.allocate_tensors()
        runner = interpreter.get_signature_runner()
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(_unreadable(path, error)) from error
    taken = _ports(path, inputs, runner.get_input_details())
    given = _ports(path, outputs, runner.get_output_details())

    def run(*arrays: Array) -> tuple[Array, ...]:
        try:
            for port, array in zip(taken, arrays, strict=True):
                interpreter.set_tensor(port.index, port.stored(array))
            interpreter.invoke()
            return tuple(port.real(interpreter.get_tensor(port.index)) for port in given)
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(_unreadable(path, error)) from error

    return run


def _litert() -> Any:  # noqa: ANN401 - LiteRT has no types
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise MissingDependencyError(
            "running TFLite files needs the package ai-edge-litert; "
            "type: pip install 'torchedge[tflite]'"
        ) from error
    return interpreter


def _unreadable(path: Path, error: Exception) -> str:
    return (
        f"LiteRT cannot read '{path}' ({path.stat().st_size:,} bytes): {one_line(error)} "
        "Copy or export it again."
    )


def _ports(
    path: Path, specs: tuple["TensorSpec", ...], details: Mapping[str, Any]
) -> tuple[Port, ...]:
    names = [spec.name for spec in specs]
    if set(names) != set(details):
        raise ArtifactError(
            f"'{path}' has {sorted(details)}, the manifest {sorted(names)}; export it again."
        )
    return tuple(_port(spec, details[spec.name]) for spec in specs)


def _port(spec: "TensorSpec", detail: Mapping[str, Any]) -> Port:
    scale, zero_point = detail["quantization"]
    return Port(
        index=int(detail["index"]),
        axes=tflite_axes(spec.shape, [int(size) for size in detail["shape"]]),
        dtype=np.dtype(detail["dtype"]),
        scale=np.float32(scale),
        zero_point=int(zero_point),
    )
