"""What convolutions of generated networks have in common, for one or two axes of places."""

from collections.abc import Callable, Mapping

from torch import nn

from benchmarks.generated.recipes import Conv

__all__ = ["BATCH_NORM", "CONV", "GROUPS", "activation", "conv", "plain"]

CONV = {1: nn.Conv1d, 2: nn.Conv2d}
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
GROUPS = {"one": 1, "two": 2}
_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
    "leaky": lambda: nn.LeakyReLU(0.1),
    "prelu": nn.PReLU,
    "none": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """The module of that name."""
    return _ACTIVATIONS[name]()


def plain(inputs: int, outputs: int, axes: int) -> nn.Module:
    """A convolution of width 3 that keeps the sides."""
    return CONV[axes](inputs, outputs, 3, padding=1)


def conv(spec: Conv, channels: int, axes: int, width: int | None = None) -> nn.Sequential:
    """Convolution, batch norm and activation as the recipe says, or with another width."""
    outputs = channels if spec.groups == "all" else width or spec.width
    layers: list[nn.Module] = [
        CONV[axes](
            channels,
            outputs,
            spec.kernel,
            spec.stride,
            spec.kernel // 2,
            groups=GROUPS.get(spec.groups, channels),
            padding_mode=spec.mode,
        )
    ]
    layers += [BATCH_NORM[axes](outputs)] if spec.norm else []
    return nn.Sequential(*layers, activation(spec.act))
