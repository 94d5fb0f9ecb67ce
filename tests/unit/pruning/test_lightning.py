"""Weights go while Lightning trains, by the step alone."""

import copy
import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from tests.unit.pruning.masked_networks import convolutional, linear, same, state
from torchedge.errors import PruningError
from torchedge.models import Classifier
from torchedge.pruning import NOfM, Unstructured, bake_masks, mask_weights, masks_of, weight_masks
from torchedge.pruning.functional import (
    cubic_sparsity,
    linear_sparsity,
    n_of_m_mask,
    random_scores,
    stepped_sparsity,
)
from torchedge.pruning.lightning import GradualPruning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory.*"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended.*"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`.*"),
]

STEPS, EPOCHS = 6, 4


def loader(batches=STEPS):
    """The same batch in every step, so that a resumed run sees what the first one saw."""
    images = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(8) % 3
    return DataLoader(TensorDataset(images.repeat(batches, 1, 1, 1), labels.repeat(batches)), 8)


def trainer(*callbacks, **options):
    return pl.Trainer(
        **{
            "max_epochs": EPOCHS,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": list(callbacks),
            **options,
        }
    )


def task(model=None, **options):
    model = linear() if model is None else model
    return Classifier(mask_weights(model, weight_masks(model, 0.0, **options)), learning_rate=1e-2)


def pruning(**options):
    return GradualPruning(
        **{"sparsity": 0.8, "begin_epoch": 1, "end_epoch": 3, "every_steps": 4, **options}
    )


class Watch(pl.Callback):
    """Notes after each step how many weights are gone and whether any came back."""

    def __init__(self):
        self.removed, self.masks = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        masks = masks_of(pl_module)
        if self.masks:
            assert all(bool((self.masks[-1][n] | ~mask).all()) for n, mask in masks.items())
        self.masks.append(masks)
        self.removed.append(sum(int((~mask).sum()) for mask in masks.values()))
        for name, mask in masks.items():
            layer = pl_module.get_submodule(name.removesuffix(".weight"))
            assert bool((layer.weight[~mask] == 0).all())


@pytest.mark.parametrize("schedule", [cubic_sparsity, linear_sparsity, stepped_sparsity])
def test_as_many_weights_go_as_the_schedule_says_and_none_comes_back(schedule):
    watch, module = Watch(), task()
    trainer(pruning(schedule=schedule), watch).fit(module, loader())
    total, expected = 16 * 36 + 12 * 16, []
    for step in range(STEPS * EPOCHS):
        last = min(step - (step - 6) % 4, 18) if step < 18 else 18  # of every four from step 6
        share = 0 if step < 6 else schedule(last, begin=6, end=18, final=0.8)
        expected.append(int(share * total + 1e-6))
    assert watch.removed == expected
    assert watch.removed[-1] == int(0.8 * total)


def test_the_last_change_is_at_the_end_also_between_two_changes():
    watch = Watch()
    trainer(pruning(every_steps=5), watch).fit(task(), loader())
    assert watch.removed[17] < watch.removed[18] == int(0.8 * 768)


@pytest.mark.parametrize("pattern", [None, NOfM(2, 4)], ids=["unstructured", "2:4"])
def test_resuming_at_any_step_is_running_through(pattern, tmp_path):
    sparsity = 0.8 if pattern is None else 0.5
    options = {"sparsity": sparsity, "pattern": pattern}
    every = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    through = task(pattern=pattern)
    trainer(pruning(**options), every).fit(through, loader())
    files = sorted(tmp_path.glob("*.ckpt"))
    assert len(files) == STEPS * EPOCHS
    for file in files[::3]:
        resumed = task(linear(seed=5), pattern=pattern)
        trainer(pruning(**options)).fit(resumed, loader(), ckpt_path=file, weights_only=True)
        assert same(state(resumed), state(through)), file.name


def test_two_of_four_is_reached_step_by_step():
    net = convolutional()
    module, watch = task(net, pattern=NOfM(2, 4)), Watch()
    callback = pruning(sparsity=0.5, pattern=NOfM(2, 4))
    trainer(callback, watch).fit(module, loader())
    assert len(set(watch.removed)) > 2
    mask = masks_of(module)["model.3.weight"]
    matrix = mask.movedim(1, -1).reshape(-1, 4)
    assert bool((matrix.sum(1) == 2).all())
    baked = bake_masks(module.model)[3].weight.detach().movedim(1, -1).reshape(-1, 4)
    assert torch.equal(n_of_m_mask(baked.abs()), matrix)


def test_an_averaged_model_has_the_zeros():
    """Lightning averages buffers as well, and puts the average into the model at the end."""
    module = task()
    masks = Watch()
    trainer(pruning(), masks, EMAWeightAveraging(decay=0.9)).fit(module, loader())
    assert same(masks_of(module), masks.masks[-1])
    assert int((bake_masks(module).model[1].weight == 0).sum()) > 0.5 * 16 * 36


def test_steps_are_the_optimisers_when_gradients_are_accumulated():
    watch = Watch()
    trainer(pruning(every_steps=1), watch, accumulate_grad_batches=2).fit(task(), loader())
    begin, end = 1 * STEPS // 2, 3 * STEPS // 2
    changes = [i for i in range(1, 24) if watch.removed[i] != watch.removed[i - 1]]
    assert (changes[0] + 1) // 2 - 1 == begin + 1  # at its beginning nothing goes
    assert (changes[-1] + 1) // 2 - 1 == end


def test_scores_may_read_gradients_also_right_after_resuming():
    def taylor(weight):
        return (weight * weight.grad).abs()

    module = task()
    trainer(pruning(scores=taylor, begin_epoch=0, every_steps=1)).fit(module, loader())
    assert sum(int((~m).sum()) for m in masks_of(module).values()) == int(0.8 * 768)


def test_a_small_layer_keeps_a_hundredth_unless_told_otherwise():
    net = linear()
    with torch.no_grad():
        net[3].weight.mul_(1e-6)
    module = task(net)
    module.learning_rate = 0.0
    options = {"sparsity": 0.97, "begin_epoch": 0}
    trainer(pruning(**options)).fit(module, loader())
    assert int(masks_of(module)["model.3.weight"].sum()) == 2
    with pytest.raises(PruningError, match=r"would remove all 192 weights of 'model\.3\.weight'"):
        trainer(pruning(pattern=Unstructured(), **options)).fit(module, loader())


def refused(message, attempt):
    with pytest.raises(PruningError, match=message) as caught:
        attempt()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, r"1\.0 is not in \[0, 1\)"),
        ({"sparsity": -0.1}, r"not in \[0, 1\)"),
        ({"begin_epoch": -1}, "from epoch -1 to 3 is no time"),
        ({"begin_epoch": 3}, "from epoch 3 to 3 is no time"),
        ({"every_steps": 0}, "every_steps is 0"),
        ({"pattern": NOfM(2, 4)}, r"2 of 4 is a sparsity of 0\.5, not 0\.8"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    refused(message, lambda: pruning(**options))


def test_a_network_without_masks_is_refused_when_training_begins():
    module = Classifier(linear())
    before = state(module)
    refused(
        "the Classifier has no masks; call mask_weights",
        lambda: trainer(pruning()).fit(module, loader()),
    )
    assert same(state(module), before)


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_schedule_that_training_does_not_reach_is_refused(epochs):
    refused(
        rf"pruning ends after 18 steps \(epoch 3\) and training after {epochs * STEPS},",
        lambda: trainer(pruning(), max_epochs=epochs).fit(task(), loader()),
    )


def test_masks_that_the_pattern_does_not_fit_are_refused():
    module = task(convolutional())
    callback = pruning(sparsity=0.5, pattern=NOfM(2, 4))
    refused(
        r"does not fit 'model\.0\.weight', which has fan-in 1",
        lambda: trainer(callback).fit(module, loader()),
    )


def test_data_without_a_length_are_refused():
    class Endless(IterableDataset):
        def __iter__(self):
            while True:
                yield torch.rand(1, 6, 6), 0

    refused(
        "the training data have no length",
        lambda: trainer(pruning(), max_epochs=None, max_steps=50).fit(
            task(), DataLoader(Endless(), 4)
        ),
    )


def test_a_training_that_diverges_is_stopped_by_name():
    module = task()
    with torch.no_grad():
        module.model[3].parametrizations.weight.original[0, 0] = math.nan
    refused(
        r"the scores of 'model\.3\.weight' hold 1 NaN of 192",
        lambda: trainer(pruning(begin_epoch=0)).fit(module, loader()),
    )


def test_random_scores_are_a_control():
    modules = [task(), task()]
    for module in modules:
        torch.manual_seed(3)
        trainer(pruning(scores=random_scores)).fit(module, loader())
    assert same(masks_of(modules[0]), masks_of(modules[1]))
    magnitude = copy.deepcopy(task())
    trainer(pruning()).fit(magnitude, loader())
    assert not same(masks_of(magnitude), masks_of(modules[0]))
    assert isinstance(bake_masks(modules[0]).model[1], nn.Linear)
