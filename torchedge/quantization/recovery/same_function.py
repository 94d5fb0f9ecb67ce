"""Whether two networks compute the same, up to float rounding."""

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from torchedge.graph.copies import copied
from torchedge.graph.guard import tensors_in_output
from torchedge.graph.trace import evaluating
from torchedge.quantization.batches import Inputs

__all__ = ["outputs_of", "same_function"]


_TOLERANCE = 1e-5  # of an output's largest magnitude


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The tensors of real numbers that a network returns in evaluation mode."""
    with evaluating(model):
        found = tensors_in_output(model(*inputs))
        return [x for x in found if x.is_floating_point()]


def same_function(original: nn.Module, changed: nn.Module, data: list[Inputs]) -> bool:
    """Whether every output differs by at most 1e-5 of the largest one, for all these inputs.

    What differs by more in float32 is looked at again in float64: in a deep network the rounding of
    float32 can come to that by itself.

    Example:
        >>> net, x = nn.Linear(2, 2), torch.rand(3, 2)
        >>> same_function(net, net, [(x,)])
        True
    """
    if all(_are_close(original, changed, inputs) for inputs in data):
        return True
    wide = [copied(model).double() for model in (original, changed)]
    return all(_are_close(wide[0], wide[1], tree_map(_double, inputs)) for inputs in data)


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _are_close(original: nn.Module, changed: nn.Module, inputs: Inputs) -> bool:
    pairs = zip(outputs_of(original, inputs), outputs_of(changed, inputs), strict=True)
    return all(
        bool((theirs - ours).abs().amax() <= _TOLERANCE * theirs.abs().amax())
        for theirs, ours in pairs
        if theirs.numel()
    )
