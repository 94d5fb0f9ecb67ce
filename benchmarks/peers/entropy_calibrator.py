"""ONNX Runtime's entropy calibrator in a process that holds little else; prints one line of JSON.

``python -m benchmarks.peers.entropy_calibrator MODEL.onnx IMAGES.npy BINS``
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from benchmarks.peers.memory import peak_growth_mib
from benchmarks.peers.packages import package

__all__ = ["OneByOne"]

Images = npt.NDArray[np.float32]


@final
class OneByOne:
    """One image at a time, as ONNX Runtime's calibrators ask for them."""

    def __init__(self, images: Images) -> None:
        self._remaining: Iterator[Images] = iter(images)

    def get_next(self) -> dict[str, Images] | None:
        """The next image as a batch of one, ``None`` after the last."""
        image = next(self._remaining, None)
        return None if image is None else {"input": image[None]}


def ranges(model: Path, images: Images, bins: int) -> dict[str, Any]:
    """The range of every activation, from histograms of ``bins`` bins.

    All images go to the calibrator at once, as ``quantize_static`` hands them over.
    """
    calibrate = package("onnxruntime.quantization.calibrate")
    calibrator = calibrate.create_calibrator(
        model,
        augmented_model_path=str(model.with_name("augmented.onnx")),
        calibrate_method=calibrate.CalibrationMethod.Entropy,
        extra_options={"num_bins": bins},
    )
    calibrator.collect_data(OneByOne(images))
    found: dict[str, Any] = calibrator.compute_data().data
    return found


def main(model: str, images: str, bins: str) -> None:
    """Measure one calibration and print what it took."""
    loaded = np.load(images)
    package("onnxruntime.quantization.calibrate")  # what importing takes is not counted
    begin = time.perf_counter()
    found, growth_mib = peak_growth_mib(lambda: ranges(Path(model), loaded, int(bins)))
    seconds = time.perf_counter() - begin
    figures = {"seconds": seconds, "peak_growth_mib": growth_mib, "tensors": len(found)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
