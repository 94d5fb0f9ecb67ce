"""Blocks with more than convolutions: attention, norms, code of training."""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.generated import recipes
from benchmarks.generated.convolutions import BATCH_NORM, plain

__all__ = ["Attention", "Norm", "Scaled", "Training"]

_INSTANCE_NORM = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d}


@final
class _Noisy(nn.Module):
    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        if not self.training:
            return x
        if self.form == "drop_path":
            kept = torch.rand(x.shape[0], *(1 for _ in x.shape[1:])) < 0.7
            return x * kept / 0.7
        return x + 0.1 * torch.randn_like(x)


@final
class Training(nn.Module):
    """A layer and what acts in training only, added to the input."""

    def __init__(self, spec: recipes.Training, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.a = spec.form, plain(channels, channels, axes)
        self.dropout, self.noise = nn.Dropout(0.3), _Noisy(spec.form)
        self.norm = BATCH_NORM[axes](channels) if spec.form == "norm_as_function" else None

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
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
class Attention(nn.Module):
    """Attention over places, added to the input."""

    def __init__(self, spec: recipes.Attention, channels: int, axes: int) -> None:
        super().__init__()
        del axes
        self.form, self.heads = spec.form, spec.heads
        self.norm, self.proj = nn.LayerNorm(channels), nn.Linear(channels, channels)
        if spec.form == "module":
            self.attention = nn.MultiheadAttention(channels, spec.heads, batch_first=True)
        elif spec.form == "encoder":
            self.encoder = nn.TransformerEncoderLayer(
                channels, spec.heads, 24, dropout=0.1, batch_first=True
            )
        else:
            self.qkv = nn.Linear(channels, 3 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        tokens = x.flatten(2).transpose(1, 2)
        y = self.proj(self._attended(self.norm(tokens)))
        return (tokens + y).transpose(1, 2).reshape(x.shape)

    def _attended(self, x: Tensor) -> Tensor:
        if self.form == "module":
            attended: Tensor = self.attention(x, x, x, need_weights=False)[0]
            return attended
        if self.form == "encoder":
            encoded: Tensor = self.encoder(x)
            return encoded
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
class Scaled(nn.Module):
    """A layer's result times something."""

    factors: Tensor

    def __init__(self, spec: recipes.Scaled, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.a = spec.form, plain(channels, channels, axes)
        values = torch.rand(channels, *(1 for _ in range(axes))) + 0.5
        if spec.form == "parameter":
            self.gamma = nn.Parameter(values)
        self.register_buffer("factors", values)

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        y: Tensor = self.a(x)
        if self.form == "parameter":
            return x + self.gamma * y
        if self.form == "own_weight":
            return y * self.a.weight.abs().mean() * 8
        if self.form == "buffer":
            return y * self.factors
        return 0.1 * y + x


@final
class _WithActivation(nn.BatchNorm2d):
    """Norm and activation in one class, as timm has it."""

    def _check_input_dim(self, input: Tensor) -> None:
        del input  # signals as well as pictures

    def forward(self, input: Tensor) -> Tensor:
        training = self.training
        y = F.batch_norm(
            *(input, self.running_mean, self.running_var, self.weight, self.bias),
            training,
            0.1 if self.momentum is None else self.momentum,
            self.eps,
        )
        return F.relu(y)


@final
class _Frozen(nn.Module):
    """Statistics that never change, in buffers, as detectors have them."""

    scale: Tensor
    shift: Tensor

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        shape = (1, channels, *(1 for _ in range(axes)))
        self.register_buffer("scale", torch.rand(shape) + 0.5)
        self.register_buffer("shift", torch.rand(shape) - 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


@final
class Norm(nn.Module):
    """A layer and a norm."""

    def __init__(self, spec: recipes.Norm, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.a = spec.form, plain(channels, channels, axes)
        self.norm = _norm(spec.form, channels, axes)

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        if self.form == "batch":  # before the layer, so that nothing folds it
            before: Tensor = self.a(torch.relu(self.norm(x)))
            return before
        y = self.a(x)
        if self.form == "layer":
            return x + self.norm(y.movedim(1, -1)).movedim(-1, 1)
        return torch.relu(self.norm(y))


def _norm(form: str, channels: int, axes: int) -> nn.Module:
    if form == "layer":
        return nn.LayerNorm(channels)
    if form == "group":
        return nn.GroupNorm(4, channels)
    if form == "instance":
        return _INSTANCE_NORM[axes](channels, affine=True)
    if form == "batch":
        return BATCH_NORM[axes](channels)
    return _Frozen(channels, axes) if form == "frozen" else _WithActivation(channels)
