"""``describe`` has every step that computes on floats, with the reason."""

import pytest
import torch
from torch import nn

from torchedge.backends import ONNX_RUNTIME, TENSORRT, TFLITE
from torchedge.quantization import calibrate, describe, minmax, prepare_qat
from torchedge.quantization.bit_widths import with_bits

X = torch.rand(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def reasons(net, scheme=ONNX_RUNTIME):
    return {row.name: row.float_reason for row in describe(prepare_qat(net.eval(), scheme, (X,)))}


class Steps(nn.Module):
    """A layer, and what is done to its result."""

    def __init__(self, *modules, do):
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.step = nn.Sequential(*modules)
        self.do = do

    def forward(self, x):
        return self.do(self.first(x), self.step)


IN_FLOAT = {
    "sin": (Steps(do=lambda x, _: torch.sin(x)), "no integer form of sin is known here"),
    "norm": (
        Steps(nn.GroupNorm(2, 4), do=lambda x, step: step(x)),
        "it normalises by statistics of what it reads",
    ),
    "curve": (
        Steps(nn.GELU(), do=lambda x, step: step(x)),
        "the scheme leaves GELU in float",
    ),
    "a gate that no integer operation waits for": (
        Steps(nn.Hardswish(), do=lambda x, step: step(x)),
        "which is not on an integer grid",
    ),
    "two readers of a layer": (
        Steps(nn.BatchNorm2d(4), do=lambda x, step: step(x) + x),
        r"('first' has 2 readers)",
    ),
    "norm behind a pool": (
        Steps(nn.MaxPool2d(2), nn.BatchNorm2d(4), do=lambda x, step: step(x)),
        "a batch norm is folded into the layer right before it, and here that is MaxPool2d",
    ),
    "concatenation of a float": (
        Steps(do=lambda x, _: torch.cat([torch.sin(x), x], 1)[:, :4].mean((2, 3))),
        "no integer form of sin",
    ),
}


@pytest.mark.parametrize("what", IN_FLOAT)
def test_a_step_in_float_says_why(what):
    net, text = IN_FLOAT[what]
    assert any(text in reason for reason in reasons(net).values())


def test_what_reads_floats_names_them():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            return torch.cat([torch.sin(self.one(x)), x], 1)

    found = reasons(Net(), TFLITE)
    assert found["cat"] == "it reads 'sin', which is not on an integer grid"
    assert found["one"] == ""


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        x = torch.relu(self.one(x))
        x = torch.relu(self.norm(self.two(x)) + x)
        return torch.flatten(nn.functional.max_pool2d(x, 2), 1)


@pytest.mark.parametrize("scheme", [ONNX_RUNTIME, TENSORRT, TFLITE], ids=["onnx", "trt", "tflite"])
def test_a_network_that_is_all_integer_has_no_reason(scheme):
    """TensorRT adds inside of a convolution whose result is no integer by itself."""
    assert set(reasons(Residual(), scheme).values()) == {""}


def test_a_layer_that_was_left_in_float_says_who_did_it_and_so_do_its_readers():
    model = calibrate(prepare_qat(Residual().eval(), ONNX_RUNTIME, (X,)), [X], minmax)
    found = {row.name: row.float_reason for row in describe(with_bits(model, {"two": 32}))}
    assert found["two"] == "it was left in float, by float_layers or with_bits"
    assert found["one"] == ""


def test_a_layer_that_is_switched_off_is_in_float():
    model = prepare_qat(Residual().eval(), ONNX_RUNTIME, (X,))
    model.get_submodule("one").enabled = False
    found = {row.name: row.float_reason for row in describe(model)}
    assert found["one"] == "its quantisation is switched off"
    assert found["relu"] == "it is part of 'one', which is in float"
