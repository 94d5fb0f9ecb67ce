"""Masks on a network: put there, read, exchanged, and made permanent."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from typing_extensions import override

from torchedge.errors import PruningError
from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.pruning.mask_checks import require_mask_for, require_same_names
from torchedge.pruning.selection import shared_weights, weighted_layers

__all__ = [
    "WeightMask",
    "bake_masks",
    "mask_on",
    "mask_weights",
    "masked_weights",
    "masks_of",
    "masks_of_zeros",
    "set_masks",
]


@final
class WeightMask(nn.Module):
    """A parametrisation that makes removed weights zero, whatever the optimiser does to them.

    The buffer says what is *removed*, as zeros and ones in the weight's own type: a weight is kept
    where it is exactly zero. Averages of models that average buffers too (SWA, EMA) then keep what
    was never removed and remove what was; of ones for kept weights, such an average would be a
    little less than one for all.

    Args:
        mask: True where a weight stays.

    Example:
        >>> WeightMask(torch.tensor([True, False]))(torch.tensor([3.0, float("nan")]))
        tensor([3., 0.])
    """

    removed: Tensor

    def __init__(self, mask: Tensor, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("removed", (mask == 0).to(dtype))

    @property
    def mask(self) -> Tensor:
        """True where a weight stays."""
        return self.removed == 0

    @torch.no_grad()
    def set(self, mask: Tensor) -> None:
        """Exchange the mask for another one, in the same buffer."""
        self.removed.copy_(mask == 0)

    @override
    def forward(self, weight: Tensor) -> Tensor:
        """Zero where removed; such a weight gets no gradient either."""
        return weight.masked_fill(self.removed != 0, 0)

    @override
    def extra_repr(self) -> str:
        """Show the counts in ``print(model)``."""
        return f"{int(self.mask.sum()):,} of {self.removed.numel():,} weights stay"


@kinds_checked(error=PruningError)
def mask_weights(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy of ``model`` in which the weights that the masks remove are zero, and stay so.

    Do it before the optimiser is made, as with every change of structure. Whoever reads
    ``layer.weight`` reads the masked weight: the layer itself, fake quantisation, an export. What
    is trained is ``layer.parametrizations.weight.original``, and the mask is a buffer beside it, so
    that checkpoints hold both. A weight that has a mask already gets the new one.

    Args:
        model: Any network, also one from ``prepare_qat``.
        masks: By the name of a convolution's or linear layer's weight, as in a ``state_dict`` of
            the network without masks; ones and zeros, or booleans.

    Raises:
        PruningError: A name or shape is not this network's, a mask would empty its layer, or the
            weight is parametrised by something else or shared by several layers.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> masked = mask_weights(net, {"weight": torch.tensor([[1, 0]])})
        >>> bool(masked.weight[0, 1] == 0), bool(net.weight[0, 1] == 0)
        (True, False)
    """
    _require_fitting(model, masks)
    masked = copied(model)
    layers = weighted_layers(masked)
    for name, mask in masks.items():
        layer = layers[name]
        present = mask_on(layer)
        if present is not None:
            present.set(mask)
        else:
            _own_class(layer)
            weight = layer.weight
            parametrize.register_parametrization(
                layer, "weight", WeightMask(mask.to(weight.device), weight.dtype)
            )
    return masked


