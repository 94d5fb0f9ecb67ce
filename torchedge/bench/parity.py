"""Whether an artefact computes what the PyTorch model computes, sample by sample."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from torchedge.bench.session import Array, Session
from torchedge.errors import VerificationError

__all__ = ["OutputParity", "Parity", "compare", "compare_answers", "top1_accuracy"]

_WHOLE = "biu"  # kinds of dtype: bool, int, unsigned


@final
@dataclass(frozen=True, kw_only=True)
class OutputParity:
    """How one output differs over all samples.

    Args:
        max_abs_error: Largest absolute difference.
        relative_to_range: That, as a share of the reference's range over all samples.
        identical_share: Share of values that are equal (within 1 % of a step where there is one).
        max_lsb: Largest difference in steps of the output's scale; ``None`` for a float output.
        sqnr_db: Power of the reference by power of the difference, in decibels; infinite where
            there is none, ``None`` for an output of whole numbers, such as classes.
        name: Of the output; empty where it is not known.
    """

    max_abs_error: float
    relative_to_range: float
    identical_share: float
    max_lsb: float | None
    sqnr_db: float | None = None
    name: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Parity:
    """How a session differs from the reference over all samples.

    Args:
        max_abs_error: Largest absolute difference of any output.
        cosine_similarity: Of all outputs taken as one vector.
        top1_agreement: Share of samples with the same largest value in the first output; ``None``
            where that output is not a row of scores for each sample.
        samples: How many samples were compared.
        outputs: The same, output by output.
    """

    max_abs_error: float
    cosine_similarity: float
    top1_agreement: float | None
    samples: int = 0
    outputs: tuple[OutputParity, ...] = ()


def compare(
    session: Session,
    reference: Callable[..., tuple[Array, ...]],
    samples: Iterable[tuple[Array, ...]],
    *,
    scales: Sequence[float | None] = (),
    names: Sequence[str] = (),
) -> Parity:
    """Run both on every sample and measure how they differ.

    Args:
        session: The artefact.
        reference: What it should compute.
        samples: Sets of inputs.
        scales: Step of each output's integer grid, ``None`` for a float output.
        names: Of the outputs.

    Raises:
        VerificationError: There is no sample, the shapes differ, or an output is NaN.

    Example:
        >>> half = lambda x: (x / 2,)
        >>> compare(half, half, [(np.ones((1, 3)),)]).top1_agreement
        1.0
    """
    pairs = [(session(*inputs), reference(*inputs)) for inputs in samples]
    if not pairs:
        raise VerificationError("there are no samples to compare with; save some with the model.")
    found = [
        np.concatenate([np.atleast_1d(p[0][i]) for p in pairs]) for i in range(len(pairs[0][0]))
    ]
    wanted = [
        np.concatenate([np.atleast_1d(p[1][i]) for p in pairs]) for i in range(len(pairs[0][1]))
    ]
    return compare_answers(found, wanted, scales=scales, names=names)


def compare_answers(
    found: Sequence[Array],
    wanted: Sequence[Array],
    *,
    scales: Sequence[float | None] = (),
    names: Sequence[str] = (),
) -> Parity:
    """Measure how answers to the same samples differ.

    Args:
        found: One array for each output.
        wanted: What they should be.
        scales: Step of each output's integer grid, ``None`` for a float output.
        names: Of the outputs.

    Raises:
        VerificationError: The shapes differ, or an output is NaN.

    Example:
        >>> compare_answers([np.array([[3.0, 4.0]])], [np.array([[3.3, 4.4]])]).outputs[0].sqnr_db
        20.827...
    """
    _require_comparable(found, wanted)
    steps = [*scales, *[None] * len(wanted)][: len(wanted)]
    called = [*names, *[""] * len(wanted)][: len(wanted)]
    columns = zip(found, wanted, steps, called, strict=True)
    outputs = tuple(_output_parity(*column) for column in columns)
    return Parity(
        max_abs_error=max(output.max_abs_error for output in outputs),
        cosine_similarity=_cosine(found, wanted),
        top1_agreement=_top1_agreement(found[0], wanted[0]),
        samples=len(wanted[0]),
        outputs=outputs,
    )


def _require_comparable(found: Sequence[Array], wanted: Sequence[Array]) -> None:
    shapes = [a.shape for a in found], [a.shape for a in wanted]
    if shapes[0] != shapes[1]:
        raise VerificationError(f"the outputs have shapes {shapes[0]}, the reference {shapes[1]}.")
    unusable = sum(int(np.count_nonzero(~np.isfinite(a))) for a in (*found, *wanted))
    if unusable:
        raise VerificationError(f"{unusable:,} output values are NaN or infinite.")


def _output_parity(found: Array, wanted: Array, scale: float | None, name: str) -> OutputParity:
    error = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    spread = float(np.ptp(wanted.astype(np.float64))) or 1.0
    tolerance = 0.01 * scale if scale is not None else 0.0
    return OutputParity(
        max_abs_error=float(error.max()),
        relative_to_range=float(error.max()) / spread,
        identical_share=float(np.mean(error <= tolerance)),
        max_lsb=None if scale is None else float(error.max()) / scale,
        sqnr_db=None if wanted.dtype.kind in _WHOLE else _sqnr_db(wanted, error),
        name=name,
    )


def _sqnr_db(wanted: Array, error: Array) -> float:
    signal, noise = (float(np.square(x.astype(np.float64)).sum()) for x in (wanted, error))
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _cosine(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    a = np.concatenate([x.ravel().astype(np.float64) for x in found])
    b = np.concatenate([x.ravel().astype(np.float64) for x in wanted])
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else float(np.array_equal(a, b))


def _top1_agreement(found: Array, wanted: Array) -> float | None:
    if wanted.ndim != 2 or wanted.shape[1] < 2:
        return None
    return float(np.mean(found.argmax(1) == wanted.argmax(1)))


def top1_accuracy(scores: Array, labels: Array) -> float:
    """Share of rows whose largest score is at the label's index; the first of equal scores counts.

    Example:
        >>> top1_accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
        0.5
    """
    return float(np.mean(scores.argmax(1) == labels))
