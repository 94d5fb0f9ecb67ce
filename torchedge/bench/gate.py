"""What quantisation may cost, measured against the float network and without labels."""

import math
from dataclasses import dataclass
from typing import final

from torchedge.bench.parity import OutputParity, Parity
from torchedge.errors import UsageError
from torchedge.kinds import fields_checked

__all__ = ["GATE", "Gate", "likeness_text"]


@final
@dataclass(frozen=True, kw_only=True)
class Gate:
    """How near to the float network a network must be that is exported.

    Args:
        agreement: Least share of samples with the same largest score in the first output, and of
            equal values in outputs of whole numbers.
        sqnr_db: Least SQNR of every other output, in decibels.
        forced: Whether a network that is further away is exported all the same; the report says so.

    Raises:
        UsageError: The agreement is no share, or the SQNR no number.

    Example:
        >>> import numpy as np
        >>> from torchedge.bench.parity import compare_answers
        >>> one, two = np.eye(4), np.eye(4)[[0, 1, 2, 0]]
        >>> Gate().shortfall(compare_answers([two], [one]))
        'top-1 agreement 75.00% on 4 samples, less than 90%'
    """

    agreement: float = 0.9
    sqnr_db: float = 20.0
    forced: bool = False

    def __post_init__(self) -> None:
        fields_checked(self)
        if not 0 <= self.agreement <= 1:
            raise UsageError(
                f"a least agreement of {self.agreement:g} is no share; give one from 0 to 1, for "
                "example 0.9 for 90 %."
            )
        if math.isnan(self.sqnr_db):
            raise UsageError("a least SQNR of NaN decides nothing; give decibels, for example 20.")

    def shortfall(self, parity: Parity) -> str:
        """What is too far from the float network, in words; empty where nothing is."""
        found = self._of_scores(parity)
        first = 0 if parity.top1_agreement is None else 1
        found += [self._of_output(o, parity.samples) for o in parity.outputs[first:]]
        return "; ".join(text for text in found if text)

    def _of_scores(self, parity: Parity) -> list[str]:
        agreement = parity.top1_agreement
        if agreement is None or agreement >= self.agreement:
            return []
        return [
            f"top-1 agreement {agreement:.2%} on {parity.samples:,} samples, less than "
            f"{100 * self.agreement:.4g}%"
        ]

    def _of_output(self, output: OutputParity, samples: int) -> str:
        which = f" of '{output.name}'" if output.name else ""
        if output.sqnr_db is None:
            if output.identical_share >= self.agreement:
                return ""
            return (
                f"{output.identical_share:.2%} equal values{which} on {samples:,} samples, less "
                f"than {100 * self.agreement:.4g}%"
            )
        if output.sqnr_db >= self.sqnr_db:
            return ""
        return (
            f"SQNR {output.sqnr_db:.1f} dB{which} on {samples:,} samples, less than "
            f"{self.sqnr_db:.4g} dB"
        )


GATE = Gate()


def likeness_text(parity: Parity) -> str:
    """How near answers are to those of the float network, in a few words.

    Example:
        >>> import numpy as np
        >>> from torchedge.bench.parity import compare_answers
        >>> likeness_text(compare_answers([np.eye(4)], [np.eye(4)]))
        '100.00% top-1'
    """
    first = 0 if parity.top1_agreement is None else 1
    words = [] if parity.top1_agreement is None else [f"{parity.top1_agreement:.2%} top-1"]
    others = parity.outputs[first:]
    ratios = [output.sqnr_db for output in others if output.sqnr_db is not None]
    shares = [output.identical_share for output in others if output.sqnr_db is None]
    if ratios:
        words.append("equal" if min(ratios) == math.inf else f"{min(ratios):.1f} dB")
    if shares:
        words.append(f"{min(shares):.2%} equal")
    return ", ".join(words)
