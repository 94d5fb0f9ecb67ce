"""A safetensors file whose header and bytes do not fit each other."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save

from torchedge.errors import ArtifactError
from torchedge.reading.tensors import read_arrays, read_tensors

HALF = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
BAD = {
    "overlapping": ({"a": HALF, "b": {**HALF, "data_offsets": [2, 6]}}, 6),
    "with a gap": ({"a": HALF, "b": {**HALF, "data_offsets": [5, 9]}}, 9),
    "longer than the file": ({"a": {**HALF, "shape": [2**33], "data_offsets": [0, 2**33]}}, 4),
    "with bytes behind": ({"a": HALF}, 5),
    "shape": ({"a": {**HALF, "shape": [5]}}, 4),
    "negative": ({"a": {**HALF, "shape": [-4]}}, 4),
    "backwards": ({"a": {**HALF, "data_offsets": [4, 0]}}, 4),
    "overflowing": ({"a": {**HALF, "shape": [2**40, 2**40]}}, 4),
    "unknown": ({"a": {**HALF, "dtype": "F8_E4M3"}}, 4),
    "fraction": ({"a": {**HALF, "shape": [4.0]}}, 4),
    "name": ({"\x1b[2J": HALF}, 4),
    "missing": ({"a": {"dtype": "U8"}}, 4),
    "list": ([], 0),
}


def written(path, header, count):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(count))
    return path


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("read", [read_arrays, read_tensors])
def test_a_header_and_its_bytes_must_fit_each_other(tmp_path, name, read):
    with pytest.raises(ArtifactError, match="no safetensors file"):
        read(written(tmp_path / "x.safetensors", *BAD[name]))


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, (2**62).to_bytes(8, "little"), b"\x80\x04."])
def test_a_header_that_is_longer_than_the_file_is_not_allocated(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ArtifactError, match="with a header of"):
        read_arrays(tmp_path / "x")


def test_what_is_sound_is_read(tmp_path):
    tensors = {"a": torch.rand(2, 3), "b": torch.zeros(0, 4, dtype=torch.int8)}
    (tmp_path / "x").write_bytes(save({**tensors, "c": torch.ones(3, dtype=torch.bfloat16)}))
    found = read_tensors(tmp_path / "x")
    assert torch.equal(found["a"], tensors["a"])
    assert found["b"].shape == (0, 4)
    (tmp_path / "y").write_bytes(save(tensors))
    assert np.array_equal(read_arrays(tmp_path / "y")["a"], tensors["a"].numpy())
