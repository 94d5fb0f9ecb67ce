"""What a batch of calibration data must be."""

from torch import Tensor

from torchedge.errors import CalibrationError

__all__ = ["require_tensor"]


def require_tensor(batch: object, number: int) -> Tensor:
    """The batch, a tensor with at least one sample.

    Args:
        batch: What the calibration data gave.
        number: Its place in the data, for the message.

    Raises:
        CalibrationError: It is something else, such as inputs with labels, or empty.

    Example:
        >>> import torch
        >>> require_tensor(torch.ones(1), 0)
        tensor([1.])
    """
    if not isinstance(batch, Tensor):
        raise CalibrationError(
            f"calibration batch {number} is of type {type(batch).__name__}, not a tensor; give the "
            "inputs alone, for example (inputs for inputs, _ in loader)."
        )
    if batch.ndim == 0 or batch.numel() == 0:
        raise CalibrationError(
            f"calibration batch {number} of shape {tuple(batch.shape)} holds no sample; "
            "give at least one, the samples along its first axis."
        )
    return batch
