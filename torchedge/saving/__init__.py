"""What :class:`~torchedge.compressed.CompressedModel` does when it saves, part by part."""
