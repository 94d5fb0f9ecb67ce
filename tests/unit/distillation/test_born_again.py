import pytest
import torch
from torch import nn

from torchedge.distillation.born_again import Ensemble, born_again
from torchedge.errors import DistillationError


def make():
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))


def fit(student, teacher):
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 0.1 * torch.randn_like(parameter)


def weights(family):
    return [member.network[1].weight for member in family]


def test_each_generation_is_taught_by_a_copy_of_the_one_before():
    teachers = []

    def watched(student, teacher):
        teachers.append(teacher)
        fit(student, teacher)

    family = list(born_again(make, watched, generations=2))
    assert teachers[0] is None
    for teacher, parent in zip(teachers[1:], family[:-1], strict=True):
        assert teacher is not parent.network
        assert torch.equal(teacher[1].weight, parent.network[1].weight)
        assert not teacher.training


def test_generations_begin_differently_and_a_longer_run_begins_alike():
    short = weights(born_again(make, fit, generations=1, seed=3))
    long = weights(born_again(make, fit, generations=2, seed=3))
    assert not torch.equal(short[0], short[1])
    assert all(torch.equal(a, b) for a, b in zip(short, long, strict=False))
    assert not torch.equal(short[0], weights(born_again(make, fit, generations=0, seed=4))[0])


def test_the_callers_random_numbers_are_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    list(born_again(make, fit, generations=1))
    assert torch.equal(torch.rand(1), expected)


def test_the_ensemble_is_the_mean_of_probabilities():
    x = torch.randn(5, 4, dtype=torch.float64)
    networks = [nn.Linear(4, 3).double() for _ in range(3)]
    mean = torch.stack([n(x).softmax(1) for n in networks]).mean(0)
    assert torch.allclose(Ensemble(networks)(x).softmax(1), mean)
    assert torch.allclose(Ensemble(networks)(x).exp().sum(1), torch.ones(5).double())


def test_a_negative_number_of_generations_and_an_empty_ensemble_are_refused():
    with pytest.raises(DistillationError, match="-1"):
        next(born_again(make, fit, generations=-1))
    with pytest.raises(DistillationError, match="at least one"):
        Ensemble([])
