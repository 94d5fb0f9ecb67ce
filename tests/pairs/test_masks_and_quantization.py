"""Masks through quantisation, with training and without: zeros of the exported integers."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.pairs.reading import integer_weights
from torchedge import exporting
from torchedge.models import Classifier
from torchedge.pruning import (
    NOfM,
    Unstructured,
    bake_masks,
    mask_weights,
    masks_of,
    masks_of_zeros,
    weight_masks,
)
from torchedge.pruning.lightning import GradualPruning
from torchedge.quantization import calibrate, minmax, prepare_qat
from torchedge.quantization.lightning import QuantizationAwareTraining
from torchedge.quantization.recovery import quantize

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
]

LAYERS = ["stem.0", "depthwise", "project", "classifier"]
SCHEME = exporting.target("onnx-cpu").scheme
FLOORED = Unstructured(least_kept=0.1)


def fit(model, images, *callbacks, epochs=4):
    data = TensorDataset(images, torch.arange(len(images)) % 4)
    pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    ).fit(Classifier(model.train()), DataLoader(data, 8))
    return model.eval()


def quantized_training():
    return QuantizationAwareTraining(freeze_ranges_from_epoch=1, freeze_batchnorm_from_epoch=2)


def gradual(sparsity=0.6, pattern=FLOORED):
    return GradualPruning(
        sparsity=sparsity, begin_epoch=0, end_epoch=2, every_steps=1, pattern=pattern
    )


def prepared(model, images):
    return calibrate(prepare_qat(model, SCHEME, (images[:1],)), images.split(8), minmax)


def assert_zeros_are_exported(integers, masks):
    """Exactly where the masks say; what rounds to zero besides is little."""
    removed = kept = rounded = 0
    assert len(integers) == len(LAYERS)
    for name, found in zip(LAYERS, integers, strict=True):
        mask = next((m for n, m in masks.items() if n.startswith(f"{name}.")), None)
        if mask is not None:
            assert found.shape == mask.shape
            assert bool((found[~mask] == 0).all()), name
            removed += int((~mask).sum())
            kept += int(mask.sum())
            rounded += int((found[mask] == 0).sum())
    assert removed > 0
    assert rounded <= 0.05 * kept


def test_pruned_then_quantised_while_the_masks_stay_on(net, images, save_model, tmp_path):
    masked = fit(mask_weights(net, weight_masks(net, 0.0)), images, gradual())
    masks = masks_of(masked)
    assert sum(int((~m).sum()) for m in masks.values()) == int(0.6 * (72 + 72 + 64))
    trained = fit(prepared(masked, images), images, quantized_training())
    assert_zeros_are_exported(integer_weights(save_model(module=trained), tmp_path / "o"), masks)


def test_pruned_and_quantised_in_one_training(net, images, save_model, tmp_path):
    """The other order: masks on the layers inside the quantised ones."""
    model = prepared(net, images)
    model = mask_weights(model, weight_masks(model, 0.0))
    trained = fit(model, images, gradual(), quantized_training())
    masks = masks_of(trained)
    assert sum(int((~m).sum()) for m in masks.values()) == int(0.6 * (72 + 72 + 64))
    assert_zeros_are_exported(integer_weights(save_model(module=trained), tmp_path / "o"), masks)


def test_baking_before_the_export_changes_nothing(net, images, save_model, tmp_path):
    model = prepared(mask_weights(net, weight_masks(net, 0.5, pattern=FLOORED)), images)
    baked = bake_masks(model)
    assert torch.equal(baked.eval()(images), model.eval()(images))
    first = integer_weights(save_model(module=model), tmp_path / "a")
    second = integer_weights(save_model(module=baked, folder=tmp_path / "baked"), tmp_path / "b")
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_network_that_was_pruned_elsewhere_is_trained_on_with_the_masks_of_its_zeros(
    net, images, save_model, tmp_path
):
    baked = bake_masks(mask_weights(net, weight_masks(net, 0.5, pattern=FLOORED)))
    masks = masks_of_zeros(baked)
    trained = fit(prepared(mask_weights(baked, masks), images), images, quantized_training())
    assert_zeros_are_exported(integer_weights(save_model(module=trained), tmp_path / "o"), masks)
    without = fit(prepared(baked, images), images, quantized_training())
    assert int((without.get_submodule("project").layer.weight == 0).sum()) == 0


@pytest.mark.parametrize(
    ("effort", "baked"), [("fast", True), ("balanced", False), ("best", False)]
)
def test_quantised_without_training(effort, baked, net, images, save_model, tmp_path):
    """Equalised, rounded up and down, biases corrected: zero stays zero."""
    masked = mask_weights(net, weight_masks(net, 0.6, pattern=FLOORED))
    model = quantize(bake_masks(masked) if baked else masked, SCHEME, [images], effort=effort)
    masks = masks_of(masked)
    assert_zeros_are_exported(integer_weights(save_model(module=model), tmp_path / "o"), masks)


@pytest.mark.parametrize("target", ["onnx-cpu", "jetson"])
def test_two_of_four_is_in_the_exported_integers(target, net, images, save_model, tmp_path):
    pattern = NOfM(2, 4)
    masked = mask_weights(net, weight_masks(net, 0.0, pattern=pattern))
    assert list(masks_of(masked)) == ["project.weight"]  # the only one with runs of four inputs
    masked = fit(masked, images, gradual(0.5, pattern))
    scheme = exporting.target(target).scheme
    model = prepare_qat(masked, scheme, (images[:1],))
    trained = fit(calibrate(model, images.split(8), minmax), images, quantized_training())
    folder = tmp_path / "exported"
    artifact = save_model(target, module=trained, scheme=scheme)
    project = integer_weights(artifact, folder, target)[LAYERS.index("project")]
    assert project.shape == (8, 8, 1, 1)
    assert bool(((project.view(-1, 4) != 0).sum(1) <= 2).all())
    assert int((project != 0).sum()) > 24


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.embed(x)
        return self.head(x + self.attention(x, x, x, need_weights=False)[0])


def test_the_masked_projection_of_an_attention_is_prepared():
    """Its weight was taken from the layer as a parameter, which a masked one is not."""
    net = Attention().eval()
    masked = mask_weights(net, weight_masks(net, 0.5))
    masks, x = masks_of(masked), torch.rand(4, 5, 8)
    assert list(masks) == ["embed.weight", "attention.out_proj.weight"]
    model = calibrate(prepare_qat(masked, SCHEME, (x,)), [x], minmax)
    found = {name.replace(".layer", ""): mask for name, mask in masks_of(model).items()}
    assert all(torch.equal(found[name], mask) for name, mask in masks.items())
    expected = masked(x).detach()
    difference = (model.eval()(x).detach() - expected).abs().max()
    assert float(difference) < 0.05 * float(expected.abs().max())
