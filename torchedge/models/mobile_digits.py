"""A MobileNet in miniature for 28×28 grey images."""

from typing import final

from torch import Tensor, nn

__all__ = ["MobileDigits"]


def _conv_bn_relu(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Depthwise 3×3, then pointwise (Howard et al. 2017)."""
    return nn.Sequential(
        _conv_bn_relu(inputs, inputs, 3, stride, groups=inputs),
        _conv_bn_relu(inputs, outputs, 1),
    )


@final
class _InvertedResidual(nn.Module):
    """Expand, filter depthwise, project linearly, add (Sandler et al. 2018)."""

    def __init__(self, channels: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.branch = nn.Sequential(
            _conv_bn_relu(channels, wide, 1),
            _conv_bn_relu(wide, wide, 3, groups=wide),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.branch(x)
        return x + branch


@final
class MobileDigits(nn.Module):
    """Depthwise-separable CNN with one residual, 17,850 parameters and 0.9 M MACs.

    Args:
        classes: Number of outputs.

    Example:
        >>> import torch
        >>> MobileDigits()(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv_bn_relu(1, 16, 3, stride=2),
            _separable(16, 32, stride=1),
            _separable(32, 48, stride=2),
            _InvertedResidual(48, expansion=2),
            _separable(48, 64, stride=1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape ``(batch, classes)`` for images of shape ``(batch, 1, 28, 28)``."""
        logits: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return logits
