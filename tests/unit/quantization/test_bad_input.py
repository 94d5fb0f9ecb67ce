"""What cannot be quantised is refused, by name and with a way out."""

import pytest
import torch
from torch import nn

from torchedge import exporting
from torchedge.errors import CalibrationError, SchemeError, TraceError
from torchedge.quantization import QuantSpec, calibrate, freeze, minmax, prepare_qat

ONNX = exporting.target("onnx-cpu").scheme


class Inner(nn.Module):
    def forward(self, x):
        if x.mean() > 0:
            return x
        return -x


class Steps(nn.Module):
    def forward(self, x):
        for _ in range(int(x.sum())):
            x = x + x
        return x


@pytest.mark.parametrize(
    ("module", "line"), [(Inner(), "if x.mean() > 0:"), (Steps(), "for _ in range(int(x.sum())):")]
)
def test_a_graph_that_depends_on_data_is_refused_with_module_and_line(module, line):
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sequential(module))
    with pytest.raises(TraceError) as refused:
        prepare_qat(model, ONNX, (torch.ones(1, 1, 2, 2),))
    text = str(refused.value)
    assert f"{type(module).__name__} '1.0'" in text
    assert "test_bad_input.py:" in text
    assert line in text


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory = nn.LSTM(4, 8)

    def forward(self, x):
        return self.memory(x)[0]


class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.pairs = nn.Bilinear(4, 4, 2)

    def forward(self, x):
        return self.pairs(x, x)


class OwnWeights(nn.Module):
    """Traced through, but its weight is read by something that is no layer."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(4, 4)

    def forward(self, x):
        return self.cell(x)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Recurrent(), "'memory' is a LSTM"),
        (Pairs(), "'pairs' is a Bilinear"),
        (OwnWeights(), "'cell'"),
    ],
)
def test_weights_that_would_stay_float_unseen_are_refused_by_name(model, name):
    with pytest.raises(SchemeError, match=name):
        prepare_qat(model, ONNX, (torch.ones(3, 4),))


@pytest.mark.parametrize(
    ("shape", "place"),
    [((2, 3, 16, 16), "'stem.0'"), ((2, 1, 16), ""), ((2, 1, 1, 1), "max_pool2d")],
)
def test_a_calibration_batch_of_another_shape_names_the_layer(net, images, shape, place):
    prepared = prepare_qat(net, ONNX, (images[:1],))
    with pytest.raises(CalibrationError, match="calibration batch 1 of shape") as refused:
        calibrate(prepared, [images, torch.zeros(shape)], minmax)
    assert place in str(refused.value)


@pytest.mark.parametrize("bits", [-8, 0, 1, 9, 16, 32])
def test_widths_outside_two_to_eight_bits_are_refused(bits):
    with pytest.raises(SchemeError, match=f"bits = {bits} is outside 2…8"):
        QuantSpec(bits=bits)


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Sequential(nn.Linear(2, 2))])
def test_a_model_that_was_not_prepared_cannot_be_calibrated(model):
    with pytest.raises(CalibrationError, match="prepare_qat"):
        calibrate(model, [torch.ones(1, 2)], minmax)


def test_freezing_names_the_quantiser_that_saw_nothing(net, images):
    prepared = prepare_qat(net, ONNX, (images[:1],)).train()
    prepared.quantizers.relu.observing = False
    prepared(images)
    with pytest.raises(CalibrationError, match=r"'quantizers\.relu' has seen no data"):
        freeze(prepared)


def test_a_prepared_or_frozen_model_is_not_prepared_again(net, images):
    prepared = calibrate(prepare_qat(net, ONNX, (images[:1],)), [images], minmax)
    for model in (prepared, nn.Sequential(prepared), freeze(prepared)):
        with pytest.raises(SchemeError, match="already"):
            prepare_qat(model, ONNX, (images[:1],))
