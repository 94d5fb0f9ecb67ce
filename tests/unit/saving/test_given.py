from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchedge.compressed import CompressedModel
from torchedge.errors import CalibrationError, TraceError, UsageError
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge.reading.names import require_model_name
from torchedge.saving.given import folder_for

Y = torch.arange(32) % 4


@pytest.fixture
def model(net, images):
    return CompressedModel(module=net, example_inputs=images[:1], samples=images)


def saved(model, folder, **changes):
    return load_samples(replace(model, **changes).save(folder).file(SAMPLES_FILE))


FORMS = {
    "tuple": lambda x: (x,),
    "list": lambda x: [x],
    "array": lambda x: x.numpy(),
    "batches": lambda x: x.split(8),
    "generator": lambda x: (part for part in x.split(5)),
    "dictionary": lambda x: {"image": x},
    "dataset": lambda x: TensorDataset(x),
    "samples": list,
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_samples_come_in_any_form(model, images, tmp_path, form):
    found = saved(model, tmp_path / "m", samples=form(images), calibration=form(images))
    np.testing.assert_array_equal(found.inputs[0], images.numpy())
    np.testing.assert_array_equal(found.calibration[0], images.numpy())
    assert found.labels is None


def test_labels_come_with_the_samples_unless_others_are_given(model, images, tmp_path):
    loader = DataLoader(TensorDataset(images, Y), 8)
    assert saved(model, tmp_path / "a", samples=loader).labels.tolist() == Y.tolist()
    zeros = [0] * 32
    assert saved(model, tmp_path / "b", samples=loader, labels=zeros).labels.tolist() == zeros


def test_numbers_that_come_with_samples_of_a_network_without_scores_are_no_labels(images, tmp_path):
    loader = DataLoader(TensorDataset(images, Y), 8)
    model = CompressedModel(module=nn.Conv2d(1, 2, 3), example_inputs=images[:1], samples=loader)
    assert saved(model, tmp_path / "m").labels is None


@pytest.mark.parametrize("labels", [Y.tolist(), Y.numpy(), Y, Y.int(), tuple(Y.tolist())])
def test_labels_come_as_list_array_or_tensor(model, tmp_path, labels):
    assert saved(model, tmp_path / "m", labels=labels).labels.tolist() == Y.tolist()


def test_float64_is_rounded_and_names_are_a_list(model, images, tmp_path):
    artifact = replace(model, samples=images.double(), class_names=list("abcd")).save(
        tmp_path / "m"
    )
    assert load_samples(artifact.file(SAMPLES_FILE)).inputs[0].dtype == np.float32
    assert artifact.class_names == ("a", "b", "c", "d")


REFUSED = {
    "uint8": ({"samples": torch.zeros(4, 1, 16, 16, dtype=torch.uint8)}, "is uint8, the network"),
    "None": ({"samples": None}, "samples data is a NoneType"),
    "ragged": ({"samples": [torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, 9, 9)]}, "the shapes"),
    "text": ({"samples": ["cat"]}, "is no file"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED.values(), ids=REFUSED)
def test_samples_that_do_not_fit_are_refused_in_one_line(model, tmp_path, changes, said):
    with pytest.raises(CalibrationError, match=said):
        replace(model, **changes).save(tmp_path / "m")


def test_a_network_that_does_not_run_says_so_in_one_line(model, images, tmp_path):
    with pytest.raises(UsageError, match="does not run on the example inputs") as caught:
        replace(model, module=nn.Linear(3, 3)).save(tmp_path / "m")
    assert "\n" not in str(caught.value)
    with pytest.raises(TraceError, match="this is a str"):
        replace(model, module="net.pth").save(tmp_path / "m")


@pytest.mark.parametrize("name", ["", " ", "..", "a/b", "a\\b", "a:b", "a\nb", None, 5])
def test_names_that_no_file_can_have_are_refused(name):
    with pytest.raises(UsageError, match="name"):
        require_model_name(name)


@pytest.mark.parametrize("name", ["model", "a b", "résumé", "net.v2", "net-1_x"])
def test_other_names_are_kept(name):
    assert require_model_name(name) == name


@pytest.mark.parametrize("folder", [None, "", 5, b"x"])
def test_what_is_no_path_is_refused(folder):
    with pytest.raises(UsageError, match="give a path"):
        folder_for(folder)


def test_a_folder_below_a_file_is_refused(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="which is a file"):
        model.save(tmp_path / "file" / "a" / "b")


@pytest.mark.parametrize("names", ["abcd", 5])
def test_class_names_that_are_no_list_are_refused(model, tmp_path, names):
    with pytest.raises(UsageError, match="give one name for each score"):
        replace(model, class_names=names).save(tmp_path / "m")
