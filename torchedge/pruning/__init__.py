"""Fewer weights and fewer channels."""

from torchedge.pruning.dependency import channel_groups
from torchedge.pruning.groups import ChannelGroup
from torchedge.pruning.lottery import lottery_tickets
from torchedge.pruning.masks import bake_masks, mask_weights, masks_of, masks_of_zeros
from torchedge.pruning.patterns import NOfM, Unstructured, weight_masks
from torchedge.pruning.prune import prune_by, prune_to
from torchedge.pruning.ranking import Limits
from torchedge.pruning.tickets import Ticket, randomly_masked, reinitialised
from torchedge.pruning.transform import remove_channels

__all__ = [
    "ChannelGroup",
    "Limits",
    "NOfM",
    "Ticket",
    "Unstructured",
    "bake_masks",
    "channel_groups",
    "lottery_tickets",
    "mask_weights",
    "masks_of",
    "masks_of_zeros",
    "prune_by",
    "prune_to",
    "randomly_masked",
    "reinitialised",
    "remove_channels",
    "weight_masks",
]
