"""Whose float answers a saved model is held against, and when that is not known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from torchedge.bench.gate import GATE, likeness_text
from torchedge.bench.parity import Parity, compare_answers
from torchedge.bench.session import Array
from torchedge.errors import ExportError, UsageError, VerificationError
from torchedge.quantization.modules import without_quantization
from torchedge.quantization.origin import Origin, origin_of
from torchedge.saving.reference import answers_in_batches

__all__ = ["FloatAnswers", "Question", "float_answers"]

# With its quantisers off, a model whose weights were never touched differs in rounding only.
_SAME_DB = 50.0
_AKIN_DB = 3.0  # networks without a common past differ by more than they are alike: below 0 dB
_LOOKED_AT = 64
_WAY_OUT = "give the trained one as CompressedModel(float_module=…)"


@final
@dataclass(frozen=True, kw_only=True)
class Question:
    """What a network is asked, and what the model that is saved answers.

    Args:
        samples: One tensor for each input.
        batch_size: That the model is exported with.
        answers: Of the model that is saved, by name of the output.
    """

    samples: tuple[Tensor, ...]
    batch_size: int
    answers: Mapping[str, Array]


@final
@dataclass(frozen=True, kw_only=True)
class FloatAnswers:
    """What the float network answered, or why that is not known.

    Args:
        arrays: One for each output; empty where it is not known.
        missing: Why it is not.
    """

    arrays: tuple[Array, ...] = ()
    missing: str = ""


def float_answers(
    model: nn.Module, float_module: nn.Module | None, question: Question
) -> FloatAnswers:
    """The answers of the float network that the user gave, or of the one that was prepared.

    ``prepare_qat`` remembers its network, and that may have been a fresh one: whoever trains with
    integers from the start, or loads a checkpoint into a prepared model, has no float network. So
    one that was not given is taken only where it is known to be meant: it was quantised without
    training, the model still computes it with its quantisers off, or the model passes the gate
    against it and tells samples apart as it does.

    Args:
        model: The one that is saved, before it was frozen.
        float_module: What the user gave.
        question: Samples, and the saved model's answers to them.

    Raises:
        UsageError: The float network that was given returns something else than the model.
    """
    if float_module is not None:
        return FloatAnswers(arrays=_asked(float_module, question, "float_module"))
    origin = origin_of(model)
    if origin is None or origin.float_network is None:
        return FloatAnswers(missing=f"not given; {_WAY_OUT}")
    try:
        arrays = _asked(origin.float_network, question, "the network given to prepare_qat")
        parity = compare_answers(tuple(question.answers.values()), arrays)
    except (UsageError, VerificationError) as error:
        return FloatAnswers(missing=f"not given, and {error}")
    if _is_meant(origin, model, question, arrays, parity):
        return FloatAnswers(arrays=arrays)
    return FloatAnswers(missing=_unknown_text(parity))


def _is_meant(
    origin: Origin, model: nn.Module, question: Question, arrays: tuple[Array, ...], parity: Parity
) -> bool:
    if origin.is_trained or _is_akin(tuple(question.answers.values()), arrays, parity):
        return True
    count = min(_LOOKED_AT, len(question.samples[0])) // question.batch_size or 1
    kept = count * question.batch_size
    samples = tuple(tensor[:kept] for tensor in question.samples)
    found = answers_in_batches(without_quantization(model).eval(), samples, question.batch_size)
    return _least_db(tuple(found.values()), [array[:kept] for array in arrays]) >= _SAME_DB


def _is_akin(found: tuple[Array, ...], wanted: tuple[Array, ...], parity: Parity) -> bool:
    """Whether the model is plainly a trained form of a network.

    Agreement is not enough: two networks that always say the same agree. So what each says about a
    sample beyond its mean answer has to be alike as well.
    """
    if GATE.shortfall(parity) or len(wanted[0]) < 2:
        return False
    return _least_db(*([x - x.mean(0) for x in arrays] for arrays in (found, wanted))) >= _AKIN_DB


def _least_db(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """SQNR of the worst output; whole numbers count as reals."""
    real = ([array.astype(np.float64) for array in arrays] for arrays in (found, wanted))
    ratios = [output.sqnr_db for output in compare_answers(*real).outputs]
    return min(ratio for ratio in ratios if ratio is not None)


def _unknown_text(parity: Parity) -> str:
    return (
        "not given. Weights were trained or loaded after prepare_qat, and nothing shows that the "
        f"network that was given to it was trained ({likeness_text(parity)}); if it was, {_WAY_OUT}"
    )


def _asked(network: nn.Module, question: Question, what: str) -> tuple[Array, ...]:
    """Its answers, of the same names and shapes as the saved model's."""
    samples = tuple(tensor.to(_device(network)) for tensor in question.samples)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        found = answers_in_batches(network, samples, question.batch_size)
    except (RuntimeError, TypeError, ValueError, ExportError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{what} cannot be run on the samples ({said}); {_WAY_OUT}.") from error
    finally:
        for module, training in modes.items():
            module.training = training
    _require_same_outputs(what, found, question.answers)
    return tuple(found.values())


def _require_same_outputs(
    what: str, found: Mapping[str, Array], wanted: Mapping[str, Array]
) -> None:
    shapes = [
        {name: array.shape[1:] for name, array in answers.items()} for answers in (found, wanted)
    ]
    if shapes[0] != shapes[1] or list(found) != list(wanted):
        raise UsageError(
            f"{what} returns {_shown(found)}, the model {_shown(wanted)}; give the float network "
            "that the model was made from, with the same outputs."
        )


def _shown(answers: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {list(array.shape[1:])}" for name, array in answers.items())


def _device(network: nn.Module) -> torch.device:
    first = next(network.parameters(), None)
    return torch.device("cpu") if first is None else first.device
