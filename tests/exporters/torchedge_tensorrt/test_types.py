"""mypy proves something about TensorRT only where its stubs are read."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CODE = ROOT / "exporters" / "torchedge_tensorrt"
MISSPELT = {
    "device_scripts/build_engine.py": (
        ("builder.create_network(", "builder.create_netwrk("),
        ("config.set_memory_pool_limit(trt.", "config.set_memory_pool_limits(trt."),
        ("trt.MemoryPoolType.WORKSPACE", "trt.MemoryPoolType.WORKSPACES"),
        ("trt.ProfilingVerbosity", "trt.ProfileVerbosity"),
        ("config.DLA_core = options.dla", "config.dla_core = options.dla"),
        ("context.execute_v2(", "context.execute_v2s("),
    ),
    "calibrator.py": (
        ("trt.IInt8EntropyCalibrator2", "trt.IInt8EntropyCalibratorTwo"),
        ("def get_batch_size(self) -> int:", "def get_batch_size(self) -> str:"),
    ),
}


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """The repaired stubs of ``tensorrt-stubs``."""
    pytest.importorskip("mypy")
    command = [sys.executable, str(ROOT / "scripts" / "tensorrt_stubs.py"), str(tmp_path / "stubs")]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("tensorrt-stubs is not installed")
    return tmp_path / "stubs"


@pytest.mark.slow
def test_a_misspelt_member_of_tensorrt_is_an_error_of_mypy(stubs: Path, tmp_path: Path) -> None:
    code = Path(shutil.copytree(CODE, tmp_path / CODE.name))
    expected = {place for name in MISSPELT for place in misspell(code / name, MISSPELT[name])}
    config = (ROOT / "pyproject.toml").read_text()
    paths = ":".join(map(str, (tmp_path, ROOT, CODE.parent, stubs)))
    start = config.index("mypy_path = ")
    line = config[start : config.index("\n", start)]
    (tmp_path / "pyproject.toml").write_text(config.replace(line, f'mypy_path = "{paths}"'))
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache")]
    command += ["--follow-imports=silent", *(str(code / name) for name in MISSPELT)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    assert not [place for place in expected if place not in found], found


def misspell(path: Path, changes: tuple[tuple[str, str], ...]) -> list[str]:
    """Put wrong names into a file; where an error is to be expected, as mypy writes it."""
    text = path.read_text()
    for right, wrong in changes:
        assert right in text, right
        text = text.replace(right, wrong)
    path.write_text(text)
    return [
        f"{path.name}:{number}:"
        for number, line in enumerate(text.splitlines(), start=1)
        if any(wrong in line for _, wrong in changes)
    ]
