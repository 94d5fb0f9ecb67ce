"""What is checked about weights and batches before a student starts to learn."""

from collections.abc import Mapping, Sized
from numbers import Real

from torch import nn

from torchedge.arguments import is_whole, require
from torchedge.distillation.modules import DistillationTerm
from torchedge.errors import DistillationError

__all__ = [
    "require_batches_of",
    "require_stages",
    "require_terms",
    "require_weights",
    "smallest_batch",
]


def require_terms(terms: object, teacher: object) -> None:
    """Refuse terms without weights, and a teacher that does not answer.

    Raises:
        DistillationError: ``terms`` is no dictionary of pairs, or the teacher neither a network nor
            a cache.
    """
    pairs = list(terms.values()) if isinstance(terms, Mapping) else [None]
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise DistillationError(
            f"terms is a {type(terms).__name__} of {[type(pair).__name__ for pair in pairs]}; give "
            "a weight with each term, {'hinton': (0.9, Hinton(temperature=4.0))}."
        )
    for name, (_, term) in dict(terms).items():  # type: ignore[call-overload]
        way_out = "give one of torchedge.distillation, Hinton() for example"
        known = hasattr(term, "student_layers") and callable(term)
        require(known, f"the term '{name}'", term, way_out, DistillationError)
    if not (isinstance(teacher, nn.Module) or hasattr(teacher, "taps")):
        raise DistillationError(
            f"the teacher is a {type(teacher).__name__}; give a network, or what cache_teacher "
            "returns."
        )


def require_weights(weights: Mapping[str, float], hard_weight: float) -> None:
    """Refuse weights that teach nothing, or away from the goal.

    Raises:
        DistillationError: A weight is negative or no number, or all are zero.
    """
    every = {**weights, "hard_weight": hard_weight}
    wrong = {
        name: weight
        for name, weight in every.items()
        if not isinstance(weight, Real) or not 0 <= weight < float("inf")
    }
    if wrong:
        raise DistillationError(f"weights must be numbers from 0 up, and not {wrong}.")
    if not any(weights.values()):
        raise DistillationError(
            f"the weights of all terms are zero: {dict(weights)}; the teacher would teach nothing. "
            "Give one term a weight, or train the task alone."
        )


def require_stages(hint_epochs: int, hints: bool) -> None:
    """Refuse a first stage in which nothing would be learned.

    Raises:
        DistillationError: The number of epochs is negative, or there is no hint to train for.
    """
    way_out = "give a whole number"
    require(is_whole(hint_epochs), "hint_epochs", hint_epochs, way_out, DistillationError)
    if hint_epochs < 0:
        raise DistillationError(f"hint_epochs is {hint_epochs}; count them from 0.")
    if hint_epochs and not hints:
        raise DistillationError(
            f"hint_epochs is {hint_epochs} and no term is a FitNet, so nothing would be learned in "
            "them; add one, or leave hint_epochs at 0."
        )


def smallest_batch(term: DistillationTerm) -> int:
    """Samples that a term needs at least; terms that compare samples say so."""
    return int(getattr(term, "smallest_batch", 1))


def require_batches_of(least: int, loader: object) -> None:
    """Refuse a data loader whose batches, or whose last one, are too small for a term.

    Loaders of other kinds, whose sizes cannot be seen, pass; the term itself refuses a small batch.

    Raises:
        DistillationError: A batch would have fewer than ``least`` samples.
    """
    size = getattr(loader, "batch_size", None)
    if size is None:
        return
    if size < least:
        raise DistillationError(
            f"a term relates samples to each other and needs {least} in a batch; the data loader "
            f"has batch_size={size}. Give it a larger one."
        )
    dataset = getattr(loader, "dataset", None)
    count = len(dataset) if isinstance(dataset, Sized) else 0
    rest = count % size
    if 0 < rest < least and not getattr(loader, "drop_last", False):
        raise DistillationError(
            f"a term relates samples to each other and needs {least} in a batch; "
            f"{count:,} samples in batches of {size} leave {rest} for the last. Set "
            "drop_last=True, or another batch_size."
        )
