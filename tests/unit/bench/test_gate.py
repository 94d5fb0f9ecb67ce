"""What quantisation may cost, in figures worked out by hand."""

import math

import numpy as np
import pytest

from torchedge.bench.gate import Gate, likeness_text
from torchedge.bench.parity import compare_answers
from torchedge.errors import UsageError

SCORES = np.eye(10)


def wrong(count):
    """Ten rows of scores, of which so many name another class."""
    found = SCORES.copy()
    found[:count] = np.roll(found[:count], 1, axis=1)
    return found


def test_nine_of_ten_pass_and_eight_do_not():
    assert Gate().shortfall(compare_answers([wrong(1)], [SCORES])) == ""
    assert Gate().shortfall(compare_answers([wrong(2)], [SCORES])) == (
        "top-1 agreement 80.00% on 10 samples, less than 90%"
    )
    assert Gate(agreement=0.8).shortfall(compare_answers([wrong(2)], [SCORES])) == ""


def test_other_outputs_are_judged_by_decibels():
    # Noise of a tenth of the signal is 20 dB, of a ninth 19.1 dB.
    maps = np.ones((4, 2, 3))
    assert Gate().shortfall(compare_answers([maps * 0.9], [maps])) == ""
    assert Gate().shortfall(compare_answers([maps * (1 - 1 / 9)], [maps])) == (
        "SQNR 19.1 dB on 4 samples, less than 20 dB"
    )
    assert Gate(sqnr_db=19).shortfall(compare_answers([maps * (1 - 1 / 9)], [maps])) == ""


def test_every_output_counts_and_is_named():
    maps = np.ones((10, 2, 3))
    parity = compare_answers(
        [SCORES, maps * 0.5, maps], [SCORES, maps, maps], names=("s", "m", "n")
    )
    assert Gate().shortfall(parity) == "SQNR 6.0 dB of 'm' on 10 samples, less than 20 dB"
    assert likeness_text(parity) == "100.00% top-1, 6.0 dB"


def test_whole_numbers_are_judged_by_how_many_are_equal():
    classes = np.arange(20).reshape(10, 2, 1)
    found = classes.copy()
    found[:3, 0] += 100
    parity = compare_answers([found], [classes], names=["classes"])
    assert "85.00% equal values of 'classes'" in Gate().shortfall(parity)
    assert likeness_text(parity) == "85.00% equal"


def test_the_ratio_in_decibels_is_that_of_the_powers():
    generator = np.random.default_rng(0)
    wanted, noise = generator.normal(size=(8, 5, 3)), generator.normal(size=(8, 5, 3)) / 7
    by_hand = 20 * math.log10(np.linalg.norm(wanted) / np.linalg.norm(noise))
    (output,) = compare_answers([wanted + noise], [wanted]).outputs
    assert output.sqnr_db == pytest.approx(by_hand, rel=1e-9)
    assert compare_answers([wanted], [wanted]).outputs[0].sqnr_db == math.inf
    assert compare_answers([noise], [0 * wanted]).outputs[0].sqnr_db == -math.inf


@pytest.mark.parametrize("limits", [{"agreement": 90}, {"agreement": -0.1}, {"sqnr_db": math.nan}])
def test_limits_that_decide_nothing_are_refused(limits):
    with pytest.raises(UsageError, match="give"):
        Gate(**limits)
