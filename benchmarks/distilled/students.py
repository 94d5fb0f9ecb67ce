"""A small student alone, and taught by each technique: accuracies over seeds."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from safetensors.torch import load_file, save_file

from benchmarks.distilled.fitting import (
    accuracy,
    fit,
    in_processes,
    labelled_loader,
    mean_and_spread,
    mixed_loader,
    with_few_labels,
)
from torchedge.data import Digits
from torchedge.distillation import RKD, AttentionTransfer, DistillationTerm, FitNet, Hinton
from torchedge.distillation.lightning import DistillationModule
from torchedge.models import Classifier, MobileDigits, WideDigits

__all__ = ["all_labels", "few_labels"]

Figures = Mapping[str, Mapping[str, float]]
_SEEDS = range(5)
_TEACHER_EPOCHS = 8
_TECHNIQUES = ("alone", "Hinton", "FitNet + Hinton", "RKD + Hinton", "attention + Hinton")


@final
@dataclass(frozen=True, kw_only=True)
class Run:
    """One student to train."""

    technique: str
    seed: int
    labels_each: int | None
    teacher: Path


def few_labels(*, each: int = 10) -> Figures:
    """The student knows ten labels a class; its teacher learned from all 4,000."""
    return _compared(each)


def all_labels() -> Figures:
    """Both learn from all 4,000 labels."""
    return _compared(None)


def _compared(labels_each: int | None) -> Figures:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "teacher.safetensors"
        teacher = _trained_teacher(path)
        runs = [
            Run(technique=technique, seed=seed, labels_each=labels_each, teacher=path)
            for technique in _TECHNIQUES
            for seed in _SEEDS
        ]
        found = in_processes(student_accuracy, runs)
    rows: dict[str, Mapping[str, float]] = {"teacher": teacher}
    for technique in _TECHNIQUES:
        mine = [a for run, a in zip(runs, found, strict=True) if run.technique == technique]
        each = {f"seed_{seed}": value for seed, value in zip(_SEEDS, mine, strict=True)}
        rows[technique] = mean_and_spread(mine) | each
    return {name: _beside(row, rows["alone"]) for name, row in rows.items()}


def _beside(row: Mapping[str, float], alone: Mapping[str, float]) -> dict[str, float]:
    return {**row, "gain": row["mean"] - alone["mean"]}


def _trained_teacher(path: Path) -> dict[str, float]:
    torch.manual_seed(0)
    data, teacher = Digits(), WideDigits()
    fit(Classifier(teacher), mixed_loader(data.train_images, data.train_labels), _TEACHER_EPOCHS)
    save_file(teacher.state_dict(), path)
    return {"mean": accuracy(teacher, data), "spread": 0.0}


def student_accuracy(run: Run) -> float:
    """Train one student; the seed decides its weights, the order of images, and how they move."""
    torch.manual_seed(run.seed)
    data, student = Digits(), MobileDigits()
    labels = with_few_labels(data.train_labels, run.labels_each)
    task = Classifier(student)
    if run.technique == "alone":
        fit(task, labelled_loader(data.train_images, labels))
        return accuracy(student, data)
    teacher = WideDigits()
    teacher.load_state_dict(load_file(run.teacher))
    module = DistillationModule(task, teacher, _terms(run.technique), hard_weight=0.1)
    fit(module, mixed_loader(data.train_images, labels))
    return accuracy(student, data)


def _terms(technique: str) -> dict[str, tuple[float, DistillationTerm]]:
    terms: dict[str, tuple[float, DistillationTerm]] = {"hinton": (0.9, Hinton(temperature=4.0))}
    if technique.startswith("FitNet"):
        hint = FitNet("features", "features", student_channels=64, teacher_channels=128)
        terms["hint"] = (1.0, hint)
    if technique.startswith("RKD"):
        terms["relations"] = (1.0, RKD("pool", "pool"))
    if technique.startswith("attention"):
        terms["attention"] = (1.0, AttentionTransfer("features", "features"))
    return terms
