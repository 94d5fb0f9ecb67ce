"""Outputs keep their names from the user's network to the files."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils import _pytree

import torchedge
from torchedge import exporting
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.errors import ExportError
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.saving.outputs import named_tensors

Pair = namedtuple("Pair", ["scores", "maps"])


@dataclass
class Answer:
    scores: torch.Tensor
    maps: torch.Tensor
    hidden: torch.Tensor | None = None


FORMS = {
    "dict": lambda scores, maps: {"scores": scores, "maps": maps},
    "ordered dict": lambda scores, maps: OrderedDict(scores=scores, maps=maps),
    "namedtuple": Pair,
    "dataclass": Answer,
}


class Returning(nn.Module):
    """Scores and maps, in a form that can be chosen."""

    def __init__(self, form):
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)
        self.form = form

    def forward(self, x):
        maps = self.convolution(x).relu()
        return self.form(self.linear(maps.mean((2, 3))), maps)


def saved(form, images, folder, target="onnx-cpu"):
    torch.manual_seed(0)
    scheme = exporting.target(target).scheme
    prepared = prepare_qat(Returning(form).eval(), scheme, (images[:1],))
    return CompressedModel(
        module=calibrate(prepared, images.split(8), minmax),
        example_inputs=(images[:1],),
        samples=(images,),
        calibration=(images,),
        scheme=scheme,
    ).save(folder)


def names_in_file(path):
    return [output.name for output in onnx.load(path).graph.output]


@pytest.mark.parametrize("target", ["onnx-cpu", "jetson"])
@pytest.mark.parametrize("form", FORMS)
def test_names_of_outputs_reach_manifest_and_file_in_order(form, target, images, tmp_path):
    source = saved(FORMS[form], images, tmp_path / "torch", target)
    torchedge.export(source, exporting.target(target), tmp_path / "out")
    assert [spec.name for spec in source.outputs] == ["scores", "maps"]
    assert names_in_file(tmp_path / "out/onnx/model.onnx") == ["scores", "maps"]
    assert names_in_file(tmp_path / "out/onnx/model_fp32.onnx") == ["scores", "maps"]


@pytest.mark.parametrize("form", FORMS)
def test_a_float_network_answers_by_name_what_it_returns(form, images, tmp_path):
    net = Returning(FORMS[form]).eval()
    model = CompressedModel(module=net, example_inputs=(images[:1],), samples=(images,))
    artifact = model.save(tmp_path / "m")
    with torch.no_grad(), TorchRunner().open(artifact) as session:
        wanted, found = net(images[:1]), session(images[:1].numpy())
    fields = wanted if isinstance(wanted, dict) else vars_of(wanted)
    for spec, array in zip(artifact.outputs, found, strict=True):
        assert np.allclose(array, fields[spec.name].numpy(), atol=1e-6)


def vars_of(value):
    return value._asdict() if isinstance(value, tuple) else vars(value)


def test_the_grid_of_each_output_is_under_its_own_name(images, tmp_path):
    one = saved(FORMS["dict"], images, tmp_path / "one").outputs
    other = saved(lambda scores, maps: {"maps": maps, "scores": scores}, images, tmp_path / "two")
    assert {spec.name: spec for spec in one} == {spec.name: spec for spec in other.outputs}
    assert one[0].scale != one[1].scale


@pytest.mark.parametrize("form", [lambda *found: list(found), lambda *found: [list(found)]])
@pytest.mark.parametrize("target", ["onnx-cpu", "jetson", "android"])
def test_a_quantised_network_that_returns_a_list_is_saved_and_loaded(
    form, target, images, tmp_path
):
    source = saved(form, images, tmp_path / "torch", target)
    with TorchRunner().open(source) as session:
        answer = session(images[:1].numpy())
    assert [array.shape for array in answer] == [(1, 3), (1, 4, *answer[1].shape[2:])]


def clashing(scores, maps):
    return {"add": scores, "relu": maps, "val_0": maps + 1}


@pytest.mark.parametrize("target", ["onnx-cpu", "jetson"])
def test_an_output_may_be_called_as_a_value_inside_of_the_graph(target, images, tmp_path):
    source = saved(clashing, images, tmp_path / "torch", target)
    torchedge.export(source, exporting.target(target), tmp_path / "out")
    assert names_in_file(tmp_path / "out/onnx/model.onnx") == ["add", "relu", "val_0"]


class HandsOn(nn.Module):
    """Returns its input and one tensor twice beside what it computes."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        y = self.convolution(x)
        return {"y": y, "same": y, "input": x}


