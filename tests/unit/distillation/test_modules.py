"""Terms: what they read and what they refuse."""

import pytest
import torch
from torch import nn

from torchedge.distillation import RKD, AttentionTransfer, Decoupled, FitNet, Hinton, Taps
from torchedge.distillation.functional import (
    attention_transfer_loss,
    binary_hinton_loss,
    hint_loss,
    hinton_loss,
    rkd_angle_loss,
    rkd_distance_loss,
)
from torchedge.distillation.modules import DistillationTerm
from torchedge.errors import DistillationError


def pair(*shapes):
    torch.manual_seed(0)
    return tuple(torch.randn(shape) for shape in shapes)


def test_every_term_meets_the_protocol():
    hint = FitNet("a", "b", student_channels=1, teacher_channels=1)
    for term in (Hinton(), Decoupled(), hint, RKD(), AttentionTransfer("a", "b")):
        assert isinstance(term, DistillationTerm)


def test_hinton_reads_the_output_or_one_of_several_heads():
    student, teacher = pair((4, 3), (4, 3))
    expected = hinton_loss(student, teacher, 2.0)
    assert torch.equal(Hinton(2.0)(Taps(student, {}), Taps(teacher, {})), expected)
    head = Hinton(2.0, student_layer="scores", teacher_layer="head.scores")
    assert (head.student_layers, head.teacher_layers) == (("scores",), ("head.scores",))
    boxes = {"boxes": torch.zeros(1)}
    found = head(Taps(boxes, {"scores": student}), Taps(boxes, {"head.scores": teacher}))
    assert torch.equal(found, expected)


def test_hinton_of_labels_is_the_binary_loss():
    student, teacher = pair((4, 3), (4, 3))
    found = Hinton(2.0, outputs="labels")(Taps(student, {}), Taps(teacher, {}))
    assert torch.equal(found, binary_hinton_loss(student, teacher, 2.0))


@pytest.mark.parametrize("kind", [Hinton, Decoupled])
def test_other_classes_and_other_positions_are_told_apart(kind):
    a, b, c = pair((4, 3), (4, 5), (2, 3))
    with pytest.raises(DistillationError, match="3 and 5 classes"):
        kind()(Taps(a, {}), Taps(b, {}))
    with pytest.raises(DistillationError, match="outputs of other shapes"):
        kind()(Taps(a, {}), Taps(c, {}))


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3])
@pytest.mark.parametrize("side", ["student", "teacher"])
def test_the_regressor_brings_one_side_to_the_width_of_the_other(dimensions, side):
    student, teacher = pair((2, 3, *(5,) * dimensions), (2, 7, *(5,) * dimensions))
    term = FitNet(
        "s",
        "t",
        student_channels=3,
        teacher_channels=7,
        dimensions=dimensions,
        regressor=side,
    )
    found = term(Taps(None, {"s": student}), Taps(None, {"t": teacher}))
    if side == "student":
        expected = hint_loss(term.regressor(student), teacher)
    else:
        expected = hint_loss(student, term.regressor(teacher))
    assert torch.equal(found, expected)
    assert sum(p.numel() for p in term.parameters()) == 3 * 7 + (7 if side == "student" else 3)


@pytest.mark.parametrize("channels", [(0, 4), (4, 0)])
def test_a_regressor_without_channels_is_refused(channels):
    with pytest.raises(DistillationError, match="at least one channel"):
        FitNet("a", "b", student_channels=channels[0], teacher_channels=channels[1])
    with pytest.raises(DistillationError, match="4 dimensions"):
        FitNet("a", "b", student_channels=1, teacher_channels=1, dimensions=4)


def test_relations_weigh_distances_and_angles_of_flattened_features():
    student, teacher = pair((4, 2, 3), (4, 5))
    found = RKD("s", "t")(Taps(None, {"s": student}), Taps(None, {"t": teacher}))
    flat = student.flatten(1), teacher
    expected = rkd_distance_loss(*flat) + 2 * rkd_angle_loss(*flat)
    assert torch.allclose(found, expected)
    distances = RKD(angle_weight=0.0)
    assert (RKD().smallest_batch, distances.smallest_batch) == (3, 2)
    only = distances(Taps(student, {}), Taps(teacher, {}))
    assert torch.equal(only, rkd_distance_loss(*flat))


@pytest.mark.parametrize("weights", [(0.0, 0.0), (-1.0, 2.0)])
def test_relations_without_weight_are_refused(weights):
    with pytest.raises(DistillationError, match="RKD has the weights"):
        RKD(distance_weight=weights[0], angle_weight=weights[1])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_larger_attention_map_is_averaged_down(axes):
    student, teacher = pair((2, 3, *(4,) * axes), (2, 5, *(8,) * axes))
    found = AttentionTransfer("s", "t")(Taps(None, {"s": student}), Taps(None, {"t": teacher}))
    pool = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[axes - 1](2)
    assert torch.allclose(found, attention_transfer_loss(student, pool(teacher)), atol=1e-6)


def test_attention_of_vectors_is_refused():
    with pytest.raises(DistillationError, match=r"\(2, 3\).*maps"):
        AttentionTransfer("s", "t")(
            Taps(None, {"s": torch.zeros(2, 3)}), Taps(None, {"t": torch.zeros(2, 3, 4)})
        )


def test_terms_show_their_settings_when_printed():
    assert "temperature=4.0" in repr(Hinton())
