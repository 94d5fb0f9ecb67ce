"""Reading and counting, on values made by hand."""

import pytest

from torchedge.errors import ArtifactError
from torchedge_tflite.census import forbidden_operators, operator_macs
from torchedge_tflite.flatbuffer import FlatModel, FlatTensor, Operator, parse


def tensor(index, shape, *, scales=(1.0,), zero_points=(0,), values=None, dtype="int8"):
    return FlatTensor(
        index=index,
        name=f"tensor_{index}",
        shape=shape,
        dtype=dtype,
        scales=scales,
        zero_points=zero_points,
        axis=0,
        values=values,
    )


def one_operator(name, *shapes, result):
    tensors = tuple(tensor(i, shape) for i, shape in enumerate((*shapes, result)))
    operator = Operator(name=name, inputs=tuple(range(len(shapes))), outputs=(len(shapes),))
    return FlatModel(tensors=tensors, operators=(operator,), inputs=(0,), outputs=(len(shapes),))


@pytest.mark.parametrize(
    ("name", "shapes", "result", "macs"),
    [
        ("CONV_2D", [(1, 8, 8, 3), (4, 3, 3, 3)], (1, 8, 8, 4), 8 * 8 * 4 * 27),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 3), (1, 5, 5, 3)], (1, 8, 8, 3), 8 * 8 * 3 * 25),
        ("FULLY_CONNECTED", [(2, 7), (5, 7)], (2, 5), 2 * 5 * 7),
        ("TRANSPOSE_CONV", [(4,), (4, 2, 2, 3), (1, 8, 8, 3)], (1, 16, 16, 4), 8 * 8 * 3 * 16),
        ("BATCH_MATMUL", [(1, 4, 6), (1, 6, 5)], (1, 4, 5), 4 * 5 * 6),
        ("ADD", [(1, 8), (1, 8)], (1, 8), 0),
    ],
)
def test_multiply_accumulates_are_counted_as_by_hand(name, shapes, result, macs):
    flat = one_operator(name, *shapes, result=result)
    assert operator_macs(flat.operators[0], flat) == macs


@pytest.mark.parametrize("name", ["SHAPE", "DEQUANTIZE", "FlexErf", "my_operator"])
def test_operators_that_small_runtimes_lack_are_forbidden(name):
    assert forbidden_operators(one_operator(name, (1, 2), result=(1, 2))) == (name,)


def test_bytes_that_only_look_like_a_file_are_refused(litert):
    with pytest.raises(ArtifactError, match="no intact TFLite file"):
        parse(b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40)
