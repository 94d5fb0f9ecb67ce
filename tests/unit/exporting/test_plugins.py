import pytest

from torchedge.errors import UnknownNameError
from torchedge.exporting import plugins
from torchedge.exporting.artifact import Format


def test_jetson_is_the_orin_nano():
    assert plugins.target("jetson") is plugins.target("jetson-orin-nano")


def test_every_target_leads_from_torch_to_a_format_that_a_runner_opens():
    for name, target in plugins.targets().items():
        assert target.steps[0].consumes == "torch", name
        for before, after in zip(target.steps, target.steps[1:], strict=False):
            assert before.produces == after.consumes, name
        assert plugins.runner(target.steps[-1].produces).format == target.steps[-1].produces


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("jetsn", "jetson"), ("onnx_cpu", "onnx-cpu"), ("jetson-orin-nono", "jetson-orin-nano")],
)
def test_a_typo_is_answered_with_the_nearest_name(typed, meant):
    with pytest.raises(UnknownNameError, match=f"'{typed}'; the nearest is '{meant}'"):
        plugins.target(typed)


def test_a_format_without_a_runner_is_refused_by_name():
    with pytest.raises(UnknownNameError, match="'cassette'"):
        plugins.runner(Format("cassette"))


def test_without_any_plugin_the_error_says_how_to_install(monkeypatch):
    monkeypatch.setattr(plugins, "entry_points", lambda group: ())
    with pytest.raises(UnknownNameError, match="pip install"):
        plugins.target("jetson")
