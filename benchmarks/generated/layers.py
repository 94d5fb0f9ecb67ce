"""The blocks of generated networks as plain modules, for one or two axes of places."""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.generated import recipes

__all__ = ["CONV", "activation", "conv", "layer"]

CONV = {1: nn.Conv1d, 2: nn.Conv2d}
_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_INSTANCE_NORM = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d}
_GROUPS = {"one": 1, "two": 2}
_ACTIVATIONS = {
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


def conv(spec: recipes.Conv, channels: int, axes: int) -> nn.Sequential:
    """Convolution, batch norm and activation as the recipe says."""
    width = channels if spec.groups == "all" else spec.width
    layers: list[nn.Module] = [
        CONV[axes](
            channels,
            width,
            spec.kernel,
            spec.stride,
            spec.kernel // 2,
            groups=_GROUPS.get(spec.groups, channels),
            padding_mode=spec.mode,
        )
    ]
    layers += [_BATCH_NORM[axes](width)] if spec.norm else []
    return nn.Sequential(*layers, activation(spec.act))


def layer(spec: recipes.Block, channels: int, axes: int) -> nn.Module:
    """The module that a block of a recipe is; ``channels`` are those that come in."""
    if isinstance(spec, recipes.Conv):
        return conv(spec, channels, axes)
    return _MODULES[type(spec)](spec, channels, axes)


def _plain(inputs: int, outputs: int, axes: int) -> nn.Module:
    return CONV[axes](inputs, outputs, 3, padding=1)


@final
class _Residual(nn.Module):
    def __init__(self, spec: recipes.Residual, channels: int, axes: int) -> None:
        super().__init__()
        inner = recipes.Conv(
            width=channels, groups=spec.groups, mode=spec.mode, norm=spec.norm, act="none"
        )
        layers: list[nn.Module] = [conv(inner, channels, axes)]
        if spec.layers == 2:
            layers += [nn.ReLU(), conv(inner, channels, axes)]
        self.inside, self.act = nn.Sequential(*layers), activation(spec.act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(x + self.inside(x))
        return y


@final
class _Join(nn.Module):
    def __init__(self, spec: recipes.Join, channels: int, axes: int) -> None:
        super().__init__()
        self.form, half = spec.form, channels // 2
        self.a, self.b = _plain(channels, half, axes), _plain(channels, half, axes)
        self.c = _plain(channels + half, half, axes)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.a(x))
        if self.form == "input":
            return torch.cat([a, x], 1)
        if self.form == "two":
            return torch.cat((a, self.b(x)), dim=1)
        parts = [x, a]
        parts.append(torch.relu(self.c(torch.cat(parts, 1))))
        return torch.cat(parts, 1)


@final
class _Split(nn.Module):
    def __init__(self, spec: recipes.Split, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.half = spec.form, channels // 2
        self.a, self.b = _plain(channels, channels, axes), _plain(self.half, self.half, axes)

    def forward(self, x: Tensor) -> Tensor:
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
            first, second = x.split([self.half, self.half], dim=1)
        elif self.form == "slices":
            first, second = x[:, : self.half], x[:, self.half :]
        else:
            first, second = x.chunk(2, dim=1)
        return first, second


@final
class _Transposed(nn.Module):
    def __init__(self, spec: recipes.Transposed, channels: int, axes: int) -> None:
        super().__init__()
        extra = {"padding": 1, "output_padding": 1} if spec.kernel == 3 else {}
        groups = _GROUPS[spec.groups]
        self.up = _TRANSPOSED[axes](channels, 16, spec.kernel, 2, groups=groups, **extra)
        self.norm = _BATCH_NORM[axes](16) if spec.norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.up(x)))


@final
class _Shared(nn.Module):
    def __init__(self, spec: recipes.Shared, channels: int, axes: int) -> None:
        super().__init__()
        self.form = spec.form
        self.a, self.b = _plain(channels, channels, axes), _plain(channels, channels, axes)

    def forward(self, x: Tensor) -> Tensor:
        if self.form == "again":
            return torch.relu(self.a(torch.relu(self.a(x))))
        return torch.relu(self.a(x)) + torch.relu(self.a(torch.relu(self.b(x))))


@final
class _Skipping(nn.Module):
    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.a = _plain(channels, channels, axes)

    def forward(self, x: Tensor, skip: Tensor | None = None, *, doubled: bool = False) -> Tensor:
        y = torch.relu(self.a(x))
        y = 2 * y if doubled else y
        return y if skip is None else 0.5 * y + skip


@final
class _Optional(nn.Module):
    def __init__(self, spec: recipes.Optional, channels: int, axes: int) -> None:
        super().__init__()
        self.given, self.inner = spec.given, _Skipping(channels, axes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x, skip=x) if self.given else self.inner(x)
        return y


