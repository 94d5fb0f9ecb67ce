"""Programs of torch that would run code, read files, or take all memory."""

import json
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.hostile_inputs.sealing import resealed
from benchmarks.hostile_inputs.zips import Member, archive, deflated, members_of, two_directories

__all__ = ["programs"]

_Make: TypeAlias = Callable[[Path, Path], None]
_Tree: TypeAlias = dict[str, Any]
_FILE = "program.pt2"
_MANY = 2**33


class _Touch:
    """Unpickling it leaves a file."""

    def __init__(self, flag: Path) -> None:
        self._flag = flag

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self._flag}'",)


def programs() -> Iterator[tuple[str, _Make]]:
    """Each with its name, as a change of an artefact of format torch."""
    yield "two directories", _two
    yield "prepended archive", lambda f, o: _bytes(f, _evil(f, o), before=True)
    yield "appended archive", lambda f, o: _bytes(f, _evil(f, o), before=False)
    yield "pickled weight", lambda f, o: _written(f, _evil_members(f, o))
    yield "pickled sample inputs", lambda f, o: _member(f, "sample_inputs/model.pt", _pickle(o))
    yield (
        "pickled weights of old",
        lambda f, o: _more(f, "archive/data/weights/model.pt", _pickle(o)),
    )
    yield "custom object", lambda f, o: _more(f, "archive/data/constants/custom_obj_0", _pickle(o))
    yield "compiled library", lambda f, o: _more(f, "archive/data/aotinductor/model/x.so", b"ELF")
    yield "extra file", lambda f, o: _more(f, "archive/extra/x", b"x")
    yield "member outside", lambda f, o: _more(f, "../../escaped", b"x")
    yield "member twice", lambda f, o: _more(f, "archive/models/model.json", b"{}")
    yield "member twice but for case", lambda f, o: _more(f, "archive/Models/model.json", b"{}")
    yield "member in another folder", lambda f, o: _more(f, "other/models/model.json", b"{}")
    yield "other name before the data", lambda f, o: _each(f, local_name="archive/x")
    yield "sizes behind the data", lambda f, o: _each(f, flags=8)
    yield "encrypted", lambda f, o: _each(f, flags=1)
    yield "links inside", lambda f, o: _each(f, attributes=0o120777)
    yield "all members are one", lambda f, o: _data(f, archive(_members(f), shared=True))
    yield "deflated bomb", _bomb
    yield "million entries", lambda f, o: _written(f, [Member(name="x", data=b"")] * 60_000)
    yield "declared sizes of gigabytes", lambda f, o: _each(f, size=2**32 - 2)
    yield from _graphs()
    yield from _payloads()


