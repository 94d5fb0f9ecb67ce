"""A plain, wide CNN for 28×28 grey images: a teacher, too large for most devices."""

from typing import final

from torch import Tensor, nn
from typing_extensions import override

__all__ = ["WideDigits"]


def _conv_bn_relu(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


@final
class WideDigits(nn.Module):
    """CNN with 3×3 convolutions only, 389,610 parameters and 33 M MACs: 22 times MobileDigits.

    Its ``features`` end at 7×7 positions, as those of
    :class:`~torchedge.models.mobile_digits.MobileDigits` do, and its ``pool`` holds the embedding.

    Args:
        classes: Number of outputs.

    Example:
        >>> import torch
        >>> WideDigits()(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
        >>> sum(p.numel() for p in WideDigits().parameters())
        389610
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv_bn_relu(1, 32),
            _conv_bn_relu(32, 64, stride=2),
            _conv_bn_relu(64, 128),
            _conv_bn_relu(128, 128, stride=2),
            _conv_bn_relu(128, 128),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(128, classes)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape ``(batch, classes)`` for images of shape ``(batch, 1, 28, 28)``."""
        pooled = self.pool(self.features(x)).flatten(1)
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits
