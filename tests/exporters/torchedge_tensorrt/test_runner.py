from pathlib import Path

import pytest

from torchedge.errors import NotRunError
from torchedge.exporting import Artifact, Format, runner
from torchedge_tensorrt import runner as tensorrt_runner
from torchedge_tensorrt.runner import TensorRTBundleRunner


def test_a_bundle_is_not_run_where_there_is_no_gpu(
    bundle: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_runner, "_GPU_NODES", (tmp_path / "nvidiactl",))
    with pytest.raises(NotRunError) as caught:
        TensorRTBundleRunner().open(bundle)
    assert str(caught.value) == "TensorRT: not run, engine not built here: no GPU"


def test_a_bundle_is_not_run_where_there_is_a_gpu_either(
    bundle: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "nvidiactl"
    node.touch()
    monkeypatch.setattr(tensorrt_runner, "_GPU_NODES", (tmp_path / "nvgpu", node))
    with pytest.raises(
        NotRunError, match=r"not run, engine not built here; build_engine.py builds it"
    ):
        TensorRTBundleRunner().open(bundle)


def test_the_runner_is_found_by_the_bundles_format(bundle: Artifact) -> None:
    assert bundle.format == "tensorrt-bundle"
    assert isinstance(runner(Format("tensorrt-bundle")), TensorRTBundleRunner)


def test_all_arithmetic_of_an_exported_network_is_eligible_for_int8(bundle: Artifact) -> None:
    census = TensorRTBundleRunner().census(bundle)
    convolutions = [4 * 9 * 64, 4 * 4 * 9 * 64, 6 * 4 * 9 * 16, 6 * 6 * 16, 6 * 4 * 16]
    assert sorted(layer.macs for layer in census.layers) == sorted(
        [*(4 * macs for macs in convolutions), 4 * 6 * 3]
    )
    assert census.integer_share == 1.0
    assert "not run" in census.evidence
