"""What happens to a waveform before a network hears it: cut, moved, mixed with noise."""

import torch
from torch import Generator, Tensor

from torchedge.errors import DataError

__all__ = ["SAMPLE_RATE", "coloured_noise", "placed", "trimmed", "with_noise"]

SAMPLE_RATE = 16_000
_AUDIBLE = 0.01  # of the loudest sample
_LEAST_POWER = 1e-12


def trimmed(waveform: Tensor) -> Tensor:
    """The part between the first and the last audible sample: above 1 % of the loudest.

    Args:
        waveform: One sound, of shape ``(samples,)``.

    Example:
        >>> trimmed(torch.tensor([0.0, 0.001, 0.5, 0.0, -1.0, 0.005])).tolist()
        [0.5, 0.0, -1.0]
    """
    sizes = waveform.abs()
    loud = (sizes > _AUDIBLE * sizes.max()).nonzero() if len(waveform) else sizes
    return waveform[int(loud[0]) : int(loud[-1]) + 1] if len(loud) else waveform[:0]


def placed(sound: Tensor, length: int, generator: Generator) -> Tensor:
    """The sound at a random place within silence of ``length`` samples; a longer one loses its end.

    Example:
        >>> placed(torch.ones(3), 5, torch.Generator().manual_seed(0)).sum()
        tensor(3.)
    """
    sound = sound[:length]
    begin = int(torch.randint(length - len(sound) + 1, (), generator=generator))
    clip = torch.zeros(length)
    clip[begin : begin + len(sound)] = sound
    return clip


def coloured_noise(count: int, length: int, generator: Generator) -> Tensor:
    """Noise of power 1 whose power falls with ``1/f^k``: k is drawn from 0 (white) to 2 (brown).

    Frequencies below 60 Hz are left out, as a small microphone would.

    Returns:
        Of shape ``(count, length)``.
    """
    white = torch.fft.rfft(torch.randn(count, length, generator=generator))
    hertz = torch.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    fall = 2 * torch.rand(count, 1, generator=generator)
    shape = torch.where(hertz < 60, 0.0, hertz.clamp(min=60) ** (-fall / 2))
    noise: Tensor = torch.fft.irfft(white * shape, n=length)
    return noise / noise.square().mean(1, keepdim=True).sqrt()


def with_noise(clips: Tensor, powers: Tensor, snr_db: Tensor, generator: Generator) -> Tensor:
    """Clips in noise, each as loud as the ratio of powers says, and none beyond ±1.

    ``SNR = 10 · log10(power of the sound / power of the noise)``.

    Args:
        clips: Of shape ``(count, samples)``.
        powers: Mean square of each clip's sound alone, without the silence around it.
        snr_db: Ratio of each clip in decibels.
        generator: Draws the noise.

    Raises:
        DataError: There is not one power and one ratio for each clip.
    """
    count, length = clips.shape
    if powers.shape != (count,) or snr_db.shape != (count,):
        raise DataError(
            f"{count} clips with {tuple(powers.shape)} powers and {tuple(snr_db.shape)} ratios; "
            "give one of each for each clip."
        )
    noise_power = powers.clamp(min=_LEAST_POWER) * 10 ** (-snr_db / 10)
    noise = coloured_noise(count, length, generator) * noise_power.sqrt()[:, None]
    mixed = clips + noise
    return mixed / mixed.abs().amax(1, keepdim=True).clamp(min=1.0)
