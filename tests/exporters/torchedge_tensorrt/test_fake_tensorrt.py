"""The fakes themselves: a version has the members of its column and no others."""

from typing import Any

import pytest

from tests.exporters.torchedge_tensorrt.fake_tensorrt import BEHAVIOURS, fake_tensorrt
from tests.exporters.torchedge_tensorrt.tensorrt_members import MEMBERS

VERSIONS = ["8.2.1.8", "8.5.2.2", "8.6.2.3", "10.3.0.30", "10.16.2.10", "11.4.0.9"]


def owner_of(module: Any, name: str) -> Any:
    return module if name == "module" else getattr(module, name, None)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_member_that_a_version_lacks_raises_attribute_error_in_the_fake(version: str) -> None:
    module, numbers = fake_tensorrt(version), tuple(map(int, version.split(".")))
    for member in MEMBERS:
        owner = owner_of(module, member.owner)
        if member.since <= numbers < member.before:
            assert hasattr(owner, member.name), member
        elif owner is not None:
            with pytest.raises(AttributeError):
                getattr(owner, member.name)


@pytest.mark.parametrize(
    ("version", "member", "present"),
    [
        ("8.2.1.8", "max_workspace_size", True),
        ("8.2.1.8", "set_memory_pool_limit", False),
        ("8.6.2.3", "set_memory_pool_limit", True),
        ("10.3.0.30", "max_workspace_size", False),
        ("10.16.2.10", "int8_calibrator", True),
        ("11.4.0.9", "int8_calibrator", False),
    ],
)
def test_what_a_fake_configuration_lacks_cannot_be_assigned_either(
    version: str, member: str, present: bool
) -> None:
    module = fake_tensorrt(version)
    config = module.Builder(module.Logger(module.Logger.WARNING)).create_builder_config()
    if present:
        setattr(config, member, 1)
        return
    with pytest.raises(AttributeError, match=f"has no '{member}'"):
        setattr(config, member, 1)


def test_a_fake_behaves_in_no_member_that_the_table_does_not_list() -> None:
    listed = {(member.owner, member.name) for member in MEMBERS}
    for name, behaviour in BEHAVIOURS.items():
        public = {member for member in vars(behaviour) if not member.startswith("_")}
        assert {(name, member) for member in public} <= listed
