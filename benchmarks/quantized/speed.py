"""Is the int8 file as fast in ONNX Runtime as the one its own quantiser writes?"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers import networks, onnx_runtime
from benchmarks.peers.measure import Timing, interleaved
from benchmarks.quantized import ours
from torchedge.backends import ONNX_RUNTIME
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge_onnx.session import open_model

__all__ = ["speed"]

_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-18": networks.resnet18_random,
    "MobileNetV2": networks.mobilenet_v2_random,
    "EfficientNet-Lite0": networks.efficientnet_lite0,
}


def speed(*, rounds: int = 300) -> dict[str, dict[str, Timing]]:
    """One image of 224 x 224 at a time: their float file, their int8 file, ours; in turn."""
    return {name: _timings(build(), rounds) for name, build in _NETWORKS.items()}


def _timings(network: nn.Module, rounds: int) -> dict[str, Timing]:
    images = torch.randn(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    prepared = prepare_qat(network, ONNX_RUNTIME, (images[:1],)).eval()
    calibrated = calibrate(prepared, images.split(4), minmax)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        real = onnx_runtime.exported(network, images[:1], folder)
        theirs = onnx_runtime.quantized(real, images, images, method="MinMax", folder=folder)
        mine = ours.exported(calibrated, images, folder)
        contestants = {
            "ONNX Runtime quantize_static": _run(theirs.path, images),
            "torchedge": _run(mine, images),
            "float": _run(real, images),
        }
        return interleaved(contestants, rounds=rounds, warm_ups=10)


def _run(path: Path, images: Tensor) -> Callable[[], object]:
    session, image = open_model(path), images[:1].numpy()
    return lambda: session(image)
