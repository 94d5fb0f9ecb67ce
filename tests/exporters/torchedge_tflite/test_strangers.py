"""Files of strangers: offsets, order and memory are looked at before a runtime sees them."""

import struct

import numpy as np
import pytest
import torch
from torch import nn

import torchedge
from tests.exporters.torchedge_tflite.files import Tensor, file_of
from torchedge import exporting
from torchedge.backends import TFLITE
from torchedge.bench import Gate
from torchedge.compressed import CompressedModel
from torchedge.errors import ArtifactError
from torchedge.exporting import TensorSpec
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge_tflite import probe
from torchedge_tflite.flatbuffer import parse
from torchedge_tflite.probe import require_survived
from torchedge_tflite.runner import TFLiteRunner
from torchedge_tflite.session import open_model
from torchedge_tflite.soundness import require_sound
from torchedge_tflite.structure import require_structure

pytestmark = pytest.mark.usefixtures("litert")


def sound(operator="ADD", shape=(1, 4), out=None):
    weight = Tensor(shape=shape, values=np.ones(shape, np.int8))
    return file_of(operator, [Tensor(shape=shape), weight], [Tensor(shape=out or shape)])


def numbers_changed(data, value):
    """The file with each of its 32-bit numbers in turn at the edge."""
    for at in range(0, len(data) - 3, 4):
        yield data[:at] + struct.pack("<I", value) + data[at + 4 :]


@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_an_offset_at_the_edge_is_refused_or_harmless(value):
    data, refused = sound(), 0
    for changed in numbers_changed(data, value):
        try:
            require_sound(changed, "it")
        except ArtifactError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("kept", [0, 1, 8, 40, 0.5, 0.9])
def test_a_file_that_ends_early_is_refused(kept):
    data = sound()
    with pytest.raises(ArtifactError, match="no intact TFLite file"):
        parse(data[: kept if isinstance(kept, int) else int(kept * len(data))])


def test_a_list_that_leads_to_one_table_a_million_times_is_refused_in_time():
    count = 500_000
    vtable = struct.pack("<HHHHH", 10, 8, 0, 0, 4) + bytes(2)  # Model: its field 2 are the graphs
    empty = struct.pack("<HH", 4, 4)
    table = 8 + len(vtable) + len(empty)
    model = struct.pack("<iI", table - 8, 4) + struct.pack("<I", count)
    first = table + len(model)
    graph = first + 4 * count
    leads = b"".join(struct.pack("<I", graph - first - 4 * i) for i in range(count))
    end = struct.pack("<i", graph - (8 + len(vtable)))
    data = struct.pack("<I", table) + b"TFL3" + vtable + empty + model + leads + end
    with pytest.raises(ValueError, match="more than 200,000 tables"):
        require_structure(data)


@pytest.mark.parametrize("shape", [(2**16, 2**16), (1, 2**31 - 1, 4)])
def test_a_file_whose_tensors_take_more_than_they_may_is_refused(shape):
    data = file_of("ABS", [Tensor(shape=(1, 4))], [Tensor(shape=shape)])
    with pytest.raises(ArtifactError, match="bytes at one time"):
        require_sound(data, "it")


@pytest.mark.parametrize("name", ["WHILE", "CALL_ONCE", "VAR_HANDLE", "UNIQUE"])
def test_an_operator_that_this_package_never_writes_is_refused(name):
    with pytest.raises(ArtifactError, match=f"the operator '{name}'"):
        require_sound(file_of(name, [Tensor(shape=(1, 4))], [Tensor(shape=(1, 4))]), "it")


CRASHING = """
import sys
sys.path.insert(0, {folder!r})
import probe_child
probe_child._import = lambda library: None
probe_child._litert = lambda job, data: {body}
probe_child._SECONDS = 2
probe_child.main("litert")
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("__import__('ctypes').string_at(0)", "ended by signal 11"),
        ("__import__('os').abort()", "ended by signal 6"),
        ("bytearray(2**30)", "more memory than its tensors do"),
        ("exec('while True: pass')", "ended by signal"),
    ],
)
def test_a_file_that_its_runtime_dies_of_or_hangs_on_is_one_line(monkeypatch, tmp_path, body, said):
    child = tmp_path / "child.py"
    folder = str(probe.Path(probe.__file__).parent)
    child.write_text(CRASHING.format(folder=folder, body=body))
    monkeypatch.setattr(probe.Path, "with_name", lambda self, name: child)
    server = probe._Server("litert")
    monkeypatch.setattr(probe, "_server", lambda library, process: server)
    for _ in range(2):  # the next file is tried by the same process
        with pytest.raises(ArtifactError, match=said) as refused:
            require_survived(b"data", "it", "litert", tensor_bytes=0, resolver="AUTO")
        assert len(str(refused.value).splitlines()) == 1
    server._end()


def test_a_file_is_tried_before_it_is_opened_here(tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    path.write_bytes(sound())
    refusal = ArtifactError("died")

    def died(*_, **__):
        raise refusal

    monkeypatch.setattr("torchedge_tflite.session.require_survived", died)
    spec = TensorSpec("input_0", (1, 4), "float32")
    with pytest.raises(ArtifactError, match="died"):
        open_model(path, (spec,), (spec,))


class Words(nn.Module):
    """Looks words up: whatever else an input held would be no index."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 16), nn.Linear(16, 3)

    def forward(self, words):
        return self.head(self.embedding(words).mean(1))


def test_a_file_whose_inputs_are_indices_is_tried_with_indices_that_exist(monkeypatch, tmp_path):
    torch.manual_seed(0)
    monkeypatch.setenv("MALLOC_PERTURB_", "90")  # glibc fills what nobody has written
    server = probe._Server("litert")
    monkeypatch.setattr(probe, "_server", lambda library, process: server)
    words = torch.randint(0, 5, (8, 6))
    prepared = calibrate(prepare_qat(Words().eval(), TFLITE, (words[:1],)), words.split(4), minmax)
    source = CompressedModel(
        module=prepared, example_inputs=(words[:1],), samples=(words,), scheme=TFLITE
    ).save(tmp_path / "torch")
    made = torchedge.export(
        source, exporting.target("android"), tmp_path / "out", gate=Gate(forced=True)
    ).artifact
    with TFLiteRunner().open(made) as session:
        assert session(words[:1].numpy())[0].shape == (1, 3)
    server._end()
