"""Answers that were written once: the same as the live ones, and nobody else's."""

import copy
import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.hostile_inputs.sealing import edited_manifest
from tests.unit.distillation.networks import Task, convolutional, loader, samples, trainer
from torchedge.distillation import RKD, Hinton
from torchedge.distillation.cache import TeacherCache, cache_teacher
from torchedge.distillation.fingerprints import fingerprint
from torchedge.distillation.lightning import DistillationModule
from torchedge.errors import ArtifactError, DistillationError, OutputExistsError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pytorch_lightning"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*"),
    pytest.mark.filterwarnings("ignore:.*have no `val_dataloader`.*"),
]


def dataset(count=12, *, seed=0):
    return TensorDataset(*samples(count, seed=seed))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "teacher"


def test_a_cached_teacher_teaches_what_the_live_one_does(folder):
    terms = {"hinton": (1.0, Hinton()), "relations": (1.0, RKD("4", "4"))}
    teacher = convolutional(8, seed=1)
    cache = cache_teacher(teacher, dataset(), folder, layers=["4"], batch_size=5)
    live = DistillationModule(Task(convolutional(4)), teacher, terms)
    cached = DistillationModule(Task(convolutional(4)), cache, terms)
    trainer(max_epochs=2).fit(live, loader())
    trainer(max_epochs=2).fit(cached, DataLoader(cache.indexed, 4))
    for name, value in live.student.state_dict().items():
        # The teacher ran in batches of 5 and not of 4: sums in another order, 9 steps of it.
        assert torch.allclose(value, cached.student.state_dict()[name], atol=1e-5), name


def test_no_pass_of_the_teacher_is_made_with_a_cache(folder):
    teacher = convolutional(8, seed=1)
    cache = cache_teacher(teacher, dataset(), folder)
    ran = []
    teacher.register_forward_hook(lambda *_: ran.append(1))
    module = DistillationModule(Task(convolutional(4)), cache, {"hinton": (1.0, Hinton())})
    trainer().fit(module, DataLoader(cache.indexed, 4, shuffle=True))
    assert not ran


def test_a_shuffled_loader_gets_each_samples_own_answer(folder):
    teacher = convolutional(8, seed=1).eval()
    cache = cache_teacher(teacher, dataset(), folder, layers=["4"])
    cache.prepare(("4",))
    order = torch.tensor([7, 0, 11])
    seen = cache.taps((), order)
    images = samples()[0][order]
    assert torch.allclose(seen.output, teacher(images), atol=1e-6)
    assert torch.allclose(seen.features["4"], teacher[:5](images), atol=1e-6)


def test_the_cache_opens_again_for_the_same_teacher_and_data(folder):
    teacher = convolutional(8, seed=1)
    written = cache_teacher(teacher, dataset(), folder)
    opened = TeacherCache.open(folder, teacher=copy.deepcopy(teacher), data=dataset())
    assert torch.equal(opened.tensors["output"], written.tensors["output"])


def test_another_teacher_is_refused_even_if_one_weight_differs(folder):
    teacher = convolutional(8, seed=1)
    cache_teacher(teacher, dataset(), folder)
    with torch.no_grad():
        teacher[5].bias[0] += 1e-6
    with pytest.raises(DistillationError, match="another teacher"):
        TeacherCache.open(folder, teacher=teacher, data=dataset())


def test_other_data_are_refused_by_number_and_by_content(folder):
    teacher = convolutional(8, seed=1)
    cache_teacher(teacher, dataset(), folder)
    with pytest.raises(DistillationError, match="12 samples and the data has 15"):
        TeacherCache.open(folder, teacher=teacher, data=dataset(15))
    images, labels = samples()
    images[5, 0, 0, 0] += 0.01
    with pytest.raises(DistillationError, match=r"1 of 12 compared samples differ.*sample 5"):
        TeacherCache.open(folder, teacher=teacher, data=TensorDataset(images, labels))


