"""Every form in which people have data becomes the same batches."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from torchedge.batches import Data
from torchedge.batches.adapter import batches_of
from torchedge.batches.inputs import NetworkInputs, inputs_of
from torchedge.errors import CalibrationError, UsageError

X = torch.rand(10, 3, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10) % 3
ONE = inputs_of(nn.Conv2d(3, 1, 1), (X[:1],))
TWO = inputs_of(nn.Bilinear(2, 3, 1), (torch.zeros(1, 2), torch.zeros(1, 3)))


class Marked(torch.Tensor):
    pass


@torch.inference_mode()
def made_in_inference_mode():
    return X.clone()


class Rows(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return {"pixels": X[index].double().numpy(), "label": int(Y[index]), "id": str(index)}


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


def all_of(data, wanted=ONE):
    found = list(batches_of(data, wanted))
    labels = [batch.labels for batch in found]
    joined = None if any(label is None for label in labels) else torch.cat(labels)
    return torch.cat([batch.inputs[0] for batch in found]), joined


LABELLED = {
    "loader": lambda: DataLoader(TensorDataset(X, Y), 4),
    "dataset": lambda: TensorDataset(X, Y),
    "stream": Stream,
    "list of samples": lambda: list(zip(X, Y.tolist(), strict=True)),
    "list of batches": lambda: [(X[:5], Y[:5]), (X[5:], Y[5:])],
    "columns": lambda: (X, Y),
    "arrays": lambda: [X.numpy(), Y.numpy()],
    "dictionary": lambda: {"x": X, "label": Y},
    "dictionary of lists": lambda: {"x": X, "label": Y.tolist()},
    "loader of dictionaries": lambda: DataLoader(
        [{"x": x, "target": y} for x, y in zip(X, Y, strict=True)], 4
    ),
    "images in lists": lambda: [(list(X[:5]), Y[:5]), (list(X[5:]), Y[5:])],
    "with more behind": lambda: [(X, Y, "path", 5)],
    "by the name of the argument": lambda: [{"input": X, "mask": X, "y": Y}],
    "by key": lambda: Data(DataLoader(Rows(), 4), key="pixels"),
}
ALONE = {
    "tensor": lambda: X,
    "array": lambda: X.numpy(),
    "reversed array": lambda: X.numpy()[::-1][::-1],
    "float64": lambda: X.double().numpy(),
    "generator": lambda: (x for x in X.split(3)),
    "tuple of batches": lambda: X.split(3),
    "list of samples": lambda: list(X),
    "with gradient": lambda: [X.clone().requires_grad_()],
    "big-endian array": lambda: X.numpy().astype(">f4"),
    "of a class of one's own": lambda: X.as_subclass(Marked),
    "made in inference mode": lambda: made_in_inference_mode(),
}


@pytest.mark.parametrize("make", LABELLED.values(), ids=LABELLED)
def test_inputs_and_labels_come_from_any_form(make):
    inputs, labels = all_of(make())
    torch.testing.assert_close(inputs, X)
    assert labels.tolist() == Y.tolist()


@pytest.mark.parametrize("make", ALONE.values(), ids=ALONE)
def test_inputs_alone_come_from_any_form(make):
    inputs, labels = all_of(make())
    torch.testing.assert_close(inputs, X)
    assert labels is None
    assert not inputs.requires_grad
    assert not inputs.is_inference()
    assert type(inputs) is torch.Tensor


def test_a_tensor_is_cut_into_batches_of_the_default_or_a_given_size():
    x = torch.zeros(70, 1)
    assert [len(b.inputs[0]) for b in batches_of(x)] == [32, 32, 6]
    assert [len(b.inputs[0]) for b in batches_of(Data(x, batch_size=50))] == [50, 20]


def test_one_sample_becomes_a_batch_of_one():
    assert next(batches_of(X[0], ONE)).inputs[0].shape == (1, 3, 4, 4)
    assert next(batches_of([X[0]], ONE)).inputs[0].shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda a, b: (a, b),
        lambda a, b: [(a, b)],
        lambda a, b: [(a, b, torch.zeros(6, dtype=torch.long))],
        lambda a, b: [((a, b), torch.zeros(6))],
        lambda a, b: {"input2": b, "input1": a},
        lambda a, b: TensorDataset(a, b),
        lambda a, b: Data([{"left": a, "right": b, "more": a}], key=("left", "right")),
    ],
)
def test_several_inputs_come_in_the_order_of_forward(make):
    a, b = torch.rand(6, 2), torch.rand(6, 3)
    found = list(batches_of(make(a, b), TWO))
    for index, wanted in enumerate((a, b)):
        torch.testing.assert_close(torch.cat([batch.inputs[index] for batch in found]), wanted)


def test_a_folder_with_classes_gives_pictures_and_labels(tmp_path):
    for index, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4), (255 * index,) * 3).save(tmp_path / name / "0.png")
    for data in (tmp_path, str(tmp_path)):
        inputs, labels = all_of(data)
        assert inputs.amax((1, 2, 3)).tolist() == labels.tolist() == [0, 1]
    paths = [tmp_path / "b" / "0.png", str(tmp_path / "a" / "0.png")]
    assert all_of(paths)[0].amax((1, 2, 3)).tolist() == [1, 0]
    scaled = Data(tmp_path, mean=(0.5,), std=(0.25,), input_shape=(3, 2, 2))
    assert all_of(scaled)[0].flatten(1)[:, 0].tolist() == [-2, 2]


def test_a_folder_needs_a_size_from_somewhere(tmp_path):
    np.save(tmp_path / "0.npy", np.zeros((3, 4, 4)))
    with pytest.raises(CalibrationError, match=r"write Data\(.*input_shape=\(3, 224, 224\)\)"):
        all_of(tmp_path, NetworkInputs())
    assert all_of(Data(tmp_path, input_shape=(3, 4, 4)), NetworkInputs())[0].shape == X[:1].shape


def test_token_numbers_are_taken_in_any_width():
    wanted = inputs_of(nn.Embedding(9, 2), (torch.zeros(1, 5, dtype=torch.long),))
    inputs, _ = all_of(torch.ones(3, 5, dtype=torch.int32), wanted)
    assert inputs.dtype == torch.int64


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # they are a prototype, says torch
    NESTED = torch.nested.nested_tensor([X[0], X[0, :2]])
REFUSED = {
    "nothing": (None, "data is a NoneType; give a DataLoader"),
    "a network": (nn.Linear(1, 1), "data is a Linear"),
    "bytes": (b"x", "data is a bytes"),
    "an empty list": ([], "calibration set is empty"),
    "no samples": (X[:0], "calibration set is empty"),
    "an empty dictionary": ({}, "calibration set is empty"),
    "a spent generator": (iter(()), "read only once: give a list"),
    "an empty batch": ([X[:0]], "batch 0 of shape .* holds no sample"),
    "None in a list": ([X, None], "batch 1 is of type NoneType"),
    "text": ([["cat"]], "batch 0 is of type str"),
    "NaN": ([X, X * float("nan")], "values of calibration batch 1 are NaN.* 10 of its 10 samples"),
    "uint8": ((X * 255).byte(), r"is uint8, the network takes float32; give x.float\(\) / 255"),
    "bool": (X > 0.5, "is bool, the network takes float32"),
    "complex": (X.to(torch.complex64), "view_as_real"),
    "complex arrays": (X.numpy().astype(complex), "view_as_real"),
    "objects": (np.array([[object()]]), "an array of object"),
    "sparse": ([X.to_sparse()], "to_dense"),
    "meta": ([X.to("meta")], "on the meta device"),
    "nested": (NESTED, "is nested"),
    "two candidates": ([{"a": X, "b": X}], r"'a', 'b', and the network takes 'input'.*key='a'"),
    "a wrong key": (Data([{"a": X}], key="b"), "has no 'b'; it has 'a'"),
    "a key for tensors": (Data([X], key="b"), "is a Tensor and no dictionary"),
    "ragged samples": ([[[X[0], X[0, :, :2]], 0]], "samples of the shapes"),
    "no such folder": ("nowhere", "is no folder"),
    "no such file": (["nowhere.png"], "is no file"),
}


@pytest.mark.parametrize(("data", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(data, said):
    with pytest.raises(CalibrationError, match=said) as caught:
        list(batches_of(data, ONE))
    assert "\n" not in str(caught.value)


REFUSED_OF_TWO = {
    "one tensor": (torch.zeros(6, 2), "one Tensor, and the network takes 'input1', 'input2'"),
    "three and a label": ([(X, X, X, Y)], "holds 4 entries"),
    "one of two": ([(X,)], "holds 1 entries"),
    "different numbers": ((torch.zeros(6, 2), torch.zeros(4, 3)), r"holds \[6, 4\] samples"),
    "different batches": ([(torch.zeros(6, 2), torch.zeros(4, 3))], r"hold \[6, 4\] samples"),
    "NaN in the second": (
        [(torch.zeros(6, 2), torch.full((6, 3), torch.nan))],
        "values of 'input2' of calibration batch 0 are NaN",
    ),
}


@pytest.mark.parametrize(("data", "said"), REFUSED_OF_TWO.values(), ids=REFUSED_OF_TWO)
def test_what_does_not_fit_two_inputs_is_refused_in_one_line(data, said):
    with pytest.raises(CalibrationError, match=said):
        list(batches_of(data, TWO))


def test_an_error_of_a_dataset_ends_in_one_line_with_the_batch():
    def failing():
        yield X
        raise ValueError("broken\nbadly")

    with pytest.raises(CalibrationError, match=r"batch 1 could not be made \(ValueError: broken\)"):
        list(batches_of(failing(), ONE))


def test_pictures_that_no_transform_made_tensors_of_say_so():
    loader = DataLoader([(Image.new("L", (4, 4)), 0)], 1)
    with pytest.raises(CalibrationError, match="look at the dataset, its transform"):
        list(batches_of(loader, ONE))


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 2.5}, {"input_shape": (0,)}])
def test_sizes_that_are_no_counts_are_refused(options):
    with pytest.raises(UsageError, match=r"give (whole numbers above zero|a whole number)"):
        Data(X, **options)
