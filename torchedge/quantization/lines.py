"""A factor and an offset for each channel on integers: a batch norm that no layer has taken in."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchedge.quantization.scales import BIAS_STEPS

__all__ = ["Floats", "integer_lines", "line_of", "with_rounded_offset"]

Floats: TypeAlias = npt.NDArray[np.float64]
_FEWEST, _MOST = 64, 127
_NEGLIGIBLE = 1e-30
_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def integer_lines(
    factors: Floats, offsets: Floats, input_scale: float
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Weights, their scales and biases that stand for ``factor · x + offset`` of each channel.

    One weight for each channel is exact on any scale, so that of the weights from 64 to 127 the one
    is taken whose bias, in steps of ``input_scale · scale``, is rounded least. Where int32 holds
    none of those biases, the factor is negligible beside the offset, and the scale is widened.

    Args:
        factors: One for each channel.
        offsets: Likewise.
        input_scale: Of the activation.

    Returns:
        int8, float32 and int32.

    Example:
        >>> weights, scales, biases = integer_lines(np.array([2.0]), np.array([0.5]), 0.1)
        >>> abs(float(weights[0] * scales[0]) - 2.0) < 1e-6
        True
        >>> abs(float(biases[0] * np.float32(0.1) * scales[0]) - 0.5) < 1e-3
        True
    """
    magnitudes = np.where(np.abs(factors) < _NEGLIGIBLE, 1.0, np.abs(factors))
    smallest = np.abs(offsets) / (input_scale * BIAS_STEPS)
    most = np.floor(magnitudes / np.maximum(smallest, _NEGLIGIBLE)).clip(1, _MOST)
    tried = np.minimum(np.arange(_FEWEST, _MOST + 1)[:, None], most)
    scales = np.maximum(magnitudes / tried, smallest).astype(np.float32)
    exact = offsets / (np.float32(input_scale) * scales).astype(np.float64)
    best = np.abs(exact - np.rint(exact)).argmin(0)
    chosen = best, np.arange(len(factors))
    weights = np.rint(factors / scales[chosen])
    return weights.astype(np.int8), scales[chosen], np.rint(exact[chosen]).astype(np.int32)


def with_rounded_offset(norm: _BatchNorm, input_scale: float) -> nn.Module:
    """A norm in evaluation mode whose offsets are whole steps of the device's sums.

    The statistics go into weight and bias. A norm without statistics of its own stays as it is.

    Args:
        norm: Over the channels of rows, pictures or volumes.
        input_scale: Of the activation that it reads.
    """
    if norm.running_mean is None or norm.running_var is None:
        return norm
    parts = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    factors, offsets = line_of(parts, norm.eps)
    weights, scales, biases = integer_lines(factors, offsets, input_scale)
    kind = next(kind for kind in _KINDS if isinstance(norm, kind))
    made = kind(norm.num_features, eps=norm.eps).eval()
    whole = biases * (np.float32(input_scale) * scales).astype(np.float64)
    made.weight.data = torch.from_numpy(weights * scales)
    made.bias.data = torch.from_numpy(whole).float()
    made.running_var = torch.full((norm.num_features,), 1.0 - norm.eps)
    return made


def line_of(norm: Sequence[Tensor | None], epsilon: float) -> tuple[Floats, Floats]:
    """Factor and offset of each channel of a batch norm in evaluation mode.

    Args:
        norm: Weight, bias, running mean and running variance.
        epsilon: Added to the variance.
    """
    weight, bias, mean, variance = (
        None if part is None else part.detach().double().cpu().numpy() for part in norm
    )
    assert mean is not None
    assert variance is not None
    factors = (1.0 if weight is None else weight) / np.sqrt(variance + epsilon)
    return factors, (0.0 if bias is None else bias) - mean * factors
