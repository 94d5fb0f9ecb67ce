"""The search for lottery tickets: train, remove the smallest weights, rewind, train again."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from torchedge.arguments import is_whole, require
from torchedge.errors import PruningError
from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.pruning.checks import require_sparsity
from torchedge.pruning.functional import iterative_sparsity
from torchedge.pruning.masks import mask_weights, masks_of, set_masks
from torchedge.pruning.patterns import Pattern, Unstructured, next_masks, weight_masks
from torchedge.pruning.tickets import kept_share, load_weights, require_weights_of

__all__ = ["lottery_tickets"]


@kinds_checked(error=PruningError)
def lottery_tickets(  # noqa: PLR0913 - options
    model: nn.Module,
    fit: Callable[[nn.Module], None],
    *,
    sparsity_per_round: float,
    rounds: int,
    rewind_to: Mapping[str, Tensor],
    masks: Mapping[str, Tensor] | None = None,
    pattern: Pattern | None = None,
    seed: int = 0,
) -> Iterator[nn.Module]:
    """Train round after round, each with fewer weights, which begin where the first round did.

    Frankle & Carbin 2019; rewinding to an early step instead of the initial weights: Frankle et al.
    2020. Each round trains to the end, loses a share of what is left, smallest magnitudes first,
    and goes back to ``rewind_to``, batch norms and their statistics included. ``fit`` makes a new
    optimiser each time, so its state and its learning rate begin anew. Every round trains with the
    same seed, so a run can be repeated, and is the same as the first rounds of a longer one.

    Args:
        model: Its architecture; its weights do not matter.
        fit: Trains its argument in place.
        sparsity_per_round: Share of the remaining weights that goes after a round, 0.2 there.
        rounds: How many beyond the first, which trains the whole network.
        rewind_to: ``state_dict`` of the network without masks, at its initialisation or after an
            early step.
        masks: Which weights are pruned, and what is gone from the beginning; all ones and without
            the last layer, ``weight_masks(model, 0)``, if none are given.
        pattern: Where weights go; :class:`~torchedge.pruning.Unstructured` if none is given.
        seed: Of torch, set before each round; the caller's is put back after it.

    Returns:
        ``rounds + 1`` trained networks with their masks, the whole one first.

    Raises:
        PruningError: The share is outside [0, 1), the rounds are negative, or weights or masks are
            another network's. In a round: a layer would be emptied, or a weight has become NaN.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> found = lottery_tickets(
        ...     net, lambda network: None, sparsity_per_round=0.5, rounds=2,
        ...     rewind_to=net.state_dict(),
        ... )
        >>> [int((network[0].weight != 0).sum()) for network in found]
        [20, 10, 5]
    """
    require_sparsity(sparsity_per_round)
    require(is_whole(rounds), "rounds", rounds, "give a whole number", PruningError)
    require(callable(fit), "fit", fit, "give a function that trains a network", PruningError)
    way_out = "give the state_dict() of the network before it was trained"
    require(isinstance(rewind_to, Mapping), "rewind_to", rewind_to, way_out, PruningError)
    if rounds < 0:
        raise PruningError(f"rounds is {rounds}; give 0 or more.")
    require_weights_of(model, rewind_to)
    masked = mask_weights(model, weight_masks(model, 0.0) if masks is None else masks)
    weights = {name: value.detach().clone() for name, value in rewind_to.items()}
    return _rounds(masked, fit, sparsity_per_round, rounds, weights, pattern, seed)


def _rounds(
    masked: nn.Module,
    fit: Callable[[nn.Module], None],
    share: float,
    rounds: int,
    rewind_to: Mapping[str, Tensor],
    pattern: Pattern | None,
    seed: int,
) -> Iterator[nn.Module]:
    kept_at_first = kept_share(masks_of(masked))
    for number in range(rounds + 1):
        network = copied(masked)
        load_weights(network, rewind_to)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fit(network)
        if number < rounds:  # before the caller gets the network, who may change it
            sparsity = 1 - kept_at_first * (1 - iterative_sparsity(number + 1, share=share))
            set_masks(masked, next_masks(network, sparsity, pattern=pattern or Unstructured()))
        yield network