def test_large_data_are_compared_at_both_ends_and_between(folder):
    teacher, images = convolutional(8, seed=1), torch.rand(1000, 1, 6, 6)
    cache_teacher(teacher, TensorDataset(images), folder, batch_size=250)
    checked = json.loads((folder / "manifest.json").read_text())["details"]["checked"]
    assert len(checked) == 256
    assert {"0", "999"} <= set(checked)
    changed = images.clone()
    changed[999] = 0
    with pytest.raises(DistillationError, match="sample 999"):
        TeacherCache.open(folder, teacher=teacher, data=TensorDataset(changed))


def test_a_damaged_cache_is_refused(folder):
    teacher = convolutional(8, seed=1)
    cache_teacher(teacher, dataset(), folder)
    stored = folder / "teacher.safetensors"
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="SHA-256"):
        TeacherCache.open(folder, teacher=teacher, data=dataset())


def test_another_kind_of_folder_is_refused(folder):
    from torchedge.compressed import CompressedModel

    images, _ = samples()
    teacher = convolutional(8).eval()
    CompressedModel(module=teacher, example_inputs=(images[:1],), samples=(images,)).save(folder)
    with pytest.raises(DistillationError, match="'torch' and no teacher's cache"):
        TeacherCache.open(folder, teacher=teacher, data=dataset())


def test_a_written_folder_is_not_replaced_unasked(folder):
    teacher = convolutional(8, seed=1)
    cache_teacher(teacher, dataset(), folder)
    with pytest.raises(OutputExistsError):
        cache_teacher(teacher, dataset(), folder)
    cache_teacher(teacher, dataset(15), folder, overwrite=True)


def test_an_answer_that_cannot_be_written_leaves_no_folder(folder):
    with pytest.raises(DistillationError, match="empty"):
        cache_teacher(convolutional(8), dataset(0), folder)
    with pytest.raises(DistillationError, match="no layer"):
        cache_teacher(convolutional(8), dataset(), folder, layers=["9"])
    with pytest.raises(DistillationError, match="sample 0 is a dict"):
        cache_teacher(
            convolutional(8), [{"image": torch.zeros(1), "depth": torch.zeros(1)}], folder
        )
    assert not folder.exists()


def test_layers_that_were_not_written_are_refused_before_training(folder):
    cache = cache_teacher(convolutional(8), dataset(), folder, layers=["4"])
    with pytest.raises(DistillationError, match=r"no feature of \['2'\], only of \['4'\]"):
        DistillationModule(Task(convolutional(4)), cache, {"relations": (1.0, RKD("4", "2"))})


def test_batches_without_numbers_are_refused(folder):
    cache = cache_teacher(convolutional(8), dataset(), folder)
    module = DistillationModule(Task(convolutional(4)), cache, {"hinton": (1.0, Hinton())})
    with pytest.raises(DistillationError, match=r"cache\.indexed"):
        trainer().fit(module, DataLoader(TensorDataset(samples()[0]), 4))


def test_a_fingerprint_sees_names_and_types_as_well():
    net = torch.nn.Linear(2, 2)
    other = torch.nn.Sequential(copy.deepcopy(net))
    half = copy.deepcopy(net).half()
    assert len({fingerprint(net), fingerprint(other), fingerprint(half)}) == 3


@pytest.mark.parametrize("field", ["teacher", "samples"])
def test_a_refusal_that_repeats_a_field_of_the_cache_is_one_plain_line(folder, field):
    teacher = convolutional(8, seed=1)
    cache_teacher(teacher, dataset(), folder)
    edited_manifest(folder, lambda manifest: manifest["details"].update({field: "a\nb"}))
    with pytest.raises(DistillationError, match=r"a\\nb") as refused:
        TeacherCache.open(folder, teacher=teacher, data=dataset())
    assert str(refused.value).isprintable()


class _Diverged(nn.Module):
    def forward(self, x):
        return x.flatten(1) / (x.flatten(1) != 0)


def test_a_teacher_that_answers_with_nan_is_refused_and_nothing_is_written(tmp_path):
    data = TensorDataset(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))
    with pytest.raises(DistillationError, match="'output' is NaN or infinite for 4 of 4 samples"):
        cache_teacher(_Diverged(), data, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_class_instead_of_a_dataset_is_refused(tmp_path):
    with pytest.raises(DistillationError, match="the data is a type"):
        cache_teacher(nn.Linear(1, 1), TensorDataset, tmp_path / "cache")
