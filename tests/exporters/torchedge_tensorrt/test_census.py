from pathlib import Path

import numpy as np
import pytest

from tests.exporters.torchedge_tensorrt.graphs import (
    Array,
    Chain,
    Quantizer,
    per_channel,
    per_tensor,
    save,
)
from torchedge.bench.census import Census
from torchedge.errors import ArtifactError
from torchedge_tensorrt.census import eligible_census

INT8_ZERO = np.int8(0)
GOOD_ACTIVATION = per_tensor(INT8_ZERO)
GOOD_WEIGHT = per_channel(3, axis=0)

# 3×3 convolution from 2 to 3 channels on 4×4 positions; fully connected from 48 to 10.
CONV_MACS = 3 * 4 * 4 * 2 * 3 * 3
GEMM_MACS = 48 * 10


def conv_and_gemm(
    folder: Path,
    activation: Quantizer | None = GOOD_ACTIVATION,
    weight: Quantizer | None = GOOD_WEIGHT,
) -> Path:
    """A convolution with the quantisers under test, then a rightly quantised ``Gemm``."""
    chain = Chain()
    chain.constants["conv_weight"] = np.ones((3, 2, 3, 3), np.float32)
    chain.constants["gemm_weight"] = np.ones((10, 48), np.float32)
    conv_inputs = [chain.quantized("x", activation), chain.quantized("conv_weight", weight)]
    chain.node("Conv", conv_inputs, "conv", pads=[1, 1, 1, 1])
    flat = chain.quantized(chain.node("Flatten", ["conv"], "flat"), GOOD_ACTIVATION)
    gemm_weight = chain.quantized("gemm_weight", per_channel(10, axis=0))
    chain.node("Gemm", [flat, gemm_weight], "logits", transB=1)
    shapes = {"x": (1, 2, 4, 4), "logits": (1, 10)}
    return save(folder / "m.onnx", chain.nodes, chain.constants, shapes, outputs=["logits"])


def conv_reason(census: Census) -> str:
    """Why the convolution is not integer, after checking that only it is counted so."""
    conv, gemm = census.layers
    assert (conv.name, conv.operation, conv.macs) == ("conv", "Conv", CONV_MACS)
    assert (gemm.name, gemm.integer, gemm.reason) == ("logits", True, "")
    assert not conv.integer
    assert census.integer_share == pytest.approx(GEMM_MACS / (CONV_MACS + GEMM_MACS), rel=1e-15)
    return conv.reason


def test_a_graph_that_obeys_all_rules_is_eligible_entirely(tmp_path: Path) -> None:
    census = eligible_census(conv_and_gemm(tmp_path))
    assert [(layer.macs, layer.integer) for layer in census.layers] == [
        (CONV_MACS, True),
        (GEMM_MACS, True),
    ]
    assert census.integer_share == 1.0


def test_the_census_says_that_nothing_was_run(tmp_path: Path) -> None:
    evidence = eligible_census(conv_and_gemm(tmp_path)).evidence
    assert evidence == "TensorRT's rules: eligible, not run"


@pytest.mark.parametrize("zero_point", [np.uint8(0), np.uint8(128), np.int8(5), np.int8(-1)])
def test_an_activation_that_is_not_symmetric_int8_is_not_counted_as_integer(
    tmp_path: Path, zero_point: Array
) -> None:
    census = eligible_census(conv_and_gemm(tmp_path, activation=per_tensor(zero_point)))
    assert conv_reason(census) == "activation is not symmetric int8"


@pytest.mark.parametrize("zero_point", [np.zeros(3, np.uint8), np.array([0, 5, 0], np.int8)])
def test_a_weight_that_is_not_symmetric_int8_is_not_counted_as_integer(
    tmp_path: Path, zero_point: Array
) -> None:
    weight = Quantizer(scale=GOOD_WEIGHT.scale, zero_point=zero_point, axis=0)
    census = eligible_census(conv_and_gemm(tmp_path, weight=weight))
    assert conv_reason(census) == "weight is not symmetric int8"


def test_an_activation_with_a_scale_for_each_channel_is_not_counted_as_integer(
    tmp_path: Path,
) -> None:
    census = eligible_census(conv_and_gemm(tmp_path, activation=per_channel(2, axis=1)))
    assert conv_reason(census) == "activation has a scale for each channel"


def test_a_weight_with_one_scale_is_counted_as_integer(tmp_path: Path) -> None:
    census = eligible_census(conv_and_gemm(tmp_path, weight=per_tensor(INT8_ZERO)))
    assert census.integer_share == 1.0


def test_a_float_activation_is_not_counted_as_integer(tmp_path: Path) -> None:
    census = eligible_census(conv_and_gemm(tmp_path, activation=None))
    assert conv_reason(census) == "activation is not quantised"


def test_a_weight_without_a_quantiser_is_not_counted_as_integer(tmp_path: Path) -> None:
    census = eligible_census(conv_and_gemm(tmp_path, weight=None))
    assert conv_reason(census) == "weight is not quantised"


def test_a_missing_zero_point_is_not_counted_as_integer(tmp_path: Path) -> None:
    census = eligible_census(conv_and_gemm(tmp_path, activation=per_tensor(None)))
    assert conv_reason(census) == "activation has no constant scale and zero point"


def test_a_scale_that_is_computed_is_not_counted_as_integer(tmp_path: Path) -> None:
    computed = Quantizer(scale=np.float32(0.05), zero_point=INT8_ZERO, constant_scale=False)
    census = eligible_census(conv_and_gemm(tmp_path, activation=computed))
    assert conv_reason(census) == "activation has no constant scale and zero point"


def test_a_file_that_is_cut_short_is_no_onnx_file(tmp_path: Path) -> None:
    path = conv_and_gemm(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="is no intact ONNX file"):
        eligible_census(path)
