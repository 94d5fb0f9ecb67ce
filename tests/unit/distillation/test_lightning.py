"""A task with a teacher in Lightning: what is trained, logged, saved and refused."""

import copy

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.core.hooks import CheckpointHooks, DataHooks, ModelHooks
from torch import nn
from torch.utils.data import DataLoader

from tests.unit.distillation.networks import Task, convolutional, loader, samples, trainer
from torchedge.backends import ONNX_RUNTIME
from torchedge.distillation import RKD, AttentionTransfer, Decoupled, FitNet, Hinton
from torchedge.distillation.functional import hinton_loss
from torchedge.distillation.hook_forwarding import NOT_HANDED_ON
from torchedge.distillation.lightning import DistillationModule
from torchedge.errors import DistillationError
from torchedge.models import Classifier
from torchedge.quantization import calibrate, minmax, prepare_qat

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
]


def hint(**options):
    return FitNet("2", "2", student_channels=4, teacher_channels=8, **options)


def all_terms():
    return {
        "hinton": (0.5, Hinton(temperature=4.0)),
        "hint": (1.0, hint()),
        "relations": (1.0, RKD("4", "4")),
        "attention": (1.0, AttentionTransfer("2", "2")),
        "decoupled": (0.1, Decoupled()),
    }


def distilled(terms=None, **options):
    terms = {"hinton": (0.5, Hinton(temperature=4.0))} if terms is None else terms
    task = Task(convolutional(4))
    return DistillationModule(task, convolutional(8, seed=1), terms, **options)


