"""Networks whose code takes channels apart by itself."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.unit.pruning.networks import Written, conv, head


def packed_attention():
    """Queries, keys and values from one layer, as many vision transformers are written."""

    def forward(net, x):
        tokens = net.patches(x).flatten(2).transpose(1, 2)
        batch, count, _ = tokens.shape
        packed = net.packed(net.norm(tokens)).reshape(batch, count, 3, 4, 2)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        scores = torch.softmax(query @ key.transpose(-2, -1) * 2**-0.5, -1)
        attended = (scores @ value).transpose(1, 2).reshape(batch, count, 8)
        return net.last(torch.relu(net.hidden(net.out(attended))).mean(1))

    return Written(
        forward, patches=nn.Conv2d(3, 8, 4, 4), norm=nn.Identity(), packed=nn.Linear(8, 24),
        out=nn.Linear(8, 8), hidden=nn.Linear(8, 12), last=nn.Linear(12, 3),
    )  # fmt: skip


def picked_attention():
    """The same, its parts picked one by one, and PyTorch's attention."""

    def forward(net, x):
        tokens = net.patches(x).flatten(2).transpose(1, 2)
        packed = net.packed(tokens).unflatten(-1, (3, 4, 2)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(packed[0], packed[1], packed[2])
        return net.last(net.out(attended.transpose(1, 2).flatten(2)).mean(1))

    return Written(
        forward, patches=nn.Conv2d(3, 8, 4, 4), packed=nn.Linear(8, 24), out=nn.Linear(8, 6),
        last=nn.Linear(6, 3),
    )  # fmt: skip


def _masked_attention(mask_of):
    """Four heads of eight features, with numbers of each head's own added to the products."""

    def forward(net, x):
        tokens = net.patches(x).flatten(2).transpose(1, 2)
        q, k, v = net.packed(tokens).unflatten(-1, (3, 4, 2)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_of(net))
        hidden = torch.relu(net.hidden(net.out(attended.transpose(1, 2).flatten(2))))
        return net.last(hidden.mean(1))

    net = Written(
        forward, patches=nn.Conv2d(3, 8, 4, 4), packed=nn.Linear(8, 24), out=nn.Linear(8, 6),
        hidden=nn.Linear(6, 8), last=nn.Linear(8, 3),
    )  # fmt: skip
    net.bias = nn.Parameter(torch.randn(1, 4, 4, 4))
    net.register_buffer("places", torch.arange(4).roll(1))
    return net


def attention_with_a_bias_for_each_head():
    return _masked_attention(lambda net: net.bias)


def attention_with_a_bias_read_from_a_table():
    return _masked_attention(lambda net: net.bias[:, :, net.places])


def shuffled_by_hand():
    """ShuffleNet's way (Zhang et al. 2018): a view, a transpose and a view."""

    def forward(net, x):
        x = torch.relu(net.stem(x))
        batch, channels, height, width = x.size()
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
        x = x.view(batch, channels, height, width)
        left, right = x.chunk(2, 1)
        return net.head(torch.cat([net.left(left), right], 1))

    return Written(forward, stem=conv(3, 12), left=conv(6, 4), head=head(10))


def picked_rows():
    """Rows of a matrix picked by their number: none may go, only columns."""

    def forward(net, x):
        x = net.first(x.flatten(1)).view(-1, 8, 4)
        return net.last(torch.relu(x[:, 1] * x.select(1, 6)))

    return Written(forward, first=nn.Linear(192, 32), last=nn.Linear(4, 3))


def multiplied_by_einsum():
    def forward(net, x):
        x = torch.relu(net.stem(x))
        return net.last(torch.einsum("bchw,dc->bd", x, net.mix.weight))

    return Written(forward, stem=conv(3, 8), mix=nn.Linear(8, 6, bias=False), last=nn.Linear(6, 3))


def functional():
    """Layers called as functions, whose numbers of groups are in the code."""

    def forward(net, x):
        x = torch.relu(net.stem(x))
        x = F.conv2d(x, net.depthwise.weight, net.depthwise.bias, 1, 1, 1, 8)
        x = F.group_norm(x, 8, net.norm.weight, net.norm.bias)
        x = F.conv_transpose2d(torch.relu(x), net.up.weight, stride=2, groups=8)
        x = F.group_norm(x, num_groups=8)
        return F.linear(F.adaptive_avg_pool2d(x, 1).flatten(1), net.last.weight, net.last.bias)

    return Written(
        forward, stem=conv(3, 8), depthwise=conv(8, 8, groups=8), norm=nn.GroupNorm(8, 8),
        up=nn.ConvTranspose2d(8, 8, 2, 2, groups=8, bias=False), last=nn.Linear(8, 3),
    )  # fmt: skip


def _halved(half):
    def forward(net, x):
        return net.head(half(torch.relu(net.stem(x))))

    return Written(forward, stem=conv(3, 16), head=head(8))


def sliced_by_its_shape():
    return _halved(lambda y: y[:, : y.shape[1] // 2] * y[:, y.shape[1] // 2 :])


def narrowed_by_keywords():
    return _halved(lambda y: y.narrow(dim=1, start=0, length=8))


def narrowed_from_the_end():
    return _halved(lambda y: y.narrow(1, -8, 8))


def narrowed_by_its_shape():
    return _halved(lambda y: torch.narrow(y, 1, y.shape[1] // 2, length=8))


def unflattened_by_keywords():
    return _halved(lambda y: y.unflatten(1, sizes=(2, 8))[:, 1])


def viewed_as_another():
    def forward(net, x):
        y = net.first(x.flatten(1))
        return net.last(torch.relu(y).view(y.shape))

    return Written(forward, first=nn.Linear(192, 8), last=nn.Linear(8, 3))


MORE_NETWORKS = {
    make.__name__: make
    for make in (
        packed_attention, picked_attention, shuffled_by_hand, picked_rows, multiplied_by_einsum,
        functional, sliced_by_its_shape, narrowed_by_keywords, narrowed_from_the_end,
        narrowed_by_its_shape, unflattened_by_keywords, viewed_as_another,
        attention_with_a_bias_for_each_head, attention_with_a_bias_read_from_a_table,
    )
}  # fmt: skip
