import pytest

from torchedge_tensorrt.platforms import PLATFORMS, Platform


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS.keys())
def test_int8_is_claimed_exactly_where_the_gpu_multiplies_8_bit_integers(
    platform: Platform,
) -> None:
    major, minor = (int(part) for part in platform.compute_capability.split("."))
    assert platform.int8 == ((major, minor) == (6, 1) or major >= 7)


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS.keys())
def test_tensorrt_10_is_claimed_only_for_gpus_it_is_compiled_for(platform: Platform) -> None:
    major = int(platform.compute_capability.split(".")[0])
    assert platform.tensorrt < (10,) or major >= 7


def test_deep_learning_accelerators_are_where_nvidias_data_sheets_have_them() -> None:
    assert {name: p.dla_cores for name, p in PLATFORMS.items() if p.dla_cores} == {
        "jetson-xavier-nx": 2,
        "jetson-agx-xavier": 2,
        "jetson-orin-nx": 2,
        "jetson-agx-orin": 2,
    }
