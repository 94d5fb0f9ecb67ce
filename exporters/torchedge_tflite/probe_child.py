"""Opens .tflite files of strangers in processes that may die; needs nothing of torchedge.

``python probe_child.py LIBRARY`` reads, again and again, a line of JSON and as many bytes as it
says, opens them in a copy of itself with a limit on memory and time, and answers with a line of
JSON: what went wrong, or nothing. It ends with its input.
"""

import json
import os
import resource
import select
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["main"]

_SECONDS = 20
_PAGE = resource.getpagesize()
_STATISTICS = Path("/proc/self/statm")


def main(library: str) -> None:
    """Answer until the input ends."""
    _import(library)
    stream, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    while line := stream.readline():
        job = json.loads(line)
        data = stream.read(job["bytes"])
        print(json.dumps({"wrong": _wrong(library, job, data)}), file=answers, flush=True)


def _import(library: str) -> None:
    """Once, not in every copy of this process."""
    if library == "litert":
        from ai_edge_litert import interpreter  # noqa: F401
    else:
        from tflite_micro import runtime  # noqa: F401


def _wrong(library: str, job: dict[str, Any], data: bytes) -> str:
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        os.write(writable, _tried(library, job, data).encode()[:2000])
        os._exit(0)
    os.close(writable)
    return _told(child, readable)


def _told(child: int, readable: int) -> str:
    """What the copy wrote before it ended, or how it ended."""
    try:
        if not select.select([readable], [], [], _SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
        said = os.read(readable, 2000).decode(errors="replace")
    finally:
        os.close(readable)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        return f"the runtime was ended by signal {-status}"
    return said if said != "ok" else ""


def _tried(library: str, job: dict[str, Any], data: bytes) -> str:
    try:
        if _STATISTICS.exists():  # Linux; elsewhere there is no limit on memory
            used = int(_STATISTICS.read_text(encoding="utf-8").split()[0]) * _PAGE
            resource.setrlimit(resource.RLIMIT_AS, (used + job["memory"],) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        (_litert if library == "litert" else _micro)(job, data)
    except MemoryError:
        return "it takes more memory than its tensors do"
    except Exception as error:
        return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
    return "ok"


def _litert(job: dict[str, Any], data: bytes) -> None:
    from ai_edge_litert import interpreter as litert

    resolver = getattr(litert.OpResolverType, job["resolver"])
    opened = litert.Interpreter(
        model_content=data, num_threads=1, experimental_op_resolver_type=resolver
    )
    opened.allocate_tensors()
    opened.get_signature_runner()
    for port in opened.get_input_details():  # its memory holds anything, which may be no index
        opened.set_tensor(port["index"], np.zeros(port["shape"], port["dtype"]))
    opened.invoke()


def _micro(job: dict[str, Any], data: bytes) -> None:
    from tflite_micro import runtime

    opened = runtime.Interpreter.from_bytes(data, arena_size=job["arena"])
    for index in range(job["inputs"]):
        port = opened.get_input_details(index)
        opened.set_input(np.zeros(port["shape"], port["dtype"]), index)
    opened.invoke()
    for index in range(job["outputs"]):
        opened.get_output(index)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are no business of the child's
    main(sys.argv[1])
