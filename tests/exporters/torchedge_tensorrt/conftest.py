"""One exported bundle for all tests of this folder, and the scripts it carries."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import torchedge
import torchedge.exporting
from tests.exporters.torchedge_tensorrt.networks import BATCH, images, save_trained
from torchedge.exporting import Artifact, load_artifact


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the artefacts ``onnx`` and ``tensorrt-bundle`` of a tiny network."""
    folder = tmp_path_factory.mktemp("jetson")
    trained = save_trained(folder / "torch", calibration=(images(4 * BATCH, seed=1),))
    torchedge.export(trained, torchedge.exporting.target("jetson"), folder / "out")
    return folder / "out"


@pytest.fixture(scope="session")
def bundle(exported: Path) -> Artifact:
    """The TensorRT bundle, as it is read back; tests must not write into it."""
    return load_artifact(exported / "tensorrt-bundle")


@pytest.fixture
def copied_bundle(bundle: Artifact, tmp_path: Path) -> Path:
    """A bundle on the board: its own folder, free to be written to."""
    return Path(shutil.copytree(bundle.path, tmp_path / "bundle"))


@pytest.fixture
def load_script(copied_bundle: Path) -> Callable[[str], ModuleType]:
    """Imports a script out of the copied bundle, as ``python3 <script>`` finds its folder."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, copied_bundle / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def build_engine(load_script: Callable[[str], ModuleType]) -> ModuleType:
    """``build_engine.py`` of the copied bundle."""
    return load_script("build_engine")


@pytest.fixture
def benchmark(load_script: Callable[[str], ModuleType]) -> ModuleType:
    """``benchmark.py`` of the copied bundle."""
    return load_script("benchmark")
