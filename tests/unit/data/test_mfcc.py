import sys

import numpy as np
import pytest
import torch

from torchedge.data.mfcc import COEFFICIENTS, FRAMES, Mfcc
from torchedge.errors import DataError, MissingDependencyError


def by_definition(clip):
    """Davis & Mermelstein's coefficients in numpy, from the definition, less their means."""
    from scipy.fft import dct

    window, hop, points = 480, 320, 512
    # torch.stft pads a shorter window on both sides to the points of the transform.
    shape = np.pad(
        0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window), (points - window) // 2
    )
    begins = range(0, len(clip) - points + 1, hop)
    powers = [np.abs(np.fft.rfft(clip[b : b + points] * shape)) ** 2 for b in begins]
    hertz = np.linspace(0, 8000, points // 2 + 1)
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), COEFFICIENTS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    bands = np.maximum(0, np.minimum(rising, falling))
    decibels = 10 * np.log10(np.maximum(1e-10, np.array(powers) @ bands.T))
    found = dct(np.maximum(decibels, decibels.max() - 80), norm="ortho").T
    return found - found.mean(1, keepdims=True)


def test_coefficients_are_those_of_the_definition():
    seconds = np.arange(16000) / 16000
    noise = np.random.default_rng(0).standard_normal(16000)
    clip = 0.5 * np.sin(2 * np.pi * 440 * seconds * (1 + seconds)) + 0.01 * noise
    found = Mfcc()(torch.tensor(clip, dtype=torch.float32)[None])[0].numpy()
    wanted = by_definition(clip)
    assert found.shape == wanted.shape == (COEFFICIENTS, FRAMES)
    # Float32 has 24 bits; decibels of up to 100 in sums over 40 bands.
    assert np.abs(found - wanted).max() <= 100 * 40 * 2**-20


def test_a_clip_has_the_same_coefficients_beside_a_louder_one():
    clips = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    clips[0] *= 1e-5  # 100 dB below the other, and torchaudio ends at 80
    together, alone = Mfcc()(clips), Mfcc()(clips[:1])
    assert torch.allclose(together[0], alone[0], atol=1e-3)


def test_how_loud_a_clip_is_changes_nothing_but_rounding():
    clip = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    quieter = Mfcc()(0.1 * clip)
    assert torch.allclose(Mfcc()(clip), quieter, atol=1e-2)
    assert quieter.mean(2).abs().max() < 1e-3


@pytest.mark.parametrize("shape", [(16000,), (1, 15999), (1, 1, 16000)])
def test_clips_of_another_length_are_refused(shape):
    with pytest.raises(DataError, match=r"give \(batch, 16000\)"):
        Mfcc()(torch.zeros(shape))


def test_without_torchaudio_the_pip_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio.transforms", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'torchedge\[recipes\]'"):
        Mfcc()
