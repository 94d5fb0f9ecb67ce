"""What a graph answers to a model's samples, where PyTorch's answers are another network's."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from torchedge.bench.parity import compare
from torchedge.exporting.samples import Samples

if TYPE_CHECKING:
    import onnx

__all__ = ["agreement_text", "with_answers_of"]


def with_answers_of(model: "onnx.ModelProto", samples: Samples, batch_size: int) -> Samples:
    """The samples, to be compared with what ONNX Runtime computes of a graph.

    Args:
        model: Float, or with Q/DQ.
        samples: Their inputs are run.
        batch_size: Of the graph.

    Raises:
        ArtifactError: ONNX Runtime cannot read the graph.
    """
    from torchedge_onnx.session import open_observed

    names = [output.name for output in model.graph.output]
    session = open_observed(model, names, as_deployed=True)
    answers = [session(*inputs) for inputs in samples.batches(batch_size)]
    return replace(samples, expected=tuple(np.concatenate(c) for c in zip(*answers, strict=True)))


def agreement_text(answered: Samples, before: Samples) -> str:
    """How far answers are from those before, in words.

    Example:
        >>> scores = Samples(inputs=(), expected=(np.eye(4),))
        >>> agreement_text(scores, scores)
        'top-1 agreement 100.00% on 4 samples'
    """
    found, wanted = (Samples(inputs=s.expected, expected=()).batches(1) for s in (answered, before))
    parity = compare(lambda *_: next(found), lambda *x: x, wanted)
    if parity.top1_agreement is None:
        return f"cosine similarity {parity.cosine_similarity:.5f} on {parity.samples:,} samples"
    return f"top-1 agreement {parity.top1_agreement:.2%} on {parity.samples:,} samples"
