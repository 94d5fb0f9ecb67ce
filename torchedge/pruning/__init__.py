"""Fewer weights and fewer channels."""

from torchedge.pruning.dependency import channel_groups
from torchedge.pruning.groups import ChannelGroup
from torchedge.pruning.transform import remove_channels

__all__ = ["ChannelGroup", "channel_groups", "remove_channels"]
