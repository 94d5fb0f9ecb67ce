"""Teachers' caches, lottery tickets and bundles that mean harm, beyond their manifests."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.hostile_inputs.sealing import edited_manifest, resealed

__all__ = ["bundles", "caches", "tickets"]

_Make: TypeAlias = Callable[[Path, Path], None]
_Arrays: TypeAlias = Mapping[str, tuple[str, list[int], bytes]]
_TEACHER, _TICKET = "teacher.safetensors", "ticket.safetensors"


def caches() -> Iterator[tuple[str, _Make]]:
    """Of a teacher's answers to sixteen samples."""
    for name, value in {
        "none": None,
        "text": "16",
        "NaN in words": "NaN",
        "exabytes": 2**62,
        "a fraction": 15.5,
        "less than none": -16,
        "a list": [16],
        "another": 15,
    }.items():
        yield f"samples that are {name}", _details(samples=value)
    for name, checked in {
        "a list": [],
        "a number": 7,
        "nested": {"0": {"0": {}}},
        "escape sequences": {"\x1b[2J": "\x1b[2J"},
        "a million": {str(n): "0" for n in range(10**6)},
    }.items():
        yield f"digests that are {name}", _details(checked=checked)
    yield "teacher of escape sequences", _details(teacher="\x1b[2J")
    yield "teacher that is a list", _details(teacher=[[[]]])
    yield from _tensor_tricks(_TEACHER)
    yield "no output", _tensors(_TEACHER, {"other": _floats(16, 4)})
    yield "fifteen answers", _tensors(_TEACHER, {"output": _floats(15, 4)})
    yield "output without axes", _tensors(_TEACHER, {"output": _floats()})
    yield "output of text", _tensors(_TEACHER, {"output": ("U8", [16, 0], b"")})
    nothing = {"output": _floats(16, 4), "feature:\x1b[2J": _floats(3, 4)}
    yield "feature of another length", _tensors(_TEACHER, nothing)
    for name, number in (("NaN", np.nan), ("infinity", np.inf)):
        answers = np.full((16, 4), number, np.float32)
        yield f"answers that are {name}", _tensors(_TEACHER, {"output": _of(answers)})
    yield "ticket for a cache", _format("lottery-ticket")


def tickets() -> Iterator[tuple[str, _Make]]:
    """Of the network with a linear layer of 4 × 8, whose mask the ticket is."""
    mask, weight = "mask:classifier.weight", "weight:classifier.weight"
    yield from _tensor_tricks(_TICKET)
    yield "no tensors", _tensors(_TICKET, {})
    yield "mask of nothing", _tensors(_TICKET, {"mask:": _floats(4, 8)})
    yield "mask of no layer", _tensors(_TICKET, {"mask:nowhere.weight": _floats(4, 8)})
    yield "mask up the tree", _tensors(_TICKET, {"mask:..__class__": _floats(4, 8)})
    yield "mask of dunders", _tensors(_TICKET, {"mask:__class__.__bases__": _floats(4, 8)})
    yield "mask of escape sequences", _tensors(_TICKET, {"mask:\x1b[2J": _floats(4, 8)})
    yield "mask of another shape", _tensors(_TICKET, {mask: _floats(8, 4)})
    yield "mask without axes", _tensors(_TICKET, {mask: _floats()})
    half = np.full((4, 8), 0.5, np.float32)
    yield "mask of halves", _tensors(_TICKET, {mask: _of(half)})
    yield "mask of NaN", _tensors(_TICKET, {mask: _of(half * np.nan)})
    yield "mask of nothing kept", _tensors(_TICKET, {mask: _of(half * 0)})
    yield "weights alone", _tensors(_TICKET, {weight: _floats(4, 8)})
    yield "weights of NaN", _tensors(_TICKET, {mask: _of(half * 2), weight: _of(half * np.nan)})
    yield "weights of another shape", _tensors(_TICKET, {mask: _of(half * 2), weight: _floats(9)})
    yield "prefix of nobody", _tensors(_TICKET, {"code:x": _floats(4)})
    yield "cache for a ticket", _format("teacher-cache")


