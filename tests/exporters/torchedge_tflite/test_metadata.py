"""What a file says about itself, and that no runtime stumbles over it."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exporters.torchedge_tflite_micro.models import dense
from torchedge.errors import ArtifactError
from torchedge.exporting import Artifact, Format, Normalisation
from torchedge_tflite.flatbuffer import parse
from torchedge_tflite.metadata import (
    ABOUT_FILE,
    LABELS_FILE,
    read_embedded,
    with_embedded,
    without_embedded,
)


def source(**changes):
    fields = {"inputs": (), "outputs": (), "made_by": (), "sha256": "ab" * 32, "name": "net"}
    return Artifact(path=None, format=Format("onnx"), **{**fields, **changes})


KNOWN = source(
    class_names=("yes", "no", "größer"),
    normalisation=Normalisation(mean=(0.5,), deviation=(0.25,)),
)


def test_labels_normalisation_and_hash_are_read_back():
    assert read_embedded(with_embedded(dense(), KNOWN)) == {
        "name": "net",
        "made_from": {"format": "onnx", "sha256": "ab" * 32},
        "class_names": ["yes", "no", "größer"],
        "normalisation": {"mean": [0.5], "deviation": [0.25]},
    }


def test_the_labels_are_a_file_that_any_unzip_finds():
    with zipfile.ZipFile(io.BytesIO(with_embedded(dense(), KNOWN))) as archive:
        assert archive.read(LABELS_FILE).decode().splitlines() == ["yes", "no", "größer"]
        assert archive.testzip() is None


def test_the_same_network_has_the_same_bytes_on_every_day():
    assert with_embedded(dense(), KNOWN) == with_embedded(dense(), KNOWN)


@given(names=st.lists(st.text(st.characters(codec="utf-8"))), data=st.binary())
def test_taking_it_out_gives_the_networks_bytes_back(names, data):
    network = dense() + data
    whole = with_embedded(network, source(class_names=tuple(names)))
    assert without_embedded(whole) == network
    assert read_embedded(whole)["class_names"] == names


def test_litert_answers_the_same_with_it(litert):
    from ai_edge_litert.interpreter import Interpreter

    def answer(data):
        interpreter = Interpreter(model_content=data)
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, np.arange(-6, 6, dtype=np.int8)[None])
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    np.testing.assert_array_equal(answer(with_embedded(dense(), KNOWN)), answer(dense()))


def test_tflite_micro_answers_the_same_with_it(micro_runtime):
    from torchedge_tflite_micro.runtime import Interpreter

    x = np.arange(-6, 6, dtype=np.int8)[None]
    both = [dense(), with_embedded(dense(), KNOWN)]
    one, other = (Interpreter(data, arena_bytes=2**16, outputs=1)(x)[0] for data in both)
    np.testing.assert_array_equal(one, other)


def test_our_reader_reads_the_network_in_front_of_it(litert):
    plain, described = parse(dense()), parse(with_embedded(dense(), KNOWN))
    assert described.operators == plain.operators
    assert [t.scales for t in described.tensors] == [t.scales for t in plain.tensors]


def test_a_file_without_it_is_refused():
    with pytest.raises(ArtifactError, match="bytes without torchedge's metadata"):
        read_embedded(dense())


def test_a_description_that_unpacks_to_megabytes_is_not_unpacked():
    stream = io.BytesIO(dense())
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(ABOUT_FILE, json.dumps("x" * 2**21))
    with pytest.raises(ArtifactError, match="more than 1,048,576 bytes"):
        read_embedded(stream.getvalue())
