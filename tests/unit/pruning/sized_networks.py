"""Networks whose code reads a size of one tensor and uses it on another."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.pruning.networks import Written, conv, head


class _Attention(nn.Module):
    """As timm writes it: the width of a head is read from the stream, not from what is reshaped."""

    def __init__(self, shapes, attend):
        super().__init__()
        self.inp, self.qkv = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 48)
        self.proj, self.last = nn.Linear(16, 16), nn.Linear(16, 3)
        self.shapes, self.attend = shapes, attend

    def forward(self, x):
        x = self.inp(x).flatten(2).transpose(1, 2)
        batch, tokens, channels = x.shape
        first, last = self.shapes(batch, tokens, channels, 4)
        q, k, v = self.qkv(x).reshape(first).permute(2, 0, 3, 1, 4).unbind(0)
        return self.last((x + self.proj(self.attend(q, k, v).reshape(last))).mean(1))


def _attended(q, k, v):
    scores = (q @ k.transpose(-2, -1) * 0.5).softmax(-1)
    return (scores @ v).transpose(1, 2)


def _across(q, k, v):
    """Cross-covariance attention (El-Nouby et al. 2021): channels attend to channels."""
    q, k = F.normalize(q, dim=-2), F.normalize(k, dim=-2)
    scores = (q.transpose(-2, -1) @ k).softmax(-1)
    return (scores @ v.transpose(-2, -1)).permute(0, 3, 1, 2)


def _scaled(q, k, v):
    """By a width that is read where the heads were split."""
    return _attended(q * q.shape[-1] ** -0.5, k, v)


def attention_of_the_stream():
    return _Attention(lambda b, n, c, h: ((b, n, 3, h, c // h), (b, n, c)), _attended)


def attention_with_a_rest():
    return _Attention(lambda b, n, c, h: ((b, -1, 3, h, c // h), (b, n, -1)), _attended)


def attention_that_infers_its_heads():
    return _Attention(lambda b, n, c, h: ((b, n, 3, -1, c // h), (b, n, c)), _attended)


def attention_across_channels():
    return _Attention(lambda b, n, c, h: ((b, n, 3, h, c // h), (b, n, c)), _across)


def attention_scaled_by_its_shape():
    return _Attention(lambda b, n, c, h: ((b, n, 3, h, c // h), (b, n, c)), _scaled)


def _beside(use):
    """Two streams of equal width that nothing joins, and code that mixes their sizes."""

    def forward(net, x):
        first, second = torch.relu(net.first(x)), torch.relu(net.second(x))
        return net.left(use(net, first, second)) + net.right(first)

    return Written(
        forward, first=conv(3, 12), second=conv(3, 12), left=head(12), right=head(12),
        gate=nn.Linear(12, 12),
    )  # fmt: skip


def gate_viewed_by_another():
    def use(net, first, second):
        batch, channels, _, _ = first.shape
        gate = torch.sigmoid(net.gate(second.mean((2, 3)))).view(batch, channels, 1, 1)
        return second * gate

    return _beside(use)


def viewed_as_a_stranger():
    return _beside(lambda net, first, second: second.flatten(2).view_as(first))


def reshaped_to_the_shape_of_a_stranger():
    return _beside(lambda net, first, second: second.flatten(1).reshape(first.shape))


def cut_by_the_width_of_another():
    def use(net, first, second):
        half = first.shape[1] // 2
        return torch.cat([second[:, half:], second[:, :half]], 1)

    return _beside(use)


def split_by_the_width_of_another():
    def use(net, first, second):
        return torch.cat(second.split(first.shape[1] // 3, 1)[::-1], 1)

    return _beside(use)


def averaged_by_the_width_of_another():
    return _beside(lambda net, first, second: second / first.shape[1])


def zeros_of_the_size_of_another():
    return _beside(lambda net, first, second: second + second.new_zeros(first.shape))


def pooled_per_head():
    """Weights of four heads, each for the channels of its own."""

    def forward(net, x):
        x = torch.relu(net.stem(x))
        batch, channels, height, width = x.shape
        weights = net.weights(x).flatten(2).softmax(-1)
        parts = x.view(batch, 4, channels // 4, height * width)
        return net.last(torch.einsum("bhcn,bhn->bhc", parts, weights).reshape(batch, channels))

    return Written(
        forward, stem=conv(3, 16), weights=nn.Conv2d(16, 4, 1), last=nn.Linear(16, 3)
    )  # fmt: skip


def decoder():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 96), nn.ReLU(), nn.Unflatten(1, (6, 4, 4)), nn.BatchNorm2d(6),
        nn.ConvTranspose2d(6, 8, 2, 2), nn.ReLU(), conv(8, 4), head(4),
    )  # fmt: skip


def decoder_by_view():
    def forward(net, x):
        x = torch.relu(net.first(x.flatten(1)))
        return net.last(torch.relu(net.up(F.max_pool2d(x.view(x.size(0), -1, 4, 4), 2))))

    return Written(forward, first=nn.Linear(192, 96), up=conv(6, 8), last=head(8))


def sequence_decoder():
    def forward(net, x):
        x = torch.relu(net.first(x.flatten(1))).reshape(-1, 8, 5)
        return net.last(torch.relu(net.up(x)).flatten(1))

    return Written(
        forward, first=nn.Linear(192, 40), up=nn.ConvTranspose1d(8, 6, 2), last=nn.Linear(36, 3)
    )


def pooled_heads():
    """MViT's way (Fan et al. 2021): each head is an image whose channels a convolution pools."""

    def forward(net, x):
        x = net.first(x)
        batch, _, height, width = x.shape
        heads = net.pool(x.reshape(batch * 2, -1, height, width))
        return net.last(torch.relu(heads).reshape(batch, -1, height // 2, width // 2))

    return Written(
        forward, first=conv(3, 16), pool=nn.Conv2d(8, 8, 2, 2, groups=8), last=head(16)
    )  # fmt: skip


def halves_that_go_on():
    """C2f (YOLO): both halves are kept, and one goes on."""

    def forward(net, x):
        kept, on = torch.relu(net.stem(x)).chunk(2, 1)
        return net.head(torch.cat([kept, on, on + net.more(on)], 1))

    return Written(forward, stem=conv(3, 16), more=conv(8, 8), head=head(24))


SIZED_NETWORKS = {
    make.__name__: make
    for make in (
        attention_of_the_stream, attention_with_a_rest, attention_that_infers_its_heads,
        attention_across_channels, attention_scaled_by_its_shape, gate_viewed_by_another,
        viewed_as_a_stranger, reshaped_to_the_shape_of_a_stranger, cut_by_the_width_of_another,
        split_by_the_width_of_another, averaged_by_the_width_of_another,
        zeros_of_the_size_of_another, pooled_per_head, decoder, decoder_by_view, sequence_decoder,
        pooled_heads, halves_that_go_on,
    )
}  # fmt: skip
