"""What a user types: each a thin function over the rooms, offered as ``torchedge.<name>``."""
