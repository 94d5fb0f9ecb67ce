import torch
import torch.nn.functional as F
from torch import nn

from torchedge.models.classifier import UNLABELLED, Classifier


def loss_of(labels):
    torch.manual_seed(0)
    task = Classifier(nn.Linear(3, 4))
    task.log = lambda *_, **__: None
    images = torch.randn(len(labels), 3)
    return task.training_step((images, torch.tensor(labels)), 0), task(images)


def test_with_all_labels_the_loss_is_the_mean_cross_entropy():
    loss, logits = loss_of([0, 3, 1])
    assert torch.allclose(loss, F.cross_entropy(logits, torch.tensor([0, 3, 1])))


def test_samples_without_a_label_do_not_count():
    loss, logits = loss_of([0, UNLABELLED, 1])
    assert torch.allclose(loss, F.cross_entropy(logits[[0, 2]], torch.tensor([0, 1])))


def test_a_batch_without_any_label_has_no_loss_and_no_nan():
    loss, _ = loss_of([UNLABELLED, UNLABELLED])
    loss.backward()
    assert float(loss.detach()) == 0.0
