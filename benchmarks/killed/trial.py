"""One command, killed at one moment, and what was found afterwards."""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from torchedge.errors import TorchedgeError
from torchedge.exporting import load_artifact
from torchedge.writing import staged_folder

__all__ = ["Found", "Moment", "Trial", "contents", "drawn_moment", "killed", "run_to_end"]

Moment = Literal["any", "staging", "sealed", "swap"]
_MARK = "TORCHEDGE_KILLS"
_CACHES = ("torchinductor_", ".ses")  # of PyTorch and ONNX Runtime, made to be found again
_LIMIT_S = 120.0
_ORPHANS_MAY_TAKE_S = 2.0
_ENDS_WITHIN_S = 2.0  # of itself, when the signal came just before


@final
@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is done.

    Args:
        name: Of the command.
        words: The command line.
        folder: Empty, for this trial alone; the command writes ``out`` in it.
        signal: That is sent.
        moment: When: at any time, when the staging folder appears, when something in it is sealed,
            or when the name changes hands.
        delay_s: After that.
        environment: Of the command.
    """

    name: str
    words: list[str]
    folder: Path
    signal: signal.Signals
    moment: Moment
    delay_s: float
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """What the command writes."""
        return self.folder / "place" / "out"

    @property
    def temporary(self) -> Path:
        """Its temporary folder."""
        return self.folder / "tmp"


@final
@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found.

    Args:
        name: Of the command.
        signal: That was sent.
        moment: When.
        delay_s: After that.
        code: Exit code; negative where the signal itself ended the process.
        took_s: From the signal to the end.
        state: Whose the folder was after the kill: ``none``, ``old``, ``new`` or ``wrong``.
        next_state: The same after the next start.
        orphans: Processes that were left.
        leftovers: Names that were left after the next start.
        said: The last line on the error stream.
        problems: What must not be.
    """

    name: str
    signal: str
    moment: str
    delay_s: float
    code: int
    took_s: float
    state: str
    next_state: str
    orphans: int
    leftovers: tuple[str, ...]
    said: str
    problems: tuple[str, ...]


def contents(folder: Path) -> str:
    """Digest of all that a folder offers and that readers accept; empty where it is not there.

    Reports hold times, and are asked only to be there.
    """
    if not folder.exists():
        return ""
    lines = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).as_posix()
        if path.name == "manifest.json":
            lines.append(f"{inside} {_accepted(path.parent)}")
        elif path.name.startswith("calibration.") and path.parent == folder:
            lines.append(f"{inside} {hashlib.sha256(path.read_bytes()).hexdigest()}")
        elif path.is_file():
            lines.append(inside)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _accepted(folder: Path) -> str:
    try:
        return load_artifact(folder).sha256
    except TorchedgeError as error:
        return f"refused: {error}"


def run_to_end(trial: Trial) -> float:
    """Undisturbed; how many seconds it took.

    Raises:
        subprocess.CalledProcessError: It fails.
    """
    begin = time.monotonic()
    process = _started(trial)
    _, errors = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, trial.words, stderr=errors)
    return time.monotonic() - begin


def killed(trial: Trial, old: str, new: str) -> Found:
    """Kill the command, look, start the next one, look again.

    Args:
        trial: What is done.
        old: Contents of the folder before; empty where there is none.
        new: Contents after an undisturbed run.
    """
    process = _started(trial)
    _wait(trial, process)
    process.send_signal(trial.signal)
    sent = time.monotonic()
    try:
        _, errors = process.communicate(timeout=_LIMIT_S)
        lived = False
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        lived = True
    took_s = time.monotonic() - sent
    orphans = _orphans(trial)
    states = {"": "none", new: "new", old: "old"} if old else {"": "none", new: "new"}
    state = states.get(contents(trial.out), "wrong")
    _next_start(trial)
    plain: dict[str, Any] = {
        "name": trial.name,
        "signal": trial.signal.name,
        "moment": trial.moment,
        "delay_s": round(trial.delay_s, 3),
        "code": process.returncode,
        "took_s": round(took_s, 3),
        "state": state,
        "next_state": states.get(contents(trial.out), "wrong"),
        "orphans": orphans,
        "leftovers": tuple(_leftovers(trial)),
        "said": (errors.strip().splitlines() or [""])[-1][:200],
    }
    problems = tuple(_problems(plain, errors, had_old=bool(old), lived=lived))
    return Found(**plain, problems=problems)


