"""A lottery ticket as a value: masks and the weights to begin with; its controls and its file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from torchedge.errors import ArtifactError, PruningError
from torchedge.exporting.artifact import Artifact, Format, load_artifact, write_artifact
from torchedge.exporting.pipeline import staged_folder
from torchedge.kinds import kinds_checked
from torchedge.pruning.functional import shuffled_mask
from torchedge.pruning.mask_checks import require_same_names
from torchedge.pruning.masks import mask_on, mask_weights, masks_of
from torchedge.pruning.selection import plain_name, weighted_layers
from torchedge.reading.tensors import read_tensors

__all__ = [
    "Ticket",
    "kept_share",
    "load_weights",
    "plain_weights",
    "randomly_masked",
    "reinitialised",
    "require_weights_of",
]

_FORMAT = Format("lottery-ticket")
_FILE = "ticket.safetensors"
_MASK, _WEIGHT = "mask:", "weight:"


@final
@dataclass(frozen=True, kw_only=True)
class Ticket:
    """Which weights of a network to train, and from where.

    Args:
        masks: True where a weight stays, by the name of the weight.
        weights: ``state_dict`` of the network without masks.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> mask = torch.tensor([[True, False], [False, False]])
        >>> ticket = Ticket(masks={"0.weight": mask}, weights=net.state_dict())
        >>> ticket.kept_share, int((ticket.network(net)[0].weight != 0).sum())
        (0.25, 1)
    """

    masks: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]

    @staticmethod
    @kinds_checked(error=PruningError)
    def of(network: nn.Module, weights: Mapping[str, Tensor]) -> "Ticket":
        """The masks of a network from :func:`~torchedge.pruning.lottery_tickets`, and weights.

        Raises:
            PruningError: The network has no masks, or the weights are not for it.
        """
        require_weights_of(network, weights)
        copied = {name: value.detach().clone() for name, value in weights.items()}
        return Ticket(masks=masks_of(network), weights=copied)

    @property
    def kept_share(self) -> float:
        """The share of the masked weights that stays; of what has no mask everything does."""
        return kept_share(self.masks)

    def network(self, model: nn.Module) -> nn.Module:
        """A masked copy of ``model`` with the weights of the ticket, ready to train.

        Raises:
            PruningError: The ticket is for another network.
        """
        require_weights_of(model, self.weights)
        network = mask_weights(model, self.masks)
        load_weights(network, self.weights)
        return network

    @kinds_checked()
    def save(self, folder: Path | str, *, overwrite: bool = False) -> Artifact:
        """Write the ticket and its hash into a new folder.

        Raises:
            OutputExistsError: The folder exists and ``overwrite`` is off.
            StorageError: The disk refuses the files.
        """
        tensors = {_MASK + name: mask for name, mask in self.masks.items()}
        tensors |= {_WEIGHT + name: value for name, value in self.weights.items()}
        own = {name: value.contiguous().clone() for name, value in tensors.items()}  # none is tied
        folder = Path(folder)
        with staged_folder(folder, overwrite=overwrite) as staging:
            save_file(own, staging / _FILE)
            draft = Artifact(
                path=staging,
                format=_FORMAT,
                inputs=(),
                outputs=(),
                made_by=("lottery_tickets",),
                details={"kept_share": self.kept_share},
            )
            return replace(write_artifact(draft), path=folder.absolute())

    @staticmethod
    @kinds_checked()
    def open(folder: Path | str) -> "Ticket":
        """Read a ticket that was saved.

        Raises:
            ArtifactError: There is none in the folder, or it is damaged.
        """
        artifact = load_artifact(folder)
        if artifact.format != _FORMAT:
            raise ArtifactError(
                f"'{folder}' holds {artifact.format}, no lottery ticket; give a folder that "
                "Ticket.save wrote."
            )
        tensors = read_tensors(artifact.file(_FILE))
        return Ticket(
            masks=_beginning_with(_MASK, tensors), weights=_beginning_with(_WEIGHT, tensors)
        )


def kept_share(masks: Mapping[str, Tensor]) -> float:
    """The share of the masked weights that stays.

    Example:
        >>> kept_share({"weight": torch.tensor([True, False])})
        0.5
    """
    kept = sum(int(mask.sum()) for mask in masks.values())
    return kept / sum(mask.numel() for mask in masks.values())


@kinds_checked(error=PruningError)
def reinitialised(ticket: Ticket, fresh: nn.Module) -> Ticket:
    """The control for the weights: the same masks, and the weights of a fresh network.

    Raises:
        PruningError: The network is another one.
    """
    weights = plain_weights(fresh)
    require_weights_of(fresh, ticket.weights)
    return Ticket(masks=ticket.masks, weights=weights)


@kinds_checked(error=PruningError)
def randomly_masked(ticket: Ticket, *, seed: int) -> Ticket:
    """The control for the masks: as many weights of each layer, but any; the same weights.

    Args:
        ticket: The one to compare with.
        seed: Of torch, while the masks are drawn.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        masks = {name: shuffled_mask(mask) for name, mask in ticket.masks.items()}
    return Ticket(masks=masks, weights=ticket.weights)


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's ``state_dict``, named as if it had no masks; what to rewind to.

    Example:
        >>> list(plain_weights(mask_weights(nn.Linear(1, 1), {"weight": torch.ones(1, 1)})))
        ['bias', 'weight']
    """
    return {name: value.detach().clone() for name, value in _state(network).items()}


@torch.no_grad()
def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set all weights of a network, with or without masks, in place; masks stay.

    Raises:
        PruningError: The weights are another network's.
    """
    require_weights_of(network, weights)
    for name, value in _state(network).items():
        value.copy_(weights[name])


def require_weights_of(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights of another network.

    Raises:
        PruningError: A name or a shape differs.
    """
    here = _state(network)
    require_same_names(list(weights), list(here), "the weights are")
    missing = [name for name in here if name not in weights]
    if missing:
        raise PruningError(
            f"the weights are for another network: they lack {len(missing):,} of {len(here):,}, "
            f"'{missing[0]}' for one; give its whole state_dict."
        )
    for name, value in here.items():
        if value.shape != weights[name].shape:
            raise PruningError(
                f"'{name}' has the shape {tuple(value.shape)} here and "
                f"{tuple(weights[name].shape)} in the weights, which are for another network."
            )


def _state(network: nn.Module) -> dict[str, Tensor]:
    layers = weighted_layers(network).items()
    masks = {f"{name}.0.removed" for name, layer in layers if mask_on(layer) is not None}
    named = {plain_name(name): value for name, value in network.state_dict().items()}
    return {name: value for name, value in named.items() if name not in masks}


def _beginning_with(start: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(start): value for n, value in tensors.items() if n.startswith(start)}
