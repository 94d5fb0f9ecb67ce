"""Two gloo processes: one student, its teacher on each."""

import tempfile
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from tests.unit.distillation.networks import Task, convolutional, loader, trainer
from torchedge.distillation import RKD, FitNet, Hinton
from torchedge.distillation.lightning import DistillationModule

pytestmark = pytest.mark.slow
PROCESSES = 2


def train(rank, folder):
    """Two epochs under DistributedDataParallel, the first for the hints alone."""
    import os
    import warnings

    from pytorch_lightning.plugins.environments import LightningEnvironment
    from pytorch_lightning.strategies import DDPStrategy

    warnings.simplefilter("ignore")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=Path(folder, "port").read_text())
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0")  # Lightning starts no processes then
    terms = {
        "hinton": (1.0, Hinton()),
        "hint": (1.0, FitNet("2", "2", student_channels=4, teacher_channels=8)),
        "relations": (1.0, RKD("4", "4")),
    }
    torch.manual_seed(0)
    module = DistillationModule(
        Task(convolutional(4)), convolutional(8, seed=1), terms, hint_epochs=1
    )
    trainer(
        max_epochs=2,
        devices=PROCESSES,
        strategy=DDPStrategy(
            process_group_backend="gloo", cluster_environment=LightningEnvironment()
        ),
    ).fit(module, loader(24))
    state = {n: v.detach().clone() for n, v in module.named_parameters()}
    torch.save(state, Path(folder) / f"{rank}.pt")


def free_port():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_students_and_regressors_are_equal_on_all_ranks():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "port").write_text(str(free_port()))
        multiprocessing.spawn(train, args=(folder,), nprocs=PROCESSES)
        states = [
            torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)
        ]
    before = dict(convolutional(4).named_parameters())
    assert "terms.hint.regressor.weight" in states[0]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert not torch.equal(states[0]["task.model.5.weight"], before["5.weight"])
