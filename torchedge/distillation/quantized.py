"""Self-distillation: the float network teaches its own quantised copy, without labels."""

import math
from typing import Any, Literal, TypeAlias, final

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from typing_extensions import override

from torchedge.distillation.lightning import DistillationModule
from torchedge.distillation.modules import DistillationTerm, Hinton
from torchedge.errors import DistillationError
from torchedge.kinds import kinds_checked
from torchedge.quantization.modules import QuantizedLayer

__all__ = ["QuantizedStudent", "Trained", "self_distillation"]

Trained: TypeAlias = Literal["biases", "all"]

_WARM_UP_STEPS = 8
_TEMPERATURES = (1.0, 4.0)  # the answer itself, and what is held for similar


@final
class QuantizedStudent(pl.LightningModule):
    """A calibrated quantised network that is moved a little, its ranges and statistics frozen.

    Adam moves every parameter by about its learning rate a step, whatever the gradient. So that no
    layer is moved further than another, the rate is a share of the step of the layer's weight grid.
    Weights that post-training quantisation has rounded with care lie on their grid: a larger rate
    turns them at random, which costs more than it gains; ``biases`` alone are safe.

    Args:
        model: From ``quantize``, or ``prepare_qat`` and ``calibrate``; changed in place.
        learning_rate: At its peak, in steps of each layer's weights.
        trained: ``biases``, or ``all`` weights as well.

    Raises:
        DistillationError: There is no quantised layer, or nothing in it to train.

    Example:
        >>> from torchedge.quantization import QuantScheme, prepare_qat
        >>> net = prepare_qat(nn.Sequential(nn.Linear(2, 2)), QuantScheme(), (torch.zeros(1, 2),))
        >>> [p.numel() for group in QuantizedStudent(net).groups() for p in group["params"]]
        [2]
    """

    def __init__(
        self, model: nn.Module, *, learning_rate: float = 0.06, trained: Trained = "biases"
    ) -> None:
        super().__init__()
        self.model = model
        self.learning_rate = learning_rate
        self.trained: Trained = trained
        if not self.groups():
            raise DistillationError(
                f"the model has no quantised layer with {trained} to train; quantise it first."
            )
        model.train()  # Lightning warns of what is not; on_train_epoch_start undoes it

    @override
    def forward(self, *inputs: Tensor) -> Any:
        return self.model(*inputs)

    @override
    def on_train_epoch_start(self) -> None:
        self.model.eval()  # ranges and batch statistics stay as they are

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups, one a layer, with their learning rates."""
        layers = [m for m in self.model.modules() if isinstance(m, QuantizedLayer)]
        return [group for layer in layers if (group := self._group(layer))["params"]]

    @torch.no_grad()
    def _group(self, layer: QuantizedLayer) -> dict[str, Any]:
        parameters = [layer.layer.bias] if layer.layer.bias is not None else []
        parameters += list(layer.layer.parameters()) if self.trained == "all" else []
        scale, _ = layer.params(layer.folded()[0])
        unique = list({id(p): p for p in parameters}.values())
        return {"params": unique, "lr": self.learning_rate * float(scale.median())}

    @override
    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.Adam(self.groups())
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _share(step: int, steps: int) -> float:
    """Of the learning rate's peak: up in a few steps, then down along a cosine."""
    warm = min((step + 1) / _WARM_UP_STEPS, 1.0)
    return warm * 0.5 * (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0)))


@kinds_checked(error=DistillationError)
def self_distillation(
    model: nn.Module,
    teacher: nn.Module,
    *,
    learning_rate: float = 0.06,
    trained: Trained = "biases",
) -> DistillationModule:
    """What ``trainer.fit`` takes to bring a quantised network nearer to its float original.

    Batches are inputs, tuples that begin with them or dictionaries; labels are not read. Both
    temperature 1 and temperature 4 count, so that the answer and its runners-up are kept.

    Args:
        model: The quantised network, trained in place.
        teacher: The float network it was made from.
        learning_rate: See :class:`QuantizedStudent`.
        trained: See :class:`QuantizedStudent`.

    Raises:
        DistillationError: There is nothing to train.

    Example:
        >>> from torchedge.quantization import QuantScheme, prepare_qat
        >>> net = nn.Sequential(nn.Linear(2, 2))
        >>> prepared = prepare_qat(net, QuantScheme(), (torch.zeros(1, 2),))
        >>> sorted(self_distillation(prepared, net).weights)
        ['temperature_1', 'temperature_4']
    """
    student = QuantizedStudent(model, learning_rate=learning_rate, trained=trained)
    terms: dict[str, tuple[float, DistillationTerm]] = {
        f"temperature_{temperature:g}": (1.0, Hinton(temperature)) for temperature in _TEMPERATURES
    }
    return DistillationModule(student, teacher, terms, hard_weight=0.0)
