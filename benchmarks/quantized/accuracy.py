"""EfficientNet-Lite0 in int8 from 64 unlabelled pictures: how much of the float network is left?"""

import copy
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers import crops, networks, nncf_openvino, onnx_runtime
from benchmarks.peers.measure import sqnr_db, top1_agreement
from benchmarks.peers.packages import attempted
from benchmarks.peers.quantized import Quantized
from benchmarks.quantized import ours
from torchedge.backends import ONNX_RUNTIME
from torchedge.quantization import QuantizedLayer
from torchedge.quantization.recovery import quantize
from torchedge.quantization.recovery.quantize import Effort
from torchedge_onnx.census import runtime_census

__all__ = ["post_training", "self_distilled"]

Figures = dict[str, float]
_TRAINING_SEED = 3  # the pictures for calibration have seed 1, those for evaluation 2
_BATCH = 16


def pictures() -> tuple[Tensor, Tensor]:
    """64 crops to calibrate on and 384 others to compare on, as the network wants them."""
    return crops.normalised(crops.crops(64, seed=1)), crops.normalised(crops.crops(384, seed=2))


def post_training(efforts: tuple[Effort, ...] = ("fast", "balanced")) -> dict[str, Figures]:
    """Our post-training quantisation beside the peers', each in its own runtime."""
    network = networks.efficientnet_lite0()
    calibration, evaluation = pictures()
    reference = ours.outputs(network, evaluation)
    rows = _peers(network, calibration, evaluation, reference)
    for effort in efforts:
        begin = time.perf_counter()
        model = quantize(network, ONNX_RUNTIME, calibration.split(_BATCH), effort=effort)
        seconds = time.perf_counter() - begin
        rows[f"torchedge, {effort}"] = {"seconds": seconds} | _in_runtime(
            model, evaluation, reference
        )
    return rows


def _peers(
    network: nn.Module, calibration: Tensor, evaluation: Tensor, reference: Tensor
) -> dict[str, Figures]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        real = onnx_runtime.exported(network, calibration[:1], folder)

        def static() -> Quantized:
            return onnx_runtime.quantized(
                real, calibration, evaluation, method="Percentile", folder=folder
            )

        def nncf() -> Quantized:
            return nncf_openvino.quantized(real, calibration, evaluation, folder=folder)

        found = {
            "ONNX Runtime, percentile": attempted("ONNX Runtime", static),
            "NNCF": attempted("NNCF", nncf),
        }
    return {
        name: {
            "seconds": result.seconds,
            "agreement": top1_agreement(result.logits, reference),
            "sqnr_db": sqnr_db(result.logits, reference),
        }
        for name, result in found.items()
        if result is not None
    }


def _in_runtime(model: nn.Module, evaluation: Tensor, reference: Tensor) -> Figures:
    """What the exported file answers in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as name:
        path = ours.exported(model, evaluation, Path(name))
        logits = ours.runtime_outputs(path, evaluation)
        return {
            "agreement": top1_agreement(logits, reference),
            "sqnr_db": sqnr_db(logits, reference),
            "integer_share": runtime_census(path).integer_share,
        }


def self_distilled(*, seconds: float = 500.0, learning_rate: float = 1.5e-5) -> dict[str, Figures]:
    """Then train on fresh unlabelled crops towards the float network's own answers."""
    network = networks.efficientnet_lite0()
    calibration, evaluation = pictures()
    reference = ours.outputs(network, evaluation)
    model = quantize(network, ONNX_RUNTIME, calibration.split(_BATCH))
    steps, spent = distil(model, network, seconds=seconds, learning_rate=learning_rate)
    found = _in_runtime(model, evaluation, reference)
    return {"torchedge, self-distilled": found | {"seconds": spent, "steps": steps}}


def distil(
    student: nn.Module, teacher: nn.Module, *, seconds: float, learning_rate: float
) -> tuple[int, float]:
    """Train in place with frozen ranges; how many steps that was, and how long."""
    weights = [m.layer.weight for m in student.modules() if isinstance(m, QuantizedLayer)]
    biases = [m.layer.bias for m in student.modules() if isinstance(m, QuantizedLayer)]
    optimizer = torch.optim.Adam([*weights, *(b for b in biases if b is not None)], learning_rate)
    teacher = copy.deepcopy(teacher).eval()
    student.eval()  # ranges stay, and no batch statistics are left to move
    begin = time.perf_counter()
    for step, images in enumerate(fresh_crops()):
        spent = time.perf_counter() - begin
        if spent >= seconds:
            return step, spent
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * max(1 - spent / seconds, 0.01)
        with torch.no_grad():
            wanted = teacher(images)
        loss = _distance(student(images), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError("the crops never end")


def _distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Of the answers as probabilities (Hinton et al. 2015, T = 1), and of the logits themselves."""
    probabilities = F.kl_div(
        found.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True
    )
    return probabilities + F.mse_loss(found, wanted)


def fresh_crops() -> Iterator[Tensor]:
    """Batches of crops that were neither calibrated on nor are compared on, without end."""
    seed = _TRAINING_SEED
    while True:
        yield from crops.normalised(crops.crops(16 * _BATCH, seed=seed)).split(_BATCH)
        seed += 1
