"""Where TFLite has the axes that PyTorch has elsewhere."""

from collections.abc import Sequence

from torchedge.errors import ArtifactError

__all__ = ["tflite_axes"]


def tflite_axes(shape: Sequence[int], tflite_shape: Sequence[int]) -> tuple[int, ...]:
    """PyTorch's axes in the order in which a .tflite file has them: channels last, or unchanged.

    Args:
        shape: Of the tensor in PyTorch.
        tflite_shape: Of the same tensor in the file.

    Raises:
        ArtifactError: It is neither.

    Example:
        >>> tflite_axes((1, 3, 32, 64), (1, 32, 64, 3))
        (0, 2, 3, 1)
        >>> tflite_axes((1, 10), (1, 10))
        (0, 1)
    """
    unchanged = tuple(range(len(shape)))
    channels_last = (0, *range(2, len(shape)), 1) if len(shape) > 2 else unchanged
    for axes in (channels_last, unchanged):
        if tuple(shape[axis] for axis in axes) == tuple(tflite_shape):
            return axes
    raise ArtifactError(
        f"a tensor of shape {tuple(shape)} has shape {tuple(tflite_shape)} in the .tflite file, "
        "neither the same nor with channels last; export it again."
    )
