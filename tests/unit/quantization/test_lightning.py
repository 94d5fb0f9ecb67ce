import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from torchedge import exporting
from torchedge.errors import CalibrationError, SchemeError, UsageError
from torchedge.models import Classifier
from torchedge.quantization import (
    FakeQuantize,
    QuantizedLayer,
    calibrate,
    minmax,
    prepare_qat,
)
from torchedge.quantization.lightning import QuantizationAwareTraining

SCHEME = exporting.target("onnx-cpu").scheme

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*tensorboardX.*"),
]


@pytest.fixture
def data(images):
    labels = torch.arange(len(images)) % 4
    return DataLoader(TensorDataset(images, labels), batch_size=8)


def trainer(epochs, folder, *callbacks):
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        default_root_dir=folder,
    )


def prepared_task(net, images):
    prepared = calibrate(prepare_qat(net, SCHEME, (images[:1],)), [images], minmax)
    return Classifier(prepared.train(), learning_rate=1e-3)


class Switches(pl.Callback):
    """Notes the state of every switch and the ranges at the end of each epoch."""

    def __init__(self):
        self.seen = []
        self.ranges = []
        self.statistics = []

    def on_train_epoch_end(self, trainer, pl_module):
        quantizer = next(m for m in pl_module.modules() if isinstance(m, FakeQuantize))
        layer = next(m for m in pl_module.modules() if isinstance(m, QuantizedLayer))
        self.seen.append((quantizer.enabled, quantizer.observing, layer.batchnorm_frozen))
        middle = pl_module.model.quantizers.relu
        self.ranges.append(float(middle.high))
        self.statistics.append(layer.batchnorm.running_mean.clone())


def test_the_callback_switches_by_epoch_and_what_is_frozen_stays(net, images, data, tmp_path):
    switches = Switches()
    schedule = QuantizationAwareTraining(
        quantize_from_epoch=1, freeze_ranges_from_epoch=2, freeze_batchnorm_from_epoch=3
    )
    trainer(4, tmp_path, schedule, switches).fit(prepared_task(net, images), data, data)
    assert switches.seen == [
        (False, True, False),
        (True, True, False),
        (True, False, False),
        (True, False, True),
    ]
    assert switches.ranges[0] != switches.ranges[1] == switches.ranges[2] == switches.ranges[3]
    assert not torch.equal(switches.statistics[1], switches.statistics[2])
    assert torch.equal(switches.statistics[2], switches.statistics[3])


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(net, images, data, tmp_path):
    def schedule():
        return QuantizationAwareTraining(freeze_ranges_from_epoch=1, freeze_batchnorm_from_epoch=2)

    whole, first, second = (prepared_task(net, images) for _ in range(3))
    trainer(3, tmp_path, schedule()).fit(whole, data, data)
    stopped = trainer(3, tmp_path, schedule(), StopAfter(1))
    stopped.fit(first, data, data)
    checkpoint = tmp_path / "stopped.ckpt"
    stopped.save_checkpoint(checkpoint)
    trainer(3, tmp_path, schedule()).fit(
        second, data, data, ckpt_path=checkpoint, weights_only=True
    )
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


class BatchesFrom:
    """Batches in a fixed order; the first pass begins at ``first``."""

    def __init__(self, images, size, first):
        self.images = images.split(size)
        self.labels = (torch.arange(len(images)) % 4).split(size)
        self.first = first

    def __len__(self):
        return len(self.images)

    def __iter__(self):
        first, self.first = self.first, 0
        for index in range(first, len(self)):
            yield [self.images[index], self.labels[index]]


class SaveAfter(pl.Callback):
    """Writes a checkpoint in the middle of an epoch, and stops."""

    def __init__(self, steps, path):
        self.steps = steps
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.steps:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


@pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable.*")
@pytest.mark.parametrize("steps", [1, 2, 5, 7])
def test_resuming_in_the_middle_of_an_epoch_ends_where_an_uninterrupted_run_does(
    net, images, data, tmp_path, steps
):
    """Observers move with every batch, so that one lost range would show.

    The data is put back by hand: Lightning restores no loader that it opened before the checkpoint,
    as it does to count the steps of a learning-rate schedule.
    """

    def fit(task, *callbacks, checkpoint=None, first=0):
        schedule = QuantizationAwareTraining(
            freeze_ranges_from_epoch=1, freeze_batchnorm_from_epoch=1
        )
        fitting = trainer(2, tmp_path, schedule, *callbacks)
        batches = BatchesFrom(images, 8, first)
        fitting.fit(task, batches, data, ckpt_path=checkpoint, weights_only=checkpoint and True)
        return fitting

    whole, first, second = (prepared_task(net, images) for _ in range(3))
    assert fit(whole).global_step == 8
    path = tmp_path / "middle.ckpt"
    assert fit(first, SaveAfter(steps, path)).global_step == steps
    assert fit(second, checkpoint=path, first=steps % 4).global_step == 8
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


class StopAfter(pl.Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_training_moves_the_weights_through_the_quantisers(net, images, data, tmp_path):
    task = prepared_task(net, images)
    before = task.model.get_submodule("project").layer.weight.clone()
    schedule = QuantizationAwareTraining(freeze_ranges_from_epoch=0, freeze_batchnorm_from_epoch=0)
    trainer(1, tmp_path, schedule).fit(task, data, data)
    assert not torch.equal(task.model.get_submodule("project").layer.weight, before)


def test_freezing_ranges_before_anything_was_observed_is_refused(net, images, data, tmp_path):
    task = Classifier(prepare_qat(net, SCHEME, (images[:1],)).train())
    schedule = QuantizationAwareTraining(freeze_ranges_from_epoch=0, freeze_batchnorm_from_epoch=0)
    with pytest.raises(CalibrationError, match=r"model\.quantizers\.x"):
        trainer(1, tmp_path, schedule).fit(task, data, data)


def test_training_a_float_model_with_the_callback_is_refused(net, data, tmp_path):
    schedule = QuantizationAwareTraining(freeze_ranges_from_epoch=0, freeze_batchnorm_from_epoch=0)
    with pytest.raises(SchemeError, match="prepare_qat"):
        trainer(1, tmp_path, schedule).fit(Classifier(net.train()), data, data)


def test_negative_epochs_are_refused():
    with pytest.raises(UsageError, match="negative"):
        QuantizationAwareTraining(freeze_ranges_from_epoch=-1, freeze_batchnorm_from_epoch=0)