@pytest.mark.parametrize("target", ["onnx-cpu", "jetson"])
def test_an_input_and_a_tensor_twice_may_be_outputs(target, images, tmp_path):
    scheme = exporting.target(target).scheme
    prepared = prepare_qat(HandsOn().eval(), scheme, (images[:1],))
    source = CompressedModel(
        module=calibrate(prepared, images.split(8), minmax),
        example_inputs=(images[:1],),
        samples=(images,),
        calibration=(images,),
        scheme=scheme,
    ).save(tmp_path / "torch")
    torchedge.export(source, exporting.target(target), tmp_path / "out")
    assert names_in_file(tmp_path / "out/onnx/model_fp32.onnx") == ["y", "same", "input"]


def test_containers_in_containers_get_names_with_dots():
    x = torch.zeros(1)
    assert list(named_tensors({"heads": [x, {"box": x}], "pair": Pair(x, x)})) == [
        "heads.0",
        "heads.1.box",
        "pair.scores",
        "pair.maps",
    ]
    assert list(named_tensors((x, {"aux": x}))) == ["output_0", "output_1.aux"]
    assert list(named_tensors(x)) == ["output_0"]


TREES = st.recursive(
    st.just(0),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=3).map(tuple)
        | st.dictionaries(st.text("abc", min_size=1), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@given(tree=TREES)
def test_every_tensor_is_found_once_and_in_order(tree):
    """PyTorch's own flattening is the second implementation."""
    places, spec = _pytree.tree_flatten(tree)
    tensors = [torch.tensor(float(index)) for index in range(len(places))]
    found = named_tensors(_pytree.tree_unflatten(tensors, spec))
    assert [float(tensor) for tensor in found.values()] == list(range(len(places)))


def test_none_beside_tensors_is_left_out(images, tmp_path):
    artifact = saved(lambda scores, maps: (None, scores), images, tmp_path / "m")
    assert [spec.name for spec in artifact.outputs] == ["output_1"]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda s, m: {"scores": s, "loss": 1.0}, "float, which is no tensor, as 'loss'"),
        (
            lambda s, m: {"scores": s, "sizes": {"of": "x"}},
            "str, which is no tensor, as 'sizes.of'",
        ),
        (lambda s, m: (s, {1, 2}), "set, which is no tensor, as 'output_1'"),
        (lambda s, m: {"a b": s}, "an output of the name 'a b'"),
        (lambda s, m: {"": s}, "an output of the name ''"),
        (lambda s, m: {"a": {"b": s}, "a.b": m}, "two outputs of the name 'a.b'"),
        (lambda s, m: {"input_0": s}, "an output of the name 'input_0'"),
        (lambda s, m: {"scores": None}, "dict without a tensor"),
        (lambda s, m: {"scores": s, "mean": m.mean()}, r"'mean' has the shape \(\) for a batch of"),
        (lambda s, m: {"scores": s, "flat": m.flatten()}, "'flat' has the shape"),
    ],
)
def test_what_has_no_place_in_a_file_is_refused_by_name(form, message, images, tmp_path):
    model = CompressedModel(
        module=Returning(form).eval(), example_inputs=(images[:2],), samples=(images,)
    )
    with pytest.raises(ExportError, match=message):
        model.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_report_says_which_output_differs_most(images, tmp_path):
    from torchedge.report import verify

    source = saved(FORMS["dict"], images, tmp_path / "torch")
    (tmp_path / "out").mkdir()
    target = exporting.target("onnx-cpu")
    report = verify(source, exporting.export_chain(source, target, tmp_path / "out"), target)
    assert [output.name for output in report.parity.outputs] == ["scores", "maps"]
    assert "(scores)" in report.to_markdown() or "(maps)" in report.to_markdown()


def test_all_outputs_of_the_float_network_are_kept(images, tmp_path):
    source = saved(FORMS["dataclass"], images, tmp_path / "torch")
    samples = load_samples(source.file(SAMPLES_FILE))
    assert [a.shape for a in samples.float_answers] == [a.shape for a in samples.expected]


class _Draws(nn.Module):
    def __init__(self, noise):
        super().__init__()
        self.layer, self.noise = nn.Linear(4, 3), noise

    def forward(self, x):
        return self.layer(x + self.noise(x))


@pytest.mark.parametrize(
    "noise",
    [torch.randn_like, lambda x: nn.functional.dropout(x, 0.5), lambda x: torch.rand(x.shape)],
)
def test_a_network_that_answers_otherwise_every_time_is_refused(tmp_path, noise):
    x = torch.rand(8, 4)
    model = CompressedModel(module=_Draws(noise).eval(), example_inputs=x[:1], samples=x)
    with pytest.raises(ExportError, match="another 'output_0' when it is run again"):
        model.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()
