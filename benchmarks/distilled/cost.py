"""What a teacher adds to a training step: running beside the student, and read from a cache."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.peers.measure import Timing, interleaved
from torchedge.distillation import Hinton
from torchedge.distillation.cache import cache_teacher
from torchedge.distillation.functional import hinton_loss
from torchedge.distillation.lightning import DistillationModule
from torchedge.models import Classifier, MobileDigits, WideDigits

__all__ = ["cost"]

_BATCH = 64
Step = Callable[[], object]


def cost(*, rounds: int = 300) -> Mapping[str, Mapping[str, Timing]]:
    """The digits networks, batches of 64: a step by hand beside a step of the module, in turn."""
    images, teacher = torch.rand(_BATCH, 1, 28, 28), WideDigits().eval()
    with tempfile.TemporaryDirectory() as name:
        cache = cache_teacher(teacher, TensorDataset(images), Path(name) / "teacher")
    cached: dict[str, Step] = {
        "student's step and the loss": _by_hand(images, lambda: cache.tensors["output"]),
        "cached teacher": _by_module(cache, [[images], torch.arange(_BATCH)]),
    }
    live: dict[str, Step] = {
        "student's step and teacher's pass": _by_hand(images, lambda: _passed(teacher, images)),
        "live teacher": _by_module(teacher, [images]),
    }
    return {
        "cached": interleaved(cached, rounds=rounds, warm_ups=10),
        "live": interleaved(live, rounds=rounds, warm_ups=10),
    }


@torch.no_grad()
def _passed(teacher: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = teacher(images)
    return logits


def _by_hand(images: Tensor, wanted: Callable[[], Tensor]) -> Step:
    student = MobileDigits()
    optimizer = torch.optim.SGD(student.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        hinton_loss(student(images), wanted(), 4.0).backward()
        optimizer.step()

    return step


def _by_module(teacher: object, batch: list[object]) -> Step:
    module = DistillationModule(
        Classifier(MobileDigits()),
        teacher,  # type: ignore[arg-type]
        {"hinton": (1.0, Hinton(temperature=4.0))},
        hard_weight=0.0,
    )
    optimizer = torch.optim.SGD(module.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        loss = module.training_step(batch, 0)
        assert loss is not None
        loss.backward()
        optimizer.step()

    return step
