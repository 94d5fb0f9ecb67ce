import torch

from torchedge.models import MobileDigits, WideDigits


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_network_has_the_size_its_docstring_gives():
    assert f"{parameters(WideDigits()):,} parameters" in WideDigits.__doc__


def test_the_student_has_less_than_a_twentieth_of_its_parameters():
    assert parameters(MobileDigits()) * 20 < parameters(WideDigits())


def test_its_features_lie_where_the_students_lie():
    x = torch.zeros(1, 1, 28, 28)
    assert WideDigits().features(x).shape[2:] == MobileDigits().features(x).shape[2:]