def _graphs() -> Iterator[tuple[str, _Make]]:
    yield "from_file", _operator("from_file", [_text("filename", "/etc/hostname")])
    yield "save", _operator("save", [_text("filename", "saved")])
    yield "os.system", _target("torch.os.system")
    yield "hub", _target("torch.hub.load")
    yield "set_", _target("torch.ops.aten.set_.source_Tensor")
    yield "resize_", _target("torch.ops.aten.resize_.default")
    yield (
        "full of 8 GB",
        _operator("full", [_ints("size", [_MANY // 4]), _float("fill_value", 1.0)]),
    )
    yield "zeros of 8 GB", _operator("zeros", [_ints("size", [_MANY // 4])])
    yield "arange of 16 GB", _operator("arange", [_int("end", _MANY // 4)])
    yield "expand and copy", _inserted_node("expand", [_ints("size", [_MANY // 1024, 1, 16, 16])])
    yield "repeat", _inserted_node("repeat", [_ints("repeats", [_MANY // 1024, 1, 1, 1])])
    yield "unbind of millions", _inserted_node("expand", [_ints("size", [2**20, 1, 16, 16])])
    yield "deep specification", lambda f, o: _tree(f, _deep)
    yield "deep JSON", lambda f, o: _member(f, "models/model.json", b"[" * 500_000)
    yield "NaN in JSON", lambda f, o: _text_of(f, b'"major": 8', b'"major": NaN')
    yield "key twice", lambda f, o: _text_of(f, b'"major": 8', b'"major": 8, "major": 9')
    yield (
        "number of a million digits",
        lambda f, o: _text_of(f, b'"major": 8', b'"major": ' + b"9" * 1_000_000),
    )
    yield "expression", lambda f, o: _tree(f, _expression)
    yield "guards", lambda f, o: _tree(f, lambda t: t.update(guards_code=["__import__('os')"]))
    yield "name that is code", lambda f, o: _tree(f, _named("x=print(1)"))
    yield "million nodes", lambda f, o: _tree(f, _many_nodes)
    yield "two billion axes", lambda f, o: _tree(f, _declared(2**31))


def _payloads() -> Iterator[tuple[str, _Make]]:
    yield "empty weight of 8 GB", lambda f, o: _weights(f, _size(_MANY), empty=True)
    yield "weight of 8 GB", lambda f, o: _weights(f, _size(_MANY))
    yield "weight with strides", lambda f, o: _weights(f, _stride(2**40))
    yield "weight of no format", lambda f, o: _weights(f, lambda m: m.update(dtype=99))
    yield "weight elsewhere", lambda f, o: _weights(f, lambda m: m.update(device={"type": "meta"}))


def _members(folder: Path) -> list[Member]:
    return members_of(folder / _FILE)


def _written(folder: Path, members: list[Member]) -> None:
    _data(folder, archive(members))


def _data(folder: Path, data: bytes) -> None:
    (folder / _FILE).write_bytes(data)
    resealed(folder)


def _pickle(outside: Path) -> bytes:
    return pickle.dumps(_Touch(outside / "executed"))


def _evil_members(folder: Path, outside: Path) -> list[Member]:
    members, first = _members(folder), ""
    for index, member in enumerate(members):
        if member.name.endswith("model_weights_config.json"):
            config = json.loads(member.data)
            payload = next(iter(config["config"].values()))
            payload["use_pickle"], first = True, payload["path_name"]
            members[index] = replace(member, data=json.dumps(config).encode())
    wrong = f"/{first}"
    return [replace(m, data=_pickle(outside)) if m.name.endswith(wrong) else m for m in members]


def _evil(folder: Path, outside: Path) -> bytes:
    return archive(_evil_members(folder, outside))


def _two(folder: Path, outside: Path) -> None:
    _data(folder, two_directories(_members(folder), _evil_members(folder, outside)))


def _bytes(folder: Path, more: bytes, *, before: bool) -> None:
    own = (folder / _FILE).read_bytes()
    _data(folder, more + own if before else own + more)


def _member(folder: Path, ending: str, data: bytes) -> None:
    members = _members(folder)
    _written(folder, [replace(m, data=data) if m.name.endswith(ending) else m for m in members])


def _more(folder: Path, name: str, data: bytes) -> None:
    _written(folder, [*_members(folder), Member(name=name, data=data)])


def _each(folder: Path, **changes: Any) -> None:
    _written(folder, [replace(member, **changes) for member in _members(folder)])


def _bomb(folder: Path, _: Path) -> None:
    members = _members(folder)
    _written(
        folder,
        [deflated(m, 2**28) if m.name.endswith("models/model.json") else m for m in members],
    )


def _text_of(folder: Path, old: bytes, new: bytes) -> None:
    data = next(m.data for m in _members(folder) if m.name.endswith("models/model.json"))
    _member(folder, "models/model.json", data.replace(old, new))


def _tree(folder: Path, change: Callable[[_Tree], object]) -> None:
    tree = json.loads(next(m.data for m in _members(folder) if m.name.endswith("model.json")))
    change(tree)
    _member(folder, "models/model.json", json.dumps(tree).encode())


def _graph(tree: _Tree) -> _Tree:
    graph: _Tree = tree["graph_module"]["graph"]
    return graph


def _target(target: str) -> _Make:
    def change(tree: _Tree) -> None:
        _graph(tree)["nodes"][0]["target"] = target

    return lambda folder, outside: _tree(folder, change)


def _operator(name: str, inputs: list[_Tree]) -> _Make:
    """The first node becomes this one, and its result is declared as before."""

    def change(tree: _Tree) -> None:
        node = _graph(tree)["nodes"][0]
        node["target"], node["inputs"] = f"torch.ops.aten.{name}.default", inputs

    return lambda folder, outside: _tree(folder, change)


def _inserted_node(name: str, inputs: list[_Tree]) -> _Make:
    """A node before the first, which takes the network's input and declares its true size."""

    def change(tree: _Tree) -> None:
        graph = _graph(tree)
        given = graph["inputs"][-1]["as_tensor"]["name"]
        sizes = next(iter(inputs[0]["arg"].values()))
        declared = json.loads(json.dumps(graph["tensor_values"][given]))
        declared["sizes"] = [{"as_int": size} for size in [sizes[0], 1, 16, 16]]
        graph["tensor_values"]["inserted"] = declared
        node = json.loads(json.dumps(graph["nodes"][0]))
        own = {"name": "self", "arg": {"as_tensor": {"name": given}}, "kind": 1}
        node.update(target=f"torch.ops.aten.{name}.default", name="inserted")
        node.update(inputs=[own, *inputs], outputs=[{"as_tensor": {"name": "inserted"}}])
        graph["nodes"].insert(0, node)

    return lambda folder, outside: _tree(folder, change)


def _named_argument(name: str, kind: str, value: object) -> _Tree:
    return {"name": name, "arg": {kind: value}, "kind": 1}


def _text(name: str, value: str) -> _Tree:
    return _named_argument(name, "as_string", value)


def _ints(name: str, value: list[int]) -> _Tree:
    return _named_argument(name, "as_ints", value)


def _int(name: str, value: int) -> _Tree:
    return _named_argument(name, "as_int", value)


def _float(name: str, value: float) -> _Tree:
    return _named_argument(name, "as_float", value)


def _deep(tree: _Tree) -> None:
    signature = tree["graph_module"]["module_call_graph"][0]["signature"]
    signature["in_spec"] = "[1, " + '{"type": null, "children_spec": [' * 5_000


def _expression(tree: _Tree) -> None:
    value = next(iter(_graph(tree)["tensor_values"].values()))
    value["sizes"] = [{"as_expr": {"expr_str": "__import__('os').getcwd()", "hint": None}}]


def _named(name: str) -> Callable[[_Tree], None]:
    def change(tree: _Tree) -> None:
        tree["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [name]

    return change


def _many_nodes(tree: _Tree) -> None:
    nodes = _graph(tree)["nodes"]
    nodes += nodes[:1] * 20_000


def _declared(size: int) -> Callable[[_Tree], None]:
    def change(tree: _Tree) -> None:
        for value in _graph(tree)["tensor_values"].values():
            value["sizes"] = [{"as_int": size}] * max(1, len(value["sizes"]))

    return change


def _weights(folder: Path, change: Callable[[_Tree], object], *, empty: bool = False) -> None:
    members = _members(folder)
    config = json.loads(next(m.data for m in members if m.name.endswith("weights_config.json")))
    payload = next(iter(config["config"].values()))
    change(payload["tensor_meta"])
    name = f"/{payload['path_name']}"
    for index, member in enumerate(members):
        if member.name.endswith("model_weights_config.json"):
            members[index] = replace(member, data=json.dumps(config).encode())
        elif empty and member.name.endswith(name):
            members[index] = replace(member, data=b"")
    _written(folder, members)


def _size(size: int) -> Callable[[_Tree], object]:
    return lambda meta: meta.update(sizes=[{"as_int": size}], strides=[{"as_int": 1}])


def _stride(stride: int) -> Callable[[_Tree], object]:
    return lambda meta: meta.update(strides=[{"as_int": stride}] * len(meta["sizes"]))
