"""The coefficients of a keyword spotter in C++, for the device."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from torchedge.bench.session import Array
from torchedge.data.mfcc import COEFFICIENTS, FRAMES, Mfcc
from torchedge.data.sound import SAMPLE_RATE
from torchedge.exporting.pipeline import staged_folder
from torchedge.exporting.templates import rendered

__all__ = ["write_mfcc"]

_FILES = ("mfcc.h", "mfcc.cpp")
_PER_LINE = 8


def write_mfcc(folder: Path, *, overwrite: bool = False) -> None:
    """Write ``mfcc.h`` and ``mfcc.cpp``, which need a C++11 compiler and ``log10f``.

    Window, bands and cosines are torchaudio's own numbers, in float32.

    Args:
        folder: New folder.
        overwrite: Replace it if it exists.

    Raises:
        MissingDependencyError: torchaudio is not installed.
        OutputExistsError: The folder exists.
        StorageError: The disk refuses the files.
    """
    values = _values()
    with staged_folder(folder, overwrite=overwrite) as staging:
        for name in _FILES:
            text = rendered("torchedge.data", f"{name}.j2", values)
            (staging / name).write_text(text, encoding="utf-8")


def _values() -> dict[str, Any]:
    transform = Mfcc().transform
    spectrogram = transform.MelSpectrogram.spectrogram
    points, window = int(spectrogram.n_fft), spectrogram.window.numpy()
    before = (points - len(window)) // 2
    angles = 2 * np.pi * np.arange(points // 2) / points
    bands, weights = _bands(transform.MelSpectrogram.mel_scale.fb.numpy())
    tables = {
        "kWindow[kPoints]": np.pad(window, (before, points - len(window) - before)),
        "kCosine[kPoints / 2]": np.cos(angles),
        "kSine[kPoints / 2]": np.sin(angles),
        "kCosines[kMfccCoefficients * kMfccCoefficients]": transform.dct_mat.numpy().ravel(),
        "kWeights[]": weights,
    }
    return {
        "rate": SAMPLE_RATE,
        "samples": SAMPLE_RATE,
        "frames": FRAMES,
        "coefficients": COEFFICIENTS,
        "hop": int(spectrogram.hop_length),
        "points": points,
        "bits": points.bit_length() - 1,
        "range_db": int(transform.amplitude_to_DB.top_db),
        "work_bytes": 2 * 4 * points,
        "tables": [(name, list(_rows(table))) for name, table in tables.items()],
        "bands": bands,
    }


def _bands(filters: Array) -> tuple[list[dict[str, int]], Array]:
    """Where the weights of each band begin and end, and all of them in a row.

    Args:
        filters: Of shape ``(bins, bands)``; a band's weights are next to each other.
    """
    bands, weights = [], [np.zeros(0)]
    for band in filters.T:
        used = np.flatnonzero(band)
        first, count = (int(used[0]), int(used[-1] - used[0] + 1)) if len(used) else (0, 0)
        bands.append({"first": first, "count": count, "weights": sum(map(len, weights))})
        weights.append(band[first : first + count])
    return bands, np.concatenate(weights)


def _rows(table: Array) -> Iterator[str]:
    numbers = [f"{number:.9g}" for number in table.astype(np.float32)]
    floats = [f"{n}f" if set(n) & set(".e") else f"{n}.0f" for n in numbers]
    for begin in range(0, len(floats), _PER_LINE):
        yield ", ".join(floats[begin : begin + _PER_LINE])
