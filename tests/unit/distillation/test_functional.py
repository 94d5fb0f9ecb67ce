"""Losses against worked examples, second implementations and their own invariances."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from torchedge.distillation.functional import (
    attention_map,
    attention_transfer_loss,
    binary_hinton_loss,
    decoupled_loss,
    hint_loss,
    hinton_loss,
    rkd_angle_loss,
    rkd_distance_loss,
)
from torchedge.errors import DistillationError

SEEDS = st.integers(0, 10_000)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_softening_by_five_gives_the_worked_example():
    """Correct values; a widely read tutorial prints [0.585, 0.237, 0.178]."""
    logits = torch.tensor([5.0, 2.0, 1.0])
    assert torch.allclose(logits.softmax(0), torch.tensor([0.9362, 0.0466, 0.0171]), atol=5e-5)
    softened = (logits / 5).softmax(0)
    assert torch.allclose(softened, torch.tensor([0.5005, 0.2747, 0.2249]), atol=5e-5)


def test_hintons_worked_example():
    teacher = torch.tensor([[0.585, 0.237, 0.178]], dtype=torch.float64).log()
    student = torch.tensor([[0.55, 0.30, 0.15]], dtype=torch.float64).log()
    assert float(hinton_loss(student, teacher, 1.0)) == pytest.approx(0.010689, abs=5e-7)
    assert float(hinton_loss(5 * student, 5 * teacher, 5.0)) == pytest.approx(0.26722, abs=5e-6)


def test_at_temperature_one_hintons_loss_is_the_divergence_itself():
    student, teacher = normal(6, 5, seed=1), normal(6, 5, seed=2)
    p, q = teacher.softmax(1), student.softmax(1)
    by_hand = (p * (p.log() - q.log())).sum(1).mean()
    assert float(hinton_loss(student, teacher, 1.0)) == pytest.approx(float(by_hand), rel=1e-12)


def test_dense_outputs_are_averaged_over_their_positions():
    student, teacher = normal(2, 3, 4, 5, seed=1), normal(2, 3, 4, 5, seed=2)
    rows = [t.permute(0, 2, 3, 1).reshape(-1, 3) for t in (student, teacher)]
    dense, flat = hinton_loss(student, teacher, 3.0), hinton_loss(*rows, 3.0)
    assert float(dense) == pytest.approx(float(flat), rel=1e-12)


@pytest.mark.parametrize("temperature", [50.0, 500.0])
def test_the_gradient_does_not_shrink_with_temperature(temperature):
    """Hinton et al. 2015, equation 4: for large T it is (z - v) / classes, for centred logits."""
    student = (normal(1, 4, seed=1) - normal(1, 4, seed=1).mean()).requires_grad_()
    teacher = normal(1, 4, seed=2) - normal(1, 4, seed=2).mean()
    hinton_loss(student, teacher, temperature).backward()
    limit = (student - teacher).detach() / 4
    # The next terms of exp(z / T) are of relative size |z| / T, below 3 / T here.
    assert torch.allclose(student.grad, limit, atol=6 / temperature)


def test_yes_or_no_is_two_classes_with_one_logit_at_zero():
    student, teacher = normal(5, 3, seed=1), normal(5, 3, seed=2)
    pairs = [torch.stack([t.flatten(), torch.zeros(15).double()], 1) for t in (student, teacher)]
    assert float(binary_hinton_loss(student, teacher, 3.0)) == pytest.approx(
        float(hinton_loss(*pairs, 3.0)), rel=1e-12
    )


def test_binary_divergence_stays_finite_for_sure_answers():
    student = torch.tensor([200.0, -200.0], requires_grad=True)
    loss = binary_hinton_loss(student, torch.tensor([-200.0, 200.0]), 1.0)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


@given(SEEDS, st.floats(0.5, 10))
@settings(deadline=None, max_examples=25)
def test_decoupled_parts_weighted_by_the_teachers_doubt_are_hintons_loss(seed, temperature):
    """Zhao et al. 2022, equation 7, sample by sample."""
    student, teacher = normal(1, 5, seed=seed), normal(1, 5, seed=seed + 1)
    label = torch.tensor([seed % 5])
    doubt = 1 - float((teacher / temperature).softmax(1)[0, label])
    parts = decoupled_loss(
        student, teacher, label, temperature, target_weight=1.0, other_weight=doubt
    )
    whole = hinton_loss(student, teacher, temperature)
    assert float(parts) == pytest.approx(float(whole), rel=1e-9, abs=1e-12)


def test_a_hint_is_half_the_squared_distance():
    student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])
    assert float(hint_loss(student, teacher)) == (4 + 9) / 2 / 2


def by_hand_distances(points):
    pairs = itertools.combinations(points, 2)
    distances = torch.stack([(a - b).norm() for a, b in pairs])
    return distances / distances.mean()


def by_hand_cosines(points):
    found = []
    for j, middle in enumerate(points):
        others = [p for index, p in enumerate(points) if index != j]
        for a, b in itertools.combinations(others, 2):
            found.append(
                torch.dot(a - middle, b - middle) / (a - middle).norm() / (b - middle).norm()
            )
    return torch.stack(found)


@given(SEEDS, st.integers(3, 6))
@settings(deadline=None, max_examples=20)
def test_relations_equal_loops_over_pairs_and_triples(seed, samples):
    student, teacher = normal(samples, 3, seed=seed), normal(samples, 7, seed=seed + 1)
    for loss, by_hand in (
        (rkd_distance_loss, by_hand_distances),
        (rkd_angle_loss, by_hand_cosines),
    ):
        expected = F.smooth_l1_loss(by_hand(student), by_hand(teacher))
        assert float(loss(student, teacher)) == pytest.approx(float(expected), rel=1e-9)


@given(SEEDS, st.floats(0.01, 100), st.floats(-100, 100))
@settings(deadline=None, max_examples=30)
@pytest.mark.parametrize("loss", [rkd_distance_loss, rkd_angle_loss])
def test_relations_ignore_scale_rotation_and_shift_of_either_space(loss, seed, scale, shift):
    student, teacher = normal(6, 4, seed=seed), normal(6, 9, seed=seed + 1)
    rotation, _ = torch.linalg.qr(normal(4, 4, seed=seed + 2))
    expected = float(loss(student, teacher))
    moved = scale * student @ rotation + shift
    # Differences of shifted points lose log10(shift / scale) of 16 digits: 4 at the worst here.
    assert float(loss(moved, teacher)) == pytest.approx(expected, rel=1e-9, abs=1e-10)
    assert float(loss(student, scale * teacher)) == pytest.approx(expected, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("loss", [rkd_distance_loss, rkd_angle_loss])
@pytest.mark.parametrize("count", [1, 4])
def test_equal_points_give_no_nan_in_loss_or_gradient(loss, count):
    student = normal(4, 3)
    student[:count] = student[0]
    student.requires_grad_()
    value = loss(student, normal(4, 5, seed=1))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    # Were a difference divided by a tiny length, the gradient would be of its reciprocal's size.
    assert float(student.grad.abs().max()) < 1e3


def losses():
    def relation(loss):
        return lambda s: loss(s, normal(4, 5, seed=9))

    return {
        "hinton": lambda s: hinton_loss(s, normal(4, 3, seed=9), 2.0),
        "binary": lambda s: binary_hinton_loss(s, normal(4, 3, seed=9), 2.0),
        "decoupled": lambda s: decoupled_loss(
            s, normal(4, 3, seed=9), torch.tensor([0, 1, 2, 0]), 2.0
        ),
        "hint": lambda s: hint_loss(s, normal(4, 3, seed=9)),
        "distance": relation(rkd_distance_loss),
        "angle": relation(rkd_angle_loss),
        "attention": lambda s: attention_transfer_loss(s.view(2, 2, 3), normal(2, 5, 3, seed=9)),
    }


@pytest.mark.parametrize("name", losses())
def test_gradients_are_those_of_finite_differences(name):
    assert torch.autograd.gradcheck(losses()[name], normal(4, 3, seed=3).requires_grad_())


def test_attention_is_where_the_squares_are():
    features = torch.tensor([[[[1.0, 2.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]]])
    squares = torch.tensor([5.0, 4.0, 0.0, 0.0])
    assert torch.allclose(attention_map(features)[0], squares / squares.norm())
    other = torch.tensor([[[[0.0, 0.0], [0.0, 7.0]]]])
    distance = (squares / squares.norm() - torch.tensor([0.0, 0.0, 0.0, 1.0])).norm()
    assert torch.allclose(attention_transfer_loss(features, other), distance)


def test_maps_of_other_sizes_are_refused_with_both_sizes():
    with pytest.raises(DistillationError, match=r"\(7, 7\).*\(14, 14\).*pool"):
        attention_transfer_loss(torch.zeros(1, 2, 7, 7), torch.zeros(1, 2, 14, 14))


@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_probabilities_are_refused_because_softmax_would_be_applied_twice(whose):
    logits = normal(4, 3, dtype=torch.float32)
    pair = {"student_logits": logits, "teacher_logits": logits}
    pair[f"{whose}_logits"] = logits.softmax(1)
    with pytest.raises(DistillationError, match=rf"{whose}'s outputs.*probabilities.*twice"):
        hinton_loss(**pair, temperature=4.0)


def test_half_precision_probabilities_of_many_classes_are_recognised():
    logits = normal(4, 1000, dtype=torch.float32)
    with pytest.raises(DistillationError, match="probabilities"):
        hinton_loss(logits.half(), logits.softmax(1).half(), 4.0)


def test_logarithms_of_probabilities_are_logits_and_change_nothing():
    student, teacher = normal(4, 3, seed=1), normal(4, 3, seed=2)
    expected = float(hinton_loss(student, teacher, 4.0))
    assert float(hinton_loss(student, teacher.log_softmax(1), 4.0)) == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("loss", [hinton_loss, binary_hinton_loss])
def test_a_temperature_that_cannot_soften_is_refused(loss, temperature):
    with pytest.raises(DistillationError, match="temperature"):
        loss(torch.zeros(1, 2), torch.zeros(1, 2), temperature)


@pytest.mark.parametrize(("loss", "least"), [(rkd_distance_loss, 2), (rkd_angle_loss, 3)])
def test_batches_too_small_for_a_relation_are_refused(loss, least):
    with pytest.raises(DistillationError, match=rf"batches of {least} samples.*{least - 1}"):
        loss(torch.zeros(least - 1, 2), torch.zeros(least - 1, 2))
