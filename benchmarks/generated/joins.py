"""Blocks that take tensors apart, join them, or change their sides."""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.generated import recipes
from benchmarks.generated.convolutions import BATCH_NORM, GROUPS, activation, conv, plain
from benchmarks.generated.recipes import Conv

__all__ = ["Join", "Optional", "Residual", "Resize", "Shared", "Split", "Transposed", "Unflattened"]

_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}


@final
class Residual(nn.Module):
    """``act(x + f(x))``."""

    def __init__(self, spec: recipes.Residual, channels: int, axes: int) -> None:
        super().__init__()
        inner = Conv(groups=spec.groups, mode=spec.mode, norm=spec.norm, act="none")
        layers: list[nn.Module] = [conv(inner, channels, axes, channels)]
        if spec.layers == 2:
            layers += [nn.ReLU(), conv(inner, channels, axes, channels)]
        self.inside, self.act = nn.Sequential(*layers), activation(spec.act)
        self.in_place = spec.in_place

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        y: Tensor = self.inside(x)
        if self.in_place:
            y += x
        else:
            y = x + y
        activated: Tensor = self.act(y)
        return activated


@final
class Join(nn.Module):
    """Concatenations."""

    def __init__(self, spec: recipes.Join, channels: int, axes: int) -> None:
        super().__init__()
        self.form, half = spec.form, channels // 2
        self.a, self.b = plain(channels, half, axes), plain(channels, half, axes)
        self.c = plain(channels + half, half, axes)

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        a = torch.relu(self.a(x))
        if self.form == "input":
            return torch.cat([a, x], 1)
        if self.form == "two":
            return torch.cat((a, self.b(x)), dim=1)
        parts = [x, a]
        parts.append(torch.relu(self.c(torch.cat(parts, 1))))
        return torch.cat(parts, 1)


@final
class Split(nn.Module):
    """Halves taken apart and joined."""

    def __init__(self, spec: recipes.Split, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.width = spec.form, channels // 2
        self.a, self.b = plain(channels, channels, axes), plain(self.width, self.width, axes)

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        x = torch.relu(self.a(x))
        if self.form in {"list", "grown"}:
            parts = list(x.chunk(2, 1))
            parts.append(torch.relu(self.b(parts[-1])))
            return torch.cat(parts if self.form == "grown" else parts[1:], 1)
        first, second = self._halves(x)
        joined = torch.cat([first, torch.relu(self.b(second))], 1)
        if self.form != "shuffled":
            return joined
        batch, channels = joined.shape[:2]
        pairs = joined.view(batch, 2, channels // 2, *joined.shape[2:]).transpose(1, 2)
        return pairs.reshape(batch, -1, *joined.shape[2:])

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.form == "split":
            first, second = x.split([self.width, self.width], dim=1)
        elif self.form == "slices":
            first, second = x[:, : self.width], x[:, self.width :]
        else:
            first, second = x.chunk(2, dim=1)
        return first, second


@final
class Transposed(nn.Module):
    """Twice the sides."""

    def __init__(self, spec: recipes.Transposed, channels: int, axes: int) -> None:
        super().__init__()
        extra = {"padding": 1, "output_padding": 1} if spec.kernel == 3 else {}
        groups = GROUPS[spec.groups]
        self.up = _TRANSPOSED[axes](channels, 16, spec.kernel, 2, groups=groups, **extra)
        self.norm = BATCH_NORM[axes](16) if spec.norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        return torch.relu(self.norm(self.up(x)))


@final
class Shared(nn.Module):
    """One layer called twice."""

    def __init__(self, spec: recipes.Shared, channels: int, axes: int) -> None:
        super().__init__()
        self.form = spec.form
        self.a, self.b = plain(channels, channels, axes), plain(channels, channels, axes)

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        if self.form == "again":
            return torch.relu(self.a(torch.relu(self.a(x))))
        return torch.relu(self.a(x)) + torch.relu(self.a(torch.relu(self.b(x))))


@final
class _Skipping(nn.Module):
    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.a = plain(channels, channels, axes)

    def forward(self, x: Tensor, skip: Tensor | None = None, *, doubled: bool = False) -> Tensor:
        y = torch.relu(self.a(x))
        y = 2 * y if doubled else y
        return y if skip is None else 0.5 * y + skip


@final
class Optional(nn.Module):
    """Calls a block with or without its argument."""

    def __init__(self, spec: recipes.Optional, channels: int, axes: int) -> None:
        super().__init__()
        self.given, self.inner = spec.given, _Skipping(channels, axes)

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        y: Tensor = self.inner(x, skip=x) if self.given else self.inner(x)
        return y


@final
class Unflattened(nn.Module):
    """A linear layer between pictures."""

    def __init__(self, spec: recipes.Unflattened, channels: int, axes: int) -> None:
        super().__init__()
        self.sides = (4,) * axes
        self.pool = nn.AdaptiveAvgPool1d(2) if axes == 1 else nn.AdaptiveAvgPool2d(2)
        self.grow = nn.Linear(channels * 2**axes, 16 * 4**axes)
        self.shape = nn.Unflatten(1, (16, *self.sides)) if spec.form == "module" else None

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        y = torch.relu(self.grow(self.pool(x).flatten(1)))
        if self.shape is None:
            return y.view(-1, 16, *self.sides)
        shaped: Tensor = self.shape(y)
        return shaped


@final
class Resize(nn.Module):
    """Other sides."""

    def __init__(self, spec: recipes.Resize, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.axes = spec.form, axes
        self.pools = {
            "max": (F.max_pool1d, F.max_pool2d)[axes - 1],
            "average": (F.avg_pool1d, F.avg_pool2d)[axes - 1],
        }

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        if self.form in self.pools:
            return self.pools[self.form](x, 2)
        if self.form == "pad":
            return F.pad(x, (1, 0) * self.axes)
        if self.form == "nearest":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        if self.form == "linear":
            mode = "linear" if self.axes == 1 else "bilinear"
            return F.interpolate(x, scale_factor=2.0, mode=mode, align_corners=False)
        if self.axes == 2:
            return F.pixel_shuffle(x, 2)
        batch, channels, places = x.shape
        return (
            x.view(batch, channels // 4, 4, places)
            .transpose(2, 3)
            .reshape(batch, channels // 4, 4 * places)
        )
