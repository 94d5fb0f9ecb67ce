"""Letting a file be opened by a process that may die of it, before this one opens it.

A runtime in C++ trusts what a file says of its operators. What it makes of a file is seen first in
a copy of a process that has the library and nothing else, with a limit on memory and time.
"""

import atexit
import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal, cast, final

from torchedge.errors import ArtifactError
from torchedge.reading.names import one_line

__all__ = ["Library", "require_survived"]

Library = Literal["litert", "micro"]

_CHILD = "probe_child.py"
_FREE_BYTES = 96 * 2**20  # what a runtime takes beside tensors
_TIMES = 3


def require_survived(
    data: bytes,
    what: str,
    library: Library,
    *,
    tensor_bytes: int,
    **options: Any,  # noqa: ANN401
) -> None:
    """Refuse a file that its runtime crashes on, hangs on, refuses, or takes much memory for.

    Where processes cannot be copied (Windows), nothing is tried.

    Args:
        data: The file's bytes, checked by :func:`~torchedge_tflite.soundness.require_sound`.
        what: The file, for texts.
        library: Which runtime.
        tensor_bytes: What its tensors take at one time.
        options: What the runtime is opened with.

    Raises:
        ArtifactError: It is so.
    """
    if not hasattr(os, "fork"):
        return
    memory = _FREE_BYTES + _TIMES * (tensor_bytes + len(data))
    wrong = _server(library, os.getpid()).asked({"memory": memory, **options}, data)
    if wrong:
        runtime = "LiteRT" if library == "litert" else "TensorFlow Lite Micro"
        raise ArtifactError(
            f"{runtime} cannot read {what} ({len(data):,} bytes): {wrong} Copy or export it again."
        )


@lru_cache(maxsize=4)
def _server(library: Library, process: int) -> "_Server":
    """One for each library and process: a copy of this process must not share its pipes."""
    return _Server(library)


@final
class _Server:
    """A child process that answers about one file after the other."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._child = self._started()
        atexit.register(self._end)

    def _started(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(Path(__file__).with_name(_CHILD)), self._library]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def asked(self, job: dict[str, Any], data: bytes) -> str:
        """What is wrong with a file; nothing if it is empty.

        Raises:
            ArtifactError: The child has died, which no file should bring about.
        """
        asked, answered = (
            cast("IO[bytes]", self._child.stdin),
            cast("IO[bytes]", self._child.stdout),
        )
        try:
            asked.write(json.dumps({**job, "bytes": len(data)}).encode() + b"\n" + data)
            asked.flush()
            wrong = str(json.loads(answered.readline())["wrong"])
            return one_line(ValueError(wrong)) if wrong else ""
        except (OSError, ValueError) as error:
            self._end()
            self._child = self._started()
            raise ArtifactError(
                f"{len(data):,} bytes ended the process that tried them first; export them again."
            ) from error

    def _end(self) -> None:
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()
        self._child.kill()
        self._child.wait()
