"""Signals: one line, 128 and the number, and no child that outlives its parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from torchedge.children import Children, Program, run_child
from torchedge.cli import main

POLITE = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
SWALLOWING = """
import os, signal, sys
from torchedge.stopping import stop_in_one_line
stop_in_one_line()
try:
    {inside}
except (Exception, KeyboardInterrupt):
    print("swallowed", flush=True)
"""
IMPORTING = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            print("ready", flush=True)
            import signal
            signal.pause()
sys.meta_path.insert(0, Finder())
"""
CHILD = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
FAMILY = (
    "import os, subprocess, sys; print(os.getpid(), flush=True); "
    "subprocess.run([sys.executable, '-c', sys.argv[1]])"
)


def started(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes)


def ended(process, number):
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    return output, errors.splitlines()


@pytest.mark.parametrize("number", POLITE)
@pytest.mark.parametrize("inside", ["signal.pause()", "__import__('time').sleep(60)"])
def test_a_handler_of_exceptions_does_not_swallow_the_end(number, inside):
    code = SWALLOWING.format(inside=f'print("ready", flush=True); {inside}')
    process = started(code)
    assert process.stdout.readline() == "ready\n"
    output, errors = ended(process, number)
    assert (output, process.returncode) == ("", 128 + number)
    assert len(errors) == 1


@pytest.mark.parametrize("number", POLITE)
@pytest.mark.parametrize(
    ("module", "run"),
    [
        ("cyclopts", "from torchedge.cli import main; main(['targets'])"),
        (
            "rich.table",
            "import sys; sys.argv[1:] = ['targets']; import torchedge.cli as c; c.main()",
        ),
        ("torch", "import runpy; runpy.run_path({digits!r}, run_name='__main__')"),
        ("cyclopts", "import runpy; runpy.run_path({script!r}, run_name='__main__')"),
    ],
)
def test_an_interrupt_while_importing_is_one_line(number, module, run):
    """It once was a traceback through whatever was being imported."""
    root = Path(__file__).parents[2]
    paths = {"digits": str(root / "recipes/digits.py"), "script": str(root / "scripts/targets.py")}
    process = started(IMPORTING.format(module=module) + run.format(**paths))
    assert process.stdout.readline() == "ready\n"
    _, errors = ended(process, number)
    assert process.returncode == 128 + number
    (line,) = errors
    assert line.startswith("error: ")


@pytest.mark.parametrize("number", POLITE)
def test_a_signal_while_python_ends_is_no_traceback(number):
    """Python calls exit functions without a place for exceptions; it printed where one was."""
    late = "lambda: (print('ready', flush=True), __import__('signal').pause())"
    call = "import sys; sys.argv[1:] = ['--version']; from torchedge.cli import main; main()"
    code = f"import atexit\natexit.register({late})\n{call}"
    process = started(code)
    assert process.stdout.readline() == "0.1.0\n"
    assert process.stdout.readline() == "ready\n"
    _, errors = ended(process, number)
    assert process.returncode == 128 + number
    assert len(errors) == 1


SWALLOWED = """
import os, signal
from pathlib import Path
from torchedge.stopping import stop_in_one_line
from torchedge.writing import staged_folder
stop_in_one_line()
with staged_folder(Path({out!r})) as staging:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        {then}
"""


@pytest.mark.parametrize("then", ["pass", "raise ImportError('PyCapsule_Import') from None"])
def test_what_makes_another_error_of_a_signal_changes_neither_line_nor_code(then, tmp_path):
    """NumPy did while it was imported: fifty lines about a bad installation, exit code 1."""
    process = started(SWALLOWED.format(out=str(tmp_path / "out"), then=then))
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.splitlines() == [
        "error: stopped by SIGTERM; nothing half-written is left behind."
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_signal_where_python_raises_nothing_comes_once_more():
    """In the callback of a weak reference, of which importing has many, it was printed and lost."""
    code = (
        "import os, signal, weakref\n"
        "from torchedge.stopping import stop_in_one_line; stop_in_one_line()\n"
        "class Thing: pass\n"
        "thing = Thing()\n"
        "kept = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGHUP))\n"
        "del thing\n"
        "signal.pause()"
    )
    process = started(code)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGHUP
    assert len(errors.splitlines()) == 1


def test_a_signal_that_is_ignored_stays_ignored():
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from torchedge.stopping import stop_in_one_line; stop_in_one_line()\n"
        "import os; os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout == b"goes on\n"


def test_a_command_can_be_run_in_a_thread_and_leaves_the_handlers_as_they_were():
    before = [signal.getsignal(number) for number in POLITE]
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["benchmark", "nowhere"])))
    thread.start()
    thread.join()
    assert main(["benchmark", "nowhere"]) == 2
    assert codes == [2]
    assert [signal.getsignal(number) for number in POLITE] == before


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(pid):
    """Whether a process that was killed is gone as soon as the system has come to it."""
    give_up = time.monotonic() + 30
    while is_alive(pid) and time.monotonic() < give_up:
        pass
    return not is_alive(pid)


PARENT = """
import sys
from torchedge.children import Program, run_child
from torchedge.stopping import stop_in_one_line
stop_in_one_line()
run_child(Program(command=[sys.executable, "-c", *sys.argv[1:]], keeps_terminal=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [*POLITE, signal.SIGKILL])
def test_no_child_outlives_its_parent(number):
    """A training went on after the export that had started it was gone."""
    process = started(PARENT, CHILD)
    pid = int(process.stdout.readline())
    ended(process, number)  # and the pipe is closed: nobody is left that holds it
    assert ends(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_children_of_a_child_are_ended_with_it():
    process = started(PARENT, FAMILY, CHILD)
    pids = [int(process.stdout.readline()) for _ in range(2)]
    _, errors = ended(process, signal.SIGTERM)
    assert len(errors) == 1
    assert all(map(ends, pids))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_that_ends_leaves_nobody_of_its_group(tmp_path):
    code = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', "
        "'import signal; signal.pause()']); print(child.pid)"
    )
    with (tmp_path / "log").open("wb") as log:
        run_child(Program(command=[sys.executable, "-c", code], log=log))
    pid = int((tmp_path / "log").read_text())
    assert ends(pid)


def test_an_error_ends_the_programs_of_all_threads():
    seen = []

    def run(children):
        with pytest.raises((RuntimeError, AssertionError)) as caught:
            assert children.run(Program(command=[sys.executable, "-c", CHILD])).returncode == 0
        seen.append(caught.type)

    def fail():
        with Children() as children:
            thread = threading.Thread(target=run, args=(children,))
            thread.start()
            while not children._running:
                pass
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    assert len(seen) == 1


def test_a_limit_of_time_holds_for_the_whole_family():
    with pytest.raises(subprocess.TimeoutExpired):
        run_child(Program(command=[sys.executable, "-c", FAMILY, CHILD], limit_s=0.5))


def test_a_child_that_watches_a_pipe_ends_when_nobody_is_there(monkeypatch):
    """What other systems than Linux do."""
    launcher = Path(sys.modules["torchedge.children"].__file__).with_name("launch_child.py")
    run = f"runpy.run_path({str(launcher)!r}, run_name='__main__')"
    code = f"import runpy, sys; sys.platform = 'other'; {run}"
    read, alive = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(os.getpid()), str(read), sys.executable, "-c", CHILD],
        stdout=subprocess.PIPE,
        pass_fds=(read,),
        start_new_session=True,
    )
    pid = int(process.stdout.readline())
    os.close(read)
    os.close(alive)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert ends(pid)
