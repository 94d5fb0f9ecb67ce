"""Blocks that multiply tensors: gates, squeeze and excitation, products of layers."""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.generated import recipes
from benchmarks.generated.convolutions import CONV, plain

__all__ = ["Excite", "Product"]

_POOL = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d}
_MAX, _AVERAGE = {1: F.max_pool1d, 2: F.max_pool2d}, {1: F.avg_pool1d, 2: F.avg_pool2d}


@final
class Excite(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, spec: recipes.Excite, channels: int, axes: int) -> None:
        super().__init__()
        self.pooled, self.read = spec.pool, spec.read
        if spec.pool == "flat":
            self.down, self.up = nn.Linear(channels, 8), nn.Linear(8, channels)
        else:
            self.down, self.up = CONV[axes](channels, 8, 1), CONV[axes](8, channels, 1)
        self.gate = nn.Sigmoid() if spec.gate == "sigmoid" else nn.Hardsigmoid()
        self.pool, self.a = _POOL[axes](1), plain(channels, channels, axes)

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        gate: Tensor = self.gate(self.up(torch.relu(self.down(self._squeezed(x)))))
        if self.pooled == "flat":
            gate = gate.view(*gate.shape, *(1 for _ in x.shape[2:]))
        if self.read == "once":
            return x * gate
        y = torch.relu(self.a(x))
        return x * gate + y * (gate if self.read == "twice" else 1 - gate)

    def _squeezed(self, x: Tensor) -> Tensor:
        if self.pooled == "layer":
            pooled: Tensor = self.pool(x)
            return pooled
        return x.mean(tuple(range(2, x.ndim)), keepdim=self.pooled == "mean")


@final
class Product(nn.Module):
    """Two factors, and what reads their product."""

    def __init__(self, spec: recipes.Product, channels: int, axes: int) -> None:
        super().__init__()
        self.form, self.then, self.axes = spec.form, spec.then, axes
        self.a, self.b = plain(channels, channels, axes), plain(channels, channels, axes)
        self.map, self.vector = CONV[axes](channels, 1, 1), CONV[axes](channels, channels, 1)
        self.pool, self.corners = _POOL[axes](1), _POOL[axes](2)
        self.rows = nn.Linear(channels, channels)
        self.whole = nn.Linear(channels * 2**axes, channels)

    def forward(self, x: Tensor) -> Tensor:
        """What comes out."""
        if self.then == "flatten":
            y = self.whole(torch.flatten(self._product(self.corners(x)), 1))
            return x + y.view(*y.shape, *(1 for _ in x.shape[2:]))
        return self._read(self._product(x), x)

    def _product(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(x)
        if self.form == "tanh":
            return torch.tanh(y) * torch.sigmoid(self.b(x))
        if self.form == "itself":
            return y * y
        return y * self._factor(y, x)

    def _factor(self, y: Tensor, x: Tensor) -> Tensor:
        if self.form == "swish":
            return torch.sigmoid(y)
        if self.form == "spatial":
            return torch.sigmoid(self.map(x))
        factor: Tensor = self.vector(self.pool(x)) if self.form == "vector" else self.b(x)
        return factor

    def _read(self, product: Tensor, x: Tensor) -> Tensor:
        if self.then == "relu":
            return torch.relu(product)
        if self.then == "permute":
            rows: Tensor = self.rows(product.movedim(1, -1))
            return rows.movedim(-1, 1)
        if self.then in {"max", "average"}:
            pool = (_MAX if self.then == "max" else _AVERAGE)[self.axes]
            return pool(product, 3, 1, 1)
        if self.then == "concat":
            return torch.cat([product, x], 1)
        if self.then == "next":
            return product
        return x + product if self.then == "add" else x * product
