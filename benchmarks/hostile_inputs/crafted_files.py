"""Manifests, folders and tensor files that mean harm."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.hostile_inputs.sealing import edited_manifest, resealed

__all__ = ["files", "tensors"]

_Make: TypeAlias = Callable[[Path, Path], None]
_SAMPLES = "samples.safetensors"


def files() -> Iterator[tuple[str, _Make]]:
    """Each with its name, as a change of an artefact of any format with samples."""
    for name in ("../../../../escaped", "/absolute", ".hidden", "a\0b", "a\nb", "\x1b[2J"):
        yield f"model called {name!r}", _updated(name=name)
    for name in ("a" * 5_000, "CON", "nul.txt", "dot.", "space ", "", 7):
        yield f"model called {str(name)[:9]!r}", _updated(name=name)
    yield "class with an escape sequence", _updated(class_names=["\x1b]0;title\x07"])
    yield "tensor with a new line", _changed(lambda m: _input(m).update(name="a\nb"))
    yield "no inputs", _updated(inputs=[])
    yield "no outputs", _updated(outputs=[])
    yield "empty batch", _changed(lambda m: _input(m).update(shape=[0, 1, 16, 16]))
    yield "huge batch", _changed(lambda m: _input(m).update(shape=[2**40, 1, 16, 16]))
    yield "many axes", _changed(lambda m: _input(m).update(shape=[1] * 100_000))
    yield "shape of text", _changed(lambda m: _input(m).update(shape="1234"))
    yield "metrics of text", _updated(metrics={"a": "1"})
    yield "deployed files elsewhere", _updated(details={"deployed_files": ["../secret"]})
    yield "file outside", _listed("../secret.bin")
    yield "file at the root", _listed("/etc/hostname")
    yield "file called by another case", _listed("SAMPLES.safetensors")
    yield "million files", _many_files
    yield "manifest of old", _updated(manifest_version=1)
    yield "scheme of another shape", _updated(scheme={"weight": 1})
    yield "NaN in the manifest", _text('"metrics": {}', '"metrics": {"a": NaN}')
    yield "key twice in the manifest", _text('"metrics": {}', '"metrics": {}, "metrics": {}')
    yield "deep manifest", lambda f, o: _whole(f, "[" * 1_000_000)
    yield "manifest of 64 MB", lambda f, o: _whole(f, " " * 2**26)
    yield "manifest is a pipe", _pipe("manifest.json")
    yield "samples are a pipe", _pipe(_SAMPLES)
    yield "samples are a link", _link
    yield "samples are a folder", _folder
    yield "samples are a hole of a terabyte", _hole


def tensors() -> Iterator[tuple[str, _Make]]:
    """Samples that are no safetensors file."""
    yield "header of exabytes", lambda f, o: _samples(f, (2**62).to_bytes(8, "little"))
    yield "deep header", lambda f, o: _header(f, b"[" * 100_000)
    yield "overlapping tensors", _tensor(lambda t: t.update(data_offsets=[0, 16]))
    yield "tensor of 8 GB", _tensor(lambda t: t.update(shape=[2**33]))
    yield "offsets backwards", _tensor(lambda t: t.update(data_offsets=[16, 0]))
    yield "unknown number format", _tensor(lambda t: t.update(dtype="F8_E4M3"))
    yield "negative size", _tensor(lambda t: t.update(shape=[-1, 1]))
    yield "sizes that overflow", _tensor(lambda t: t.update(shape=[2**63, 2**63]))
    yield "tensor twice", lambda f, o: _header(f, b'{"a":{},"a":{}}')
    yield "numpy pickle", lambda f, o: _samples(f, b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}")


def _updated(**values: Any) -> _Make:
    return _changed(lambda manifest: manifest.update(values))


def _changed(change: Callable[[dict[str, Any]], object]) -> _Make:
    return lambda folder, outside: _discard(
        edited_manifest(folder, lambda manifest: _discard(change(manifest)))
    )


def _input(manifest: dict[str, Any]) -> dict[str, Any]:
    """The first input; one of our own where a format has none."""
    if not manifest["inputs"]:
        spec = {"name": "x", "shape": [1], "dtype": "float32", "scale": None, "zero_point": None}
        manifest["inputs"].append(spec)
    found: dict[str, Any] = manifest["inputs"][0]
    return found


def _discard(_: object) -> None:
    return None


def _listed(name: str) -> _Make:
    record = {"bytes": 1, "sha256": "0" * 64, "kept_in": ""}
    return _changed(lambda manifest: manifest["files"].update({name: record}))


def _many_files(folder: Path, _: Path) -> None:
    for index in range(6_000):
        (folder / f"f{index}").touch()
    names = {f"f{index}": {} for index in range(6_000)}
    edited_manifest(folder, lambda m: m["files"].update(names))
    resealed(folder)


def _text(old: str, new: str) -> _Make:
    def make(folder: Path, _: Path) -> None:
        path = folder / "manifest.json"
        text = json.dumps(json.loads(path.read_text(encoding="utf-8")))
        path.write_text(text.replace(old, new), encoding="utf-8")

    return make


def _whole(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def _pipe(name: str) -> _Make:
    def make(folder: Path, _: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return make


def _link(folder: Path, outside: Path) -> None:
    (outside / "secret.bin").write_bytes((folder / _SAMPLES).read_bytes())
    (folder / _SAMPLES).unlink()
    (folder / _SAMPLES).symlink_to(outside / "secret.bin")


def _folder(folder: Path, outside: Path) -> None:
    """Below a folder that is a link."""
    data = (folder / _SAMPLES).read_bytes()
    (outside / "secret.bin").write_bytes(data)
    (folder / "inside").symlink_to(outside)
    edited_manifest(folder, lambda m: m["files"].update({"inside/secret.bin": {}}))


def _hole(folder: Path, _: Path) -> None:
    with (folder / _SAMPLES).open("wb") as stream:
        stream.truncate(2**40)
    record = {"bytes": 2**40, "sha256": "0" * 64, "kept_in": ""}
    (folder / _SAMPLES).chmod(0o644)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"][_SAMPLES] = record
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _samples(folder: Path, data: bytes) -> None:
    (folder / _SAMPLES).write_bytes(data)
    resealed(folder)


def _header(folder: Path, header: bytes) -> None:
    _samples(folder, len(header).to_bytes(8, "little") + header)


def _tensor(change: Callable[[dict[str, Any]], object]) -> _Make:
    def make(folder: Path, _: Path) -> None:
        data = (folder / _SAMPLES).read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        change(next(value for key, value in header.items() if key != "__metadata__"))
        text = json.dumps(header).encode()
        _samples(folder, len(text).to_bytes(8, "little") + text + data[8 + length :])

    return make
