"""Whether a rewritten graph still answers as the file that it was made of.

The file as it was read runs in ONNX Runtime with every optimisation off. How far apart rounding
alone may bring the two is measured: the file runs again with its inputs and constants each moved by
one step of their float type. A rewrite that rounds in other places is about as far; one that
computes something else is thousands of times further.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from torchedge.bench.session import Array
from torchedge.errors import ArtifactError, ExportError, VerificationError
from torchedge_onnx.session import session_options

if TYPE_CHECKING:
    import onnx

    from torchedge.bench.session import Session

__all__ = ["file_answers", "plain_session", "require_same_answers"]

_FLOATS = "f"
_TIMES_ROUNDING = 16  # a sum of n products, in another order, against one moved at random
_MOST = 2.0**-10  # of the largest value; what rounding moves further has no answer of its own
_LOOKS = frozenset({"Resize", "Upsample", "GridSample", "RoiAlign", "NonMaxSuppression"})
_DRAWS = 4  # in one of them alone, what two constants are moved by may cancel
_SEED = 0
_WAY_OUT = "Nothing was written. Export the network at opset 18, or report the file."


def plain_session(model: "onnx.ModelProto", path: Path) -> "Session":
    """A network in ONNX Runtime exactly as its file says it, nothing folded or fused.

    Args:
        model: As it was read: the runtime opens no file by itself.
        path: For texts.

    Raises:
        ArtifactError: ONNX Runtime cannot read it, or, when it is called, cannot run it.
    """
    options = session_options()
    import onnxruntime

    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its own exceptions have no common base
        raise ArtifactError(
            f"ONNX Runtime cannot read '{path}': {_first_line(error)} Copy or export it again."
        ) from error
    names = [node.name for node in session.get_inputs()]

    def run(*inputs: Array) -> tuple[Array, ...]:
        try:
            return tuple(session.run(None, dict(zip(names, inputs, strict=True))))
        except Exception as error:
            raise ArtifactError(
                f"ONNX Runtime cannot run '{path}' on these inputs: {_first_line(error)}"
            ) from error

    return run


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def file_answers(path: Path, batches: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
    """What a file answers as it came.

    Raises:
        ArtifactError: ONNX Runtime cannot read it, or cannot run it on these inputs.
        VerificationError: There is NaN or infinity among its answers, so that nothing can be
            calibrated or compared with them.
    """
    from torchedge_onnx.census import read_model

    original = plain_session(read_model(path), path)
    answers = [original(*batch) for batch in batches]
    for number, batch in enumerate(answers):
        for place, answer in enumerate(batch):
            if answer.dtype.kind == _FLOATS and not np.all(np.isfinite(answer)):
                raise VerificationError(
                    f"'{path}' itself answers batch {number} with NaN or infinity in output "
                    f"{place}; check the network and the data, and what was done to the data."
                )
    return answers


def require_same_answers(
    path: Path,
    changed: "Session",
    batches: Sequence[tuple[Array, ...]],
    wanted: Sequence[tuple[Array, ...]],
) -> None:
    """Refuse a rewritten graph that answers otherwise than the file that it was made of.

    Args:
        path: The file as it came.
        changed: What was made of it.
        batches: What both are given.
        wanted: Of :func:`file_answers`.

    Raises:
        ExportError: It is so.
    """
    rounding = _rounding(path, batches[0], wanted[0])
    for number, (batch, answers) in enumerate(zip(batches, wanted, strict=True)):
        try:
            found = changed(*batch)
        except ArtifactError as error:
            raise ExportError(f"rewritten, '{path}' cannot be run: {error} {_WAY_OUT}") from error
        for place, pair in enumerate(zip(found, answers, strict=True)):
            _require_close(path, number, place, pair, rounding[place])


def _require_close(
    path: Path, number: int, place: int, pair: tuple[Array, Array], rounding: float
) -> None:
    found, wanted = pair
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise ExportError(
            f"output {place} of '{path}' is {wanted.dtype} {list(wanted.shape)}, of the rewritten "
            f"graph {found.dtype} {list(found.shape)}. {_WAY_OUT}"
        )
    far, largest = _distance(found, wanted), _largest(wanted)
    rounded = min(_TIMES_ROUNDING * (rounding + _step(wanted) * largest), _MOST * (largest or 1))
    if not far <= rounded:
        raise ExportError(
            f"rewritten, '{path}' answers batch {number} otherwise: output {place} is off by "
            f"{far:.3g} where its largest value is {largest:.3g} and rounding explains "
            f"{rounded:.2g}. {_WAY_OUT}"
        )


def _rounding(path: Path, batch: tuple[Array, ...], wanted: tuple[Array, ...]) -> list[float]:
    """For each output, how far it may move where inputs and constants are rounded otherwise."""
    from torchedge_onnx.census import read_model

    random = np.random.default_rng(_SEED)
    furthest = [0.0] * len(wanted)
    for _ in range(_DRAWS):
        moved = plain_session(_moved_model(read_model(path), random), path)
        found = moved(*(_moved(array, random) for array in batch))
        for place, pair in enumerate(zip(found, wanted, strict=True)):
            far = _distance(*pair) if pair[0].shape == pair[1].shape else 0.0
            furthest[place] = max(furthest[place], far if np.isfinite(far) else 0.0)
    return furthest


def _moved_model(model: "onnx.ModelProto", random: np.random.Generator) -> "onnx.ModelProto":
    """Float constants one step up or down, but for those that say where a node looks."""
    from onnx import numpy_helper

    kept = {n for node in model.graph.node if node.op_type in _LOOKS for n in node.input[1:]}
    for name, tensor in _constants(model):
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == _FLOATS and name not in kept:
            tensor.CopyFrom(numpy_helper.from_array(_moved(array, random), tensor.name))
    return model


def _constants(model: "onnx.ModelProto") -> "list[tuple[str, onnx.TensorProto]]":
    held = [
        (node.output[0], found.t)
        for node in model.graph.node
        if node.op_type == "Constant"
        for found in node.attribute
        if found.name == "value"
    ]
    return [*((tensor.name, tensor) for tensor in model.graph.initializer), *held]


def _moved(array: Array, random: np.random.Generator) -> Array:
    """Whole numbers stay: they are often sizes or bounds, and sums of them are exact."""
    if array.dtype.kind != _FLOATS:
        return array
    ends = np.where(random.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
    whole = array == np.rint(array)
    return np.asarray(np.where(whole, array, np.nextafter(array, ends)), array.dtype)


def _distance(found: Array, wanted: Array) -> float:
    """Largest difference; of whole numbers, the share of those that are others."""
    if not found.size:
        return 0.0
    if found.dtype.kind != _FLOATS:
        return float(np.mean(found != wanted))
    return float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max())


def _largest(values: Array) -> float:
    return float(np.abs(values.astype(np.float64)).max()) if values.size else 0.0


def _step(values: Array) -> float:
    return float(np.finfo(values.dtype).eps) if values.dtype.kind == _FLOATS else 0.0
