"""Which weights go: anywhere, or so many of each run; as values that a schedule can follow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, final

import torch
from torch import Tensor, nn

from torchedge.arguments import require
from torchedge.errors import PruningError
from torchedge.kinds import fields_checked, kinds_checked
from torchedge.pruning.checks import require_runs, require_sparsity
from torchedge.pruning.functional import (
    global_masks,
    magnitude_scores,
    n_of_m_masks_in_part,
    smallest_mask,
)
from torchedge.pruning.mask_checks import require_kept, require_scores
from torchedge.pruning.masks import mask_on, masked_weights
from torchedge.pruning.selection import LeaveOut, Selection, select_weights, weighted_layers
from torchedge.quantization.layers import TRANSPOSED, WeightedLayer

__all__ = [
    "NOfM",
    "Pattern",
    "Scores",
    "Unstructured",
    "next_masks",
    "require_pattern_fits",
    "select_for",
    "weight_masks",
]

Scores: TypeAlias = Callable[[Tensor], Tensor]


class Pattern(Protocol):
    """Says which weights go at a sparsity."""

    def masks(self, scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
        """Masks in the shapes of the scores, whose first two axes are outputs and inputs."""

    def misfit(self, inputs: int) -> str:
        """Why a layer with so many inputs (of a group) cannot have the pattern; or nothing."""


@final
@dataclass(frozen=True, kw_only=True)
class Unstructured:
    """Weights go wherever their scores are small.

    Args:
        scope: ``global`` takes the smallest scores of all weights together; ``layer`` takes the
            same share of each.
        least_kept: With ``global``, the share of each weight that stays whatever its scores.

    Raises:
        PruningError: ``least_kept`` is outside [0, 1).

    Example:
        >>> scores = {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([[3.0, 4.0]])}
        >>> Unstructured(scope="layer").masks(scores, 0.5)
        {'a': tensor([[False,  True]]), 'b': tensor([[False,  True]])}
    """

    scope: Literal["global", "layer"] = "global"
    least_kept: float = 0.0

    def __post_init__(self) -> None:
        fields_checked(self, error=PruningError)
        require_sparsity(self.least_kept)

    def masks(self, scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
        """Masks of exactly ``floor(sparsity · n)`` removed weights, together or each."""
        if self.scope == "layer":
            masks = {name: smallest_mask(score, sparsity) for name, score in scores.items()}
        else:
            found = global_masks(list(scores.values()), sparsity, least_kept=self.least_kept)
            masks = dict(zip(scores, found, strict=True))
        require_kept(masks, sparsity)
        return masks

    def misfit(self, inputs: int) -> str:
        """Nothing: every layer can be pruned anywhere."""
        return ""


@final
@dataclass(frozen=True)
class NOfM:
    """Of each run of ``m`` weights along the inputs the ``n`` with the largest scores stay.

    A convolution's runs are over its input channels, at each position of the kernel, which is how
    NVIDIA's sparse tensor cores read them (Mishra et al. 2021). On the way there, the smallest of
    those weights that will go have gone, so a sparsity between 0 and ``1 - n/m`` is a part of it.

    Args:
        n: How many stay.
        m: Length of a run.

    Raises:
        PruningError: ``n`` is not in 1 to ``m``.

    Example:
        >>> NOfM(1, 2).masks({"a": torch.tensor([[1.0, 2.0, 5.0, 4.0]])}, 0.5)
        {'a': tensor([[False,  True,  True, False]])}
    """

    n: int = 2
    m: int = 4

    def __post_init__(self) -> None:
        fields_checked(self, error=PruningError)
        require_runs(self.m, self.n, self.m)

    @property
    def sparsity(self) -> float:
        """The share that goes in the end."""
        return 1 - self.n / self.m

    def masks(self, scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
        """Masks on the way to the pattern, or of it where ``sparsity`` is ``1 - n/m``."""
        moved = {name: score.movedim(1, -1) for name, score in scores.items()}
        matrices = [score.reshape(-1, score.shape[-1]) for score in moved.values()]
        found = n_of_m_masks_in_part(matrices, sparsity, self.n, self.m)
        return {
            name: mask.view(score.shape).movedim(-1, 1)
            for (name, score), mask in zip(moved.items(), found, strict=True)
        }

    def misfit(self, inputs: int) -> str:
        """The fan-in, where runs do not fit into it."""
        return f"fan-in {inputs:,}, no multiple of {self.m}" if inputs % self.m else ""


@kinds_checked(error=PruningError)
def weight_masks(
    model: nn.Module,
    sparsity: float,
    *,
    pattern: Pattern | None = None,
    scores: Scores = magnitude_scores,
    leave_out: LeaveOut = (),
    last_layer: bool = False,
) -> dict[str, Tensor]:
    """Masks of an exact size for the weights that :func:`select_weights` chooses.

    What a mask on the network has removed goes first. With a sparsity of 0 the masks remove
    nothing yet, which is where a schedule begins.

    Args:
        model: With or without masks.
        sparsity: Share of the chosen weights that goes, in [0, 1); with :class:`NOfM` up to
            ``1 - n/m``.
        pattern: :class:`Unstructured` if none is given.
        scores: From a weight, or its gradient, to a score for each; the smallest go.
        leave_out: Names of layers, or of modules with everything in them, and types of layers.
        last_layer: Prune the last layer as well.

    Raises:
        PruningError: The sparsity cannot be had, a layer would be emptied, or scores are NaN.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> {name: int(mask.sum()) for name, mask in weight_masks(net, 0.75).items()}
        {'0.weight': 4}
    """
    pattern = Unstructured() if pattern is None else pattern
    way_out = "give a function of torchedge.pruning.functional, magnitude_scores for example"
    require(callable(scores), "the scores", scores, way_out, PruningError)
    chosen = select_for(pattern, model, leave_out=leave_out, last_layer=last_layer).weights
    return _masks(model, chosen, sparsity, pattern, scores)


def select_for(
    pattern: Pattern, model: nn.Module, *, leave_out: LeaveOut = (), last_layer: bool = False
) -> Selection:
    """:func:`select_weights`, and layers that the pattern does not fit are left out too.

    Raises:
        PruningError: As :func:`select_weights`, or the pattern fits no layer.

    Example:
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        >>> select_for(NOfM(2, 4), net).left_out["0.weight"]
        'fan-in 3, no multiple of 4'
    """
    way_out = "give Unstructured() or NOfM(2, 4)"
    require(hasattr(pattern, "misfit"), "the pattern", pattern, way_out, PruningError)
    chosen = select_weights(model, leave_out=leave_out, last_layer=last_layer)
    layers = weighted_layers(model)
    misfits = {name: pattern.misfit(_inputs(layers[name])) for name in chosen.weights}
    fitting = tuple(name for name, why in misfits.items() if not why)
    if not fitting:
        name, why = next(iter(misfits.items()))
        raise PruningError(f"{pattern} fits no layer: '{name}' has {why}; choose another pattern.")
    reasons = {**chosen.left_out, **{name: why for name, why in misfits.items() if why}}
    return Selection(weights=fitting, left_out=reasons)


def require_pattern_fits(pattern: Pattern, model: nn.Module) -> None:
    """Refuse a pattern that the masks of a network cannot have.

    Raises:
        PruningError: A masked layer does not fit; the text names it.
    """
    layers = weighted_layers(model)
    for name in masked_weights(model):
        why = pattern.misfit(_inputs(layers[name]))
        if why:
            raise PruningError(
                f"{pattern} does not fit '{name}', which has {why}; make the masks with "
                "weight_masks(model, 0, pattern=...), which leaves such layers out."
            )


def next_masks(
    model: nn.Module, sparsity: float, *, pattern: Pattern, scores: Scores = magnitude_scores
) -> dict[str, Tensor]:
    """The masks of a masked network at another sparsity; what is removed goes first.

    Raises:
        PruningError: As :func:`weight_masks`, or the network has no masks.

    Example:
        >>> from torchedge.pruning.masks import mask_weights
        >>> net = mask_weights(nn.Linear(2, 1), {"weight": torch.tensor([[1, 0]])})
        >>> next_masks(net, 0.5, pattern=Unstructured())
        {'weight': tensor([[ True, False]])}
    """
    return _masks(model, tuple(masked_weights(model)), sparsity, pattern, scores)


@torch.no_grad()
def _masks(
    model: nn.Module, names: tuple[str, ...], sparsity: float, pattern: Pattern, scores: Scores
) -> dict[str, Tensor]:
    require_sparsity(sparsity)
    layers = weighted_layers(model)
    found = {name: _scores(name, layers[name], scores) for name in names}
    masks = pattern.masks(found, float(sparsity))
    return {name: _outputs_first(layers[name], mask) for name, mask in masks.items()}


def _scores(name: str, layer: WeightedLayer, scores: Scores) -> Tensor:
    """Of the trained parameter, for its gradient is there; the lowest for what is removed."""
    mask = mask_on(layer)
    trained = layer.weight if mask is None else masked_weights(layer)["weight"][0]
    found = require_scores(scores(trained), trained, f"the scores of '{name}'")
    if mask is not None:
        found = found.masked_fill(~mask.mask, -torch.inf)
    return _outputs_first(layer, found)


def _outputs_first(layer: WeightedLayer, values: Tensor) -> Tensor:
    """Transposed convolutions have their inputs first; the way back is the same."""
    return values.transpose(0, 1) if isinstance(layer, TRANSPOSED) else values


def _inputs(layer: WeightedLayer) -> int:
    if isinstance(layer, nn.Linear):
        return layer.in_features
    return layer.in_channels // layer.groups
