"""Terms of the loss that compare answers, and what every term is."""

from collections.abc import Callable
from typing import ClassVar, Literal, Protocol, TypeAlias, final, runtime_checkable

from torch import Tensor, nn
from typing_extensions import override

from torchedge.distillation.checks import require_temperature
from torchedge.distillation.functional import (
    binary_hinton_loss,
    decoupled_loss,
    hinton_loss,
)
from torchedge.distillation.taps import Taps
from torchedge.errors import DistillationError
from torchedge.kinds import kinds_checked

__all__ = ["Decoupled", "DistillationTerm", "Hinton", "Outputs", "named"]

Outputs: TypeAlias = Literal["classes", "labels"]

_LOSSES: dict[Outputs, Callable[[Tensor, Tensor, float], Tensor]] = {
    "classes": hinton_loss,
    "labels": binary_hinton_loss,
}


@runtime_checkable
class DistillationTerm(Protocol):
    """One weighted term of the loss. Names the features it needs; sees both networks' taps."""

    @property
    def student_layers(self) -> tuple[str, ...]:
        """Layers of the student whose results it reads."""

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """Layers of the teacher whose results it reads."""

    def __call__(self, student: Taps, teacher: Taps) -> Tensor:
        """The loss, one number."""


def named(*layers: str | None) -> tuple[str, ...]:
    """Those that have a name; ``None`` stands for the network's output."""
    return tuple(layer for layer in layers if layer is not None)


@final
class Hinton(nn.Module):
    """Soft targets: the student's answer follows the teacher's (Hinton et al. 2015).

    Args:
        temperature: Above 0; divides the logits of both.
        outputs: ``classes`` that exclude each other along the second axis, with any positions
            behind it; or ``labels``, each a yes or no of its own.
        student_layer: Layer whose result are the logits, for instance one of several heads;
            ``None`` is the network's output.
        teacher_layer: Likewise, of the teacher.

    Raises:
        DistillationError: The temperature is not above 0.

    Example:
        >>> import torch
        >>> logits = Taps(torch.tensor([[2.0, -1.0]]), {})
        >>> float(Hinton(temperature=4.0)(logits, logits))
        0.0
    """

    @kinds_checked(error=DistillationError)
    def __init__(
        self,
        temperature: float = 4.0,
        *,
        outputs: Outputs = "classes",
        student_layer: str | None = None,
        teacher_layer: str | None = None,
    ) -> None:
        super().__init__()
        require_temperature(temperature)
        self.temperature = temperature
        self.outputs: Outputs = outputs
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.student_layers, self.teacher_layers = named(student_layer), named(teacher_layer)

    @override
    def forward(self, student: Taps, teacher: Taps) -> Tensor:
        """The loss, one number."""
        pair = student.feature(self.student_layer), teacher.feature(self.teacher_layer)
        _require_same_logits(*pair)
        return _LOSSES[self.outputs](*pair, self.temperature)

    def extra_repr(self) -> str:
        """Show the temperature in ``print(module)``."""
        return f"temperature={self.temperature}, outputs={self.outputs}"


def _require_same_logits(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        classes = [t.shape[1] if t.ndim > 1 else 1 for t in (student, teacher)]
        what = f"{classes[0]:,} and {classes[1]:,} classes"
        what = what if classes[0] != classes[1] else "outputs of other shapes"
        raise DistillationError(
            f"student and teacher have {what}: {tuple(student.shape)} and {tuple(teacher.shape)}; "
            "give both the same outputs, or teach by features (FitNet, RKD, AttentionTransfer)."
        )


@final
class Decoupled(nn.Module):
    """Soft targets in two parts, for unlabelled data: the teacher's answer counts as the right one.

    See :func:`~torchedge.distillation.functional.decoupled_loss` (Zhao et al. 2022), which takes
    true labels.

    Args:
        temperature: Above 0.
        target_weight: The paper's α.
        other_weight: The paper's β.

    Raises:
        DistillationError: The temperature is not above 0.

    Example:
        >>> import torch
        >>> logits = Taps(torch.tensor([[2.0, -1.0, 0.0]]), {})
        >>> float(Decoupled()(logits, logits))
        0.0
    """

    student_layers: ClassVar[tuple[str, ...]] = ()
    teacher_layers: ClassVar[tuple[str, ...]] = ()

    @kinds_checked(error=DistillationError)
    def __init__(
        self, temperature: float = 4.0, *, target_weight: float = 1.0, other_weight: float = 8.0
    ) -> None:
        super().__init__()
        require_temperature(temperature)
        self.temperature = temperature
        self.target_weight, self.other_weight = target_weight, other_weight

    @override
    def forward(self, student: Taps, teacher: Taps) -> Tensor:
        """The loss, one number."""
        pair = student.feature(None), teacher.feature(None)
        _require_same_logits(*pair)
        return decoupled_loss(
            *pair,
            pair[1].argmax(1),
            self.temperature,
            target_weight=self.target_weight,
            other_weight=self.other_weight,
        )
