import pytest

from torchedge.errors import SchemeError, UnknownNameError
from torchedge.exporting import target
from torchedge.exporting.target import configured
from torchedge.scheme import Placement, QuantSpec
from torchedge_onnx.step import TorchToOnnx
from torchedge_tensorrt.step import OnnxToTensorRTBundle

# Name, TensorRT of its last JetPack that has one, by NVIDIA's release notes.
BOARDS = [
    ("jetson-nano", "4.6", (8, 2, 1)),
    ("jetson-tx2", "4.6", (8, 2, 1)),
    ("jetson-xavier-nx", "5.1", (8, 5, 2)),
    ("jetson-agx-xavier", "5.1", (8, 5, 2)),
    ("jetson-orin-nano", "6.2", (10, 3, 0)),
    ("jetson-orin-nx", "6.2", (10, 3, 0)),
    ("jetson-agx-orin", "6.2", (10, 3, 0)),
    ("jetson-thor", "7.0", (10, 13, 0)),
]


@pytest.mark.parametrize(("name", "jetpack", "tensorrt"), BOARDS)
def test_a_target_is_made_for_the_boards_own_jetpack(
    name: str, jetpack: str, tensorrt: tuple[int, int, int]
) -> None:
    found = target(name)
    bundle = found.steps[-1]
    assert isinstance(bundle, OnnxToTensorRTBundle)
    assert found.name == name
    assert (bundle.platform.jetpack, bundle.platform.tensorrt) == (jetpack, tensorrt)
    assert found.device is bundle.platform.device
    assert f"JetPack {jetpack}" in found.summary


@pytest.mark.parametrize(("name", "jetpack", "tensorrt"), BOARDS)
def test_a_target_writes_float_weights_at_opset_13(
    name: str, jetpack: str, tensorrt: tuple[int, int, int]
) -> None:
    step = target(name).steps[0]
    assert isinstance(step, TorchToOnnx)
    assert (step.opset, step.integer_weights) == (13, False)
    assert step.opset_at_most == (20 if tensorrt >= (10,) else 17 if tensorrt >= (8, 4) else 13)
    assert len(target(name).steps) == 2


def test_jetson_alone_means_the_orin_nano() -> None:
    assert target("jetson") is target("jetson-orin-nano")


@pytest.mark.parametrize("name", ["jetson-nano", "jetson-tx2"])
def test_a_board_without_8_bit_arithmetic_gets_fp16_and_refuses_int8(name: str) -> None:
    board = target(name)
    assert "FP16" in board.summary
    assert board.runs_float
    with pytest.raises(SchemeError, match=r"has no INT8 arithmetic.* which gives FP16"):
        configured(board, precision="int8")


def test_a_pc_with_a_gpu_is_a_target_without_a_jetpack() -> None:
    found = target("desktop-gpu")
    assert found.summary == "TensorRT INT8 bundle, TensorRT 10"
    with pytest.raises(UnknownNameError, match=r"has no JetPack '6\.2'; it runs none"):
        configured(found, jetpack="6.2")


@pytest.mark.parametrize(
    ("jetpack", "tensorrt", "newest"),
    [
        ("5.1", (8, 5, 2), 17),
        ("5.1.2", (8, 5, 2), 17),
        ("6.0", (8, 6, 2), 17),
        ("7.2", (10, 16, 2), 20),
    ],
)
def test_another_jetpack_changes_tensorrt_and_the_opsets(
    jetpack: str, tensorrt: tuple[int, int, int], newest: int
) -> None:
    onnx, bundle = configured(target("jetson"), jetpack=jetpack).steps
    assert isinstance(bundle, OnnxToTensorRTBundle)
    assert isinstance(onnx, TorchToOnnx)
    assert (bundle.platform.tensorrt, onnx.opset_at_most) == (tensorrt, newest)


def test_a_jetpack_that_a_board_never_had_is_refused_with_those_it_had() -> None:
    with pytest.raises(UnknownNameError, match=r"no JetPack '4\.6'; it runs 5\.0, 5\.1, 6\.0"):
        configured(target("jetson"), jetpack="4.6")


def test_a_precision_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="there are int8 and fp16"):
        configured(target("jetson"), precision="int4")


def test_a_target_without_variants_says_so() -> None:
    with pytest.raises(UnknownNameError, match="onnx-cpu comes in one form only"):
        configured(target("onnx-cpu"), precision="fp16")


def test_numbers_are_symmetric_int8_with_a_scale_for_each_output_channel_of_a_weight() -> None:
    scheme = target("jetson").scheme
    int8 = QuantSpec(bits=8, symmetric=True, signed=True, scale_bits=4)
    assert scheme.activation == int8
    assert scheme.weight == QuantSpec(
        bits=8, symmetric=True, signed=True, axis=0, narrow=True, scale_bits=4
    )
    assert scheme.bias == "float_on_grid"


def test_quantisers_sit_where_tensorrt_fuses_best() -> None:
    assert target("jetson").scheme.placement == Placement(
        inputs_of=frozenset({"conv", "linear", "average_pool"}),
        outputs_of=frozenset(),
        fused_add=True,
    )


def test_all_jetsons_share_one_scheme_so_that_one_training_serves_them_all() -> None:
    assert {target(name).scheme for name, *_ in BOARDS} == {target("jetson").scheme}
