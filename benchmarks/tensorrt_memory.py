"""Peak memory of calibrating MobileNetV2 on more and more pictures, each count in its own process.

    python benchmarks/tensorrt_memory.py

Random weights and pictures of 64 by 64 pixels, one at a time.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import torchvision

from torchedge_tensorrt.host_calibration import calibrate_onnx

_COUNTS = (64, 512)


def main() -> None:
    """Print the peak of each count."""
    if len(sys.argv) > 2:
        model, count = Path(sys.argv[1]), int(sys.argv[2])
        random = np.random.default_rng(0)
        shape = (1, 3, 64, 64)
        calibrate_onnx(model, ((random.random(shape, np.float32),) for _ in range(count)))
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"images={count} peak_mib={peak_kib / 1024:.0f}")
        return
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "m.onnx"
        network = torchvision.models.mobilenet_v2(weights=None).eval()
        example = (torch.zeros(1, 3, 64, 64),)
        torch.onnx.export(network, example, model, external_data=False, verbose=False)
        for count in _COUNTS:
            subprocess.run([sys.executable, __file__, str(model), str(count)], check=True)


if __name__ == "__main__":
    main()
