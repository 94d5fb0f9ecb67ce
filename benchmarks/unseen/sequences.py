"""Networks for words, signals and tokens: 1-D convolutions, recurrences, small transformers."""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "DsCnn",
    "EncoderStack",
    "GatedConvolutions",
    "PatchTransformer",
    "Recurrent",
    "SignalResNet",
    "SignalUNet",
    "TemporalConvolutions",
    "TextConvolutions",
    "TinyMixer",
]


@final
class DsCnn(nn.Module):
    """The keyword spotter of MLPerf Tiny: depthwise and pointwise layers over 49 x 10 features."""

    def __init__(self, width: int = 32, classes: int = 12) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, width, (10, 4), 2, (5, 1), bias=False),
            *(nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2)),
        ]
        for _ in range(4):
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of words."""
        y = self.features(x)
        y = F.avg_pool2d(y, kernel_size=y.size()[2:])
        logits: Tensor = self.classifier(y.flatten(1))
        return logits


@final
class _Causal(nn.Module):
    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.past = 2 * dilation
        self.conv = nn.Conv1d(inputs, outputs, 3, dilation=dilation)
        self.norm = nn.BatchNorm1d(outputs)
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.dropout(
            torch.relu(self.norm(self.conv(F.pad(x, (self.past, 0))))), 0.1, self.training
        )
        return torch.relu(y + (x if self.skip is None else self.skip(x)))


@final
class TemporalConvolutions(nn.Module):
    """A TCN: causal dilated convolutions with residuals, and the last time step read."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(_Causal(i, o, 2**n) for n, (i, o) in enumerate([(8, 24), (24, 24), (24, 32)]))
        )
        self.classifier = nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Logits from the last step."""
        logits: Tensor = self.classifier(self.blocks(x)[:, :, -1])
        return logits


@final
class SignalResNet(nn.Module):
    """A 1-D residual network with squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(8, 32, 7, 2, 3)
        self.a, self.b = nn.Conv1d(32, 32, 5, padding=2), nn.Conv1d(32, 32, 5, padding=2)
        self.norms = nn.ModuleList(nn.BatchNorm1d(32) for _ in range(3))
        self.squeeze, self.excite = nn.Linear(32, 8), nn.Linear(8, 32)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the signal."""
        x = F.max_pool1d(F.relu(self.norms[0](self.stem(x))), 2)
        y = self.norms[2](self.b(F.relu(self.norms[1](self.a(x)))))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean(-1)))))
        logits: Tensor = self.head(F.relu(x + y * gate.unsqueeze(-1)).mean(2))
        return logits


@final
class SignalUNet(nn.Module):
    """One scale down and up again in one dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(8, 16, 5, padding=2), nn.Conv1d(16, 32, 4, 2, 1)
        self.up, self.last = nn.ConvTranspose1d(32, 16, 4, 2, 1), nn.Conv1d(32, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """A cleaner signal."""
        a = F.elu(self.a(x))
        mask: Tensor = self.last(torch.cat([F.elu(self.up(F.elu(self.b(a)))), a], 1))
        return x * torch.sigmoid(mask)


@final
class GatedConvolutions(nn.Module):
    """WaveNet's gates: tanh of one half times sigmoid of the other, skips summed."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Conv1d(8, 16, 1)
        self.gates = nn.ModuleList(nn.Conv1d(16, 32, 3, padding=d, dilation=d) for d in (1, 2, 4))
        self.ways = nn.ModuleList(nn.Conv1d(16, 16, 1) for _ in range(3))
        self.end = nn.Conv1d(16, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Six scores for each step."""
        x, skips = self.start(x), []
        for gate, way in zip(self.gates, self.ways, strict=True):
            first, second = gate(x).chunk(2, dim=1)
            y = way(torch.tanh(first) * torch.sigmoid(second))
            skips.append(y)
            x = x + y
        scores: Tensor = self.end(torch.relu(sum(skips)))
        return scores


@final
class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        shape = (batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(y.transpose(1, 2).reshape(batch, tokens, width))
        return projected


@final
class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first(x))
        grown: Tensor = x + self.mlp(self.second(x))
        return grown


@final
class PatchTransformer(nn.Module):
    """A small vision transformer with a class token and its own attention."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(0.1 * torch.randn(1, 1, width))
        self.places = nn.Parameter(0.1 * torch.randn(1, 17, width))
        self.blocks = nn.Sequential(_Block(width, 4), _Block(width, 4))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits from the class token."""
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(y.shape[0], -1, -1), y], 1) + self.places
        logits: Tensor = self.head(self.norm(self.blocks(y))[:, 0])
        return logits


@final
class EncoderStack(nn.Module):
    """PyTorch's own encoder layers over embedded tokens, and an optional mask nobody gives."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.inputs = nn.Linear(8, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 64, batch_first=True) for _ in range(2)
        )
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits of the mean token."""
        y = self.inputs(x.transpose(1, 2))
        for layer in self.layers:
            y = layer(y, src_key_padding_mask=mask)
        logits: Tensor = self.head(y.mean(1))
        return logits


@final
class TinyMixer(nn.Module):
    """MLPs over tokens and over channels in turn."""

    def __init__(self, width: int = 32, tokens: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.over_tokens = nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens))
        self.over_channels = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the picture."""
        y = self.patches(x).flatten(2).mT
        y = y + self.over_tokens(self.norms[0](y).mT).mT
        y = y + self.over_channels(self.norms[1](y))
        logits: Tensor = self.head(y.mean(1))
        return logits


@final
class TextConvolutions(nn.Module):
    """Embedded tokens under convolutions of three widths, each pooled over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.convs = nn.ModuleList(nn.Conv1d(16, 16, k) for k in (3, 4, 5))
        self.head = nn.Linear(48, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the text."""
        x = self.embedding(tokens).permute(0, 2, 1)
        pooled = [F.adaptive_max_pool1d(F.relu(conv(x)), 1).squeeze(2) for conv in self.convs]
        logits: Tensor = self.head(torch.cat(pooled, 1))
        return logits


@final
class Recurrent(nn.Module):
    """A convolution before a recurrent layer, which is refused by name."""

    def __init__(self, layer: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__()
        self.conv, self.layer = nn.Conv1d(8, 16, 3), layer(16, 16, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Logits from the last step."""
        y, _ = self.layer(torch.relu(self.conv(x)).transpose(1, 2))
        logits: Tensor = self.head(y[:, -1])
        return logits
