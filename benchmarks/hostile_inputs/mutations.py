"""Spoiling one thing of an artefact at random."""

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.hostile_inputs.sealing import edited_manifest, resealed

__all__ = ["spoiled"]

_Change: TypeAlias = Callable[[bytes, random.Random], bytes]

_NUMBERS = [-1, 0, 1, 2, 7, 255, 2**31 - 1, 2**31, 2**32, 2**40, 2**63 - 1, 2**63, 1e308, -0.5]
_TEXTS = [
    "",
    "..",
    "../../escaped",
    "/etc/passwd",
    "\x1b[2J",
    "a" * 5000,
    "\u202etxt",
    "a\nb",
    "nul",
]
_OTHERS = [None, True, False, [], {}, [[[[]]]], {"a": 1}]


def spoiled(folder: Path, choice: random.Random) -> str:
    """Change one file of a copy of an artefact, seal it again, and say what was done."""
    names = sorted(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"])
    models = [n for n in names if n.endswith((".pt2", ".onnx", ".tflite", ".safetensors"))]
    kind = choice.choices(["manifest", "model", "any"], [2, 6, 1])[0]
    if kind == "manifest" or not names:
        edited_manifest(folder, lambda manifest: _spoil_tree(manifest, choice))
        return "manifest"
    name = choice.choice(models if kind == "model" and models else names)
    path = folder / name
    change = _change(name, choice)
    path.write_bytes(change(path.read_bytes(), choice))
    resealed(folder)
    return f"{name}: {change.__name__.strip('_')}"


def _change(name: str, choice: random.Random) -> _Change:
    general: list[_Change] = [_flipped, _cut, _inserted, _removed, _zeroed, _swapped, _numbered]
    if name.endswith(".pt2"):
        return choice.choice([*general, _members, _members, _members, _members, _members])
    if name.endswith(".onnx"):
        return choice.choice([*general, _onnx, _onnx, _onnx, _onnx])
    if name.endswith(".safetensors"):
        return choice.choice([*general, _header, _header, _header])
    return choice.choice([*general, _flipped, _numbered, _numbered])


def _flipped(data: bytes, choice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(choice.choice([1, 1, 2, 8, 64])):
        if changed:
            changed[choice.randrange(len(changed))] = choice.randrange(256)
    return bytes(changed)


def _cut(data: bytes, choice: random.Random) -> bytes:
    return data[: choice.randrange(len(data) + 1)]


def _inserted(data: bytes, choice: random.Random) -> bytes:
    at = choice.randrange(len(data) + 1)
    return data[:at] + choice.randbytes(choice.choice([1, 4, 100])) + data[at:]


def _removed(data: bytes, choice: random.Random) -> bytes:
    at = choice.randrange(len(data) + 1)
    return data[:at] + data[at + choice.choice([1, 4, 100]) :]


def _zeroed(data: bytes, choice: random.Random) -> bytes:
    at, count = choice.randrange(len(data) + 1), choice.choice([4, 16, 256])
    return data[:at] + bytes(len(data[at : at + count])) + data[at + count :]


def _swapped(data: bytes, choice: random.Random) -> bytes:
    first, second = sorted((choice.randrange(len(data) + 1), choice.randrange(len(data) + 1)))
    count = min(64, second - first, len(data) - second)
    parts = (data[:first], data[second : second + count], data[first + count : second])
    return b"".join((*parts, data[first : first + count], data[second + count :]))


def _numbered(data: bytes, choice: random.Random) -> bytes:
    """A number of four bytes becomes one at the edge."""
    at = choice.randrange(max(len(data) // 4, 1)) * 4
    value = choice.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data), 0x10000])
    return data[:at] + value.to_bytes(4, "little") + data[at + 4 :]


def _members(data: bytes, choice: random.Random) -> bytes:
    """One member of a zip archive is changed, renamed, lost, swapped or there twice."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    index = choice.randrange(len(members))
    if choice.random() < 0.5:
        index = next(i for i, (name, _) in enumerate(members) if name.endswith("model.json"))
    name, held = members[index]
    if name.endswith(".json"):
        members[index] = (name, _json(held, choice))
    else:
        members = choice.choice([_renamed, _lost, _exchanged, _changed])(members, index, choice)
    return _archive(members)


_Members: TypeAlias = list[tuple[str, bytes]]


def _renamed(members: _Members, index: int, choice: random.Random) -> _Members:
    name = choice.choice(["../x", "archive/MODELS/model.json", "archive/data/weights/weight_99"])
    return [*members[:index], (name, members[index][1]), *members[index + 1 :]]


def _lost(members: _Members, index: int, _: random.Random) -> _Members:
    return [*members[:index], *members[index + 1 :]]


def _exchanged(members: _Members, index: int, choice: random.Random) -> _Members:
    other = choice.randrange(len(members))
    changed = list(members)
    changed[index] = (members[index][0], members[other][1])
    changed[other] = (members[other][0], members[index][1])
    return changed


def _changed(members: _Members, index: int, choice: random.Random) -> _Members:
    change = choice.choice([_flipped, _cut, _inserted])
    held = (members[index][0], change(members[index][1], choice))
    return [*members[:index], held, *members[index + 1 :]]


def _archive(members: _Members) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, held in members:
            archive.writestr(zipfile.ZipInfo(name), held)
    return stream.getvalue()


def _json(data: bytes, choice: random.Random) -> bytes:
    tree = json.loads(data)
    for _ in range(choice.choice([1, 1, 1, 3])):
        _spoil_tree(tree, choice)
    return json.dumps(tree).encode()


def _header(data: bytes, choice: random.Random) -> bytes:
    """Of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    header = _json(data[8 : 8 + length], choice)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _spoil_tree(tree: Any, choice: random.Random) -> None:
    """Change, remove or add one value somewhere in a tree."""
    node = tree
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = choice.choice(keys)
        if isinstance(node[key], dict | list) and node[key] and choice.random() < 0.95:
            node = node[key]
            continue
        if choice.random() < 0.1:
            del node[key]
        else:
            node[key] = _other(node[key], choice)
        return


def _other(value: object, choice: random.Random) -> object:
    likely = _NUMBERS if isinstance(value, int | float) else _TEXTS
    return choice.choice(choice.choices([likely, _NUMBERS, _TEXTS, _OTHERS], [5, 1, 1, 1])[0])


def _onnx(data: bytes, choice: random.Random) -> bytes:
    """One field of an ONNX file's graph."""
    import onnx

    model = onnx.ModelProto.FromString(data)
    number = choice.choice([-1, 0, 1, 3, 2**31, 2**40, 2**62])
    what = choice.randrange(6)
    if what == 0:
        tensor = choice.choice(model.graph.initializer)
        tensor.dims[:] = [number, *tensor.dims[1:]]
    elif what == 1:
        tensor = choice.choice(model.graph.initializer)
        tensor.raw_data = _flipped(tensor.raw_data, choice)
    elif what == 2:
        node = choice.choice(model.graph.node)
        node.op_type = choice.choice(["Expand", "Tile", "ConstantOfShape", "Loop", "Conv", "Pad"])
    elif what == 3:
        held = [a for node in model.graph.node for a in node.attribute]
        _spoil_attribute(choice.choice(held), number)
    elif what == 4:
        node = choice.choice(model.graph.node)
        names = [t.name for t in model.graph.initializer] + [n.output[0] for n in model.graph.node]
        node.input[choice.randrange(len(node.input))] = choice.choice([*names, "", "nowhere"])
    else:
        value = choice.choice([*model.graph.input, *model.graph.output])
        value.type.tensor_type.shape.dim[0].dim_value = number
    data = model.SerializeToString()
    return bytes(data)


def _spoil_attribute(held: Any, number: int) -> None:
    if held.ints:
        held.ints[0] = number
    else:
        held.i = number
