"""The stage that writes a .tflite file: LiteRT against PyTorch on integers, and against float."""

import numpy as np
import torch

from benchmarks.unseen.stages import Found, Work, against_float, in_session, run
from torchedge.backends import TFLITE
from torchedge.bench.session import Array
from torchedge.compressed import TorchRunner
from torchedge.exporting import Artifact
from torchedge.quantization import calibrate, mse, prepare_qat
from torchedge_tflite.runner import TFLiteRunner

__all__ = ["tflite_found"]

_COMPARED = 4
_STEP = 1.01
_ALIKE = 0.99
_LOST_DB = 1.0
_STEPS_OF_A_RANGE = 255


def tflite_found(work: Work) -> Found:
    """LiteRT computes the network that was calibrated, and is as near to float as that one is.

    It is unclean where less than 99 % of the outputs are within a step of that one's, and wrong
    where it is, besides, further from the float network by more than a decibel.
    """
    data = work.subject
    prepared = prepare_qat(data.model, TFLITE, data.example)
    calibrated = calibrate(prepared, data.seen.split(4), mse).eval()
    source, made = work.artifact("android", calibrated)
    batches = [(x.numpy(),) for x in data.unseen[:_COMPARED].split(1)]
    with TFLiteRunner().open(made) as session:
        found = in_session(session, batches)
    with TorchRunner().open(source) as reference:
        wanted = in_session(reference, batches)
    ours = against_float(work, run(calibrated, data.unseen[:_COMPARED])).figures
    written = against_float(work, tuple(map(torch.from_numpy, found)))
    share = _within_a_step(found, wanted, made)
    figures = {**written.figures, "reference_db": ours["sqnr_db"], "within_a_step": share}
    if share >= _ALIKE:
        return Found(figures=figures, wrong=written.wrong)
    apart = f"{share:.2%} of the outputs are within a step of PyTorch's"
    if not figures["sqnr_db"] >= ours["sqnr_db"] - _LOST_DB:
        lost = f"{figures['sqnr_db']:.1f} dB where PyTorch has {ours['sqnr_db']:.1f}"
        return Found(figures=figures, wrong=(*written.wrong, f"{apart}, {lost}"))
    return Found(figures=figures, wrong=written.wrong, unclean=(apart,))


def _within_a_step(
    found: tuple[Array, ...], wanted: tuple[Array, ...], artifact: Artifact
) -> float:
    """Of the worst output; one that is not on a grid has steps of 1/255 of its range."""
    shares = []
    for one, other, spec in zip(found, wanted, artifact.outputs, strict=True):
        step = spec.scale or max(float(np.ptp(other)), 1e-12) / _STEPS_OF_A_RANGE
        shares.append(float(np.mean(np.abs(one - other) <= _STEP * step)))
    return min(shares)
