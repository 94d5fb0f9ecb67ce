"""Reading, counting and matching, on values made by hand."""

import numpy as np
import pytest

from torchedge.errors import ArtifactError, VerificationError
from torchedge_tflite.census import forbidden_operators, operator_macs
from torchedge_tflite.flatbuffer import FlatModel, FlatTensor, Operator, parse
from torchedge_tflite.matching import expected_numbers
from torchedge_tflite.told import distinguishable
from torchedge_tflite.trained import Grid, Layer, TrainedNumbers


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


NEAR = float(np.nextafter(np.float32(0.5), np.float32(1)))


def test_two_scales_that_differ_in_the_last_bit_are_told_apart():
    trained = {"a": Grid(scale=0.5, zero_point=3), "b": Grid(scale=NEAR, zero_point=3)}
    told = distinguishable(trained)
    assert told["a"] == trained["a"]
    assert told["b"].scale - told["a"].scale > 4e-6


def test_numbers_with_other_zero_points_need_no_distance():
    trained = {"a": Grid(scale=0.5, zero_point=3), "b": Grid(scale=0.5, zero_point=4)}
    assert distinguishable(trained) == trained


def dense_layer(**changes):
    fields = {
        "name": "layer",
        "weight": np.array([[100, -50]], np.int8),
        "scales": np.array([0.02], np.float32),
        "bias": np.array([7], np.int32),
        "bias_scales": np.array([0.01], np.float32),
    }
    return Layer(**{**fields, **changes})


def dense_file(*, weight_scale=2.0 / 127, output_scale=0.25, weight_scales=None):
    weight = np.array([[127, -64]], np.int8)
    tensors = (
        tensor(0, (1, 2), scales=(0.5,)),
        tensor(1, (1, 2), scales=(weight_scale,) if weight_scales is None else (), values=weight),
        tensor(2, (1,), scales=(0.5 * weight_scale,), values=np.array([9]), dtype="int32"),
        tensor(3, (1, 1), scales=(output_scale,)),
    )
    operator = Operator(name="FULLY_CONNECTED", inputs=(0, 1, 2), outputs=(3,))
    return FlatModel(tensors=tensors, operators=(operator,), inputs=(0,), outputs=(3,))


GRIDS = {"x": Grid(scale=0.5, zero_point=0), "y": Grid(scale=0.25, zero_point=0)}


def test_a_learned_scale_replaces_the_one_that_tensorflow_derived():
    trained = TrainedNumbers(activations=GRIDS, layers=(dense_layer(),))
    expected = {e.tensor: e for e in expected_numbers(dense_file(), trained, GRIDS)}
    assert expected[1].scales.tolist() == [np.float32(0.02)]
    assert expected[1].values.tolist() == [[100, -50]]
    assert expected[2].values.tolist() == [7]


def test_a_scale_that_nothing_was_trained_to_is_refused_by_name():
    trained = TrainedNumbers(activations=GRIDS, layers=(dense_layer(),))
    with pytest.raises(VerificationError, match=r"'tensor_3' has scale 0\.26 .*converter chose"):
        expected_numbers(dense_file(output_scale=0.26), trained, GRIDS)


def test_a_quantiser_that_got_lost_is_refused_by_name():
    grids = {**GRIDS, "inner": Grid(scale=0.125, zero_point=0)}
    trained = TrainedNumbers(activations=grids, layers=(dense_layer(),))
    with pytest.raises(VerificationError, match="lost the quantiser of inner"):
        expected_numbers(dense_file(), trained, grids)


def test_weights_of_no_trained_layer_are_refused_by_name():
    trained = TrainedNumbers(activations=GRIDS, layers=(dense_layer(),))
    with pytest.raises(VerificationError, match=r"'tensor_1' \(1, 2\) holds other weights"):
        expected_numbers(dense_file(weight_scale=0.1), trained, GRIDS)


def test_a_weight_that_stayed_in_float_is_refused_by_name():
    """A linear layer over sequences, which the converter does not quantise."""
    trained = TrainedNumbers(activations=GRIDS, layers=(dense_layer(),))
    with pytest.raises(VerificationError, match=r"left the weight 'tensor_1' \(1, 2\) in float"):
        expected_numbers(dense_file(weight_scales=()), trained, GRIDS)


def test_a_layer_that_got_lost_is_refused_by_name():
    second = dense_layer(name="second", weight=np.array([[1, 2, 3]], np.int8))
    trained = TrainedNumbers(activations=GRIDS, layers=(dense_layer(), second))
    with pytest.raises(VerificationError, match="no operator for second"):
        expected_numbers(dense_file(), trained, GRIDS)
