"""What a file with Q/DQ answers, held against the float file that it was made of."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, final

from torchedge.bench.session import Array

if TYPE_CHECKING:
    import onnx

    from torchedge.bench.parity import Parity

__all__ = ["LEAST_LIKE_FLOAT", "KeptBatches", "explicit_parity", "parity_lines"]

LEAST_LIKE_FLOAT = 0.99
_MOST_BYTES = 64 * 2**20
_MOST_BATCHES = 256


@final
class KeptBatches:
    """Passes batches on, and keeps the first of them, some 64 MiB, for a comparison."""

    def __init__(self, batches: Iterable[tuple[Array, ...]]) -> None:
        self.kept: list[tuple[Array, ...]] = []
        self._batches = batches

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        held = 0
        for batch in self._batches:
            held += sum(array.nbytes for array in batch)
            if not self.kept or (held <= _MOST_BYTES and len(self.kept) < _MOST_BATCHES):
                self.kept.append(batch)
            yield batch


def explicit_parity(
    model: Path, plain: "onnx.ModelProto", quantized: Path, batches: list[tuple[Array, ...]]
) -> "Parity":
    """How far Q/DQ is from the file as it came, after the rewritten float graph was no way off.

    Args:
        model: The float file.
        plain: The rewritten graph without pairs.
        quantized: The file with Q/DQ.
        batches: What they are run on.

    Raises:
        ArtifactError: ONNX Runtime cannot run one of them.
        ExportError: The rewritten graph answers otherwise than the file.
        VerificationError: An answer is not finite.
    """
    from torchedge.bench.parity import compare
    from torchedge_onnx.same_answers import file_answers, require_same_answers
    from torchedge_onnx.session import open_model, open_observed

    answers = file_answers(model, batches)
    outputs = [value.name for value in plain.graph.output]
    require_same_answers(model, open_observed(plain, outputs), batches, answers)
    told = iter(answers)
    return compare(open_model(quantized), lambda *_: next(told), batches)


def parity_lines(parity: "Parity", quantized: str, model: str) -> list[str]:
    """One line with the figures, and a warning where they are low."""
    agreement = parity.top1_agreement
    text = f"{quantized} against {model} on {parity.samples:,} samples: cosine similarity "
    text += f"{parity.cosine_similarity:.4f}"
    if agreement is not None:
        text += f", the same largest score on {agreement:.2%}"
    low = min(parity.cosine_similarity, 1.0 if agreement is None else agreement) < LEAST_LIKE_FLOAT
    way = "try another --method, more samples, or samples like those of its training"
    return [text, *([f"warning: below {LEAST_LIKE_FLOAT}: {way}"] if low else [])]
