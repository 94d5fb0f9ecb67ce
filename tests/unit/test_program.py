"""A hostile archive must be refused before torch sees it."""

import json
import pickle
import zipfile
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks.hostile_inputs.zips import Member, deflated, members_of, two_directories
from benchmarks.hostile_inputs.zips import archive as zipped
from torchedge.errors import ArtifactError, ExportError
from torchedge.program import load_program, save_program


class Canary:
    """Unpickling it creates a file: proof that something was executed."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "program.pt2"
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval()
    save_program(model, (torch.zeros(1, 1, 5, 5),), path)
    return path


def rewritten(archive, change):
    """The archive with each entry passed through ``change(name, data) -> data``."""
    path = archive.with_name("changed.pt2")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path


def test_a_saved_program_computes_the_same_when_loaded(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    x = torch.randn(1, 1, 5, 5)
    save_program(model, (x,), tmp_path / "m.pt2")
    assert torch.equal(load_program(tmp_path / "m.pt2").module()(x), model(x))


def test_an_archive_holds_no_pickle(archive):
    with zipfile.ZipFile(archive) as opened:
        inputs = next(name for name in opened.namelist() if name.endswith("inputs/model.pt"))
        assert opened.read(inputs) == b""
        assert not any(opened.read(name).startswith(b"\x80") for name in opened.namelist())


def test_pickled_sample_inputs_are_refused_and_not_run(archive, tmp_path):
    canary = tmp_path / "executed"
    payload = pickle.dumps(Canary(canary))
    hostile = rewritten(archive, lambda n, d: payload if n.endswith("inputs/model.pt") else d)
    with pytest.raises(ArtifactError, match="unpickled"):
        load_program(hostile)
    assert not canary.exists()


def test_a_pickled_weight_is_refused(archive):
    def change(name, data):
        if name.endswith("model_weights_config.json"):
            return data.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
        return data

    with pytest.raises(ArtifactError, match="use_pickle"):
        load_program(rewritten(archive, change))


def test_a_custom_object_is_refused(archive, tmp_path):
    path = rewritten(archive, lambda name, data: data)
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("archive/data/constants/opaque_obj_0", pickle.dumps(Canary(tmp_path / "x")))
    with pytest.raises(ArtifactError, match="opaque_obj_0"):
        load_program(path)


@pytest.mark.parametrize(
    "target", ["torch.os.system", "torch.hub.load", "torch.ops.aten.from_file.default"]
)
def test_a_function_that_is_no_tensor_operator_is_refused(archive, target):
    def change(name, data):
        return data.replace(b"torch.ops.aten.relu.default", target.encode())

    with pytest.raises(ArtifactError, match="no tensor operator"):
        load_program(rewritten(archive, change))


def test_symbolic_expressions_are_refused_because_torch_evaluates_them(archive):
    def change(name, data):
        if not name.endswith("models/model.json"):
            return data
        tree = json.loads(data)
        tree["range_constraints"] = {"s0": {"min_val": 0, "max_val": 9}}
        return json.dumps(tree)

    with pytest.raises(ArtifactError, match="range_constraints"):
        load_program(rewritten(archive, change))


HOSTILE_NAMES = [
    (b'"forward_arg_names": ["input"]', b'"forward_arg_names": ["input=print(9)"]'),
    (b'"0.weight"', b'"0.w\\"+print(9)+\\"eight"'),
]


@pytest.mark.parametrize(("old", "new"), HOSTILE_NAMES)
def test_a_name_that_torch_would_compile_as_code_is_refused(archive, old, new):
    changed = []

    def change(name, data):
        changed.append(old in data)
        return data.replace(old, new)

    hostile = rewritten(archive, change)
    assert any(changed)
    with pytest.raises(ArtifactError, match="compile as code"):
        load_program(hostile)


def test_an_archive_does_not_tell_where_it_was_written(archive):
    with zipfile.ZipFile(archive) as opened:
        everything = b"".join(opened.read(name) for name in opened.namelist())
    assert b"test_program" not in everything
    assert b"site-packages" not in everything


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_archive_is_refused(archive, kept):
    data = archive.read_bytes()
    archive.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(ArtifactError, match="no intact"):
        load_program(archive)


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_module_that_cannot_be_captured_is_refused_by_name(tmp_path):
    with pytest.raises(ExportError, match="Branching"):
        save_program(Branching(), (torch.ones(1),), tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())


class Summed(nn.Module):
    def __init__(self, equation):
        super().__init__()
        self.equation = equation
        self.weight = nn.Parameter(torch.rand(3, 2))

    def forward(self, x):
        return torch.einsum(self.equation, x, self.weight)


@pytest.mark.parametrize("equation", ["nbc,cd->nbd", "...c,cd", "nbc, cd -> bd"])
def test_the_equation_of_a_sum_of_products_is_data(equation, tmp_path):
    x = torch.rand(2, 4, 3)
    save_program(Summed(equation), (x,), tmp_path / "program.pt2")
    assert torch.equal(
        load_program(tmp_path / "program.pt2").module()(x),
        Summed.forward(_of(tmp_path, equation), x),
    )


def _of(folder, equation):
    summed = Summed(equation)
    summed.load_state_dict(load_program(folder / "program.pt2").state_dict)
    return summed


def test_an_archive_with_a_second_directory_is_refused_and_runs_nothing(archive, tmp_path):
    harmless = members_of(archive)
    evil = [replace(m, data=pickle.dumps(Canary(tmp_path / "executed"))) for m in harmless]
    archive.write_bytes(two_directories(harmless, evil))
    with zipfile.ZipFile(archive) as opened:  # what Python sees is the harmless one
        assert opened.read(harmless[0].name) == harmless[0].data
    with pytest.raises(ArtifactError, match="lies before the member"):
        load_program(archive)
    assert not (tmp_path / "executed").exists()


def test_torch_gets_an_archive_that_was_written_here_and_never_the_file(archive, monkeypatch):
    given, load = [], torch.export.load
    monkeypatch.setattr(torch.export, "load", lambda f: given.append(f) or load(f))
    load_program(archive)
    (stream,) = given
    assert stream.getvalue() != archive.read_bytes()
    with zipfile.ZipFile(stream) as opened:
        assert {name.split("/")[0] for name in opened.namelist()} == {"program"}


@pytest.mark.parametrize("change", [{"flags": 1}, {"attributes": 0o120777}, {"local_name": "x"}])
def test_a_member_that_is_encrypted_a_link_or_called_otherwise_is_refused(archive, change):
    archive.write_bytes(zipped([replace(m, **change) for m in members_of(archive)]))
    with pytest.raises(ArtifactError, match="no intact"):
        load_program(archive)


def test_a_compressed_member_is_refused_before_it_is_unpacked(archive):
    members = members_of(archive)
    members[-1] = deflated(members[-1], 2**26)
    archive.write_bytes(zipped(members))
    with pytest.raises(ArtifactError, match="is compressed"):
        load_program(archive)


@pytest.mark.parametrize("name", ["archive/models/model.json", "archive/Models/MODEL.json"])
def test_two_members_of_one_name_are_refused(archive, name):
    archive.write_bytes(zipped([*members_of(archive), Member(name=name, data=b"{}")]))
    with pytest.raises(ArtifactError, match="two members"):
        load_program(archive)


class Large(nn.Module):
    def __init__(self, grow):
        super().__init__()
        self.grow = grow

    def forward(self, x):
        return self.grow(x)


@pytest.mark.parametrize(
    "grow",
    [
        lambda x: x + torch.zeros(2**18, 8),
        lambda x: x.expand(2**18, 8).clone(),
        lambda x: x.repeat(2**18, 1),
        lambda x: torch.full((2**18, 8), 1.0) * x,
    ],
)
def test_a_program_that_takes_more_memory_than_it_may_is_refused_before_it_runs(
    grow, tmp_path, monkeypatch
):
    path = tmp_path / "program.pt2"
    save_program(Large(grow), (torch.zeros(1, 8),), path)
    monkeypatch.setattr("torchedge.program.allowed_bytes", lambda file_bytes: 2**20)
    with pytest.raises(ArtifactError, match=r"takes [0-9,]+ bytes"):
        load_program(path)


def graph_changed(archive, change):
    def rewrite(name, data):
        if not name.endswith("models/model.json"):
            return data
        tree = json.loads(data)
        change(tree["graph_module"]["graph"])
        return json.dumps(tree)

    return rewritten(archive, rewrite)


def test_a_node_that_computes_another_shape_than_it_declares_is_refused(archive):
    def change(graph):
        node = graph["nodes"][-1]
        sizes = {"name": "size", "arg": {"as_ints": [2**31]}, "kind": 1}
        node["target"], node["inputs"] = "torch.ops.aten.zeros.default", [sizes]

    with pytest.raises(ArtifactError, match="takes 8,589,934,592 bytes"):
        load_program(graph_changed(archive, change))


def test_a_weight_that_is_declared_and_not_there_is_refused(archive):
    def change(name, data):
        if not name.endswith("model_weights_config.json"):
            return b"" if name.endswith("weight_0") else data
        tree = json.loads(data)
        meta = next(iter(tree["config"].values()))["tensor_meta"]
        meta["sizes"], meta["strides"] = [{"as_int": 2**33}], [{"as_int": 1}]
        return json.dumps(tree)

    with pytest.raises(ArtifactError, match="34,359,738,368 bytes, and 0 are there"):
        load_program(rewritten(archive, change))


def test_a_graph_of_more_values_than_any_network_has_is_refused(archive):
    def change(graph):
        meta = next(iter(graph["tensor_values"].values()))
        graph["tensor_values"].update({f"v{i}": meta for i in range(9_000)})

    with pytest.raises(ArtifactError, match="8,000 are the most"):
        load_program(graph_changed(archive, change))


@pytest.mark.parametrize("key", ["as_custom_obj", "as_operator", "what_a_later_torch_evaluates"])
def test_a_key_that_no_plain_program_has_is_refused(archive, key):
    with pytest.raises(ArtifactError, match=key):
        load_program(graph_changed(archive, lambda graph: graph["nodes"][0].update({key: "x"})))


def test_a_graph_of_more_nodes_than_any_network_has_is_refused(archive):
    with pytest.raises(ArtifactError, match="5,000 are the most"):
        load_program(graph_changed(archive, lambda g: g.update(nodes=g["nodes"] * 5_001)))


@pytest.mark.parametrize(
    ("grow", "said"),
    [
        (lambda x: torch.tensor_split(x.expand(50, 8), 50)[0], "cut into 50 parts"),
        (lambda x: x.expand(50, 8).unbind()[0], "cut into 50 parts"),
        (lambda x: x.expand(50, 8).split(1)[0], "cut into 50 parts"),
        (
            lambda x: nn.functional.avg_pool2d(x[:, :1, None].expand(1, 2048, 2048), 1024, 1),
            "4,000,000,000,000 in",
        ),
        (
            lambda x: nn.functional.conv2d(
                x[None, :, :1, None].expand(1, 1, 4096, 4096),
                x[None, :, :1, None].expand(1, 1, 2048, 2048),
            ),
            "4,000,000,000,000 in",
        ),
    ],
)
def test_a_program_that_would_run_for_hours_is_refused_before_it_runs(
    grow, said, tmp_path, monkeypatch
):
    monkeypatch.setattr("torchedge.reading.costs._MOST_PARTS", 10)
    save_program(Large(grow), (torch.zeros(1, 8),), tmp_path / "program.pt2")
    with pytest.raises(ArtifactError, match=said):
        load_program(tmp_path / "program.pt2")
