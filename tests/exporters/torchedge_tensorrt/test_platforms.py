import pytest

from torchedge_tensorrt.jetpacks import JETPACKS
from torchedge_tensorrt.platforms import PLATFORMS, Platform, with_jetpack

BOARDS = {name: platform for name, platform in PLATFORMS.items() if platform.jetpack}


@pytest.mark.parametrize("platform", BOARDS.values(), ids=BOARDS.keys())
def test_int8_is_claimed_exactly_where_the_gpu_multiplies_8_bit_integers(
    platform: Platform,
) -> None:
    major, minor = (int(part) for part in platform.compute_capability.split("."))
    assert platform.int8 == ((major, minor) == (6, 1) or major >= 7)


@pytest.mark.parametrize("platform", BOARDS.values(), ids=BOARDS.keys())
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


@pytest.mark.parametrize("platform", BOARDS.values(), ids=BOARDS.keys())
def test_every_jetpack_of_a_board_is_known_and_its_own_is_among_them(platform: Platform) -> None:
    assert platform.jetpack in platform.jetpacks
    for name in platform.jetpacks:
        assert with_jetpack(platform, name).tensorrt == JETPACKS[name].tensorrt


def test_only_thor_multiplies_8_bit_floats() -> None:
    assert [name for name, platform in PLATFORMS.items() if platform.fp8] == ["jetson-thor"]


def test_the_names_of_boards_tell_them_apart() -> None:
    for name, platform in BOARDS.items():
        others = [p for other, p in BOARDS.items() if other != name]
        assert platform.model_names
        assert not any(
            mine in theirs
            for p in others
            for theirs in p.model_names
            for mine in platform.model_names
        )
