"""Two small networks for digits, built of whatever layers a toolkit offers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn
from typing_extensions import override

__all__ = ["FLOAT_LAYERS", "NETWORKS", "Layers", "copied_state"]


@final
@dataclass(frozen=True, kw_only=True)
class Layers:
    """How a toolkit makes layers.

    Args:
        convolution: From the arguments of ``nn.Conv2d``.
        linear: From the arguments of ``nn.Linear``.
        relu: A ReLU, with what stands behind it.
        value: What stands where values are quantised without an activation.
    """

    convolution: Callable[..., nn.Module]
    linear: Callable[..., nn.Module]
    relu: Callable[[], nn.Module]
    value: Callable[[], nn.Module]


FLOAT_LAYERS = Layers(convolution=nn.Conv2d, linear=nn.Linear, relu=nn.ReLU, value=nn.Identity)


def _normalised(
    layers: Layers, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    convolution = layers.convolution(
        inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    return [convolution, nn.BatchNorm2d(outputs)]


def plain(layers: Layers) -> nn.Module:
    """Three convolutions and a linear layer; 23,000 weights."""
    return nn.Sequential(
        layers.value(),
        *_normalised(layers, 1, 16, stride=2),
        layers.relu(),
        *_normalised(layers, 16, 32, stride=2),
        layers.relu(),
        *_normalised(layers, 32, 32),
        layers.relu(),
        nn.Flatten(),
        layers.linear(32 * 7 * 7, 10),
        layers.value(),
    )


@final
class _Block(nn.Module):
    """Depthwise, pointwise, and a skip around both."""

    def __init__(self, layers: Layers, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_normalised(layers, width, width, groups=width),
            layers.relu(),
            *_normalised(layers, width, width, 1),
            layers.value(),
        )
        self.relu = layers.relu()

    @override
    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.relu(x + self.body(x))
        return activated


def residual(layers: Layers) -> nn.Module:
    """A stem, a depthwise block with a skip, a strided layer and another block; 18,000 weights."""
    return nn.Sequential(
        layers.value(),
        *_normalised(layers, 1, 16, 5, stride=2),
        layers.relu(),
        _Block(layers, 16),
        *_normalised(layers, 16, 24, stride=2),
        layers.relu(),
        _Block(layers, 24),
        nn.Flatten(),
        layers.linear(24 * 7 * 7, 10),
        layers.value(),
    )


NETWORKS: dict[str, Callable[[Layers], nn.Module]] = {"plain": plain, "residual": residual}


def copied_state(source: nn.Module, network: nn.Module) -> nn.Module:
    """The same weights and statistics in another toolkit's layers, whose own state stays.

    Raises:
        ValueError: A tensor has no place there.
    """
    left_over = network.load_state_dict(source.state_dict(), strict=False).unexpected_keys
    if left_over:
        raise ValueError(f"{left_over} have no place in {type(network).__name__}.")
    return network
