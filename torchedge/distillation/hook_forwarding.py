"""Being a LightningModule on behalf of another one."""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim import Optimizer

from torchedge.arguments import require
from torchedge.errors import DistillationError

__all__ = ["NOT_HANDED_ON", "add_to_optimizer", "handed_on", "require_plain_task", "task_loss"]

# What Lightning asks of the outer module alone, and what cannot be two things at once.
NOT_HANDED_ON = (
    "prepare_data",
    "setup",
    "teardown",
    "configure_model",
    "train_dataloader",
    "val_dataloader",
    "test_dataloader",
    "predict_dataloader",
    "transfer_batch_to_device",
    "on_before_batch_transfer",
    "on_after_batch_transfer",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_test_batch_start",
    "on_test_batch_end",
    "on_predict_batch_start",
    "on_predict_batch_end",
    "on_validation_model_zero_grad",
    "on_validation_model_eval",
    "on_validation_model_train",
    "on_test_model_eval",
    "on_test_model_train",
    "on_predict_model_eval",
    "configure_sharded_model",
    "on_save_checkpoint",
    "on_load_checkpoint",
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
)


def handed_on(hook: str) -> Callable[..., Any]:
    """A method that calls the method of the same name on ``self.task``."""

    def hand_on(self: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as Lightning calls it
        return self._of_task(hook)(*arguments, **named)

    hand_on.__name__ = hook
    hand_on.__doc__ = f"What the task does in ``{hook}``."
    return hand_on


def require_plain_task(task: pl.LightningModule, student: str) -> None:
    """Refuse tasks that would not do what they do alone.

    Raises:
        DistillationError: The student is not there, optimisation is manual, or a hook is
            overridden that is not handed on.
    """
    way_out = "give the LightningModule that trains the student"
    require(isinstance(task, pl.LightningModule), "the task", task, way_out, DistillationError)
    if not isinstance(getattr(task, student, None), nn.Module):
        children = ", ".join(f"'{name}'" for name, _ in task.named_children()) or "none"
        raise DistillationError(
            f"{type(task).__name__} has no network '{student}'; name its student with "
            f"student=…, one of: {children}."
        )
    if not task.automatic_optimization:
        raise DistillationError(
            f"{type(task).__name__} optimises manually, so a loss cannot be added to its own; call "
            "the losses of torchedge.distillation.functional in its training_step."
        )
    overridden = [hook for hook in NOT_HANDED_ON if is_overridden(hook, task)]
    if overridden:
        raise DistillationError(
            f"{type(task).__name__} overrides {', '.join(overridden)}, which a module around it "
            "cannot hand on; move them to a LightningDataModule or a Callback."
        )


def task_loss(result: object) -> Tensor | None:
    """The loss in what a training step returned; ``None`` where it skips the batch.

    Raises:
        DistillationError: It returned something else.

    Example:
        >>> import torch
        >>> task_loss({"loss": torch.tensor(1.0)})
        tensor(1.)
    """
    loss = result["loss"] if isinstance(result, dict) and "loss" in result else result
    if loss is None or isinstance(loss, Tensor):
        return loss
    raise DistillationError(
        f"training_step returned a {type(result).__name__}; return the loss, or a dictionary with "
        "the key 'loss'."
    )


def add_to_optimizer(configured: object, parameters: tuple[nn.Parameter, ...]) -> None:
    """Let parameters join the first group of the optimiser, whatever form it was returned in.

    A group of their own would need an entry in each scheduler that was made already.

    Raises:
        DistillationError: There is no optimiser to join, or more than one.
    """
    if not parameters:
        return
    found = list(_optimizers(configured))
    if len(found) != 1:
        raise DistillationError(
            f"the task has {len(found)} optimisers and the regressors of FitNet need one to join; "
            "return one from configure_optimizers."
        )
    found[0].param_groups[0]["params"].extend(parameters)


def _optimizers(configured: object) -> Iterable[Optimizer]:
    """Of the forms that Lightning knows: an optimiser, a dictionary, or lists of either."""
    if isinstance(configured, Optimizer):
        return [configured]
    if isinstance(configured, dict):
        return _optimizers(configured.get("optimizer"))
    entries = configured if isinstance(configured, list | tuple) else ()
    return [optimizer for entry in entries for optimizer in _optimizers(entry)]
