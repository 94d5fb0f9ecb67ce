"""Spot ten spoken words on a Raspberry Pi, a phone, or wherever a target of torchedge is.

Trains a 1-D CNN on the MFCCs of words that eSpeak NG says in a hundred voices, in noise; a larger
network teaches it. Then it goes on with the integers of the target, and is saved for
``scripts/export.py``. ``--data speech-commands`` takes real recordings from a folder instead.
"""

import copy
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from torch import nn

from torchedge import export
from torchedge.cli import run_recipe
from torchedge.compressed import CompressedModel
from torchedge.data import CLASSES, Keywords, SpokenKeywords, speech_commands, spoken_keywords
from torchedge.distillation import Hinton
from torchedge.distillation.lightning import DistillationModule
from torchedge.export import Normalisation
from torchedge.models import Classifier, KeywordSpotter, WideKeywordSpotter
from torchedge.quantization import calibrate, mse, prepare_qat
from torchedge.quantization.lightning import QuantizationAwareTraining

CALIBRATION_CLIPS = 1000


def main(  # noqa: PLR0913 - options of a command line
    *,
    target: str = "raspberry-pi-4",
    out: Path = Path("runs/keywords"),
    data: Literal["espeak", "speech-commands"] = "espeak",
    folder: Path | None = None,
    clips: int = 30_000,
    epochs: int = 30,
    teacher_epochs: int = 8,
    qat_epochs: int = 3,
    distil: bool = True,
    overwrite: bool = False,
) -> None:
    """Train, quantise and save the keyword spotter.

    Args:
        target: Where it will run; ``python scripts/targets.py`` lists them.
        out: New folder for the trained artefact.
        data: Words that eSpeak NG says, or Google's recordings.
        folder: Where the spoken clips are kept from run to run (default runs/clips), or the
            unpacked Speech Commands.
        clips: How many words are spoken to train with.
        epochs: Passes over the clips in float.
        teacher_epochs: Passes of the teacher, which has 11 times the parameters.
        qat_epochs: Passes with the target's integers; 0 calibrates only.
        distil: Let the teacher teach; otherwise the labels alone do.
        overwrite: Replace the folder if it exists.
    """
    pl.seed_everything(0, verbose=False)
    scheme = export.target(target).scheme
    words = load(data, folder, clips)
    metrics: dict[str, float] = {}

    float_model = KeywordSpotter()
    task: pl.LightningModule = Classifier(float_model, learning_rate=8e-3)
    if distil:
        teacher = WideKeywordSpotter()
        fit(Classifier(teacher, learning_rate=3e-3, weight_decay=5e-2), words, teacher_epochs)
        metrics["teacher_accuracy"] = accuracy(teacher, words)
        task = DistillationModule(
            task, teacher, {"hinton": (0.9, Hinton(temperature=3.0))}, hard_weight=0.1
        )
    fit(task, words, epochs)
    metrics["float_accuracy"] = accuracy(float_model, words)

    calibration = words.train.features[:CALIBRATION_CLIPS]
    example_inputs = (words.test.features[:1],)
    model = calibrate(prepare_qat(float_model, scheme, example_inputs), calibration.split(100), mse)
    metrics["post_training_accuracy"] = accuracy(model, words)
    if qat_epochs:
        schedule = QuantizationAwareTraining(
            freeze_ranges_from_epoch=0, freeze_batchnorm_from_epoch=0
        )
        task = Classifier(model, learning_rate=3e-4)
        if distil:
            task = DistillationModule(
                task, teacher, {"hinton": (0.9, Hinton(temperature=3.0))}, hard_weight=0.1
            )
        fit(task, words, qat_epochs, schedule)
    metrics["fake_quantized_accuracy"] = accuracy(model, words)

    artifact = CompressedModel(
        module=model,
        example_inputs=example_inputs,
        samples=(words.test.features,),
        labels=words.test.labels,
        calibration=(calibration,),
        scheme=scheme,
        metrics=metrics,
        name="keywords",
        class_names=CLASSES,
        normalisation=Normalisation(
            mean=tuple(words.mean.flatten().tolist()),
            deviation=tuple(words.deviation.flatten().tolist()),
        ),
    ).save(out, overwrite=overwrite)
    print(
        f"wrote {artifact.path}: {', '.join(f'{k} {v:.1%}' for k, v in artifact.metrics.items())}"
    )


def load(data: str, folder: Path | None, clips: int) -> Keywords:
    """The clips, with coefficients that have mean 0 and deviation 1."""
    if data == "speech-commands":
        train, test = speech_commands(folder or Path("speech_commands"))
    else:
        train, test = spoken_keywords(SpokenKeywords(clips=clips), folder or Path("runs/clips"))
    return Keywords(train=train, test=test)


def fit(task: pl.LightningModule, data: Keywords, epochs: int, *callbacks: pl.Callback) -> None:
    """Train on the CPU with a progress bar."""
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, datamodule=data)


def accuracy(model: nn.Module, data: Keywords) -> float:
    """Share of the test clips that are recognised."""
    with torch.no_grad():
        answers = copy.deepcopy(model).eval()(data.test.features).argmax(1)
    return float((answers == data.test.labels).float().mean())


if __name__ == "__main__":
    run_recipe(main)
