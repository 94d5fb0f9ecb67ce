import pytest
import torch

from benchmarks.distilled.fitting import (
    labelled_loader,
    mean_and_spread,
    mixed_loader,
    with_few_labels,
)
from torchedge.models.classifier import UNLABELLED


def images_and_labels():
    labels = torch.arange(1000) % 10
    return labels.float().view(-1, 1, 1, 1).expand(-1, 1, 28, 28) / 10, labels


def test_so_many_labels_of_each_class_are_kept():
    _, labels = images_and_labels()
    few = with_few_labels(labels, 3)
    kept = few != UNLABELLED
    assert few[kept].bincount().tolist() == [3] * 10
    assert torch.equal(few[kept], labels[kept])
    assert with_few_labels(labels, None) is labels


def test_alone_a_student_only_sees_what_has_a_label():
    images, labels = images_and_labels()
    torch.manual_seed(0)
    seen = torch.cat([batch[1] for batch in labelled_loader(images, with_few_labels(labels, 3))])
    assert len(seen) == 3968
    assert not (seen == UNLABELLED).any()


def test_with_a_teacher_a_quarter_has_a_label():
    images, labels = images_and_labels()
    torch.manual_seed(0)
    seen = torch.cat([batch[1] for batch in mixed_loader(images, with_few_labels(labels, 3))])
    share = float((seen != UNLABELLED).float().mean())
    # Five standard deviations of a share of 0.25 among 3,968.
    assert share == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 3968) ** 0.5)
    everything = torch.cat([batch[1] for batch in mixed_loader(images, labels)])
    assert not (everything == UNLABELLED).any()


def test_the_spread_is_the_standard_deviation_of_a_sample():
    found = mean_and_spread([1.0, 2.0, 3.0])
    assert found == {"mean": 2.0, "spread": 1.0}
