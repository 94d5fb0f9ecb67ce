"""When weights go while a network trains."""

import math
from typing import Protocol, final

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch.optim import Optimizer
from typing_extensions import override

from torchedge.errors import PruningError
from torchedge.kinds import kinds_checked
from torchedge.pruning.checks import require_sparsity
from torchedge.pruning.functional import cubic_sparsity, magnitude_scores
from torchedge.pruning.masks import masked_weights, set_masks
from torchedge.pruning.patterns import (
    NOfM,
    Pattern,
    Scores,
    Unstructured,
    next_masks,
    require_pattern_fits,
)

__all__ = ["GradualPruning", "SparsitySchedule"]


class SparsitySchedule(Protocol):
    """Sparsity at a step; ``cubic_sparsity``, ``linear_sparsity`` and ``stepped_sparsity`` are."""

    def __call__(
        self, step: int, *, begin: int, end: int, final: float, initial: float = 0.0
    ) -> float:
        """The share that has gone before the optimiser takes this step."""


@final
class GradualPruning(pl.Callback):
    """Removes weights while the network trains, as many as the schedule says at a step.

    The masks are put on before ``fit``, by :func:`~torchedge.pruning.mask_weights`; this callback
    sets their buffers and has no state. The sparsity is a function of ``trainer.global_step``, and
    what is removed stays removed while it rises, so a resumed run goes on as if it had never
    stopped. Masks change before an optimiser's step, when gradients are there to score by. In a
    distributed run every process takes the masks of the first.

    Args:
        sparsity: Share of the masked weights that has gone in the end; with :class:`NOfM` it is
            ``1 - n/m``.
        begin_epoch: When weights begin to go.
        end_epoch: When the last has gone; at least one epoch is left to recover in.
        scores: From a weight to a score for each; the smallest go. It gets the parameter, which
            has its ``grad``.
        every_steps: Optimiser's steps from one change to the next.
        schedule: How the sparsity rises; cubic after Zhu & Gupta 2017.
        pattern: Where weights go. If none is given, wherever their scores are smallest of all, but
            for a hundredth of each weight, so that no layer is emptied after hours of training.

    Raises:
        PruningError: The sparsity or the epochs make no sense. At the start of training: there are
            no masks, the pattern does not fit them, or training ends before the schedule does.
            While training: a score is NaN.

    Example:
        >>> GradualPruning(sparsity=0.9, begin_epoch=1, end_epoch=5)
        ... # doctest: +ELLIPSIS
        <torchedge.pruning.lightning.GradualPruning object at ...>
    """

    @kinds_checked(error=PruningError)
    def __init__(
        self,
        *,
        sparsity: float,
        begin_epoch: int,
        end_epoch: int,
        scores: Scores = magnitude_scores,
        every_steps: int = 100,
        schedule: SparsitySchedule = cubic_sparsity,
        pattern: Pattern | None = None,
    ) -> None:
        require_sparsity(sparsity)
        _require_times(begin_epoch, end_epoch, every_steps)
        if isinstance(pattern, NOfM) and not math.isclose(sparsity, pattern.sparsity):
            raise PruningError(
                f"{pattern.n} of {pattern.m} is a sparsity of {pattern.sparsity:g}, not "
                f"{sparsity:g}; give that one, or another pattern."
            )
        self.sparsity, self.scores, self.schedule = sparsity, scores, schedule
        self.begin_epoch, self.end_epoch, self.every_steps = begin_epoch, end_epoch, every_steps
        self.pattern = Unstructured(least_kept=0.01) if pattern is None else pattern
        self._steps = range(0)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        masked_weights(pl_module)
        require_pattern_fits(self.pattern, pl_module)
        an_epoch = _steps_an_epoch(trainer)
        self._steps = range(self.begin_epoch * an_epoch, self.end_epoch * an_epoch)
        total = trainer.estimated_stepping_batches
        if self._steps.stop >= total:
            raise PruningError(
                f"pruning ends after {self._steps.stop:,} steps (epoch {self.end_epoch}) and "
                f"training after {total:,}, which leaves none to recover in; train longer, or "
                "lower end_epoch."
            )

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        step = trainer.global_step
        begin, end = self._steps.start, self._steps.stop
        if not (begin <= step < end and (step - begin) % self.every_steps == 0) and step != end:
            return
        sparsity = self.schedule(step, begin=begin, end=end, final=self.sparsity)
        set_masks(
            pl_module, next_masks(pl_module, sparsity, pattern=self.pattern, scores=self.scores)
        )
        _take_from_first_process(pl_module)


def _require_times(begin_epoch: int, end_epoch: int, every_steps: int) -> None:
    if not 0 <= begin_epoch < end_epoch:
        raise PruningError(
            f"pruning from epoch {begin_epoch} to {end_epoch} is no time; count epochs from 0 and "
            "end after the beginning."
        )
    if every_steps < 1:
        raise PruningError(f"every_steps is {every_steps}; give 1 or more.")


def _steps_an_epoch(trainer: pl.Trainer) -> int:
    batches = trainer.num_training_batches
    if math.isinf(batches):
        raise PruningError(
            "the training data have no length, so an epoch has no number of steps; set "
            "limit_train_batches of the Trainer."
        )
    return math.ceil(batches / trainer.accumulate_grad_batches)


@torch.no_grad()
def _take_from_first_process(module: pl.LightningModule) -> None:
    """Scores may be drawn at random, and every process has its own generator."""
    if dist.is_available() and dist.is_initialized():
        for _, mask in masked_weights(module).values():
            dist.broadcast(mask.removed, src=0)
