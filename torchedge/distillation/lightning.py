"""Training with a teacher: a Lightning module around any task."""

from collections.abc import Callable, Mapping
from typing import Any, cast, final

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from typing_extensions import override

from torchedge.batches.examples import Examples, example_tensors, run_once
from torchedge.distillation.calls import Call, inputs_in
from torchedge.distillation.feature_modules import FitNet
from torchedge.distillation.hook_forwarding import (
    add_to_optimizer,
    handed_on,
    require_plain_task,
    task_loss,
)
from torchedge.distillation.modules import DistillationTerm
from torchedge.distillation.sources import LiveTeacher, TeacherSource
from torchedge.distillation.taps import Tap, Taps, require_layers
from torchedge.distillation.weights import (
    require_batches_of,
    require_stages,
    require_terms,
    require_weights,
    smallest_batch,
)
from torchedge.errors import DistillationError
from torchedge.kinds import kinds_checked

__all__ = ["DistillationModule"]


@final
class DistillationModule(pl.LightningModule):
    """A task that also listens to a teacher: ``hard_weight · task's loss + Σ weight · term``.

    The task's own training step runs; what its student network was given there, by place and by
    keyword, the teacher is given too, so batches may look as they like. The teacher is copied,
    frozen, in evaluation mode, and in neither the checkpoint nor the optimiser. Terms are computed
    in float32 whatever the precision. Parameters of terms (the regressor of :class:`FitNet`) join
    the first group of the task's optimiser. Each term is logged, unweighted, under its name, the
    sum as ``total_loss``. Where the task overrides a hook of Lightning, it is called.

    With ``hard_weight=0`` the task's training step is not called: the student runs on the inputs in
    the batch, and no labels are needed.

    Args:
        task: Any LightningModule with automatic optimisation; it is changed in place by training.
        teacher: A trained network with the student's inputs, or a
            :class:`~torchedge.distillation.cache.TeacherCache`, whose batches are
            ``(batch, indices)``.
        terms: By name, the weight of each term and the term.
        hard_weight: Of the task's own loss; Hinton et al. take 0.1 beside 0.9.
        student: Name of the student network inside the task.
        hint_epochs: So many epochs only the hints (:class:`FitNet`) are trained for, and after
            them no more: the two stages of Romero et al. 2015. With 0 all terms count always.
        example_inputs: One set of inputs; with it, terms are tried at once, so that features
            which do not fit are refused here and not by the first training step.

    Raises:
        DistillationError: A term has no weight, the teacher is none, a layer does not exist, a
            weight is negative or all are zero, there are epochs for hints and no hint, the task has
            no such student, overrides what cannot be handed on, or optimises manually; with
            ``example_inputs`` also: outputs or features do not fit.

    Example:
        >>> from torchedge.distillation import Hinton
        >>> from torchedge.models import Classifier
        >>> task = Classifier(nn.Linear(4, 3))
        >>> module = DistillationModule(
        ...     task, nn.Linear(4, 3), {"hinton": (0.9, Hinton(temperature=4.0))}, hard_weight=0.1
        ... )
        >>> sum(p.numel() for p in module.parameters())
        15
    """

    @kinds_checked("task", "terms", "example_inputs", error=DistillationError)
    def __init__(
        self,
        task: pl.LightningModule,
        teacher: nn.Module | TeacherSource,
        terms: Mapping[str, tuple[float, DistillationTerm]],
        *,
        hard_weight: float = 1.0,
        student: str = "model",
        hint_epochs: int = 0,
        example_inputs: Examples | None = None,
    ) -> None:
        super().__init__()
        require_terms(terms, teacher)
        weights = {name: weight for name, (weight, _) in terms.items()}
        require_weights(weights, hard_weight)
        require_stages(hint_epochs, any(isinstance(t, FitNet) for _, t in terms.values()))
        require_plain_task(task, student)
        self.task = task
        self.weights, self.hard_weight, self.hint_epochs = weights, hard_weight, hint_epochs
        self.terms = nn.ModuleDict(
            {n: t for n, (_, t) in terms.items() if isinstance(t, nn.Module)}
        )
        self._called: dict[str, DistillationTerm] = {n: term for n, (_, term) in terms.items()}
        self._student_name = student
        self._layers = _layers_of(self._called, "student")
        require_layers(self.student, self._layers, "student")
        source = LiveTeacher(teacher) if isinstance(teacher, nn.Module) else teacher
        source.prepare(_layers_of(self._called, "teacher"))
        self._source = [source]  # in a list, so that it is no submodule
        self._tap: Tap | None = None
        if example_inputs is not None:
            self._try(example_tensors(self.student, example_inputs))

    @property
    def student(self) -> nn.Module:
        """The network that learns."""
        return cast(nn.Module, getattr(self.task, self._student_name))

    @property
    def source(self) -> TeacherSource:
        """Where the teacher's answers come from."""
        return self._source[0]

    @override
    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.task(*inputs, **named)

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        found = self._of_task("configure_optimizers")()
        add_to_optimizer(found, tuple(self.terms.parameters()))
        return cast(OptimizerLRScheduler, found)

    @override
    def configure_callbacks(self) -> list[pl.Callback]:
        found = self._of_task("configure_callbacks")()
        of_task = [found] if isinstance(found, pl.Callback) else list(found)
        return [*of_task, _AfterErrors(self._stop_watching)]

    @override
    def on_fit_start(self) -> None:
        self._watch()
        self.source.to(self.device)
        self._of_task("on_fit_start")()

    @override
    def on_fit_end(self) -> None:
        self._stop_watching()
        self._of_task("on_fit_end")()

    @override
    def on_train_start(self) -> None:
        least = max(smallest_batch(term) for term in self._called.values())
        require_batches_of(least, self.trainer.train_dataloader)
        self._of_task("on_train_start")()

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        tap = self._tap if self._tap is not None else self._watch()
        tap.forget()
        batch, indices = self.source.unpacked(batch)
        hard = self._hard_loss(batch, batch_idx)
        call, student = tap.last_call()
        if hard is None:
            return None  # the task leaves this batch out
        losses = self._losses(student, self._taught(call, indices))
        for name, loss in losses.items():
            self.log(name, loss.detach())
        weights = self._weights_now()
        total = self._hard_weight_now() * hard
        total = total + sum(weights[name] * loss for name, loss in losses.items())
        self.log("total_loss", total.detach(), prog_bar=True)
        return total

    def _hard_loss(self, batch: Any, batch_idx: int) -> Tensor | None:  # noqa: ANN401
        """The task's loss; zero, and only the student run, where it does not count."""
        if self.hard_weight:
            return task_loss(self._of_task("training_step")(batch, batch_idx))
        inputs = inputs_in(batch, self.student)
        self.student(*inputs)
        return inputs[0].new_zeros(())

    def _taught(self, call: Call, indices: Tensor | None) -> Taps:
        """What the teacher shows for all that the student was given."""
        if isinstance(self.source, LiveTeacher):
            call.require_unchanged("student")
        return self.source.taps(call.args, indices, call.named)

    def _losses(self, student: Taps, teacher: Taps) -> dict[str, Tensor]:
        pair = student.in_float32(), teacher.in_float32()
        with torch.autocast(self.device.type, enabled=False):
            return {name: term(*pair) for name, term in self._called.items()}

    def _hints_only(self) -> bool:
        return self.trainer.current_epoch < self.hint_epochs if self.hint_epochs else False

    def _hard_weight_now(self) -> float:
        return 0.0 if self._hints_only() else self.hard_weight

    def _weights_now(self) -> dict[str, float]:
        """A term out of its stage counts zero times, so that every parameter has a gradient."""
        if not self.hint_epochs:
            return self.weights
        hints = self._hints_only()
        return {
            name: weight if isinstance(self._called[name], FitNet) == hints else 0.0
            for name, weight in self.weights.items()
        }

    def _watch(self) -> Tap:
        self._stop_watching()
        self._tap = Tap(self.student, self._layers)
        return self._tap

    def _stop_watching(self) -> None:
        if self._tap is not None:
            self._tap.remove()
        self._tap = None

    @torch.no_grad()
    def _try(self, example_inputs: tuple[Tensor, ...]) -> None:
        """Compute every term once."""
        least = max((smallest_batch(term) for term in self._called.values()), default=1)
        inputs = tuple(torch.cat([x] * max(-(-least // len(x)), 1)) for x in example_inputs)
        modes = [(module, module.training) for module in self.student.modules()]
        tap = self._watch()
        try:
            run_once(self.student.eval(), inputs)
            call, student = tap.last_call()
            if isinstance(self.source, LiveTeacher):
                self._losses(student, self._taught(call, None))
        finally:
            for module, mode in modes:
                module.training = mode
            self._stop_watching()

    def _of_task(self, hook: str) -> Callable[..., Any]:
        """A hook of the task, which logs as this module does."""
        self.task._current_fx_name = self._current_fx_name  # Lightning only tells the outer one
        return cast(Callable[..., Any], getattr(self.task, hook))

    validation_step = handed_on("validation_step")
    test_step = handed_on("test_step")
    predict_step = handed_on("predict_step")
    on_train_end = handed_on("on_train_end")
    on_train_epoch_start = handed_on("on_train_epoch_start")
    on_train_epoch_end = handed_on("on_train_epoch_end")
    on_validation_start = handed_on("on_validation_start")
    on_validation_end = handed_on("on_validation_end")
    on_validation_epoch_start = handed_on("on_validation_epoch_start")
    on_validation_epoch_end = handed_on("on_validation_epoch_end")
    on_test_start = handed_on("on_test_start")
    on_test_end = handed_on("on_test_end")
    on_test_epoch_start = handed_on("on_test_epoch_start")
    on_test_epoch_end = handed_on("on_test_epoch_end")
    on_predict_start = handed_on("on_predict_start")
    on_predict_end = handed_on("on_predict_end")
    on_predict_epoch_start = handed_on("on_predict_epoch_start")
    on_predict_epoch_end = handed_on("on_predict_epoch_end")
    on_before_zero_grad = handed_on("on_before_zero_grad")
    on_before_backward = handed_on("on_before_backward")
    on_after_backward = handed_on("on_after_backward")
    on_before_optimizer_step = handed_on("on_before_optimizer_step")
    lr_scheduler_step = handed_on("lr_scheduler_step")
    configure_gradient_clipping = handed_on("configure_gradient_clipping")


@final
class _AfterErrors(pl.Callback):
    """Takes the hooks off the student where training ends with an error, which no module hears of.

    Args:
        stop_watching: Does it.
    """

    def __init__(self, stop_watching: Callable[[], None]) -> None:
        self._stop_watching = stop_watching

    @override
    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop_watching()


def _layers_of(terms: Mapping[str, DistillationTerm], side: str) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(layer for t in terms.values() for layer in getattr(t, f"{side}_layers"))
    )
