"""Mel-frequency cepstral coefficients: what a keyword spotter hears."""

from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from torchedge.data.sound import SAMPLE_RATE
from torchedge.errors import DataError, MissingDependencyError

__all__ = ["COEFFICIENTS", "FRAMES", "Mfcc", "coefficients"]

COEFFICIENTS, FRAMES = 40, 49
# 30 ms windows every 20 ms, no padding at the ends: what a device can compute while it listens.
_WINDOW, _HOP, _FFT = 480, 320, 512
_PIP_LINE = "pip install 'torchedge[recipes]'"


@final
class Mfcc(nn.Module):
    """40 coefficients in 49 frames for each second of sound (Davis & Mermelstein 1980).

    Powers of 512-point spectra of 30 ms windows, 20 ms apart, in 40 mel bands, in decibels, and
    their discrete cosine transform, less each coefficient's mean over the second (cepstral mean
    normalisation, Atal 1974): what colours all frames alike, a microphone or a room, is gone.

    Raises:
        MissingDependencyError: torchaudio is not installed, or does not fit the installed torch.

    Example:
        >>> Mfcc()(torch.zeros(2, 16000)).shape
        torch.Size([2, 40, 49])
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from torchaudio.transforms import MFCC
        except (ImportError, OSError) as error:
            raise MissingDependencyError(
                f"the coefficients need the package torchaudio ({error}); type: {_PIP_LINE}"
            ) from error
        self.transform = MFCC(
            SAMPLE_RATE,
            n_mfcc=COEFFICIENTS,
            melkwargs={
                "n_fft": _FFT,
                "win_length": _WINDOW,
                "hop_length": _HOP,
                "n_mels": COEFFICIENTS,
                "center": False,
            },
        )

    @override
    def forward(self, clips: Tensor) -> Tensor:
        """Coefficients of shape ``(batch, 40, 49)`` for clips of shape ``(batch, 16000)``.

        Raises:
            DataError: The clips are not a second long.
        """
        if clips.ndim != 2 or clips.shape[1] != SAMPLE_RATE:
            raise DataError(
                f"clips have shape {tuple(clips.shape)}; give (batch, {SAMPLE_RATE}), a second of "
                f"{SAMPLE_RATE} Hz each."
            )
        # As channels of their own: torchaudio ends at 80 dB below the loudest of all channels.
        found: Tensor = self.transform(clips[:, None])[:, 0]
        return found - found.mean(2, keepdim=True)


@torch.no_grad()
def coefficients(clips: Tensor) -> Tensor:
    """What :class:`Mfcc` gives, for clips that nobody trains."""
    found: Tensor = Mfcc()(clips)
    return found
