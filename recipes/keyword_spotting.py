"""Spot ten spoken words on an Arduino, or wherever a target of torchedge is.

Trains a 1-D CNN on the MFCCs of words that eSpeak NG says in 69 voices and 200 between them, in
noise; a larger network may teach it. Then it goes on with the integers of the target, and is saved
for ``scripts/export.py``. All of it takes some minutes on two CPU cores. ``--data speech-commands
FOLDER`` takes Google's recordings instead.
"""

if __name__ == "__main__":
    from torchedge.stopping import stop_in_one_line

    stop_in_one_line()  # before anything that takes seconds to load

from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from torch import nn

from torchedge import exporting
from torchedge.cli import run_recipe
from torchedge.compressed import CompressedModel
from torchedge.data import CLASSES, Keywords, SpokenKeywords, keyword_parts
from torchedge.distillation import Hinton
from torchedge.distillation.lightning import DistillationModule
from torchedge.models import Classifier, KeywordSpotter, WideKeywordSpotter, accuracy, fit
from torchedge.quantization import calibrate, mse, prepare_qat
from torchedge.quantization.lightning import QuantizationAwareTraining
from torchedge.text import say

CALIBRATION_CLIPS = 1000


def main(  # noqa: PLR0913 - options of a command line
    folder: Path | None = None,
    /,
    *,
    data: Literal["espeak", "speech-commands"] = "espeak",
    target: str = "arduino-nano-33-ble",
    out: Path = Path("runs/keyword-spotting"),
    clips: int = 50_000,
    clips_folder: Path = Path("runs/clips"),
    epochs: int = 36,
    teacher_epochs: int = 0,
    qat_epochs: int = 2,
    overwrite: bool = False,
) -> None:
    """Train, quantise and save the keyword spotter.

    Args:
        folder: The unpacked Speech Commands.
        data: Words that eSpeak NG says (pip install espeakng-loader), or Google's recordings.
        target: Where it will run; ``python scripts/targets.py`` lists them.
        out: New folder for the trained artefact.
        clips: How many spoken clips there are to train with.
        clips_folder: Where they are kept from run to run.
        epochs: Passes over the clips in float.
        teacher_epochs: Passes of a teacher with 8 times the parameters, from whose answers the
            network learns, for example 8; 0 is no teacher.
        qat_epochs: Passes with the target's integers; 0 calibrates only.
        overwrite: Replace the folder if it holds nothing but what a recipe wrote.
    """
    exporting.require_free(out, overwrite=overwrite)  # refused before minutes of training
    pl.seed_everything(0, verbose=False)
    # Layers this small finish before a second thread has woken up; a teacher's do not.
    if not teacher_epochs:
        torch.set_num_threads(1)
    scheme = exporting.target(target).scheme
    words = Keywords(keyword_parts(data, folder, SpokenKeywords(clips=clips), clips_folder))
    metrics: dict[str, float] = {}

    teacher = WideKeywordSpotter() if teacher_epochs else None
    if teacher is not None:
        fit(Classifier(teacher, learning_rate=3e-3, weight_decay=5e-2), words, teacher_epochs)
        metrics["teacher_accuracy"] = accuracy(teacher, words.test.features, words.test.labels)

    float_model = KeywordSpotter()
    task = Classifier(float_model, learning_rate=8e-3, weight_decay=2e-2)
    fit(taught(task, teacher), words, epochs)
    metrics["float_accuracy"] = accuracy(float_model, words.test.features, words.test.labels)

    example_inputs = (words.test.features[:1],)
    calibration = words.train.features[:CALIBRATION_CLIPS]
    model = calibrate(prepare_qat(float_model, scheme, example_inputs), calibration.split(100), mse)
    metrics["post_training_accuracy"] = accuracy(model, words.test.features, words.test.labels)
    if qat_epochs:
        frozen = QuantizationAwareTraining(
            freeze_ranges_from_epoch=0, freeze_batchnorm_from_epoch=0
        )
        fit(taught(Classifier(model, learning_rate=3e-4), teacher), words, qat_epochs, frozen)
    metrics["fake_quantized_accuracy"] = accuracy(model, words.test.features, words.test.labels)

    artifact = CompressedModel(
        module=model,
        float_module=float_model,
        example_inputs=example_inputs,
        samples=(words.test.features,),
        labels=words.test.labels,
        calibration=(calibration,),
        scheme=scheme,
        metrics=metrics,
        name="keyword-spotting",
        class_names=CLASSES,
        normalisation=words.normalisation,
    ).save(out, overwrite=overwrite)
    say(f"wrote {artifact.path}: {', '.join(f'{k} {v:.1%}' for k, v in artifact.metrics.items())}")


def taught(task: pl.LightningModule, teacher: nn.Module | None) -> pl.LightningModule:
    """The same task, around which a teacher teaches if there is one."""
    if teacher is None:
        return task
    terms = {"hinton": (0.9, Hinton(temperature=3.0))}
    return DistillationModule(task, teacher, terms, hard_weight=0.1)


if __name__ == "__main__":
    run_recipe(main)
