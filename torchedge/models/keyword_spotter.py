"""Keyword spotters: a 1-D CNN for microcontrollers, and a larger one that teaches it."""

from typing import final

from torch import Tensor, nn
from typing_extensions import override

__all__ = ["KeywordSpotter", "WideKeywordSpotter"]

_COEFFICIENTS, _CLASSES = 40, 12


def _conv_bn_relu(inputs: int, outputs: int, kernel: int, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, padding=padding, bias=False),
        nn.BatchNorm1d(outputs),
        nn.ReLU(),
    )


@final
class KeywordSpotter(nn.Module):
    """1-D CNN over 49 frames of 40 coefficients: 32 and 64 channels, then 128 units.

    26,700 parameters and 0.48 M multiply-accumulates.

    Args:
        classes: Number of outputs.

    Example:
        >>> import torch
        >>> KeywordSpotter()(torch.zeros(2, 40, 49)).shape
        torch.Size([2, 12])
    """

    def __init__(self, classes: int = _CLASSES) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv_bn_relu(_COEFFICIENTS, 32, 5),
            nn.MaxPool1d(2),
            _conv_bn_relu(32, 64, 5),
            nn.MaxPool1d(2),
        )
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.hidden = nn.Linear(64, 128)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(128, classes)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape ``(batch, classes)`` for coefficients of shape ``(batch, 40, 49)``."""
        pooled = self.pool(self.features(x)).flatten(1)
        logits: Tensor = self.classifier(self.dropout(self.relu(self.hidden(pooled))))
        return logits


@final
class WideKeywordSpotter(nn.Module):
    """The teacher: five layers of 128 channels, with 8 times the parameters.

    Args:
        classes: Number of outputs.

    Example:
        >>> import torch
        >>> WideKeywordSpotter()(torch.zeros(2, 40, 49)).shape
        torch.Size([2, 12])
    """

    def __init__(self, classes: int = _CLASSES) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv_bn_relu(_COEFFICIENTS, 128, 3, padding=1),
            _conv_bn_relu(128, 128, 3, padding=1),
            nn.MaxPool1d(2),
            _conv_bn_relu(128, 128, 3, padding=1),
            _conv_bn_relu(128, 128, 3, padding=1),
            nn.MaxPool1d(2),
            _conv_bn_relu(128, 128, 3, padding=1),
        )
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(128, classes)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape ``(batch, classes)`` for coefficients of shape ``(batch, 40, 49)``."""
        pooled = self.pool(self.features(x)).flatten(1)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits
