"""Read handwritten digits on a Jetson, or wherever a target of torchedge is.

Trains a MobileNet in miniature on 4,000 real MNIST images, first in float, then with the integers
of the target, and saves what ``scripts/export.py`` takes. About a minute on two CPU cores.
"""

if __name__ == "__main__":
    from torchedge.stopping import stop_in_one_line

    stop_in_one_line()  # before anything that takes seconds to load

import copy
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import pytorch_lightning as pl
import torch
from torch import nn

from torchedge import exporting
from torchedge.cli import run_recipe
from torchedge.compressed import CompressedModel
from torchedge.data import Digits
from torchedge.distillation import RKD, DistillationTerm, FitNet, Hinton
from torchedge.distillation.lightning import DistillationModule
from torchedge.models import Classifier, MobileDigits, WideDigits, accuracy, fit
from torchedge.pruning import Limits, prune_to
from torchedge.quantization import calibrate, minmax, mse, prepare_qat
from torchedge.quantization.lightning import QuantizationAwareTraining
from torchedge.quantization.recovery import reestimate_batchnorm
from torchedge.text import say

CALIBRATION_IMAGES = 500


def main(  # noqa: PLR0913 - options of a command line
    *,
    target: str = "jetson",
    out: Path = Path("runs/digits"),
    epochs: int = 16,
    qat_epochs: int = 3,
    weight_bits: int = 8,
    compile: bool = False,
    distil: Literal["none", "hinton", "fitnet", "rkd"] = "none",
    prune_macs: float = 1.0,
    overwrite: bool = False,
) -> None:
    """Train, quantise and save the digits network.

    Args:
        target: Where it will run; ``python scripts/targets.py`` lists them.
        out: New folder for the trained artefact.
        epochs: Passes over the images in float.
        qat_epochs: Passes with the target's integers.
        weight_bits: Width of the weights, 2 to 8; fewer than 8 are stored in bytes all the same.
        compile: Compile those passes; takes a C++ compiler and minutes before the first step.
        distil: Train a teacher with 22 times the parameters first, and let the network learn from
            its answers, also from its features (fitnet), or from how it places images (rkd). The
            teacher makes half as many passes.
        prune_macs: Share of the multiply-accumulates that is left when channels have been removed,
            in (0, 1]; below 1 the network makes as many passes again.
        overwrite: Replace the folder if it holds nothing but what a recipe wrote.
    """
    exporting.require_free(out, overwrite=overwrite)  # refused before minutes of training
    pl.seed_everything(0, verbose=False)
    if distil == "none":
        torch.set_num_threads(1)  # layers this small finish before a second one has woken up
    scheme = exporting.target(target).scheme
    scheme = replace(scheme, weight=replace(scheme.weight, bits=weight_bits))
    data = Digits()
    test = data.test_images, data.test_labels
    example_inputs = (data.test_images[:1],)

    float_model: nn.Module = MobileDigits()
    teacher: nn.Module | None = None
    metrics: dict[str, float] = {}
    if prune_macs != 1:
        pruned(float_model, prune_macs, example_inputs)  # refused before a minute of training
    if distil != "none":
        teacher = WideDigits()
        fit(Classifier(teacher), data, max(epochs // 2, 1))
        metrics["teacher_accuracy"] = accuracy(teacher, *test)
    fit(task(float_model, teacher, distil), data, epochs)

    calibration = data.train_images[:: len(data.train_images) // CALIBRATION_IMAGES]
    if prune_macs != 1:
        metrics["unpruned_accuracy"] = accuracy(float_model, *test)
        float_model = pruned(float_model, prune_macs, example_inputs)
        float_model = reestimate_batchnorm(float_model, calibration.split(100)).train()
        fit(task(float_model, teacher, distil), data, epochs)
    model = calibrated(prepare_qat(float_model, scheme, example_inputs), float_model, calibration)
    metrics["float_accuracy"] = accuracy(float_model, *test)
    metrics["post_training_accuracy"] = accuracy(model, *test)
    fit_with_integers(model, data, qat_epochs, compile=compile)

    artifact = CompressedModel(
        module=model,
        float_module=float_model,
        example_inputs=example_inputs,
        samples=(data.test_images,),
        labels=data.test_labels,
        calibration=(calibration,),
        scheme=scheme,
        metrics=metrics | {"fake_quantized_accuracy": accuracy(model, *test)},
        name="digits",
        class_names=tuple("0123456789"),
    ).save(out, overwrite=overwrite)
    say(f"wrote {artifact.path}: {', '.join(f'{k} {v:.1%}' for k, v in artifact.metrics.items())}")


def fit_with_integers(model: nn.Module, data: Digits, epochs: int, *, compile: bool) -> None:
    """Train what the target will compute; ranges are fixed, and batch norms in the last pass."""
    schedule = QuantizationAwareTraining(
        freeze_ranges_from_epoch=0, freeze_batchnorm_from_epoch=max(epochs - 1, 0)
    )
    trained = cast(nn.Module, torch.compile(model)) if compile else model  # shares the weights
    fit(Classifier(trained, learning_rate=3e-4), data, epochs, schedule)


def task(model: nn.Module, teacher: nn.Module | None, distil: str) -> pl.LightningModule:
    """What the network learns: the labels, and what a teacher knows if there is one."""
    alone = Classifier(model)
    if teacher is None:
        return alone
    return DistillationModule(alone, teacher, terms(distil, model), hard_weight=0.1)


def pruned(model: nn.Module, macs: float, example_inputs: tuple[torch.Tensor, ...]) -> nn.Module:
    """The network without its least important channels; so small a one in steps of four."""
    return prune_to(model, example_inputs, macs=macs, limits=Limits(multiple=4))


def terms(kind: str, model: nn.Module) -> dict[str, tuple[float, DistillationTerm]]:
    """The teacher's answers, and what else of it is to be learned."""
    found: dict[str, tuple[float, DistillationTerm]] = {"hinton": (0.9, Hinton(temperature=4.0))}
    if kind == "fitnet":
        width = int(model.get_submodule("classifier").in_features)  # type: ignore[arg-type]
        hint = FitNet("features", "features", student_channels=width, teacher_channels=128)
        found["hint"] = (1.0, hint)
    if kind == "rkd":
        found["relations"] = (1.0, RKD("pool", "pool"))
    return found


def calibrated(prepared: nn.Module, float_model: nn.Module, images: torch.Tensor) -> nn.Module:
    """By the better of two rules, which one depends on the digits."""
    candidates = [calibrate(prepared, images.split(100), rule) for rule in (minmax, mse)]
    return min(candidates, key=lambda candidate: deviation(candidate, float_model, images))


def deviation(model: nn.Module, float_model: nn.Module, images: torch.Tensor) -> float:
    """Mean squared difference of the logits from the float network's; no labels are needed."""
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(images)
        return float(nn.functional.mse_loss(logits, copy.deepcopy(float_model).eval()(images)))


if __name__ == "__main__":
    run_recipe(main)
