import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchedge.models import Classifier, accuracy, fit


class Points(pl.LightningDataModule):
    """Points left and right of a line."""

    def __init__(self):
        super().__init__()
        self.inputs = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
        self.labels = (self.inputs[:, 0] > 0).long()

    def train_dataloader(self):
        return DataLoader(TensorDataset(self.inputs, self.labels), 32)

    def val_dataloader(self):
        return self.train_dataloader()


class Count(pl.Callback):
    def __init__(self):
        self.epochs = 0

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs += 1


@pytest.mark.filterwarnings("ignore::Warning:pytorch_lightning", "ignore:.*LeafSpec:FutureWarning")
def test_a_network_learns_in_place_for_as_many_passes_as_asked(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data, model, count = Points(), nn.Linear(2, 2), Count()
    before = accuracy(model, data.inputs, data.labels)
    fit(Classifier(model, learning_rate=0.1), data, 3, count)
    assert count.epochs == 3
    assert accuracy(model, data.inputs, data.labels) > 0.9 > before
    assert not list(tmp_path.iterdir())


def test_counting_right_answers_leaves_mode_and_state_alone():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.9))
    inputs = torch.tensor([[3.0, 1.0], [0.0, 5.0], [2.0, 1.0]])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    # In evaluation nothing is dropped, and fresh statistics change nothing.
    assert accuracy(model, inputs, torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
