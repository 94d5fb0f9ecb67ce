"""Two gloo processes: masks are the same on each, whatever scores say there."""

import tempfile
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import multiprocessing

from tests.unit.pruning.masked_networks import linear

pytestmark = pytest.mark.slow
PROCESSES = 2


class OwnRandomNumbers(pl.Callback):
    """Seeds each process differently."""

    def on_train_start(self, trainer, pl_module):
        torch.manual_seed(trainer.global_rank)


def prune(rank, folder):
    """Gradients and random scores differ from process to process; the masks must not."""
    import os
    import warnings

    from pytorch_lightning.plugins.environments import LightningEnvironment
    from pytorch_lightning.strategies import DDPStrategy
    from torch.utils.data import DataLoader, TensorDataset

    from torchedge.models import Classifier
    from torchedge.pruning import mask_weights, weight_masks
    from torchedge.pruning.functional import random_scores
    from torchedge.pruning.lightning import GradualPruning

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=Path(folder, "port").read_text())
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0")  # Lightning starts no processes then
    net = linear()
    module = Classifier(mask_weights(net, weight_masks(net, 0.0)))
    data = TensorDataset(torch.rand(16, 1, 6, 6), torch.arange(16) % 3)
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=PROCESSES,
        strategy=DDPStrategy(
            process_group_backend="gloo",
            cluster_environment=LightningEnvironment(),
            broadcast_buffers=False,  # which would make masks equal one step later
        ),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            OwnRandomNumbers(),
            GradualPruning(
                sparsity=0.7, begin_epoch=0, end_epoch=2, every_steps=1, scores=random_scores
            ),
        ],
    )
    trainer.fit(module, DataLoader(data, 4))
    torch.save(module.state_dict(), Path(folder) / f"{rank}.pt")


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_masks_and_weights_are_equal_on_all_ranks():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "port").write_text(str(free_port()))
        multiprocessing.spawn(prune, args=(folder,), nprocs=PROCESSES)
        first, second = (
            torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)
        )
    removed = [name for name in first if name.endswith("removed")]
    assert sum(int(first[name].sum()) for name in removed) == int(0.7 * 768)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
