"""Entropy calibration of MobileNetV2 in a process of its own; prints one line of JSON.

``python -m benchmarks.quantized.entropy_ours IMAGES``
"""

import json
import sys
import time

import torch

from benchmarks.peers.memory import peak_growth_mib
from benchmarks.peers.networks import mobilenet_v2_random
from torchedge.backends import ONNX_RUNTIME
from torchedge.quantization import calibrate, entropy, prepare_qat

__all__ = ["main"]


def main(count: str) -> None:
    """Measure the float forward pass and the calibration on as many images."""
    images = torch.randn(int(count), 3, 96, 96, generator=torch.Generator().manual_seed(0))
    network = mobilenet_v2_random()
    prepared = prepare_qat(network, ONNX_RUNTIME, (images[:1],)).eval()

    def forward() -> None:
        with torch.no_grad():
            for image in images.split(1):
                network(image)

    network(images[:1])  # what the first call sets up is not counted
    begin = time.perf_counter()
    _, forward_mib = peak_growth_mib(forward)
    between = time.perf_counter()
    _, growth_mib = peak_growth_mib(lambda: calibrate(prepared, images.split(1), entropy))
    found = {
        "forward_seconds": between - begin,
        "seconds": time.perf_counter() - between,
        "forward_growth_mib": forward_mib,
        "growth_mib": growth_mib,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
