"""EfficientNet-Lite in int8 from 64 unlabelled pictures: how much of the float network is left?"""

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
from torchedge.quantization.bit_widths import FLOAT_BITS
from torchedge.quantization.diagnostics import BitBudget, choose_bits, sensitivity
from torchedge.quantization.recovery import quantize, refit_last_layer
from torchedge.quantization.recovery.quantize import Effort
from torchedge.scheme import QuantScheme
from torchedge_onnx.census import runtime_census

__all__ = ["post_training", "self_distilled"]

Figures = dict[str, float]
_CALIBRATION_SEED, _EVALUATION_SEED, _TRAINING_SEED = 1, 2, 3  # fresh crops count on from 4
_SECOND_SEED = 999
_BATCH = 16
_COMPARED = 256
_FLOAT_SHARE = 0.05  # of the multiply-accumulates, at most, where some layers stay in float
_PLACEMENT = ONNX_RUNTIME.placement
FLOAT_LOGITS = replace(
    ONNX_RUNTIME,
    placement=replace(_PLACEMENT, outputs_of=_PLACEMENT.outputs_of - {"linear"}),
)


def pictures(network: str = "lite0") -> tuple[Tensor, Tensor]:
    """64 crops to calibrate on, and two sets of 256 others to compare on, one after the other.

    Args:
        network: Decides their size.
    """
    side = networks.LITE_SIDES[network]
    seeds = (_EVALUATION_SEED, _SECOND_SEED)
    compared = [crops.normalised(crops.crops(_COMPARED, side, seed=seed)) for seed in seeds]
    calibration = crops.normalised(crops.crops(64, side, seed=_CALIBRATION_SEED))
    return calibration, torch.cat(compared)


def post_training(
    network: str = "lite0", efforts: tuple[Effort, ...] = ("fast", "balanced")
) -> dict[str, Figures]:
    """Our post-training quantisation beside the peers', each in its own runtime.

    Args:
        network: A name in :data:`~benchmarks.peers.networks.LITE_SIDES`.
        efforts: Of :func:`~torchedge.quantization.recovery.quantize`.
    """
    model = networks.efficientnet_lite(network)
    calibration, evaluation = pictures(network)
    reference = ours.outputs(model, evaluation)
    rows = _peers(model, calibration, evaluation, reference)
    for effort in efforts:
        begin = time.perf_counter()
        quantised = quantize(model, ONNX_RUNTIME, calibration.split(_BATCH), effort=effort)
        seconds = time.perf_counter() - begin
        figures = _in_runtime(quantised, evaluation, reference)
        rows[f"torchedge, {effort}"] = {"seconds": seconds} | figures
    begin = time.perf_counter()
    kept = float_layers(model, ONNX_RUNTIME, calibration)
    quantised = quantize(model, ONNX_RUNTIME, calibration.split(_BATCH), float_layers=kept)
    seconds = time.perf_counter() - begin
    figures = _in_runtime(quantised, evaluation, reference)
    rows[f"torchedge, balanced, {len(kept)} layers in float"] = {"seconds": seconds} | figures
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
        name: {"seconds": result.seconds} | _on_both_sets(result.logits, reference)
        for name, result in found.items()
        if result is not None
    }


def _in_runtime(
    model: nn.Module, evaluation: Tensor, reference: Tensor, scheme: QuantScheme = ONNX_RUNTIME
) -> Figures:
    """What the exported file answers in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as name:
        path = ours.exported(model, evaluation, Path(name), scheme)
        figures = _on_both_sets(ours.runtime_outputs(path, evaluation), reference)
        return figures | {"integer_share": runtime_census(path).integer_share}


def _on_both_sets(logits: Tensor, reference: Tensor) -> Figures:
    """Of each half by itself; the agreement of 256 answers has a standard deviation of 1.5 %."""
    found: Figures = {}
    halves = zip(("", "_second_set"), logits.chunk(2), reference.chunk(2), strict=True)
    for suffix, answers, wanted in halves:
        found[f"agreement{suffix}"] = top1_agreement(answers, wanted)
        found[f"sqnr_db{suffix}"] = sqnr_db(answers, wanted)
    return found


def self_distilled(*, rounded_for: int = 512, refitted_for: int = 4096) -> dict[str, Figures]:
    """Then at most ten minutes on fresh unlabelled crops, towards the float network's own answers.

    The layers that lose the most stay in float, within 5 % of the arithmetic. Layer by layer, the
    others' weights are rounded again for more crops than calibration had; then the last layer is
    solved anew. The logits stay in float: on a grid of 256 steps, one crop in 25 has its two
    largest less than a step apart.
    """
    network = networks.efficientnet_lite0()
    calibration, evaluation = pictures()
    begin = time.perf_counter()
    layerwise = crops.normalised(crops.crops(rounded_for, seed=_TRAINING_SEED))
    kept = float_layers(network, FLOAT_LOGITS, calibration)
    rounded = quantize(network, FLOAT_LOGITS, layerwise.split(_BATCH), float_layers=kept)
    rounded_seconds = time.perf_counter() - begin
    fast = [m.to(memory_format=torch.channels_last) for m in (rounded, network)]
    refitted = refit_last_layer(*fast, islice(fresh_crops(), refitted_for // _BATCH))
    seconds = time.perf_counter() - begin
    reference = ours.outputs(network, evaluation)
    return {
        f"layer by layer, {rounded_for} crops": _in_runtime(
            rounded, evaluation, reference, FLOAT_LOGITS
        )
        | {"seconds": rounded_seconds},
        f"and its last layer, {refitted_for} crops": _in_runtime(
            refitted, evaluation, reference, FLOAT_LOGITS
        )
        | {"seconds": seconds},
    }


def fresh_crops() -> Iterator[Tensor]:
    """Batches of crops that were neither calibrated on nor are compared on, without end."""
    for seed in count(_TRAINING_SEED + 1):
        images = crops.normalised(crops.crops(16 * _BATCH, seed=seed))
        # In this layout a pass takes two thirds of the time on processors.
        yield from images.contiguous(memory_format=torch.channels_last).split(_BATCH)
