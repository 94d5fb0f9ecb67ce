"""A student that loses weights while its teacher teaches it."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from tests.conftest import ResidualNet
from tests.pairs.reading import integer_weights
from torchedge import exporting
from torchedge.distillation import FitNet, Hinton
from torchedge.distillation.lightning import DistillationModule
from torchedge.models import Classifier
from torchedge.pruning import Unstructured, mask_weights, masks_of, weight_masks
from torchedge.pruning.lightning import GradualPruning
from torchedge.quantization.recovery import quantize

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
]


def test_a_student_is_pruned_while_it_is_taught_and_exported_with_its_zeros(
    net, images, save_model, tmp_path
):
    student = mask_weights(net, weight_masks(net, 0.0))
    hint = FitNet("project", "project", student_channels=8, teacher_channels=8)
    module = DistillationModule(
        Classifier(student.train()),
        ResidualNet(),
        {"hinton": (0.9, Hinton(temperature=4.0)), "hint": (1.0, hint)},
        hard_weight=0.1,
    )
    pruning = GradualPruning(
        sparsity=0.7,
        begin_epoch=0,
        end_epoch=2,
        every_steps=1,
        pattern=Unstructured(least_kept=0.1),
    )
    before = student.project.weight.detach().clone()
    pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[pruning],
    ).fit(module, DataLoader(TensorDataset(images, torch.arange(32) % 4), 8))
    masks = masks_of(student)
    assert sum(int((~mask).sum()) for mask in masks.values()) == int(0.7 * (72 + 72 + 64))
    assert masks_of(module).keys() == {f"task.model.{name}" for name in masks}
    kept = masks["project.weight"]
    assert not torch.equal(student.project.weight[kept], before[kept])
    model = quantize(student.eval(), exporting.target("onnx-cpu").scheme, [images])
    layers = integer_weights(save_model(module=model), tmp_path / "onnx")
    names = ("stem.0.weight", "depthwise.weight", "project.weight")
    for name, integers in zip(names, layers, strict=False):
        assert bool((integers[~masks[name]] == 0).all()), name
