"""Networks put together at random from blocks that take channels apart in their own ways."""

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn


class Block(nn.Module):
    """Layers and a function of them and of the stream."""

    def __init__(self, compute, **layers):
        super().__init__()
        self.compute = compute
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.compute(self, x)


def convolution(width, outputs, option):
    modes = ("zeros", "reflect", "circular", "replicate")
    layer = nn.Conv2d(width, outputs, 3, padding=1, padding_mode=modes[option % 4], bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU()), outputs


def separable(width, outputs, option):
    depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
    return nn.Sequential(depthwise, nn.SiLU(), nn.Conv2d(width, outputs, 1)), outputs


def grouped(width, outputs, option):
    groups = 2 if option % 2 else 4
    return nn.Conv2d(width, outputs, 3, padding=1, groups=groups), outputs


def transposed(width, outputs, option):
    groups = (1, 2, 4)[option % 3]
    up = nn.ConvTranspose2d(width, outputs, 2, 2, groups=groups)
    return nn.Sequential(up, nn.Tanh(), nn.AvgPool2d(2)), outputs


def residual(width, outputs, option):
    def compute(block, x):
        return torch.relu(x + block.second(torch.relu(block.first(x))))

    first = nn.Conv2d(width, outputs, 3, padding=1)
    return Block(compute, first=first, second=nn.Conv2d(outputs, width, 1)), width


def concatenated(width, outputs, option):
    def compute(block, x):
        return torch.cat([x, block.more(x)] if option % 2 else [block.more(x), x], 1)

    return Block(compute, more=nn.Conv2d(width, outputs, 1)), width + outputs


def halves(width, outputs, option):
    def compute(block, x):
        if option % 2:
            kept, on = x[:, : width // 2], x[:, width // 2 :]
        else:
            kept, on = x.chunk(2, 1)
        return torch.cat([kept, on, on + block.more(on)], 1)

    half = width - width // 2 if option % 2 else width // 2
    if width % 2 and not option % 2:
        return convolution(width, outputs, option)
    return Block(compute, more=nn.Conv2d(half, half, 3, padding=1)), width + half


def squeezed(width, outputs, option):
    def compute(block, x):
        batch, channels, _, _ = x.shape
        gate = torch.sigmoid(block.up(torch.relu(block.down(x.mean((2, 3))))))
        return x * (gate[:, :, None, None] if option % 2 else gate.view(batch, channels, 1, 1))

    return Block(compute, down=nn.Linear(width, outputs), up=nn.Linear(outputs, width)), width


def twice(width, outputs, option):
    def compute(block, x):
        return torch.relu(block.layer(torch.relu(block.layer(x))))

    return Block(compute, layer=nn.Conv2d(width, width, 3, padding=1)), width


def attention(width, outputs, option):
    def compute(block, x):
        batch, channels, height, width = x.shape
        x = x.flatten(2).transpose(1, 2)
        size = channels // 4
        packed = block.qkv(x).reshape(batch, height * width if option % 2 else -1, 3, 4, size)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        if option % 3:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-2, -1) * size**-0.5).softmax(-1) @ v
        x = x + block.proj(y.transpose(1, 2).reshape(batch, height * width, channels))
        return x.transpose(1, 2).reshape(batch, channels, height, width)

    return Block(compute, qkv=nn.Linear(width, 3 * width), proj=nn.Linear(width, width)), width


def shuffled(width, outputs, option):
    if width % 4:
        return convolution(width, outputs, option)
    return nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(width // 4, outputs, 2, 2)), outputs


BLOCKS = (
    *(convolution, separable, grouped, transposed, residual, concatenated),
    *(halves, squeezed, twice, attention, shuffled),
)


@st.composite
def networks(draw):
    """A network of up to five blocks whose batch norms have statistics, and an input."""
    torch.manual_seed(draw(st.integers(0, 99)))
    stem = draw(st.sampled_from((8, 12)))
    width, blocks = stem, [nn.Conv2d(3, stem, 3, padding=1)]
    for make in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=5)):
        outputs = draw(st.sampled_from((4, 8, 12)))
        if (make in (grouped, attention) and width % 4) or (make is transposed and width % 4):
            make = convolution
        block, width = make(width, outputs, draw(st.integers(0, 5)))
        blocks.append(block)
    model = nn.Sequential(
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 3)
    ).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model, torch.randn(1, 3, 4, 4)


@st.composite
def choices(draw, groups):
    """What to keep of each group that can be pruned."""
    return {
        group: sorted(draw(st.sets(st.integers(0, group.channels - 1), min_size=1)))
        for group in groups
        if group.prunable
    }