def hook_count(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_the_first_step_follows_the_weighted_sum_of_losses():
    images, labels = samples(4)
    module = distilled({"hinton": (0.9, Hinton(temperature=5.0))}, hard_weight=0.1)
    expected = copy.deepcopy(module.student).train()
    with torch.no_grad():
        wanted = convolutional(8, seed=1).eval()(images)
    logits = expected(images)
    loss = 0.1 * F.cross_entropy(logits, labels) + 0.9 * hinton_loss(logits, wanted, 5.0)
    loss.backward()
    trainer(max_steps=1).fit(module, loader(4))
    for parameter, found in zip(expected.parameters(), module.student.parameters(), strict=True):
        assert torch.allclose(parameter - 0.1 * parameter.grad, found, atol=1e-7)


def test_every_term_is_logged_by_its_name_beside_the_tasks_own():
    module, fitting = distilled(all_terms()), trainer()
    fitting.fit(module, loader(), loader())
    logged = {name: float(value) for name, value in fitting.logged_metrics.items()}
    assert set(logged) >= {*all_terms(), "task_loss", "total_loss", "accuracy"}
    weighted = sum(weight * logged[name] for name, (weight, _) in all_terms().items())
    assert logged["total_loss"] == pytest.approx(logged["task_loss"] + weighted, rel=1e-5)


def test_hooks_of_the_task_are_called():
    module = distilled()
    trainer(max_epochs=2).fit(module, loader())
    assert module.task.asked == ["on_train_epoch_end"] * 2


def test_every_hook_of_lightning_is_handed_on_or_refused():
    """A hook that a later Lightning adds would otherwise be left out silently."""
    kinds = (ModelHooks, DataHooks, CheckpointHooks)
    hooks = {name for kind in kinds for name in vars(kind) if not name.startswith("_")}
    hooks |= {name for name in vars(pl.LightningModule) if name.startswith("configure_")}
    hooks |= {"optimizer_step", "optimizer_zero_grad", "lr_scheduler_step", "backward"}
    handed_on = {name for name in hooks if name in vars(DistillationModule)}
    assert hooks == handed_on | set(NOT_HANDED_ON)
    assert not handed_on & set(NOT_HANDED_ON)


def test_trying_the_terms_leaves_every_module_in_its_own_mode():
    task = Task(convolutional(4))
    task.model[1].eval()
    DistillationModule(
        task,
        convolutional(8, seed=1),
        all_terms(),
        example_inputs=(samples()[0][:1],),
    )
    assert [m.training for m in task.model] == [True, False, True, True, True, True]


def test_the_teacher_is_frozen_and_in_neither_checkpoint_nor_optimiser(tmp_path):
    teacher = convolutional(8, seed=1).train()
    before = copy.deepcopy(teacher.state_dict())
    module = DistillationModule(Task(convolutional(4)), teacher, all_terms())
    fitting = trainer()
    fitting.fit(module, loader())
    fitting.save_checkpoint(tmp_path / "last.ckpt")
    inside = module.source.network
    for name, value in inside.state_dict().items():
        assert torch.equal(value, before[name]), name  # statistics of its batch norm as well
    assert teacher.training
    assert all(p.requires_grad for p in teacher.parameters())
    held = {id(p) for group in fitting.optimizers[0].param_groups for p in group["params"]}
    assert not held & {id(p) for p in inside.parameters()}
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    regressor = {"terms.hint.regressor.weight", "terms.hint.regressor.bias"}
    assert set(saved) == {f"task.model.{n}" for n in convolutional(4).state_dict()} | regressor
    alone = Task(convolutional(4))
    kept = {n.removeprefix("task."): v for n, v in saved.items() if n.startswith("task.")}
    alone.load_state_dict(kept)  # the student needs no teacher


def test_the_regressor_of_a_hint_learns_with_the_students_schedule():
    module = DistillationModule(
        Classifier(convolutional(4), learning_rate=0.05),
        convolutional(8, seed=1),
        {"hint": (1.0, hint())},
    )
    before = module.terms["hint"].regressor.weight.detach().clone()
    fitting = trainer()
    fitting.fit(module, loader())
    assert not torch.equal(before, module.terms["hint"].regressor.weight)
    parameters = list(module.parameters())
    held = [id(p) for group in fitting.optimizers[0].param_groups for p in group["params"]]
    assert sorted(held) == sorted(map(id, parameters))


def test_hints_come_first_and_count_no_more_after():
    module = distilled({"hint": (1.0, hint()), "hinton": (1.0, Hinton())}, hint_epochs=1)
    moved = []

    class Watch(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            self.before = {n: p.detach().clone() for n, p in pl_module.named_parameters()}

        def on_train_epoch_end(self, trainer, pl_module):
            now = dict(pl_module.named_parameters())
            moved.append({n for n, p in self.before.items() if not torch.equal(p, now[n])})

    trainer(max_epochs=2, callbacks=[Watch()]).fit(module, loader())
    regressor = {"terms.hint.regressor.weight", "terms.hint.regressor.bias"}
    head = {"task.model.5.weight", "task.model.5.bias"}
    assert regressor <= moved[0]
    assert not head & moved[0]
    assert head <= moved[1]
    assert not regressor & moved[1]


def test_without_a_hard_weight_no_labels_are_needed():
    module = distilled(hard_weight=0.0)
    before = copy.deepcopy(module.student.state_dict())
    trainer().fit(module, DataLoader(samples()[0], 4))
    assert not torch.equal(before["5.weight"], module.student.state_dict()["5.weight"])


def test_resuming_equals_running_through(tmp_path):
    def fresh():
        return distilled(all_terms())

    torch.manual_seed(5)
    through = fresh()
    torch.manual_seed(5)
    halves = fresh()
    trainer(max_epochs=2).fit(through, loader())
    first = trainer(max_epochs=1)
    first.fit(halves, loader())
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed = fresh()
    trainer(max_epochs=2).fit(
        resumed, loader(), ckpt_path=str(tmp_path / "half.ckpt"), weights_only=True
    )
    for name, value in through.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.slow
def test_bfloat16_training_computes_terms_in_float32():
    seen = []

    class Looking(nn.Module):
        student_layers, teacher_layers = ("2",), ("2",)

        def forward(self, student, teacher):
            seen.extend([student.output.dtype, teacher.features["2"].dtype])
            return (student.features["2"] @ student.features["2"]).float().mean().square() * 0

    terms = {**all_terms(), "looking": (1.0, Looking())}
    module = distilled(terms)
    fitting = trainer(precision="bf16-mixed")
    fitting.fit(module, loader())
    assert set(seen) == {torch.float32}
    assert all(value.isfinite() for value in fitting.logged_metrics.values())


def test_a_quantised_student_learns_and_stays_quantised():
    images, _ = samples()
    prepared = prepare_qat(convolutional(4), ONNX_RUNTIME, (images[:1],))
    student = calibrate(prepared, [images], minmax)
    module = DistillationModule(
        Task(student), convolutional(8, seed=1), {"hinton": (1.0, Hinton())}, hard_weight=0.0
    )
    before = copy.deepcopy(student.state_dict())
    trainer().fit(module, loader())
    assert not torch.equal(before["0.layer.weight"], student.state_dict()["0.layer.weight"])
    assert "quantizers.input_1.low" in student.state_dict()


def test_a_pruned_student_keeps_its_zeros():
    from torch.nn.utils import prune

    student = convolutional(4)
    prune.l1_unstructured(student[0], "weight", amount=0.5)
    module = DistillationModule(
        Task(student), convolutional(8, seed=1), {"hinton": (1.0, Hinton())}
    )
    trainer().fit(module, loader())
    student(samples()[0])
    assert int((student[0].weight == 0).sum()) == 18


@pytest.mark.slow
@torch._dynamo.config.patch(error_on_recompile=True)
def test_a_compiled_student_is_watched_too():
    torch._dynamo.reset()
    student = convolutional(4)
    task = Task(torch.compile(student, backend="aot_eager"))
    module = DistillationModule(task, convolutional(8, seed=1), {"hint": (1.0, hint())})
    before = module.terms["hint"].regressor.weight.detach().clone()
    trainer().fit(module, loader())
    assert not torch.equal(before, module.terms["hint"].regressor.weight)
    assert hook_count(student) == 0


def test_no_hook_is_left_after_training_and_none_piles_up():
    module = distilled(all_terms())
    trainer().fit(module, loader())
    trainer().fit(module, loader())
    assert hook_count(module.student) == 0


# ── what is refused, before anything is learned ───────────────────────────────────────────────


def test_a_layer_that_does_not_exist_is_refused_with_the_nearest_names():
    with pytest.raises(DistillationError, match=r"student has no layer '7'; nearest"):
        distilled({"relations": (1.0, RKD("7", "4"))})
    with pytest.raises(DistillationError, match=r"teacher has no layer 'features'; nearest"):
        distilled({"relations": (1.0, RKD("4", "features"))})


def test_features_that_do_not_fit_are_refused_with_the_regressor_to_add():
    wrong = FitNet("2", "2", student_channels=4, teacher_channels=16)
    with pytest.raises(DistillationError, match=r"\(1, 4, 6, 6\).*student_channels=4.*=8"):
        distilled({"hint": (1.0, wrong)}, example_inputs=(samples()[0][:1],))


def test_maps_of_other_sizes_and_vectors_against_maps_are_refused():
    other = FitNet("2", "3", student_channels=4, teacher_channels=8)
    with pytest.raises(DistillationError, match="maps of one size"):
        distilled({"hint": (1.0, other)}, example_inputs=(samples()[0][:1],))
    flat = FitNet("4", "2", student_channels=4, teacher_channels=8)
    with pytest.raises(DistillationError, match="dimensions=0"):
        distilled({"hint": (1.0, flat)}, example_inputs=(samples()[0][:1],))


def test_other_numbers_of_classes_are_refused():
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    with pytest.raises(DistillationError, match="3 and 5 classes"):
        DistillationModule(
            Task(convolutional(4)),
            teacher,
            {"hinton": (1.0, Hinton())},
            example_inputs=(samples()[0][:1],),
        )


def test_a_teacher_that_ends_with_softmax_is_refused_at_the_first_batch():
    teacher = nn.Sequential(convolutional(8), nn.Softmax(1))
    module = DistillationModule(Task(convolutional(4)), teacher, {"hinton": (1.0, Hinton())})
    with pytest.raises(DistillationError, match=r"teacher's outputs.*probabilities"):
        trainer().fit(module, loader())


@pytest.mark.parametrize(
    ("weight", "options", "said"),
    [
        (0.0, {}, "all terms are zero"),
        (-1.0, {}, "from 0 up"),
        (1.0, {"hard_weight": -0.5}, "from 0 up"),
        (1.0, {"hint_epochs": -1}, "hint_epochs is -1"),
        (1.0, {"hint_epochs": 1}, "no term is a FitNet"),
        (1.0, {"student": "net"}, "no network 'net'.*'model'"),
    ],
)
def test_weights_and_names_that_make_no_sense_are_refused(weight, options, said):
    with pytest.raises(DistillationError, match=said):
        distilled({"hinton": (weight, Hinton())}, **options)


def test_relations_refuse_a_last_batch_that_is_too_small_before_training():
    module = distilled({"relations": (1.0, RKD("4", "4"))})
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(DistillationError, match=r"9 samples in batches of 4 leave 1.*drop_last"):
        trainer().fit(module, loader(9))
    with pytest.raises(DistillationError, match="batch_size=1"):
        trainer().fit(module, loader(9, batch_size=1))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    trainer().fit(module, loader(9, drop_last=True))


def test_manual_optimisation_and_hooks_that_cannot_be_handed_on_are_refused():
    class Manual(Task):
        def __init__(self, model):
            super().__init__(model)
            self.automatic_optimization = False

    class Loading(Task):
        def train_dataloader(self):
            return loader()

    for kind, said in ((Manual, "optimises manually"), (Loading, "overrides train_dataloader")):
        with pytest.raises(DistillationError, match=said):
            DistillationModule(
                kind(convolutional(4)), convolutional(8), {"hinton": (1.0, Hinton())}
            )


def test_unlabelled_batches_without_a_tensor_are_refused():
    module = distilled(hard_weight=0.0)
    with pytest.raises(DistillationError, match="which holds str; give tensors"):
        module._hard_loss({"image": "cat.png"}, 0)


def test_the_only_entry_of_a_dictionary_is_the_input():
    module = distilled(hard_weight=0.0)
    loader = DataLoader([{"image": torch.zeros(1, 6, 6), "label": 0}] * 4, 2)
    assert trainer().fit(module, loader) is None
