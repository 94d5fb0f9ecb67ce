"""What the student is given reaches the teacher or is refused; a refused fit leaves nothing."""

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.unit.distillation.networks import CLASSES, Task, convolutional, loader, trainer
from torchedge.distillation import RKD, Hinton
from torchedge.distillation.cache import cache_teacher
from torchedge.distillation.functional import hinton_loss
from torchedge.distillation.lightning import DistillationModule
from torchedge.distillation.quantized import QuantizedStudent
from torchedge.errors import DistillationError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
]


class Masked(nn.Module):
    """Answers differently with each argument it may be given."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x, mask=None, options=None, *, gain=1.0):
        x = x if mask is None else x * mask
        if options is not None:
            x = x + options.pop("shift")[0]
        return gain * self.linear(x)


CALLS = {
    "keyword": lambda model, x, mask: model(x, mask=mask),
    "two positional": lambda model, x, mask: model(x, mask),
    "keywords alone": lambda model, x, mask: model(x=x, mask=mask, gain=3.0),
    "a dictionary that is emptied": lambda model, x, mask: model(x, options={"shift": [mask]}),
    "all kinds": lambda model, x, mask: model(x, mask, options={"shift": [x]}, gain=0.5),
    "another input than the batch's": lambda model, x, mask: model(2 * x - 1),
}


class Calling(pl.LightningModule):
    """A task that calls its student in its own way."""

    def __init__(self, model, call):
        super().__init__()
        self.model, self.call = model, call

    def training_step(self, batch, batch_idx):
        x, labels, mask = batch
        return F.cross_entropy(self.call(self.model, x, mask), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def masked_data():
    generator = torch.Generator().manual_seed(0)
    mask = (torch.rand(4, 4, generator=generator) > 0.5).float()
    return TensorDataset(torch.rand(4, 4, generator=generator), torch.arange(4) % 3, mask)


class Logged(pl.Callback):
    loss = None

    def on_train_batch_end(self, trainer, *_):
        self.loss = trainer.callback_metrics["hinton"]


@pytest.mark.parametrize("kind", CALLS)
def test_the_teacher_is_given_all_that_the_student_is_given(kind):
    student, teacher, data, logged = Masked(0), Masked(1), masked_data(), Logged()
    module = DistillationModule(Calling(student, CALLS[kind]), teacher, {"hinton": (1.0, Hinton())})
    trainer(callbacks=[logged]).fit(module, DataLoader(data, 4))
    x, _, mask = data.tensors
    with torch.no_grad():
        answers = [CALLS[kind](network, x, mask) for network in (student, teacher)]
    torch.testing.assert_close(logged.loss, hinton_loss(*answers, 4.0), rtol=1e-5, atol=1e-7)


def test_the_teacher_sees_what_the_caller_gave_before_hooks_of_the_student():
    """A teacher with the same hook would apply it twice."""
    networks = [Masked(0), Masked(1)]
    for network in networks:
        network.register_forward_pre_hook(lambda _, args: (args[0] * 2 - 1, *args[1:]))
    data, logged = masked_data(), Logged()
    task = Calling(networks[0], CALLS["two positional"])
    module = DistillationModule(task, networks[1], {"hinton": (1.0, Hinton())})
    trainer(callbacks=[logged]).fit(module, DataLoader(data, 4))
    with torch.no_grad():
        answers = [network(data.tensors[0], data.tensors[2]) for network in networks]
    torch.testing.assert_close(logged.loss, hinton_loss(*answers, 4.0), rtol=1e-5, atol=1e-7)


class OneInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x):
        return self.linear(x)


REFUSED_CALLS = {
    "keyword": r"1 positional argument, mask=….*\(OneInput\).*'mask'",
    "two positional": r"2 positional arguments.*\(OneInput\).*too many positional",
    "keywords alone": r"0 positional arguments, x=…, mask=…, gain=….*unexpected keyword",
}


@pytest.mark.parametrize("kind", REFUSED_CALLS)
def test_a_teacher_that_does_not_take_the_arguments_is_refused_by_name(kind):
    task = Calling(Masked(), CALLS[kind])
    module = DistillationModule(task, OneInput(), {"hinton": (1.0, Hinton())})
    with pytest.raises(DistillationError, match=REFUSED_CALLS[kind]):
        trainer().fit(module, DataLoader(masked_data(), 4))
    assert hook_count(module.student) == 0


class Overwriting(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x, mask=None):
        return self.linear(x if mask is None else x.mul_(mask))


@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_a_network_that_writes_into_its_input_is_refused_by_name(whose):
    student, teacher = Masked(), Masked()
    student, teacher = (Overwriting(), teacher) if whose == "student" else (student, Overwriting())
    task = Calling(student, CALLS["two positional"])
    module = DistillationModule(task, teacher, {"hinton": (1.0, Hinton())})
    with pytest.raises(DistillationError, match=f"the {whose} changes argument 1 in place"):
        trainer().fit(module, DataLoader(masked_data(), 4))


def test_an_argument_that_can_be_read_only_once_is_refused():
    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, CLASSES)

        def forward(self, x, factors):
            return self.linear(x * sum(factors))

    task = Calling(Reading(), lambda model, x, mask: model(x, (f for f in (1.0, 2.0))))
    module = DistillationModule(task, Reading(), {"hinton": (1.0, Hinton())})
    with pytest.raises(DistillationError, match="argument 2 of the student is a generator"):
        trainer().fit(module, DataLoader(masked_data(), 4))


REFUSED_BY_A_CACHE = {
    "keyword": "called with 'mask' beside",
    "two positional": "called with argument 2 beside",
    "a dictionary that is emptied": "called with 'options' beside",
    "another input than the batch's": "something else than the sample",
}


@pytest.mark.parametrize("kind", REFUSED_BY_A_CACHE)
def test_a_cached_teacher_refuses_what_it_was_not_asked(kind, tmp_path):
    cache = cache_teacher(Masked(1), masked_data(), tmp_path / "teacher")
    module = DistillationModule(Calling(Masked(), CALLS[kind]), cache, {"hinton": (1.0, Hinton())})
    with pytest.raises(DistillationError, match=REFUSED_BY_A_CACHE[kind]):
        trainer().fit(module, DataLoader(cache.indexed, 4))
    assert hook_count(module.student) == 0


def test_a_cached_teacher_takes_the_sample_in_another_shape_and_type(tmp_path):
    cache = cache_teacher(Masked(1), masked_data(), tmp_path / "teacher")
    task = Calling(
        Masked(), lambda model, x, mask: model(x.double().view(2, 2, 4).float()).flatten(0, 1)
    )
    module = DistillationModule(task, cache, {"ce": (1.0, Flat())})
    trainer().fit(module, DataLoader(cache.indexed, 4))


class Flat:
    """A term that does not mind shapes."""

    student_layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()

    def __call__(self, student, teacher):
        return (student.output.flatten() - teacher.output.flatten()).square().mean()


# ── what a refused fit leaves behind ──────────────────────────────────────────────────────────


def hook_count(network):
    return sum(
        len(hooks)
        for module in network.modules()
        for name, hooks in vars(module).items()
        if name.endswith("hooks") or "hooks_" in name
    )


def footprint(network):
    """Names of all attributes of all modules, modes, hooks and weights."""
    attributes = {name: sorted(vars(module)) for name, module in network.named_modules()}
    modes = {name: module.training for name, module in network.named_modules()}
    return attributes, modes, hook_count(network)


class FailingTask(Task):
    """Fails at a moment of its choice."""

    def __init__(self, model, at):
        super().__init__(model)
        self.at = at

    def fail(self, moment):
        if self.at == moment:
            raise (KeyboardInterrupt if moment == "interrupt" else RuntimeError)(moment)

    def on_fit_start(self):
        self.fail("on_fit_start")

    def on_train_start(self):
        self.fail("on_train_start")

    def training_step(self, batch, batch_idx):
        self.fail("training_step")
        self.fail("interrupt")
        loss = super().training_step(batch, batch_idx)
        self.fail("after the student ran")
        return loss

    def on_train_epoch_end(self):
        self.fail("on_train_epoch_end")

    def configure_optimizers(self):
        self.fail("configure_optimizers")
        return super().configure_optimizers()


MOMENTS = [
    "on_fit_start",
    "on_train_start",
    "training_step",
    "after the student ran",
    "on_train_epoch_end",
    "configure_optimizers",
    "interrupt",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_fit_that_fails_leaves_nothing_on_the_student(moment):
    student = convolutional(4)
    before = footprint(student)
    task = FailingTask(student, moment)
    module = DistillationModule(task, convolutional(8, seed=1), {"hint": (1.0, RKD("4", "4"))})
    with pytest.raises((RuntimeError, KeyboardInterrupt, SystemExit)):
        trainer().fit(module, loader())
    assert footprint(student) == before
    task.at = None
    trainer().fit(module, loader())  # and it can be fitted afterwards
    assert hook_count(student) == 0


def test_a_refused_fit_leaves_nothing_on_the_student():
    student = convolutional(4)
    before = footprint(student), {n: x.clone() for n, x in student.state_dict().items()}
    module = DistillationModule(
        Task(student), convolutional(8, seed=1), {"relations": (1.0, RKD("4", "4"))}
    )
    with pytest.raises(DistillationError, match="drop_last"):
        trainer().fit(module, loader(9))
    assert footprint(student) == before[0]
    assert all(torch.equal(x, before[1][name]) for name, x in student.state_dict().items())


def test_callbacks_of_the_task_are_kept_beside_the_one_that_takes_hooks_off():
    class WithCallback(Task):
        def configure_callbacks(self):
            return Logged()

    task = WithCallback(convolutional(4))
    module = DistillationModule(task, convolutional(8, seed=1), {"hinton": (1.0, Hinton())})
    used = trainer()
    used.fit(module, loader())
    assert any(isinstance(c, Logged) and c.loss is not None for c in used.callbacks)


def test_a_network_with_nothing_to_train_is_refused_in_the_mode_it_came_in():
    net = nn.Sequential(nn.Linear(2, 2)).eval()
    with pytest.raises(DistillationError, match="no quantised layer"):
        QuantizedStudent(net)
    assert not net.training
