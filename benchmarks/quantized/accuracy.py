"""EfficientNet-Lite0 in int8 from 64 unlabelled pictures: how much of the float network is left?"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers import crops, networks, nncf_openvino, onnx_runtime
from benchmarks.peers.measure import sqnr_db, top1_agreement
from benchmarks.peers.packages import attempted
from benchmarks.peers.quantized import Quantized
from benchmarks.quantized import ours
from torchedge.backends import ONNX_RUNTIME
from torchedge.quantization import calibrate, mse, prepare_qat
from torchedge.quantization.diagnostics import BitBudget, choose_bits, sensitivity
from torchedge.quantization.recovery import quantize, refit_last_layer
from torchedge.quantization.recovery.quantize import Effort
from torchedge.quantization.widths import FLOAT_BITS
from torchedge.scheme import QuantScheme
from torchedge_onnx.census import runtime_census

__all__ = ["post_training", "self_distilled"]

Figures = dict[str, float]
_CALIBRATION_SEED, _EVALUATION_SEED, _TRAINING_SEED = 1, 2, 3  # fresh crops count on from 4
_SECOND_SEED = 999
_BATCH = 16
_FLOAT_SHARE = 0.05  # of the multiply-accumulates, at most, where some layers stay in float
_PLACEMENT = ONNX_RUNTIME.placement
FLOAT_LOGITS = replace(
    ONNX_RUNTIME,
    placement=replace(_PLACEMENT, outputs_of=_PLACEMENT.outputs_of - {"linear"}),
)


def pictures() -> tuple[Tensor, Tensor]:
    """64 crops to calibrate on and 384 others to compare on, as the network wants them."""
    calibration = crops.normalised(crops.crops(64, seed=_CALIBRATION_SEED))
    return calibration, crops.normalised(crops.crops(384, seed=_EVALUATION_SEED))


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
    begin = time.perf_counter()
    kept = float_layers(network, ONNX_RUNTIME, calibration)
    model = quantize(network, ONNX_RUNTIME, calibration.split(_BATCH), float_layers=kept)
    seconds = time.perf_counter() - begin
    rows[f"torchedge, balanced, {len(kept)} layers in float"] = {"seconds": seconds} | _in_runtime(
        model, evaluation, reference
    )
    return rows


def float_layers(network: nn.Module, scheme: QuantScheme, images: Tensor) -> list[str]:
    """The layers whose integers cost the most, within 5 % of the multiply-accumulates."""
    prepared = prepare_qat(network, scheme, (images[:1],)).eval()
    model = calibrate(prepared, images.split(_BATCH), mse)
    rows = sensitivity(model, [images[:_BATCH]], bits=(8, FLOAT_BITS))
    macs = sum(row.macs for row in rows if row.bits == FLOAT_BITS)
    bits = choose_bits(rows, BitBudget(float_macs=_FLOAT_SHARE * macs))
    return [name for name, width in bits.items() if width == FLOAT_BITS]


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


def _in_runtime(
    model: nn.Module, evaluation: Tensor, reference: Tensor, scheme: QuantScheme = ONNX_RUNTIME
) -> Figures:
    """What the exported file answers in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as name:
        path = ours.exported(model, evaluation, Path(name), scheme)
        logits = ours.runtime_outputs(path, evaluation)
        return {
            "agreement": top1_agreement(logits, reference),
            "sqnr_db": sqnr_db(logits, reference),
            "integer_share": runtime_census(path).integer_share,
        }


def self_distilled(*, rounded_for: int = 512, refitted_for: int = 4096) -> dict[str, Figures]:
    """Then at most ten minutes on fresh unlabelled crops, towards the float network's own answers.

    The layers that lose the most stay in float, within 5 % of the arithmetic. Layer by layer, the
    others' weights are rounded again for more crops than calibration had; then the last layer is
    solved anew. The logits stay in float: on a grid of 256 steps, one crop in 25 has its two
    largest less than a step apart.
    """
    network = networks.efficientnet_lite0()
    calibration, _ = pictures()
    begin = time.perf_counter()
    layerwise = crops.normalised(crops.crops(rounded_for, seed=_TRAINING_SEED))
    kept = float_layers(network, FLOAT_LOGITS, calibration)
    rounded = quantize(network, FLOAT_LOGITS, layerwise.split(_BATCH), float_layers=kept)
    rounded_seconds = time.perf_counter() - begin
    fast = [m.to(memory_format=torch.channels_last) for m in (rounded, network)]
    refitted = refit_last_layer(*fast, islice(fresh_crops(), refitted_for // _BATCH))
    seconds = time.perf_counter() - begin
    return {
        f"layer by layer, {rounded_for} crops": _on_two_sets(rounded, network)
        | {"seconds": rounded_seconds},
        f"and its last layer, {refitted_for} crops": _on_two_sets(refitted, network)
        | {"seconds": seconds},
    }


def _on_two_sets(model: nn.Module, network: nn.Module) -> Figures:
    """In ONNX Runtime, on the crops that the peers are compared on and on as many others.

    The agreement of 384 answers has a standard deviation of one percent.
    """
    found: Figures = {}
    for suffix, seed in (("", _EVALUATION_SEED), ("_second_set", _SECOND_SEED)):
        images = crops.normalised(crops.crops(384, seed=seed))
        figures = _in_runtime(model, images, ours.outputs(network, images), FLOAT_LOGITS)
        found |= {f"{name}{suffix}": value for name, value in figures.items()}
    return {name: value for name, value in found.items() if name != "integer_share_second_set"}


def fresh_crops() -> Iterator[Tensor]:
    """Batches of crops that were neither calibrated on nor are compared on, without end."""
    for seed in count(_TRAINING_SEED + 1):
        images = crops.normalised(crops.crops(16 * _BATCH, seed=seed))
        # In this layout a pass takes two thirds of the time on processors.
        yield from images.contiguous(memory_format=torch.channels_last).split(_BATCH)
