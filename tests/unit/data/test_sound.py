import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchedge.data.sound import SAMPLE_RATE, coloured_noise, placed, trimmed, with_noise
from torchedge.errors import DataError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_trimming_takes_the_silence_at_the_ends_and_none_within():
    sound = torch.tensor([0.0, 0.5, 0.0, 0.0, -1.0, 0.0])
    assert trimmed(sound).tolist() == [0.5, 0.0, 0.0, -1.0]


@pytest.mark.parametrize("sound", [torch.zeros(5), torch.zeros(0)])
def test_nothing_is_left_of_silence(sound):
    assert len(trimmed(sound)) == 0


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_a_sound_is_placed_whole_and_a_longer_one_loses_its_end(count, length, seed):
    sound = torch.arange(1.0, count + 1)
    clip = placed(sound, length, seeded(seed))
    assert len(clip) == length
    assert clip[clip != 0].tolist() == sound[:length].tolist()


def test_sounds_are_placed_everywhere():
    generator = seeded()
    begins = {int(placed(torch.ones(2), 5, generator).nonzero()[0]) for _ in range(100)}
    assert begins == {0, 1, 2, 3}


def test_the_word_is_so_many_decibels_louder_than_the_noise_around_it():
    clips, snr_db = torch.zeros(4, SAMPLE_RATE), torch.tensor([0.0, 10.0, 20.0, 30.0])
    powers = torch.tensor([0.01, 0.04, 0.01, 0.0001])
    noise = with_noise(clips, powers, snr_db, seeded()).square().mean(1)
    assert torch.allclose(10 * torch.log10(powers / noise), snr_db, atol=1e-3)


def test_noise_is_added_to_the_word_and_does_not_replace_it():
    clips, powers = torch.full((1, SAMPLE_RATE), 0.5), torch.tensor([0.25])
    mixed = with_noise(clips, powers, torch.tensor([40.0]), seeded())
    # 40 dB below 0.25 is a noise of 0.005 (root mean square) without a mean of its own.
    assert (mixed - clips).square().mean().sqrt() == pytest.approx(0.005, rel=1e-3)


def test_a_clip_that_would_be_too_loud_is_made_softer_as_a_whole():
    clips = torch.full((2, SAMPLE_RATE), 0.9)
    loud, soft = with_noise(
        clips, torch.tensor([0.81, 0.0001]), torch.tensor([0.0, 20.0]), seeded()
    )
    assert loud.abs().max() == pytest.approx(1.0)
    assert soft.abs().max() < 1.0


def test_noise_reaches_from_white_to_brown_and_has_no_hum_below_60_hertz():
    noise = coloured_noise(200, SAMPLE_RATE, seeded())
    powers = torch.fft.rfft(noise).abs().square()
    assert powers[:, :60].sum() < 1e-6 * powers.sum()
    # Power falls with f^-k: from 100 to 1000 Hz by 10·k dB, k between 0 and 2.
    low, high = powers[:, 90:110].mean(1), powers[:, 900:1100].mean(1)
    fall = torch.log10(low / high)
    # The mean of 20 powers of noise is off by a factor of 2 in none of 200 draws.
    assert -0.4 < fall.min() < 0.4
    assert 1.6 < fall.max() < 2.4


def test_as_many_powers_and_ratios_as_clips_are_wanted():
    with pytest.raises(DataError, match=r"2 clips with \(1,\) powers and \(2,\) ratios"):
        with_noise(torch.zeros(2, 10), torch.ones(1), torch.ones(2), seeded())
