"""Fewer weights and fewer channels."""

from torchedge.pruning.dependency import channel_groups
from torchedge.pruning.groups import ChannelGroup
from torchedge.pruning.ranking import Limits
from torchedge.pruning.targets import prune_by, prune_to
from torchedge.pruning.transform import remove_channels

__all__ = ["ChannelGroup", "Limits", "channel_groups", "prune_by", "prune_to", "remove_channels"]
