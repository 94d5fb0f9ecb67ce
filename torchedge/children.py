"""Programs that run for us: they end when we do, and so does all that they have started."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, final

from torchedge.stopping import SAY_NOTHING, raise_if_stopped

__all__ = ["Children", "Program", "run_child"]

_LAUNCHER = "launch_child.py"
_GRACE_S = 3.0  # for a child to clean up in
_POSIX = os.name == "posix"


@final
@dataclass(frozen=True, kw_only=True)
class Program:
    """What is to run.

    Args:
        command: The program and its arguments.
        folder: Its working directory; this process's own by default.
        log: Where all that it prints goes; by default it is in the result.
        keeps_terminal: Print to this process's terminal instead.
        environment: Variables to add.
        limit_s: When it is ended.
    """

    command: Sequence[str]
    folder: Path | None = None
    log: IO[bytes] | None = None
    keeps_terminal: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    limit_s: float | None = None


@final
class Children:
    """Programs that are running; leaving the block by an error ends them, their children too.

    Where several threads wait for programs, it stands inside the pool of threads.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._are_over = False

    def __enter__(self) -> "Children":
        """Nothing runs yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End what still runs."""
        self._are_over = True
        for process in tuple(self._running):
            _end(process)

    def run(self, program: Program) -> subprocess.CompletedProcess[str]:
        """Run a program to its end.

        Returns:
            Its exit code, and what it printed if that went nowhere else.

        Raises:
            subprocess.TimeoutExpired: It took longer than its limit.
            OSError: It cannot be started.
        """
        if self._are_over:
            raise RuntimeError("the programs were ended; no other is started.")
        raise_if_stopped()
        with _started(program) as process:
            self._running.add(process)
            try:
                printed = process.communicate(timeout=program.limit_s)
            finally:
                _end(process)
                self._running.discard(process)
                _close(process)
        texts = [None if p is None else p.decode("utf-8", errors="replace") for p in printed]
        return subprocess.CompletedProcess(list(program.command), process.returncode, *texts)


def _close(process: "subprocess.Popen[bytes]") -> None:
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def run_child(program: Program) -> subprocess.CompletedProcess[str]:
    r"""Run one program; see :meth:`Children.run`.

    Example:
        >>> run_child(Program(command=[sys.executable, "-c", "print(1)"])).stdout
        '1\n'
    """
    with Children() as children:
        return children.run(program)


@contextlib.contextmanager
def _started(program: Program) -> "Iterator[subprocess.Popen[bytes]]":
    output = None if program.keeps_terminal else program.log or subprocess.PIPE
    errors = subprocess.STDOUT if program.log else output
    read, alive = os.pipe()  # nobody writes; that it is open says that this process lives
    try:
        yield subprocess.Popen(
            _launched(program, read),
            cwd=program.folder,
            env={**os.environ, SAY_NOTHING: "1", **program.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            pass_fds=(read,) if _POSIX else (),
            start_new_session=_POSIX,
        )
    finally:
        os.close(read)
        os.close(alive)


def _launched(program: Program, pipe: int) -> list[str]:
    if shutil.which(program.command[0]) is None:
        raise FileNotFoundError(f"'{program.command[0]}' is no program that can be started")
    if not _POSIX:
        return list(program.command)
    launcher = str(Path(__file__).with_name(_LAUNCHER))
    own = [sys.executable, "-I", "-S", launcher, str(os.getpid()), str(pipe)]
    return [*own, *program.command]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a program to end, then make it, and then whatever of its process group is left."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(OSError):  # there is nobody left
            _kill(process)
        process.wait()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if _POSIX:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