def _require_fitting(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    if not masks:
        raise PruningError("there are no masks to put on; weight_masks(model, 0.9) makes some.")
    layers, shared = weighted_layers(model), shared_weights(model)
    require_same_names(list(masks), list(layers), "the masks are")
    for name, mask in masks.items():
        layer = layers[name]
        if name in shared:
            raise PruningError(
                f"'{name}' is shared by several layers, which a mask would part; leave it out."
            )
        if parametrize.is_parametrized(layer, "weight") and mask_on(layer) is None:
            raise PruningError(
                f"'{name}' is parametrised already, by what a mask cannot be laid over; remove "
                "that first (torch.nn.utils.parametrize.remove_parametrizations)."
            )
        require_mask_for(name, mask, layer.weight)


@kinds_checked(error=PruningError)
def bake_masks(model: nn.Module) -> nn.Module:
    """A copy without masks, whose removed weights are plain zeros; the end of pruning.

    Raises:
        PruningError: The network has no masks.

    Example:
        >>> masked = mask_weights(nn.Linear(2, 1), {"weight": torch.tensor([[1, 0]])})
        >>> type(bake_masks(masked)).__name__, bake_masks(masked).weight[0, 1].item()
        ('Linear', 0.0)
    """
    masked_weights(model)
    baked = copied(model)
    for layer in weighted_layers(baked).values():
        if mask_on(layer) is not None:
            _own_class(layer)
            parametrize.remove_parametrizations(layer, "weight")
    return baked


def masked_weights(model: nn.Module) -> dict[str, tuple[nn.Parameter, WeightMask]]:
    """Every masked weight's trained parameter and its mask, by the plain name of the weight.

    Raises:
        PruningError: There is none.
    """
    found = {
        name: (layer.get_parameter("parametrizations.weight.original"), mask)
        for name, layer in weighted_layers(model).items()
        if (mask := mask_on(layer)) is not None
    }
    if not found:
        raise PruningError(
            f"the {type(model).__name__} has no masks; call mask_weights(model, masks) first, "
            "before fit."
        )
    return found


@kinds_checked(error=PruningError)
def masks_of(model: nn.Module) -> dict[str, Tensor]:
    """The masks of a network, True where a weight stays; what :func:`mask_weights` takes.

    Raises:
        PruningError: The network has no masks.

    Example:
        >>> masks_of(mask_weights(nn.Linear(2, 1), {"weight": torch.tensor([[1, 0]])}))
        {'weight': tensor([[ True, False]])}
    """
    return {name: mask.mask for name, (_, mask) in masked_weights(model).items()}


@kinds_checked(error=PruningError)
def masks_of_zeros(model: nn.Module) -> dict[str, Tensor]:
    """Masks that keep the zeros of a network which was pruned already, for training it on.

    Only of convolutions' and linear layers' weights that hold a zero; without such masks training
    fills them in. A weight that several layers share gets none, since the mask would part it.

    Raises:
        PruningError: No such weight is zero.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> net.weight.data[0, 1] = 0
        >>> masks_of_zeros(net)
        {'weight': tensor([[ True, False]])}
    """
    shared = shared_weights(model)
    masks = {name: layer.weight.detach() != 0 for name, layer in weighted_layers(model).items()}
    found = {n: mask for n, mask in masks.items() if not mask.all() and n not in shared}
    if not found:
        raise PruningError(
            f"no weight of the {type(model).__name__} is zero, so there is nothing to keep; "
            "weight_masks(model, 0.9) chooses weights to remove."
        )
    return found


def set_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Exchange the masks of a network in place; its structure and its optimiser stay.

    Raises:
        PruningError: The network has no masks, or they are for other weights.
    """
    here = masked_weights(model)
    require_same_names(list(masks), list(here), "the masks are")
    for name, mask in masks.items():
        require_mask_for(name, mask, here[name][0])
    for name, mask in masks.items():
        here[name][1].set(mask)


def mask_on(layer: nn.Module) -> WeightMask | None:
    """The mask of a layer's weight, if it has one and nothing else.

    Example:
        >>> mask_on(nn.Linear(2, 1)) is None
        True
    """
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    chain: nn.ModuleDict = layer.parametrizations  # type: ignore[assignment]
    steps = list(chain["weight"].children())
    return steps[0] if len(steps) == 1 and isinstance(steps[0], WeightMask) else None


def _own_class(layer: nn.Module) -> None:
    """Give a parametrised layer a class of its own: torch edits the class, which copies share."""
    if parametrize.is_parametrized(layer):
        shared = type(layer)
        layer.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
