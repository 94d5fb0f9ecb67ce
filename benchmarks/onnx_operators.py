"""ONNX's own test models of operators and small networks, each imported with its own data.

    python -m benchmarks.onnx_operators [--count 300]

Every model with a float input is taken as it is; where its inputs share no batch, with all but the
first made constants, as a network has them. An imported graph must answer as the file
does in ONNX Runtime without optimisations, or the file must be refused by an error of ours. Ends
with 1 where anything else happens. A few minutes.
"""

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import cyclopts
import numpy as np
from rich.console import Console
from rich.table import Table

from torchedge.bench.session import Array
from torchedge.errors import TorchedgeError
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge_onnx.import_model import import_onnx
from torchedge_onnx.session import open_model
from torchedge_onnx.step import MODEL_FILE

if TYPE_CHECKING:
    import onnx
    from onnx.backend.test.case.test_case import TestCase

__all__ = ["Outcome", "Subject", "main", "outcome", "subjects"]

_KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
_BATCHES = 2
_FAR = 1e-4  # of the largest value; the import itself allows less


@final
@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model with data: one array for each input that a caller gives."""

    name: str
    model: "onnx.ModelProto"
    inputs: tuple[Array, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an import ended: ``equal``, ``refused``, ``raw`` or ``wrong``."""

    name: str
    verdict: str
    reason: str = ""


def subjects() -> Iterator[Subject]:
    """Models with a float input, in order of names; see the module."""
    import warnings

    from onnx.backend.test.loader import load_model_tests

    for kind in _KINDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ONNX computes infinities on purpose
            cases = load_model_tests(kind=kind)
        for case in cases:
            found = _subject(kind, case)
            if found is not None:
                yield found if _share_batches(found) else _with_constants(found)


def _subject(kind: str, case: "TestCase") -> Subject | None:
    import onnx
    from onnx import numpy_helper

    if case.model_dir and case.model is None:
        model = onnx.load(Path(case.model_dir, "model.onnx"))
        files = sorted(
            Path(case.model_dir, "test_data_set_0").glob("input_*.pb"),
            key=lambda path: int(path.stem.rpartition("_")[2]),
        )
        try:
            arrays = [numpy_helper.to_array(onnx.load_tensor(path)) for path in files]
        except Exception:  # sequences and optionals are no tensors; ONNX raises what it likes
            return None
    else:
        model, arrays = case.model, case.data_sets[0][0]
    if not arrays or not all(isinstance(array, np.ndarray) for array in arrays):
        return None
    if not any(array.dtype == np.float32 for array in arrays):
        return None
    return Subject(name=f"{kind}/{case.name}", model=model, inputs=tuple(arrays))


def _share_batches(subject: Subject) -> bool:
    """Whether the first axis of all its inputs is of one length."""
    first = {array.shape[:1] for array in subject.inputs}
    return len(first) == 1 and first != {()}


def _with_constants(subject: Subject) -> Subject:
    """The same with every input but its first float one stored in the file."""
    import onnx
    from onnx import numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(subject.model)
    names = [value.name for value in model.graph.input]
    kept = next(i for i, array in enumerate(subject.inputs) if array.dtype == np.float32)
    for index, array in enumerate(subject.inputs):
        if index != kept:
            model.graph.initializer.append(numpy_helper.from_array(array, names[index]))
    port = model.graph.input[kept].SerializeToString()
    del model.graph.input[:]
    model.graph.input.add().ParseFromString(port)
    return Subject(name=f"{subject.name} (constants)", model=model, inputs=(subject.inputs[kept],))


def outcome(subject: Subject) -> Outcome:
    """Import a model and compare what was written with the model as it came."""
    with tempfile.TemporaryDirectory() as name:
        path, out = Path(name, "model.onnx"), Path(name, "out")
        path.write_bytes(subject.model.SerializeToString())
        try:
            artifact = import_onnx(path, [subject.inputs] * _BATCHES, out)
        except TorchedgeError as error:
            return Outcome(name=subject.name, verdict="refused", reason=_reason(error))
        except Exception as error:  # whatever it is, it is a defect
            told = f"{type(error).__name__}: {str(error)[:160]}"
            return Outcome(name=subject.name, verdict="raw", reason=told)
        found = open_model(out / MODEL_FILE)(*subject.inputs)
        kept = load_samples(artifact.file(SAMPLES_FILE))
        far = _distance(found, kept.expected, _plain(path, subject.inputs))
    if far:
        return Outcome(name=subject.name, verdict="wrong", reason=far)
    return Outcome(name=subject.name, verdict="equal")


def _plain(path: Path, inputs: tuple[Array, ...]) -> list[Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


def _distance(found: tuple[Array, ...], kept: tuple[Array, ...], wanted: list[Array]) -> str:
    """What differs from the file's answers, of the graph or of the samples; empty if nothing."""
    for place, answer in enumerate(wanted):
        for what, other in (("graph", found[place]), ("samples", kept[place])):
            shape = answer.shape or (1,) if what == "samples" else answer.shape
            if other.shape != shape or other.dtype != answer.dtype:
                return f"{what}: {other.dtype} {other.shape}, not {answer.dtype} {shape}"
            one, two = (x.astype(np.float64) for x in (other, answer))
            far = float(np.abs(one - two).max()) if one.size else 0.0
            if not far <= _FAR * max(float(np.abs(two).max(initial=0)), 1e-6):
                return f"{what}: output {place} off by {far:.3g} of {np.abs(two).max():.3g}"
    return ""


def _reason(error: TorchedgeError) -> str:
    """The kind of the refusal, without names and numbers."""
    text = str(error)
    known = {
        "no float32": "an input or output of another type",
        "as large for all": "inputs without a common batch",
        "be one number": "outputs without the batch",
        "control flow": "control flow",
        "holds a graph": "control flow",
        "no operator of ONNX": "an operator of another domain",
        "of chance": "random",
        "otherwise every time": "random",
        "domain": "an operator of another domain",
        "plain tensors": "sequences or optionals",
        "does not know": "newer than opset 18",
        "cannot be written at": "no form at opset 18",
        "was written at": "no form at opset 18",
        "NaN or infinity": "NaN or infinity",
        "the same whatever": "an output that is constant",
        "scheme": "quantised",
        "answers batch": "rewritten, it would answer otherwise",
        "cannot run": "ONNX Runtime cannot run it",
        "cannot read": "ONNX Runtime cannot read it",
        "no intact": "not valid by ONNX's checker",
    }
    return next((short for word, short in known.items() if word in text), text[:120])


def main(*, count: int | None = None, out: Path = Path("runs/onnx_operators.json")) -> None:
    """Import ONNX's test models and print how each kind ended.

    Args:
        count: Only as many, evenly chosen; all of them if it is left out.
        out: JSON with every outcome.
    """
    every = list(subjects())
    chosen = every if count is None else [every[i * len(every) // count] for i in range(count)]
    found = [outcome(subject) for subject in chosen]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([asdict(each) for each in found], indent=1), encoding="utf-8")
    table = Table("verdict", "reason", "models")
    kinds = Counter((each.verdict, each.reason) for each in found)
    for (verdict, reason), number in sorted(kinds.items(), key=lambda item: (item[0][0], -item[1])):
        table.add_row(verdict, reason, str(number))
    Console(width=120).print(table)
    totals = Counter(each.verdict for each in found)
    print(f"{len(found)} models:", ", ".join(f"{n} {verdict}" for verdict, n in totals.items()))
    sys.exit(int(bool(totals["raw"] + totals["wrong"])))


if __name__ == "__main__":
    cyclopts.run(main)
