"""Terms of the loss that compare what is inside two networks."""

from collections.abc import Callable
from typing import Literal, TypeAlias, final

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from torchedge.distillation.functional import (
    attention_transfer_loss,
    hint_loss,
    rkd_angle_loss,
    rkd_distance_loss,
)
from torchedge.distillation.modules import named
from torchedge.distillation.taps import Taps
from torchedge.errors import DistillationError
from torchedge.kinds import kinds_checked

__all__ = ["RKD", "AttentionTransfer", "FitNet", "Side"]

Side: TypeAlias = Literal["student", "teacher"]

_POOLS: dict[int, Callable[[Tensor, tuple[int, ...]], Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,  # type: ignore[dict-item]
    3: F.adaptive_avg_pool3d,  # type: ignore[dict-item]
}


@final
class FitNet(nn.Module):
    """Hints: a layer inside the student learns to hold what a layer inside the teacher holds.

    A regressor, trained with the student and thrown away after, makes the channels equal (Romero
    et al. 2015, section 2.2): a 1x1 convolution for maps, a linear layer for vectors. It is a
    module of this term, so :class:`~torchedge.distillation.lightning.DistillationModule` trains
    it with the student.

    Args:
        student_layer: Name inside the student.
        teacher_layer: Name inside the teacher.
        student_channels: Second axis of the student's feature.
        teacher_channels: Second axis of the teacher's.
        dimensions: Axes behind the channels: 2 for images, 1 for signals, 0 for vectors.
        regressor: On which side it is; with ``teacher`` the teacher's feature is brought to the
            student's width, as the paper's second form.

    Raises:
        DistillationError: There is no channel, or the number of dimensions is not 0 to 3.

    Example:
        >>> import torch
        >>> term = FitNet("2", "4", student_channels=8, teacher_channels=32)
        >>> taps = (Taps(None, {"2": torch.zeros(2, 8, 7, 7)}),
        ...         Taps(None, {"4": torch.zeros(2, 32, 7, 7)}))
        >>> term(*taps).shape, term.regressor.weight.shape
        (torch.Size([]), torch.Size([32, 8, 1, 1]))
    """

    @kinds_checked(error=DistillationError)
    def __init__(
        self,
        student_layer: str,
        teacher_layer: str,
        *,
        student_channels: int,
        teacher_channels: int,
        dimensions: int = 2,
        regressor: Side = "student",
    ) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.student_layers, self.teacher_layers = (student_layer,), (teacher_layer,)
        self.side: Side = regressor
        ends = (student_channels, teacher_channels)
        self.regressor = _regressor(*(ends if regressor == "student" else ends[::-1]), dimensions)

    @override
    def forward(self, student: Taps, teacher: Taps) -> Tensor:
        """The loss, one number."""
        pair = student.feature(self.student_layer), teacher.feature(self.teacher_layer)
        self._require_fitting(*pair)
        if self.side == "student":
            return hint_loss(self.regressor(pair[0]), pair[1])
        return hint_loss(pair[0], self.regressor(pair[1]))

    def _require_fitting(self, student: Tensor, teacher: Tensor) -> None:
        weight = self.regressor.weight
        assert isinstance(weight, Tensor)
        given, wanted = (student, teacher) if self.side == "student" else (teacher, student)
        found = (*given.shape[1:2], *wanted.shape[1:2])
        if found == (weight.shape[1], weight.shape[0]) and given.ndim == wanted.ndim == max(
            weight.ndim, 2
        ):
            if given.shape[2:] == wanted.shape[2:]:
                return
            advice = "choose layers with maps of one size"
        else:
            advice = (
                f"its regressor wants {weight.shape[1]:,} channels in and {weight.shape[0]:,} out; "
                f"add FitNet(…, student_channels={student.shape[1]}, "
                f"teacher_channels={teacher.shape[1]}, dimensions={student.ndim - 2})"
            )
        raise DistillationError(
            f"'{self.student_layer}' of the student has shape {tuple(student.shape)}, "
            f"'{self.teacher_layer}' of the teacher {tuple(teacher.shape)}: {advice}."
        )


def _regressor(inputs: int, outputs: int, dimensions: int) -> nn.Module:
    kinds = (None, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if min(inputs, outputs) < 1 or not 0 <= dimensions < len(kinds):
        raise DistillationError(
            f"a regressor from {inputs} to {outputs} channels over {dimensions} dimensions cannot "
            "be built; give at least one channel, and 0 to 3 dimensions."
        )
    kind = kinds[dimensions]
    return nn.Linear(inputs, outputs) if kind is None else kind(inputs, outputs, 1)


@final
class RKD(nn.Module):
    """Relations: the student places the samples of a batch as the teacher does (Park et al. 2019).

    Args:
        student_layer: Layer with the embedding; ``None`` is the network's output. What has more
            than two axes is flattened.
        teacher_layer: Likewise, of the teacher.
        distance_weight: Of the distances in pairs; the paper takes 1 beside 2.
        angle_weight: Of the angles of triples, which take memory with the cube of the batch.

    Raises:
        DistillationError: A weight is negative, or both are zero.

    Example:
        >>> import torch
        >>> points = torch.rand(4, 2)
        >>> float(RKD()(Taps(points, {}), Taps(3 * points, {}))) < 1e-6
        True
    """

    @kinds_checked(error=DistillationError)
    def __init__(
        self,
        student_layer: str | None = None,
        teacher_layer: str | None = None,
        *,
        distance_weight: float = 1.0,
        angle_weight: float = 2.0,
    ) -> None:
        super().__init__()
        if min(distance_weight, angle_weight) < 0 or distance_weight + angle_weight == 0:
            raise DistillationError(
                f"RKD has the weights {distance_weight} and {angle_weight}; give none below 0 and "
                "at least one above."
            )
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.student_layers, self.teacher_layers = named(student_layer), named(teacher_layer)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    @property
    def smallest_batch(self) -> int:
        """Samples that a relation takes: two for a distance, three for an angle."""
        return 3 if self.angle_weight else 2

    @override
    def forward(self, student: Taps, teacher: Taps) -> Tensor:
        """The loss, one number."""
        pair = (
            student.feature(self.student_layer).flatten(1),
            teacher.feature(self.teacher_layer).flatten(1),
        )
        loss = pair[0].new_zeros(())
        if self.distance_weight:
            loss = loss + self.distance_weight * rkd_distance_loss(*pair)
        if self.angle_weight:
            loss = loss + self.angle_weight * rkd_angle_loss(*pair)
        return loss


@final
class AttentionTransfer(nn.Module):
    """The student looks where the teacher looks (Zagoruyko & Komodakis 2017).

    The larger of two maps is averaged down to the smaller one.

    Args:
        student_layer: Layer with a feature map; batch, channels, positions.
        teacher_layer: Likewise, of the teacher.

    Example:
        >>> import torch
        >>> term = AttentionTransfer("body", "trunk")
        >>> student = Taps(None, {"body": torch.ones(2, 4, 7, 7)})
        >>> float(term(student, Taps(None, {"trunk": torch.ones(2, 8, 14, 14)})))
        0.0
    """

    @kinds_checked(error=DistillationError)
    def __init__(self, student_layer: str, teacher_layer: str) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.student_layers, self.teacher_layers = (student_layer,), (teacher_layer,)

    @override
    def forward(self, student: Taps, teacher: Taps) -> Tensor:
        """The loss, one number."""
        pair = student.feature(self.student_layer), teacher.feature(self.teacher_layer)
        dimensions = pair[0].ndim - 2
        if dimensions != pair[1].ndim - 2 or dimensions not in _POOLS:
            raise DistillationError(
                f"'{self.student_layer}' of the student has shape {tuple(pair[0].shape)}, "
                f"'{self.teacher_layer}' of the teacher {tuple(pair[1].shape)}: attention needs "
                "maps with one, two or three axes behind the channels, on both sides alike."
            )
        sizes = tuple(min(pair_of) for pair_of in zip(*(t.shape[2:] for t in pair), strict=True))
        return attention_transfer_loss(*(_averaged(t, sizes) for t in pair))


def _averaged(features: Tensor, sizes: tuple[int, ...]) -> Tensor:
    return features if features.shape[2:] == sizes else _POOLS[len(sizes)](features, sizes)
