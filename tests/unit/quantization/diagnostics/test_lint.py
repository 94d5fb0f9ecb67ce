import pytest
import torch
from torch import nn

from torchedge.errors import CalibrationError
from torchedge.quantization import fold_batchnorms
from torchedge.quantization.diagnostics import lint_calibration
from torchedge.quantization.diagnostics.samples import SampleSet, near_copies


@pytest.fixture
def good():
    return torch.rand(600, 3, 8, 8)


def found(*arguments, **options):
    return {finding.check: finding for finding in lint_calibration(*arguments, **options)}


def test_a_good_set_has_no_findings(good):
    labels = torch.arange(600) % 10
    findings = lint_calibration(
        good.split(64), labels=labels, expected_range=(0.0, 1.0), near_duplicates=True
    )
    assert findings == ()


@pytest.mark.parametrize(
    ("number", "severity", "words"),
    [(99, "warning", "99"), (100, "note", "NNCF"), (300, "note", "TensorRT")],
)
def test_too_few_samples_are_counted(good, number, severity, words):
    finding = found([good[:number]])["number of samples"]
    assert finding.severity == severity
    assert words in finding.fact
    assert ("NNCF" in finding.fact) == (number < 300)


def test_copies_are_counted_over_batches(good):
    finding = found([good[:500], good[:100], good[:1]])["repeated samples"]
    assert "101 of 601 samples (16.8%)" in finding.fact
    assert "3 times" in finding.fact
    assert finding.severity == "warning"
    assert found([good, good[:3]])["repeated samples"].severity == "note"


def test_nearly_equal_samples_are_found_only_where_asked(good):
    smooth = torch.nn.functional.interpolate(good, 16, mode="bilinear")
    batches = [smooth, smooth[7:9] + 1e-3 * torch.rand(2, 3, 16, 16)]
    assert "nearly equal samples" not in found(batches)
    finding = found(batches, near_duplicates=True)["nearly equal samples"]
    assert "2 pairs" in finding.fact
    assert "(7, 600)" in finding.fact


@pytest.mark.parametrize("shape", [(9,), (5, 7), (2, 6, 6), (2, 3, 4, 4)])
def test_pairs_are_those_of_all_pairs_of_thumbnails(shape):
    x = torch.rand(20, *shape)
    x[11] = 0.999 * x[3]
    seen = SampleSet(keep_thumbnails=True)
    seen.add(x[:15])
    seen.add(x[15:])
    assert (3, 11) in near_copies(seen)
    assert all(a < b for a, b in near_copies(seen))


def test_a_common_brightness_does_not_make_samples_alike(good):
    assert "nearly equal samples" not in found([10 + 0.1 * good], near_duplicates=True)


def test_bytes_are_told_from_normalised_values(good):
    raw = (255 * good).round()
    finding = found([raw])["range"]
    assert finding.severity == "warning"
    assert "0 to 255" in finding.fact
    assert "range" not in found([raw / 255])
    assert "range" not in found([(good > 0.5).float()])
    assert "range" not in found([raw], expected_range=(0.0, 255.0))
    assert found([raw], expected_range=(0.0, 1.0))["range"].severity == "error"


def test_nan_is_found_with_the_sample(good):
    good[123, 0, 0, 0] = float("nan")
    good[401, 0, 0, 0] = float("inf")
    finding = found(good.split(100))["NaN and infinity"]
    assert finding.severity == "error"
    assert "2 samples" in finding.fact
    assert "123, 401" in finding.fact


def test_constant_samples_and_channels_are_found(good):
    good[5] = 0.25
    good[:, 2] = 0.0
    findings = found(good.split(100))
    assert "1 channels have one value in all samples: 2" in findings["constant channels"].fact
    assert "constant samples" not in findings
    good[5] = 0.0
    assert "1 samples have the same value everywhere: 5" in found([good])["constant samples"].fact


def test_features_of_a_table_may_be_constant(good):
    flat = good.flatten(1)
    flat[:, 3] = 0
    assert "constant channels" not in found([flat])


def test_another_shape_names_the_batch(good):
    batches = [good, good[:4, :, :4, :4], good[:9]]
    finding = found(batches)["shapes"]
    assert finding.severity == "error"
    assert "samples of batch 1 have the shape (3, 4, 4), those of batch 0 (3, 8, 8)" in finding.fact


def test_classes_are_counted(good):
    labels = torch.zeros(600, dtype=torch.long)
    labels[:20], labels[20:40] = 1, 3
    findings = found([good], labels=labels, classes=6)
    assert "3 of 6 classes have no sample: 2, 4, 5" in findings["missing classes"].fact
    assert "class 0 has 560 samples, 28 times" in findings["balance of classes"].fact
    assert "1 of 4 classes" in found([good], labels=labels)["missing classes"].fact
    with pytest.raises(CalibrationError, match="3 labels for 600 samples"):
        lint_calibration([good], labels=labels[:3])


def test_a_forgotten_normalisation_shows_at_the_first_batch_norm(net, model, images):
    for network in (net, model):
        assert "normalisation" not in found([images], model=network)
        for wrong in (255 * images, (images - 0.5) / 0.1, images / 255):
            finding = found([wrong], model=network)["normalisation"]
            assert finding.severity == "error"
        assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    "wrong",
    [lambda x: x + 1, lambda x: 0.5 + 3 * (x - 0.5), lambda x: 0.5 + (x - 0.5) / 3],
    ids=["shifted", "stretched", "squeezed"],
)
def test_a_shift_and_a_factor_are_each_enough(images, wrong):
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4, momentum=None))
    net.train()(images)
    assert "normalisation" not in found([images], model=net)
    assert "normalisation" in found([wrong(images)], model=net)


def test_the_deviation_is_that_of_the_layers_own_output(net, images):
    finding = found([3 * images], model=net)["normalisation"]
    with torch.no_grad():
        y = net.stem[0](3 * images).movedim(1, 0).flatten(1)
    sigma = (net.stem[1].running_var + net.stem[1].eps).sqrt()
    ratio = (y.std(1) / sigma).median()
    assert f"{float(ratio):.2g} times" in finding.fact


def test_bytes_are_right_where_the_batch_norm_says_so(images):
    raw = (255 * images).round()
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, momentum=None))
    net.train()(raw)
    assert "range" in found([raw])
    assert not {"range", "normalisation"} & set(found([raw], model=net))


def test_models_without_statistics_say_nothing(model, images):
    for network in (
        fold_batchnorms(model),
        nn.Conv2d(1, 2, 3),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)),
    ):
        assert "normalisation" not in found([255 * images], model=network)


def test_errors_come_first_and_read_as_sentences(good):
    good[0, 0, 0, 0] = float("nan")
    findings = lint_calibration([good[:50], good[1:50]])
    assert [finding.severity for finding in findings] == ["error", "warning", "warning"]
    assert str(findings[0]).startswith("error: 1 samples hold NaN or infinity: 0. Leave them out")


def test_what_cannot_be_looked_at_is_refused(model, good):
    with pytest.raises(CalibrationError, match="at least one batch"):
        lint_calibration([])
    with pytest.raises(CalibrationError, match=r"batch 0 of shape \(600, 3, 8, 8\) does not fit"):
        lint_calibration([good], model=model)
