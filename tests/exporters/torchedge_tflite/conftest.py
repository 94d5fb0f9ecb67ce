"""Networks on their way to TFLite, each written once; skipped where no LiteRT is installed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from tests.conftest import ResidualNet, with_batchnorm_statistics
from tests.exporters.torchedge_tflite.networks import INPUT_SHAPES
from torchedge.backends import TFLITE
from torchedge.compressed import CompressedModel
from torchedge.errors import MissingDependencyError
from torchedge.exporting import Artifact
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.scheme import QuantScheme
from torchedge_onnx.step import TorchToOnnx
from torchedge_tflite.flatbuffer import schema
from torchedge_tflite.process import find_converter
from torchedge_tflite.step import OnnxToTFLite

FOUR_BITS = replace(
    TFLITE,
    weight=replace(TFLITE.weight, bits=4),
    linear_weight=replace(TFLITE.linear_weight, bits=4),
)


@dataclass(frozen=True)
class Exported:
    """A network before and after the step that these tests are about."""

    onnx: Artifact
    tflite: Artifact


@pytest.fixture(scope="session")
def litert():
    """The package that opens TFLite files; without it there is nothing to test."""
    try:
        schema()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def micro_runtime():
    """The package that runs what microcontrollers run; it exists for Linux on x86-64 only."""
    return pytest.importorskip("tflite_micro")


@pytest.fixture(scope="session")
def onnx_artifact(tmp_path_factory) -> Callable[[str], Artifact]:
    """Makes the ONNX artefact of a network of this folder by its name."""

    def make(name: str) -> Artifact:
        folder = tmp_path_factory.mktemp(name)
        model, inputs, scheme = _network(name)
        prepared = prepare_qat(model, scheme, (inputs[:1],))
        trained = CompressedModel(
            module=calibrate(prepared, inputs.split(8), minmax),
            example_inputs=(inputs[:1],),
            samples=(inputs,),
            calibration=(inputs[:8],),
            scheme=scheme,
            name=name,
        ).save(folder / "torch")
        (folder / "onnx").mkdir()
        return TorchToOnnx().export(trained, folder / "onnx")

    return make


@pytest.fixture(scope="session")
def float_artifact(tmp_path_factory) -> Callable[[str], Artifact]:
    """Makes the ONNX artefact of a float network, with data to calibrate on; a plain one once."""
    done: dict[str, Artifact] = {}

    def make(name: str, **changes) -> Artifact:
        if not changes and name in done:
            return done[name]
        folder = tmp_path_factory.mktemp(f"{name}-float")
        model, inputs, _ = _network(name)
        fields = {
            "module": model,
            "example_inputs": (inputs[:1],),
            "samples": (inputs[16:],),
            "calibration": (inputs[:16],),
            "name": name,
        }
        saved = CompressedModel(**{**fields, **changes}).save(folder / "torch")
        (folder / "onnx").mkdir()
        artifact = TorchToOnnx().export(saved, folder / "onnx")
        return artifact if changes else done.setdefault(name, artifact)

    return make


@pytest.fixture(scope="session")
def converter(litert) -> None:
    """What writes TFLite files of float16 and dynamic range; without it those are not written."""
    try:
        find_converter()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def _network(name: str) -> tuple[nn.Module, torch.Tensor, QuantScheme]:
    torch.manual_seed(0)
    shapes = {kind.__name__: (kind, shape) for kind, shape in INPUT_SHAPES.items()}
    if name in shapes:
        kind, shape = shapes[name]
        return kind().eval(), torch.rand(32, *shape), TFLITE
    images = torch.rand(32, 1, 16, 16)
    scheme = FOUR_BITS if name == "FourBits" else TFLITE
    return with_batchnorm_statistics(ResidualNet(), images), images, scheme


@pytest.fixture(scope="session")
def exported(litert, onnx_artifact, tmp_path_factory) -> Callable[[str], Exported]:
    """Converts a network of this folder, the first time that it is asked for."""
    done: dict[str, Exported] = {}

    def convert(name: str) -> Exported:
        if name not in done:
            source = onnx_artifact(name)
            folder = tmp_path_factory.mktemp(f"{name}-tflite")
            done[name] = Exported(source, OnnxToTFLite().export(source, folder))
        return done[name]

    return convert
