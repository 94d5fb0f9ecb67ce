import pytest

from torchedge.errors import UnknownNameError
from torchedge.export import target, target_names
from torchedge.scheme import Placement, QuantSpec
from torchedge_onnx.step import TorchToOnnx
from torchedge_tensorrt.step import OnnxToTensorRTBundle

# Name, TensorRT of its last JetPack that has one, by NVIDIA's release notes.
BOARDS = [
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
    assert target(name).steps[0] == TorchToOnnx(opset=13, integer_weights=False)
    assert len(target(name).steps) == 2


def test_jetson_alone_means_the_orin_nano() -> None:
    assert target("jetson") is target("jetson-orin-nano")


@pytest.mark.parametrize("name", ["jetson-nano", "jetson-tx2"])
def test_a_board_without_8_bit_arithmetic_is_no_target(name: str) -> None:
    assert name not in target_names()
    with pytest.raises(UnknownNameError):
        target(name)


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
