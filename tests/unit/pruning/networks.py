"""Tiny networks, one for each way in which channels depend on each other."""

import torch
import torch.nn.functional as F
from torch import nn


class Written(nn.Module):
    """Layers, and how they are used."""

    def __init__(self, forward, **layers):
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self._forward(self, x)


def conv(inputs, outputs, kernel=3, **options):
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)


def head(width, classes=3):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def plain():
    return nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 6), nn.ReLU(), head(6))


def batch_norm():
    return nn.Sequential(
        conv(3, 8, bias=False), nn.BatchNorm2d(8), nn.Sigmoid(), conv(8, 6), nn.BatchNorm2d(6),
        nn.Hardswish(), head(6),
    )  # fmt: skip


def depthwise():
    return nn.Sequential(
        conv(3, 8, 1), nn.ReLU6(), conv(8, 8, groups=8), nn.BatchNorm2d(8), conv(8, 6, 1), head(6)
    )


def depthwise_with_multiplier():
    return nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 8, groups=4), nn.ReLU(), head(8))


def grouped():
    return nn.Sequential(
        conv(3, 8), nn.ReLU(), conv(8, 12, groups=2), nn.BatchNorm2d(12), nn.ReLU(), conv(12, 4),
        head(4),
    )  # fmt: skip


def transposed():
    return nn.Sequential(
        conv(3, 8), nn.ReLU(), nn.ConvTranspose2d(8, 6, 2, 2), nn.ReLU(), conv(6, 2), head(2)
    )


def transposed_depthwise():
    up = nn.ConvTranspose2d(6, 6, 2, 2, groups=6)
    return nn.Sequential(conv(3, 6), nn.ReLU(), up, nn.ReLU(), head(6))


def transposed_grouped():
    up = nn.ConvTranspose2d(8, 12, 2, 2, groups=2)
    return nn.Sequential(conv(3, 8), nn.ReLU(), up, nn.ReLU(), conv(12, 2), head(2))


def linear():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 10), nn.BatchNorm1d(10), nn.GELU(), nn.Linear(10, 6),
        nn.Tanh(), nn.Linear(6, 3),
    )  # fmt: skip