def _started(trial: Trial) -> "subprocess.Popen[str]":
    trial.temporary.mkdir(parents=True, exist_ok=True)
    trial.out.parent.mkdir(exist_ok=True)
    own = {"TMPDIR": str(trial.temporary), _MARK: str(trial.folder)}
    return subprocess.Popen(
        trial.words,
        cwd=trial.folder,
        env={**os.environ, **trial.environment, **own},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def _wait(trial: Trial, process: "subprocess.Popen[str]") -> None:
    """Until the moment has come, or the process is through."""
    begin = time.monotonic()
    before = _inode(trial.out)
    while process.poll() is None and time.monotonic() - begin < _LIMIT_S:
        if trial.moment == "any" or _has_come(trial, before):
            break
        time.sleep(0 if trial.moment == "swap" else 0.0005)
    time.sleep(trial.delay_s)


def _has_come(trial: Trial, before: int) -> bool:
    if trial.moment == "swap":
        return _inode(trial.out) != before
    with contextlib.suppress(OSError):
        staging = [p for p in trial.out.parent.iterdir() if ".partial-" in p.name]
        if trial.moment == "staging":
            return bool(staging)
        last = ("report.json", "manifest.json", "calibration.json")
        return any((folder / name).exists() for folder in staging for name in last)
    return False


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _orphans(trial: Trial) -> int:
    """Processes with this trial's mark that live on."""
    give_up = time.monotonic() + _ORPHANS_MAY_TAKE_S
    while found := _marked(str(trial.folder)):
        if time.monotonic() > give_up:
            for pid in found:
                os.kill(pid, signal.SIGKILL)
            return len(found)
        time.sleep(0.01)
    return 0


def _marked(mark: str) -> list[int]:
    wanted, found = f"{_MARK}={mark}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _next_start(trial: Trial) -> None:
    """What any next writer to the same place does first; it then writes nothing."""
    before, tempfile.tempdir = tempfile.tempdir, str(trial.temporary)
    try:
        with contextlib.suppress(TorchedgeError), staged_folder(trial.out):
            raise TorchedgeError("nothing is written")
    finally:
        tempfile.tempdir = before


def _leftovers(trial: Trial) -> list[str]:
    beside = [p.name for p in trial.out.parent.iterdir() if p.name != "out"]
    own = [p.name for p in trial.temporary.iterdir() if not p.name.startswith(_CACHES)]
    return sorted([*beside, *(f"tmp/{name}" for name in own)])


def _problems(found: dict[str, Any], errors: str, *, had_old: bool, lived: bool) -> list[str]:
    wrong = "wrong" in (found["state"], found["next_state"])
    polite = found["signal"] != "SIGKILL"
    expected = 128 + signal.Signals[found["signal"]].value
    ended = found["code"] in (0, expected, 128 - expected)  # the last before Python was ready
    # Ctrl-C while Python itself starts is Python's to tell; nothing of ours is loaded by then.
    early = "Traceback" in errors and "torchedge" not in errors.rpartition("Traceback")[2]
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    checks = {
        "wrong folder": wrong,
        "folder lost": had_old and found["next_state"] == "none",
        "orphans": found["orphans"] > 0,
        "leftovers": bool(found["leftovers"]),
        "lived on": lived or (polite and found["code"] == 0 and found["took_s"] > _ENDS_WITHIN_S),
        "exit code": polite and not ended and not early,
        "traceback": polite and "Traceback" in errors and not early,
        "lines": polite and found["code"] == expected and len(lines) != 1,
    }
    return [name for name, holds in checks.items() if holds]


def drawn_moment(draw: random.Random) -> tuple[Moment, float]:
    """When to kill, and how much later."""
    moment: Moment = draw.choice(("any", "any", "staging", "sealed", "swap"))
    longest = {"any": 1.0, "staging": 0.2, "sealed": 0.05, "swap": 0.002}[moment]
    return moment, draw.choice((0.0, draw.uniform(0, longest)))
