"""What a range clips, by counting; and that calibrating tells of it."""

import pytest
import torch
from torch import nn

from torchedge import exporting
from torchedge.errors import CalibrationError
from torchedge.quantization import (
    QuantSpec,
    calibrate,
    entropy,
    minmax,
    mse,
    percentile,
    prepare_qat,
)
from torchedge.quantization.clipping import clipped_share
from torchedge.quantization.functional import affine_params
from torchedge.quantization.histogram import BINS, observe

JETSON = exporting.target("jetson").scheme
ONNX = exporting.target("onnx-cpu").scheme
SPECS = [QuantSpec(), QuantSpec(bits=4), QuantSpec(symmetric=False, signed=False)]


def counted(values, low, high, spec):
    """The share by the integers themselves, of values that are not in the first bin."""
    scale, zero = affine_params(torch.tensor(low), torch.tensor(high), spec)
    integers = torch.round(values.double() / scale.double()) + zero
    others = (values < 0) | (values > values.abs().max() / BINS)
    beyond = (integers < spec.quant_min) | (integers > spec.quant_max)
    return float((beyond & others).sum() / others.sum())


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("ends", [(-0.5, 0.7), (0.0, 2.0), (-3.0, 0.1), (-50.0, 50.0)])
def test_the_clipped_share_is_that_of_the_integers_within_two_bins(spec, ends):
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    histogram = observe(None, values)
    # The ends of the grid fall inside bins, whose values are not counted.
    in_a_bin = histogram.counts.max() / len(values)
    assert clipped_share(histogram, *ends, spec) == pytest.approx(
        counted(values, *ends, spec), abs=2 * float(in_a_bin)
    )


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


@pytest.fixture
def bright():
    """Low contrast far from zero, as pixels that nothing was subtracted from."""
    return 10 + torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def sqnr_db(reference, found):
    noise = (reference - found).double().square().mean()
    return float(10 * torch.log10(reference.double().square().mean() / noise))


@pytest.mark.parametrize("scheme", [JETSON, ONNX], ids=["jetson", "onnx-cpu"])
def test_bright_pictures_survive_the_default_and_the_entropy_rule(net, bright, scheme):
    prepared = prepare_qat(net, scheme, (bright[:1],))
    with torch.no_grad():
        by_default = calibrate(prepared, [bright]).eval()(bright)
        with pytest.warns(UserWarning, match=r"squared error decides .*'quantizers\."):
            by_entropy = calibrate(prepared, [bright], entropy).eval()(bright)
        # 8 bits from 0 to 14: steps of 0.11, so an error of 0.03 on values of 10 and less behind.
        assert min(sqnr_db(net(bright), y) for y in (by_default, by_entropy)) > 30


def test_the_default_rule_is_the_squared_error(net, bright):
    prepared = prepare_qat(net, JETSON, (bright[:1],))
    chosen, default = (calibrate(prepared, [bright], *rule) for rule in ((mse,), ()))
    for name, value in chosen.state_dict().items():
        assert torch.equal(value, default.state_dict()[name])


def test_a_rule_that_clips_is_told_with_tensor_and_share(net, bright):
    prepared = prepare_qat(net, JETSON, (bright[:1],))
    with pytest.warns(UserWarning, match=r"clips more .*'quantizers\.input_1': 100\.0 %"):
        calibrate(prepared, [bright], lambda histogram, spec: (-1.0, 1.0))
    with pytest.warns(UserWarning, match=r"clips more .*'quantizers\.input_1': 17\.3 %"):
        calibrate(prepared, [bright], percentile(60))


def test_rules_that_keep_the_values_say_nothing(net, bright):
    prepared = prepare_qat(net, JETSON, (bright[:1],))
    for rule in (mse, minmax, percentile(99.9)):
        calibrate(prepared, [bright], rule)


@pytest.mark.parametrize("ends", [(float("nan"), 1.0), (0.0, float("inf")), (1.0, -1.0)])
def test_a_rule_that_gives_no_range_is_refused_with_the_quantiser(net, bright, ends):
    prepared = prepare_qat(net, JETSON, (bright[:1],))
    with pytest.raises(CalibrationError, match=r"'quantizers\.input_1': the rule gave"):
        calibrate(prepared, [bright], lambda histogram, spec: ends)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_data_that_is_no_number_is_refused_with_batch_and_sample(net, bright, bad):
    prepared = prepare_qat(net, JETSON, (bright[:1],))
    spoilt = bright.clone()
    spoilt[3, 0, 2, 2] = bad
    text = r"1 of the 2,048 values of calibration batch 2 are NaN or infinite.* at index 3"
    with pytest.raises(CalibrationError, match=text):
        calibrate(prepared, [bright, bright, spoilt])


def test_an_overflow_inside_the_network_names_the_quantiser_it_reaches(bright):
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        net[0].bias.fill_(3e38)
        net[0].weight.fill_(1e38)
    prepared = prepare_qat(net, JETSON, (bright[:1],))
    with pytest.raises(CalibrationError, match=r"batch 0, at 'quantizers\._?\w+': .* NaN or inf"):
        calibrate(prepared, [bright])
