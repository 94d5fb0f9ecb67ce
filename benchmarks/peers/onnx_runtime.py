"""ONNX Runtime: the float file that all peers start from, static quantisation, entropy alone."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers.entropy_calibrator import OneByOne
from benchmarks.peers.packages import package, quiet
from benchmarks.peers.quantized import Quantized

__all__ = [
    "METHODS",
    "EntropyCalibration",
    "Method",
    "entropy_calibration",
    "exported",
    "logits",
    "quantized",
]

Method = Literal["MinMax", "Percentile", "Entropy"]
METHODS: tuple[Method, ...] = ("MinMax", "Percentile", "Entropy")
EVALUATION_BATCH = 16


@final
@dataclass(frozen=True, kw_only=True)
class EntropyCalibration:
    """The cost of finding every activation's range by entropy.

    Args:
        seconds: Session, collecting and searching.
        peak_growth_mib: Resident memory at its peak, beyond that of the bare process.
        tensors: How many ranges were found.
    """

    seconds: float
    peak_growth_mib: float
    tensors: int


@quiet()
def exported(network: nn.Module, image: Tensor, folder: Path) -> Path:
    """Write ``float.onnx``: one ``input`` of any batch, one ``output``."""
    path = folder / "float.onnx"
    torch.onnx.export(
        network.eval(),
        (image.repeat(2, 1, 1, 1),),  # a batch of one would be taken for a constant
        path,
        dynamo=True,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    return path


def logits(model: Path, images: Tensor, *, threads: int = 2) -> Tensor:
    """What ONNX Runtime answers on the CPU; rows x classes."""
    onnxruntime = package("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    batches = (batch.numpy() for batch in images.split(EVALUATION_BATCH))
    return torch.cat([torch.from_numpy(session.run(None, {"input": x})[0]) for x in batches])


@quiet()
def quantized(
    model: Path, calibration: Tensor, evaluation: Tensor, *, method: Method, folder: Path
) -> Quantized:
    """QDQ with uint8 activations and int8 weights by channel, as its guide for CPUs advises.

    Args:
        model: A file of :func:`exported`.
        calibration: Images that the ranges are taken from, one at a time.
        evaluation: Images that the result is run on.
        method: How a range is chosen from what was seen.
        folder: Where ``<method>.onnx`` goes.
    """
    quantization = package("onnxruntime.quantization")
    prepared, path = folder / "prepared.onnx", folder / f"{method.lower()}.onnx"
    begin = time.perf_counter()
    package("onnxruntime.quantization.shape_inference").quant_pre_process(
        model, prepared, skip_symbolic_shape=True
    )
    quantization.quantize_static(
        prepared,
        path,
        OneByOne(calibration.numpy()),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod[method],
    )
    seconds = time.perf_counter() - begin
    return Quantized(path=path, seconds=seconds, logits=logits(path, evaluation))


def entropy_calibration(
    network: nn.Module, images: Tensor, *, bins: int = 2048
) -> EntropyCalibration:
    """Run the entropy calibrator in a process of its own, so that its memory is its own.

    Raises:
        subprocess.CalledProcessError: That process failed; what it said is on the terminal.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = exported(network, images[:1], folder)
        np.save(folder / "images.npy", images.numpy())
        script = "benchmarks.peers.entropy_calibrator"
        command = [sys.executable, "-m", script, str(model), str(folder / "images.npy"), str(bins)]
        root = Path(__file__).parents[2]
        done = subprocess.run(
            command, cwd=root, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
    return EntropyCalibration(**json.loads(done.stdout.splitlines()[-1]))
