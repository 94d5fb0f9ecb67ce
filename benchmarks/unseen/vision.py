"""Networks for pictures that neither torchvision nor timm has: detection heads, decoders, joins."""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CspYolo", "Decoder", "SplitYolo", "SsdHeads", "SuperResolution", "UNetTransposed"]


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


class _Bottleneck(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = _conv(width, width), _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


@final
class _C2f(nn.Module):
    """The block of current YOLOs: halves by ``list(chunk)``, and each result joined."""

    def __init__(self, inputs: int, outputs: int, repeats: int = 1) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1 = _conv(inputs, outputs, 1)
        self.cv2 = _conv((2 + repeats) * half, outputs, 1)
        self.m = nn.ModuleList(_Bottleneck(half) for _ in range(repeats))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        joined: Tensor = self.cv2(torch.cat(y, 1))
        return joined


@final
class _C3(nn.Module):
    """YOLOv5's block: two ways through, joined."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1, self.cv2 = _conv(inputs, half, 1), _conv(inputs, half, 1)
        self.cv3, self.m = _conv(2 * half, outputs, 1), nn.Sequential(_Bottleneck(half))

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return joined


@final
class _Sppf(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = _conv(width, width // 2, 1), _conv(2 * width, width, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        for _ in range(3):
            y.append(self.pool(y[-1]))
        joined: Tensor = self.cv2(torch.cat(y, 1))
        return joined


@final
class SplitYolo(nn.Module):
    """A detector of the kind of YOLOv8: C2f blocks, a pyramid of two levels, heads without anchors.

    Args:
        decoded: Boxes in pixels and scores of classes, joined; otherwise what the heads answer.
        classes: How many.
    """

    def __init__(self, *, decoded: bool, classes: int = 4) -> None:
        super().__init__()
        self.decoded, self.bins = decoded, 8
        self.stem = nn.Sequential(_conv(3, 16, 3, 2), _conv(16, 32, 3, 2), _C2f(32, 32))
        self.middle = nn.Sequential(_conv(32, 64, 3, 2), _C2f(64, 64, 2))
        self.deep = nn.Sequential(_conv(64, 96, 3, 2), _C2f(96, 96), _Sppf(96))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.join = _C2f(160, 64)
        self.box = nn.ModuleList(
            nn.Sequential(_conv(w, 32), nn.Conv2d(32, 4 * self.bins, 1)) for w in (64, 96)
        )
        self.score = nn.ModuleList(
            nn.Sequential(_conv(w, 32), nn.Conv2d(32, classes, 1)) for w in (64, 96)
        )
        self.register_buffer("projection", torch.arange(self.bins, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Predictions for each cell of both levels."""
        middle = self.middle(self.stem(x))
        deep = self.deep(middle)
        levels = [self.join(torch.cat([self.up(deep), middle], 1)), deep]
        raw = [
            torch.cat([b(y), s(y)], 1) for b, s, y in zip(self.box, self.score, levels, strict=True)
        ]
        return self._decode(raw) if self.decoded else raw

    def _decode(self, raw: list[Tensor]) -> Tensor:
        joined = torch.cat([y.flatten(2) for y in raw], 2)
        box, score = joined.split([4 * self.bins, joined.shape[1] - 4 * self.bins], 1)
        batch, _, cells = box.shape
        soft = box.view(batch, 4, self.bins, cells).transpose(1, 2).softmax(1)
        distances = torch.einsum("nbsc,b->nsc", soft, self.projection)
        first, second = distances.chunk(2, 1)
        return torch.cat([(second - first) / 2, first + second, score.sigmoid()], 1)


@final
class CspYolo(nn.Module):
    """A detector of the kind of YOLOv5: slices of pixels, C3 blocks, anchors, decoded or raw.

    Args:
        decoded: Boxes in pixels; otherwise what the head answers.
    """

    def __init__(self, *, decoded: bool) -> None:
        super().__init__()
        self.decoded = decoded
        self.focus = _conv(12, 16)
        self.body = nn.Sequential(
            _conv(16, 32, 3, 2), _C3(32, 32), _conv(32, 64, 3, 2), _C3(64, 64)
        )
        self.head = nn.Conv2d(64, 3 * 9, 1)
        self.register_buffer("anchors", torch.tensor([[10.0, 13], [16, 30], [33, 23]]))

    def forward(self, x: Tensor) -> Tensor:
        """Three boxes with four classes for each cell."""
        pixels = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        y = self.head(self.body(self.focus(torch.cat(pixels, 1))))
        batch, _, height, width = y.shape
        y = y.view(batch, 3, 9, height, width).permute(0, 1, 3, 4, 2).contiguous()
        if not self.decoded:
            return y
        y = y.sigmoid()
        size = (y[..., 2:4] * 2) ** 2 * self.anchors.view(1, 3, 1, 1, 2)
        return torch.cat([y[..., :2] * 2 - 0.5, size, y[..., 4:]], -1).view(batch, -1, 9)


@final
class SsdHeads(nn.Module):
    """Three levels with two heads each: six outputs, permuted and joined, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList([_conv(3, 16, 3, 4), _conv(16, 32, 3, 2), _conv(32, 48, 3, 2)])
        self.boxes = nn.ModuleList(nn.Conv2d(w, 16, 3, padding=1) for w in (16, 32, 48))
        self.scores = nn.ModuleList(nn.Conv2d(w, 20, 3, padding=1) for w in (16, 32, 48))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Boxes and probabilities."""
        boxes, scores = [], []
        for level, box, score in zip(self.levels, self.boxes, self.scores, strict=True):
            x = level(x)
            boxes.append(box(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4))
            scores.append(score(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 5))
        return {"boxes": torch.cat(boxes, 1), "scores": torch.cat(scores, 1).softmax(-1)}


@final
class UNetTransposed(nn.Module):
    """Grouped transposed convolutions on the way up, reflections at the border."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, padding=1, padding_mode="reflect")
        self.b = nn.Conv2d(16, 32, 3, 2, 1)
        self.c = nn.Conv2d(32, 64, 3, 2, 1)
        self.up = nn.ConvTranspose2d(64, 32, 2, 2, groups=2)
        self.last = nn.ConvTranspose2d(64, 16, 3, 2, 1, output_padding=1, groups=4)
        self.head = nn.Conv2d(32, 2, 3, padding=1, padding_mode="replicate")

    def forward(self, x: Tensor) -> Tensor:
        """Two scores for each pixel."""
        a = F.leaky_relu(self.a(x), 0.1)
        b = F.leaky_relu(self.b(a), 0.1)
        c = torch.relu(self.c(b))
        y = torch.relu(self.last(torch.cat([torch.relu(self.up(c)), b], 1)))
        scores: Tensor = self.head(torch.cat([y, a], 1))
        return scores


@final
class SuperResolution(nn.Module):
    """Residual features, sub-pixel convolution, and the bilinear picture added."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 12, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.PReLU(32)) for _ in range(3)
        )
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """A picture of twice the size."""
        y = self.head(x)
        for block in self.body:
            y = y + 0.2 * block(y)
        grown = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return grown + self.shuffle(self.tail(y))


@final
class Decoder(nn.Module):
    """Encoder and decoder with a linear layer that is unflattened into a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(32 * 64, 32)),
        )
        self.grow = nn.Linear(32, 32 * 64)
        self.decode = nn.Sequential(
            *(nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The picture again."""
        y: Tensor = self.decode(torch.relu(self.grow(self.encode(x))).view(-1, 32, 8, 8))
        return y
