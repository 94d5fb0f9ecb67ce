import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from torchedge.batches.examples import example_tensors
from torchedge.batches.inputs import inputs_of
from torchedge.errors import TraceError

X = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
NET = nn.Linear(3, 1)


class Optional(nn.Module):
    def forward(self, x, mask=None, *, scale=1.0):
        return x


class Any(nn.Module):
    def forward(self, *inputs):
        return inputs


@pytest.mark.parametrize(
    "given",
    [
        X,
        (X,),
        [X],
        X.numpy(),
        X.double().numpy(),
        {"input": X},
        X.clone().requires_grad_(),
        (np.asarray(X),),
    ],
)
def test_one_input_comes_in_any_form(given):
    (found,) = example_tensors(NET, given)
    torch.testing.assert_close(found, X)
    assert not found.requires_grad


@pytest.mark.parametrize("wrap", [lambda data: DataLoader(data, 2), lambda data: data])
def test_the_first_sample_of_a_loader_is_an_example(wrap):
    (found,) = example_tensors(NET, wrap(TensorDataset(X, torch.zeros(4))))
    torch.testing.assert_close(found, X[:1])


def test_a_dictionary_is_put_into_the_order_of_forward():
    a, b = torch.rand(1, 2), torch.rand(1, 3)
    assert example_tensors(nn.Bilinear(2, 3, 1), {"input2": b, "input1": a})[0] is not b
    found = example_tensors(nn.Bilinear(2, 3, 1), {"input2": b, "input1": a})
    assert [x.shape for x in found] == [(1, 2), (1, 3)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "example_inputs is a NoneType"),
        ((), "give a tensor, or a tuple of tensors"),
        ((X, None), r"\['Tensor', 'NoneType'\]"),
        ((1, 3, 8, 8), "'int'"),
        ("x", "is a str"),
        ({}, "is a dictionary"),
        ({"image": X}, r"forward takes \['input'\]"),
        (X[:0], "holds no value"),
        (X * float("nan"), "12 NaN of 12"),
        (X.to_sparse(), "to_dense"),
        (X.to("meta"), "on the meta device"),
        (X.to(torch.complex64), "view_as_real"),
        ((X, X.numpy().astype(complex)), "view_as_real"),
    ],
)
def test_what_is_no_example_is_refused_in_one_line(given, said):
    with pytest.raises(TraceError, match=said) as caught:
        example_tensors(NET, given)
    assert "\n" not in str(caught.value)


def test_a_mask_of_infinities_is_an_example():
    mask = torch.full((2, 2), -torch.inf)
    assert torch.equal(example_tensors(Optional(), (X, mask))[1], mask)


def test_what_forward_cannot_do_without_is_what_a_network_takes():
    assert inputs_of(Optional()).names == ("x",)
    assert inputs_of(Optional(), (X, X)).names == ("x", "mask")
    assert inputs_of(Any()).count is None
    assert inputs_of(nn.Bilinear(1, 1, 1)).count == 2
    assert inputs_of(NET.double()).float_dtype == torch.float64
    NET.float()