def bundles() -> Iterator[tuple[str, _Make]]:
    """For TensorRT: the scripts beside the network are never run here, whatever is in them."""
    for name in ("build_engine.py", "benchmark.py"):
        yield f"{name} that writes", _text(name, "open('../escaped', 'w').write('x')\n")
        yield f"{name} that is a link", _linked(name)
    yield "README with a command", _text("README.md", "`$(touch escaped)`\n\x1b[2J")
    yield (
        "cache of NaN",
        _text("calibration.cache", "TRT-100300-EntropyCalibration2\nx: 7fc00000\n"),
    )
    yield "cache without end", _text("calibration.cache", "x" * 2**22)
    yield "cache that is a pickle", _text("calibration.cache", "cos\nsystem\n(S'id'\ntR.")
    yield "deep record", _text("calibration.json", "[" * 10**6)
    yield "record of NaN", _text("calibration.json", '{"samples": NaN}')
    yield (
        "deployed files outside",
        _details(deployed_files=["../outside/secret.bin", "/etc/passwd"]),
    )
    yield "deployed files of numbers", _details(deployed_files=[1, None])
    yield "deployed files that are text", _details(deployed_files="model_qdq.onnx")
    yield "details of escape sequences", _details(jetpack="\x1b[2J", precision="\x1b]0;x\x07")


def _tensor_tricks(name: str) -> Iterator[tuple[str, _Make]]:
    """Files that say more than they hold."""
    yield "header of exabytes", _bytes(name, (2**62).to_bytes(8, "little"))
    yield "deep header", _header(name, "[" * 100_000)
    yield (
        "header of NaN",
        _header(name, '{"output":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}'),
    )
    yield "tensor twice", _header(name, '{"a":{},"a":{}}')
    yield "tensor of 8 GB", _tensors(name, {"output": ("F32", [2**31], b"")})
    yield "tensor of less than none", _tensors(name, {"output": ("F32", [-1, -1], b"1234")})
    yield "sizes that overflow", _tensors(name, {"output": ("F32", [2**63, 2**63], b"")})
    yield "pickle", _bytes(name, b"\x80\x04cos\nsystem\n(S'id'\ntR.")
    yield "zip", _bytes(name, b"PK\x03\x04" + bytes(60))
    yield "tensor file that is a link", _linked(name)


def _floats(*shape: int) -> tuple[str, list[int], bytes]:
    return _of(np.ones(shape, np.float32))


def _of(array: "np.ndarray[Any, Any]") -> tuple[str, list[int], bytes]:
    return "F32", list(array.shape), array.tobytes()


def _tensors(name: str, held: _Arrays) -> _Make:
    header, body = dict[str, object](), b""
    for key, (dtype, shape, data) in held.items():
        ends = [len(body), len(body) + len(data)]
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": ends}
        body += data
    text = json.dumps(header).encode()
    return _bytes(name, len(text).to_bytes(8, "little") + text + body)


def _header(name: str, header: str) -> _Make:
    return _bytes(name, len(header).to_bytes(8, "little") + header.encode())


def _bytes(name: str, data: bytes) -> _Make:
    def make(folder: Path, _: Path) -> None:
        (folder / name).write_bytes(data)
        resealed(folder)

    return make


def _text(name: str, text: str) -> _Make:
    return _bytes(name, text.encode())


def _linked(name: str) -> _Make:
    def make(folder: Path, outside: Path) -> None:
        (outside / "secret.bin").write_bytes((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / name).symlink_to(outside / "secret.bin")

    return make


def _details(**values: object) -> _Make:
    def make(folder: Path, _: Path) -> None:
        edited_manifest(folder, lambda manifest: manifest["details"].update(values))

    return make


def _format(name: str) -> _Make:
    def make(folder: Path, _: Path) -> None:
        edited_manifest(folder, lambda manifest: manifest.update(format=name))

    return make