def one_dimensional():
    return nn.Sequential(
        nn.Flatten(2), nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(6, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


def three_dimensional():
    return nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(),
        nn.AvgPool3d(2, 2, (1, 0, 0)), nn.Conv3d(6, 4, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip


def prelu():
    return nn.Sequential(conv(3, 8), nn.PReLU(8), conv(8, 6), nn.PReLU(), head(6))


def instance_norm():
    return nn.Sequential(conv(3, 8), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), head(8))


def norms_without_weights():
    return nn.Sequential(
        conv(3, 8), nn.InstanceNorm2d(8), nn.ReLU(), conv(8, 6), nn.GroupNorm(6, 6, affine=False),
        conv(6, 4), nn.BatchNorm2d(4, affine=False, track_running_stats=False), head(4),
    )  # fmt: skip


def norm_of_each_channel():
    return nn.Sequential(conv(3, 8), nn.GroupNorm(8, 8), nn.ReLU(), head(8))


def residual():
    def forward(net, x):
        x = torch.relu(net.stem(x))
        x = torch.relu(x + net.second(torch.relu(net.first(x))))
        return net.head(x + net.shortcut(x))

    return Written(
        forward, stem=conv(3, 8), first=conv(8, 6), second=conv(6, 8), shortcut=conv(8, 8, 1),
        head=head(8),
    )  # fmt: skip


def concatenated():
    def forward(net, x):
        x = torch.relu(net.stem(x))
        both = torch.cat([net.left(x), x, net.right(x)], 1)
        return net.head(net.last(net.norm(both)))

    return Written(
        forward, stem=conv(3, 4), left=conv(4, 5), right=conv(4, 6, 1), norm=nn.BatchNorm2d(15),
        last=conv(15, 4), head=head(4),
    )  # fmt: skip


def dense_block():
    def forward(net, x):
        x = net.stem(x)
        x = torch.cat([x, net.first(torch.relu(x))], 1)
        x = torch.cat([x, net.second(torch.relu(x))], 1)
        return net.head(torch.relu(x))

    return Written(forward, stem=conv(3, 4), first=conv(4, 4), second=conv(8, 4), head=head(12))


def chunked():
    def forward(net, x):
        left, right = torch.relu(net.stem(x)).chunk(2, 1)
        return net.head(torch.cat([net.left(left), right], 1))

    return Written(forward, stem=conv(3, 8), left=conv(4, 4), head=head(8))


def gated():
    def forward(net, x):
        values, gates = net.stem(x).chunk(2, 1)
        return net.head(values * torch.sigmoid(gates))

    return Written(forward, stem=conv(3, 8), head=head(4))


def split():
    def forward(net, x):
        left, middle, right = torch.split(torch.relu(net.stem(x)), [2, 4, 3], 1)
        return net.head(torch.cat([net.left(left), net.middle(middle), net.right(right)], 1))

    return Written(
        forward, stem=conv(3, 9), left=conv(2, 3), middle=conv(4, 3), right=conv(3, 3), head=head(9)
    )


def sliced():
    def forward(net, x):
        x = torch.relu(net.stem(x))
        return net.head(torch.cat([net.left(x[:, :3]), net.right(x[:, 3:])], 1))

    return Written(forward, stem=conv(3, 8), left=conv(3, 2), right=conv(5, 2), head=head(4))


def sliced_after_dots():
    def forward(net, x):
        x = torch.relu(net.stem(x))
        left, right = x[..., :3, :, :], x[..., 3:, :, :]
        return net.head(torch.cat([net.left(left), net.right(right)], 1))

    return Written(forward, stem=conv(3, 8), left=conv(3, 2), right=conv(5, 2), head=head(4))


def flattened():
    return nn.Sequential(
        conv(3, 6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 8), nn.ReLU(),
        nn.Linear(8, 3),
    )  # fmt: skip


def reshaped():
    def forward(net, x):
        x = torch.relu(net.stem(x))
        x = x.view(x.size(0), 6 * 64)
        return net.last(torch.relu(net.first(x)).reshape(-1, 8))

    return Written(forward, stem=conv(3, 6), first=nn.Linear(384, 8), last=nn.Linear(8, 3))


def upsampled():
    return nn.Sequential(
        conv(3, 6), nn.Upsample(scale_factor=2, mode="bilinear"), conv(6, 4),
        nn.Upsample(scale_factor=2), nn.AvgPool2d(2), head(4),
    )  # fmt: skip


def squeeze_excite():
    def forward(net, x):
        x = torch.relu(net.stem(x))
        gate = torch.sigmoid(net.up(torch.relu(net.down(F.adaptive_avg_pool2d(x, 1)))))
        return net.head(x * gate)

    return Written(forward, stem=conv(3, 8), down=conv(8, 4, 1), up=conv(4, 8, 1), head=head(8))


def pixel_shuffle():
    return nn.Sequential(conv(3, 16), nn.PixelShuffle(2), nn.ReLU(), conv(4, 4), head(4))


def pixel_unshuffle():
    return nn.Sequential(conv(3, 4), nn.ReLU(), nn.PixelUnshuffle(2), conv(16, 4), head(4))


def channel_shuffle():
    return nn.Sequential(conv(3, 8), nn.ReLU(), nn.ChannelShuffle(2), conv(8, 4, groups=2), head(4))


def padded():
    return nn.Sequential(
        nn.ReflectionPad2d(1), nn.Conv2d(3, 6, 3), nn.ZeroPad2d(1), nn.Conv2d(6, 4, 3),
        nn.Dropout2d(0.5), head(4),
    )  # fmt: skip


def shared_layer():
    def forward(net, x):
        x = torch.relu(net.stem(x))
        return net.head(net.twice(torch.relu(net.twice(x))))

    return Written(forward, stem=conv(3, 6), twice=conv(6, 6), head=head(6))


def attention():
    def forward(net, x):
        tokens = net.patches(x).flatten(2).transpose(1, 2)
        attended, _ = net.attention(tokens, tokens, tokens, need_weights=False)
        return net.last(torch.relu(net.hidden(tokens + attended)).mean(1))

    return Written(
        forward, patches=nn.Conv2d(3, 8, 4, 4),
        attention=nn.MultiheadAttention(8, 4, batch_first=True),
        hidden=nn.Linear(8, 12), last=nn.Linear(12, 3),
    )  # fmt: skip


NETWORKS = {
    make.__name__: make
    for make in (
        plain, batch_norm, depthwise, depthwise_with_multiplier, grouped, transposed,
        transposed_depthwise, transposed_grouped, linear, one_dimensional, three_dimensional, prelu,
        instance_norm, norms_without_weights, norm_of_each_channel, residual, concatenated,
        dense_block, chunked, gated, split, sliced, sliced_after_dots, flattened, reshaped,
        upsampled, squeeze_excite, pixel_shuffle, pixel_unshuffle, channel_shuffle, padded,
        shared_layer, attention,
    )
}  # fmt: skip


_SCALED = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.PReLU)


def made(name, networks=NETWORKS):
    """A network with random weights and statistics, and an input."""
    torch.manual_seed(0)
    model = networks[name]()
    for module in model.modules():
        if isinstance(getattr(module, "running_mean", None), torch.Tensor):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, _SCALED) and module.weight is not None:
            nn.init.normal_(module.weight)
    return model.eval(), torch.randn(1, 3, 8, 8)


def half_of(groups):
    """What to keep so that every group loses about half, but no layer everything."""
    keep = {}
    for group in groups:
        if group.prunable:
            order = torch.randperm(group.channels, generator=torch.Generator().manual_seed(2))
            keep[group] = sorted(order[: max(1, -(-group.channels // 2))].tolist())
    return keep