@final
class _Noisy(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        if self.form == "drop_path":
            kept = torch.rand(x.shape[0], *(1 for _ in x.shape[1:])) < 0.7
            return x * kept / 0.7
        return x + 0.1 * torch.randn_like(x)


@final
class _Training(nn.Module):
    def __init__(self, spec: recipes.Training, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.a = spec.form, _plain(channels, channels, axes)
        self.dropout, self.noise = nn.Dropout(0.3), _Noisy(spec.form)
        self.norm = _BATCH_NORM[axes](channels) if spec.form == "norm_as_function" else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.form == "dropout":
            y = self.dropout(torch.relu(y))
        elif self.form == "functional":
            y = F.dropout(torch.relu(y), 0.3, self.training)
        elif self.norm is not None:
            n = self.norm
            y = F.batch_norm(
                *(y, n.running_mean, n.running_var, n.weight, n.bias), self.training, 0.1, n.eps
            )
        else:
            y = self.noise(y)
        return x + y


@final
class _Attention(nn.Module):
    def __init__(self, spec: recipes.Attention, channels: int, axes: int) -> None:
        super().__init__()
        del axes
        self.form, self.heads = spec.form, spec.heads
        self.norm, self.proj = nn.LayerNorm(channels), nn.Linear(channels, channels)
        if spec.form == "module":
            self.attention = nn.MultiheadAttention(channels, spec.heads, batch_first=True)
        else:
            self.qkv = nn.Linear(channels, 3 * channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        y = self.proj(self._attended(self.norm(tokens)))
        return (tokens + y).transpose(1, 2).reshape(x.shape)

    def _attended(self, x: Tensor) -> Tensor:
        if self.form == "module":
            attended: Tensor = self.attention(x, x, x, need_weights=False)[0]
            return attended
        batch, places, channels = x.shape
        split = -1 if self.form == "flexible" else channels // self.heads
        parts = self.qkv(x).reshape(batch, places, 3, self.heads, split).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        if self.form == "covariance":
            weights = (F.normalize(q, dim=-2).mT @ F.normalize(k, dim=-2)).softmax(-1)
            y = (weights @ v.mT).mT
        elif self.form == "function":
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q * 0.25 @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        width = -1 if self.form == "flexible" else channels
        return y.transpose(1, 2).reshape(batch, places, width)


@final
class _Excite(nn.Module):
    def __init__(self, spec: recipes.Excite, channels: int, axes: int) -> None:
        super().__init__()
        self.down, self.up = CONV[axes](channels, 8, 1), CONV[axes](8, channels, 1)
        self.gate = nn.Sigmoid() if spec.gate == "sigmoid" else nn.Hardsigmoid()
        self.pool = nn.AdaptiveAvgPool1d(1) if axes == 1 else nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate(self.up(torch.relu(self.down(self.pool(x)))))
        return x * gate


@final
class _Resize(nn.Module):
    def __init__(self, spec: recipes.Resize, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.axes = spec.form, axes
        self.pools = {
            "max": (F.max_pool1d, F.max_pool2d)[axes - 1],
            "average": (F.avg_pool1d, F.avg_pool2d)[axes - 1],
        }

    def forward(self, x: Tensor) -> Tensor:
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


@final
class _Scaled(nn.Module):
    factors: Tensor

    def __init__(self, spec: recipes.Scaled, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.a = spec.form, _plain(channels, channels, axes)
        values = torch.rand(channels, *(1 for _ in range(axes))) + 0.5
        if spec.form == "parameter":
            self.gamma = nn.Parameter(values)
        self.register_buffer("factors", values)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(x)
        if self.form == "parameter":
            return x + self.gamma * y
        if self.form == "own_weight":
            return y * self.a.weight.abs().mean() * 8
        if self.form == "buffer":
            return y * self.factors
        return 0.1 * y + x


@final
class _Norm(nn.Module):
    def __init__(self, spec: recipes.Norm, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.a = spec.form, _plain(channels, channels, axes)
        self.norm: nn.Module = {
            "layer": lambda: nn.LayerNorm(channels),
            "group": lambda: nn.GroupNorm(4, channels),
            "instance": lambda: _INSTANCE_NORM[axes](channels, affine=True),
            "batch": lambda: _BATCH_NORM[axes](channels),
        }[spec.form]()

    def forward(self, x: Tensor) -> Tensor:
        if self.form == "batch":  # before the layer, so that nothing folds it
            before: Tensor = self.a(torch.relu(self.norm(x)))
            return before
        y = self.a(x)
        if self.form == "layer":
            return x + self.norm(y.movedim(1, -1)).movedim(-1, 1)
        return torch.relu(self.norm(y))


_MODULES = {
    recipes.Residual: _Residual,
    recipes.Join: _Join,
    recipes.Split: _Split,
    recipes.Transposed: _Transposed,
    recipes.Shared: _Shared,
    recipes.Optional: _Optional,
    recipes.Training: _Training,
    recipes.Attention: _Attention,
    recipes.Excite: _Excite,
    recipes.Resize: _Resize,
    recipes.Scaled: _Scaled,
    recipes.Norm: _Norm,
}
