"""NNCF's post-training quantisation of an OpenVINO model, with its defaults."""

import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.packages import package, quiet
from benchmarks.peers.quantized import Quantized

__all__ = ["quantized"]

EVALUATION_BATCH = 16


def _nncf() -> ModuleType:
    # Otherwise it reports every call to its makers over the network.
    os.environ.setdefault("NNCF_CI", "1")
    return package("nncf")


def _logits(openvino: ModuleType, model: Any, images: Tensor, threads: int) -> Tensor:  # noqa: ANN401
    # Without the hint, a processor with bfloat16 would round what was left in float.
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(model, "CPU", options)
    batches = (batch.numpy() for batch in images.split(EVALUATION_BATCH))
    return torch.cat([torch.from_numpy(compiled(batch)[0].copy()) for batch in batches])


@quiet()
def quantized(
    model: Path, calibration: Tensor, evaluation: Tensor, *, folder: Path, threads: int = 2
) -> Quantized:
    """``nncf.quantize`` with bias correction and ranges as its default preset has them.

    Args:
        model: A float ONNX file with one input of any batch.
        calibration: All of them are used, one at a time.
        evaluation: Images that the result is run on, by OpenVINO.
        folder: Where ``nncf.xml`` goes.
        threads: Of the evaluation.

    Raises:
        MissingDependencyError: NNCF or OpenVINO is not installed.
    """
    nncf, openvino = _nncf(), package("openvino")
    begin = time.perf_counter()
    dataset = nncf.Dataset([image.numpy() for image in calibration.split(1)])
    source = openvino.Core().read_model(model)  # convert_model would report to its makers, too
    result = nncf.quantize(source, dataset, subset_size=len(calibration))
    seconds = time.perf_counter() - begin
    path = folder / "nncf.xml"
    openvino.save_model(result, path, compress_to_fp16=False)
    found = _logits(openvino, result, evaluation, threads)
    return Quantized(path=path, seconds=seconds, logits=found)
