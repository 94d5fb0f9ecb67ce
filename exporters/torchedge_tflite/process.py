"""Starting onnx2tf in an interpreter that has it, and turning its failures into one line."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from torchedge.children import Program, run_child
from torchedge.errors import ExportError, MissingDependencyError
from torchedge.text import for_terminal
from torchedge.writing import temporary_folder
from torchedge.writing.space import require_room

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "VERSIONS",
    "Conversion",
    "Converter",
    "PortType",
    "Precision",
    "convert",
    "find_converter",
]

ENVIRONMENT_VARIABLE = "TORCHEDGE_TFLITE_PYTHON"
VERSIONS = ("1.29.24", "2.6.9")  # for Python 3.10 and 3.11, and for later ones
_OLD, _NEW = f"onnx2tf=={VERSIONS[0]}", f"onnx2tf[tensorflow]=={VERSIONS[1]}"
_NEW_SINCE = (3, 12)
_CHILD = "convert_child.py"
_ASK_VERSIONS = (
    "import sys; from importlib.metadata import version; "
    "print(sys.version.split()[0], flush=True); print(version('onnx2tf'))"
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_START_LIMIT_S = 60
_LACKING = "TF Select ops:"  # TensorFlow's converter lists here what TFLite cannot do


Precision = Literal["int8", "float32", "float16", "dynamic-range"]
PortType = Literal["int8", "uint8", "float32"]


@final
@dataclass(frozen=True, kw_only=True)
class Conversion:
    """One .tflite file to write.

    Args:
        graph: A float ONNX file.
        out: The .tflite file.
        precision: ``float32``, ``float16`` or ``dynamic-range``.
    """

    graph: Path
    out: Path
    precision: Precision = "float32"

    def to_dict(self) -> dict[str, str]:
        """Plain values for the child."""
        return {
            "graph": str(self.graph.resolve()),
            "out": str(self.out.resolve()),
            "precision": self.precision,
        }


@final
@dataclass(frozen=True, kw_only=True)
class Converter:
    """An interpreter that has onnx2tf.

    Args:
        python: Its path.
        version: Of onnx2tf.
    """

    python: str
    version: str


def find_converter() -> Converter:
    """The interpreter that has onnx2tf: this one, else the one that the environment names.

    Raises:
        MissingDependencyError: Neither has it, or it is of another version than those tried.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE, "")
    has_it = importlib.util.find_spec("onnx2tf") is not None
    if not has_it and not named:
        raise MissingDependencyError(
            f"writing TFLite files needs the package onnx2tf; type: {_pip_line(sys.version)}. It "
            f"pins its dependencies, so it may live in an environment of its own: set "
            f"{ENVIRONMENT_VARIABLE} to the Python there."
        )
    python = sys.executable if has_it else named
    python_version, found = _versions(python)
    if found not in VERSIONS:
        raise MissingDependencyError(
            f"{python} has {f'onnx2tf {found}' if found else 'no onnx2tf'}, and only "
            f"{' and '.join(VERSIONS)} carry trained scales here; type there: "
            f"{_pip_line(python_version)}"
        )
    return Converter(python=python, version=found)


def _pip_line(python_version: str) -> str:
    """What installs the generation of onnx2tf that a Python can have."""
    major, minor, *_ = python_version.split(".")
    new = (int(major), int(minor)) >= _NEW_SINCE
    return f"pip install '{_NEW if new else _OLD}'"


def _versions(python: str) -> tuple[str, str]:
    """Of Python and of onnx2tf there; empty where it has none."""
    command = [python, "-c", _ASK_VERSIONS]
    try:
        done = run_child(Program(command=command, limit_s=_START_LIMIT_S))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingDependencyError(
            f"{ENVIRONMENT_VARIABLE} names '{python}', which cannot be started ({error}); "
            "give the path of a Python."
        ) from error
    python_version, found, *_ = [*done.stdout.split(), "", ""]
    if not re.fullmatch(r"\d+\.\d+.*", python_version):
        raise MissingDependencyError(
            f"{ENVIRONMENT_VARIABLE} names '{python}', which is no Python; give the path of one."
        )
    return python_version, found


def convert(
    converter: Converter,
    conversions: Sequence[Conversion],
    outputs: Sequence[str],
    *,
    time_limit_s: float,
) -> None:
    """Run conversions; nothing but their files and, after a failure, a log is left.

    Args:
        converter: From :func:`find_converter`.
        conversions: What to read and write.
        outputs: Names of the network's outputs, in order.
        time_limit_s: When to give up.

    Raises:
        ExportError: It failed or took too long; the text has the last complaint and the log.
        StorageError: A folder that it writes to is full.
    """
    with temporary_folder("onnx2tf") as scratch:
        job, log = scratch / "job.json", scratch / "log.txt"
        files = [conversion.to_dict() for conversion in conversions]
        job.write_text(json.dumps({"files": files, "outputs": list(outputs)}), encoding="utf-8")
        child = Path(__file__).with_name(_CHILD)
        command = [converter.python, str(child), str(job)]
        trouble = _run(command, scratch, log, time_limit_s)
        if trouble:
            text = _COLOURS.sub("", log.read_text(encoding="utf-8", errors="replace"))
            for place in (scratch, *(conversion.out.parent for conversion in conversions)):
                require_room(place, text)
            raise ExportError(_complaint(trouble, text))


def _run(command: list[str], folder: Path, log: Path, time_limit_s: float) -> str:
    """Run in a folder; what went wrong, in words, or nothing."""
    try:
        with log.open("wb") as stream:
            done = run_child(
                Program(
                    command=command,
                    folder=folder,
                    log=stream,
                    environment={"TMPDIR": str(folder)},  # what TensorFlow leaves goes with it
                    limit_s=time_limit_s,
                )
            )
    except subprocess.TimeoutExpired:
        return f"did not finish within {time_limit_s:,.0f} s"
    except OSError as error:
        return f"could not be started: {error}"
    return f"failed with exit code {done.returncode}" if done.returncode else ""


def _complaint(trouble: str, text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    operators = [line for line in lines if "onnx_op_name" in line]
    lacking = [line for line in lines if line.startswith(_LACKING)]
    said = (lacking or errors or lines or ["it printed nothing"])[-1]
    said = said.replace(_LACKING, "TFLite has no operator for")
    where = f" at {operators[-1].removeprefix('INFO:').strip()}" if operators else ""
    with tempfile.NamedTemporaryFile(
        "w", prefix="torchedge-onnx2tf-", suffix=".log", delete=False, encoding="utf-8"
    ) as kept:
        kept.write(text)
    said = for_terminal(said[:300])
    return (
        f"onnx2tf {trouble}{where}: {said}. Its whole output is in {kept.name}. "
        "Replace the operation by one of docs/how-to/tflite.md, or choose the target onnx-cpu."
    )
