import pytest
import torch
from torch import fx, nn

from tests.unit.pruning.networks import Written, conv, half_of, head, made
from torchedge.errors import TraceError
from torchedge.pruning import channel_groups, remove_channels

IMAGE = torch.zeros(1, 3, 8, 8)


def groups_by_name(model, x=IMAGE):
    return {group.name: group for group in channel_groups(model, (x,))}


def members(group):
    return {f"{layer} {side}" for layer, side in group.members}


def test_a_residual_joins_all_that_write_to_it_and_all_that_read_it():
    groups = groups_by_name(*made("residual"))
    assert list(groups) == ["stem", "first", "head.2"]  # in the order of execution
    writers = {"stem out", "second out", "shortcut out"}
    assert members(groups["stem"]) == writers | {"first in", "shortcut in", "head.2 in"}
    assert members(groups["first"]) == {"first out", "second in"}


def test_concatenated_channels_stay_in_groups_of_their_own():
    groups = groups_by_name(*made("concatenated"))
    assert [groups[name].channels for name in ("stem", "left", "right")] == [4, 5, 6]
    assert members(groups["left"]) == {"left out", "norm out", "last in"}
    norm = next(part for part in groups["left"].slices if part.path == "norm.weight")
    assert norm.units == (0, 1, 2, 3, 4) + (-1,) * 10  # torch.cat([left, stem, right])


def test_a_flattened_channel_is_read_at_all_of_its_places():
    group = groups_by_name(*made("flattened"))["0"]
    read = next(part for part in group.slices if part.path == "4.weight")
    assert read.units == tuple(i // 16 for i in range(96))


def test_both_halves_of_a_gate_go_together():
    group = groups_by_name(*made("gated"))["stem"]
    made_by = next(part for part in group.slices if part.path == "stem.weight")
    assert made_by.units == (0, 1, 2, 3, 0, 1, 2, 3)


def test_pixel_shuffle_takes_neighbouring_channels_together():
    group = groups_by_name(*made("pixel_shuffle"))["0"]
    assert group.slices[0].units == tuple(i // 4 for i in range(16))


def test_the_output_of_the_network_stays():
    group = groups_by_name(*made("plain"))["4.2"]
    assert not group.prunable
    assert group.reason == "it is an output of the network"


def test_details_name_every_parameter_and_where_its_channels_are():
    assert groups_by_name(*made("gated"))["stem"].details() == (
        "stem: 4 channels\n"
        "  stem.weight, axis 0, out, 2 of its 8 for each channel\n"
        "  stem.bias, axis 0, out, 2 of its 8 for each channel\n"
        "  head.2.weight, axis 1, in"
    )


@fx.wrap
def _opaque(x):
    return x.flip(0) if float(x.detach().sum()) < torch.inf else x


def _attention(x):
    """The function behind nn.MultiheadAttention, with its numbers of features and heads."""
    tokens, identity = x.flatten(2).permute(2, 0, 1), torch.eye(24, 8)
    no_bias = (None, None, None, False, 0.0)
    attended, _ = nn.functional.multi_head_attention_forward(
        tokens, tokens, tokens, 8, 2, identity, *no_bias, torch.eye(8), None, need_weights=False
    )
    return attended.permute(1, 2, 0).unflatten(2, (8, 8))


UNKNOWN = {
    "sort": (lambda x: x.sort(1).values, "'sort'"),
    "fft_fft2": (lambda x: torch.fft.fft2(x).real, "does not know the operator"),
    "linalg_inv": (lambda x: torch.linalg.inv(x @ x.mT + torch.eye(8)), "does not know"),
    "index": (lambda x: x[:, [2, 1, 0, 3, 4, 5, 6, 7]], "'index'"),
    "every_second": (lambda x: x[:, ::2].repeat(1, 2, 1, 1), "every so many"),
    "one_channel": (lambda x: x + x[:, 3:4] * x[:, 5].unsqueeze(1), "by their number"),
    "rolled": (lambda x: x.roll(1, 1), "rolled"),
    "sums_of_some": (
        lambda x: x.unflatten(1, (4, 2)).sum(2).repeat_interleave(2, 1),
        "averaged over a part",
    ),
    "attention": (_attention, "'multi_head_attention_forward'"),
    "own_function": (lambda x: _opaque(x), "'_opaque'"),
    "constant": (lambda x: x + torch.arange(8.0).view(1, 8, 1, 1), "not a layer's"),
    "padded_channels": (
        lambda x: x + nn.functional.pad(x[:, :4], (0, 0, 0, 0, 2, 2)),
        "not a layer's",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_channels_that_pass_through_something_unknown_stay_with_the_reason(name):
    unknown, words = UNKNOWN[name]

    def forward(net, x):
        return net.head(torch.relu(net.last(unknown(net.stem(x)))))

    model = Written(forward, stem=conv(3, 8), last=conv(8, 6), head=head(6)).eval()
    groups = groups_by_name(model)
    assert not groups["stem"].prunable
    assert words in groups["stem"].reason
    assert groups["stem"].reason in groups["stem"].details()
    assert groups["last"].prunable  # what comes after it is not touched
    pruned = remove_channels(model, half_of(groups.values()))
    assert pruned(IMAGE).shape == (1, 3)


def test_a_layer_that_is_not_known_keeps_what_it_reads_and_writes():
    def forward(net, x):
        x, _ = net.recurrent(net.stem(x).flatten(2).transpose(1, 2))
        return net.last(torch.relu(net.hidden(x)))

    model = Written(
        forward, stem=conv(3, 8), recurrent=nn.LSTM(8, 8, batch_first=True),
        hidden=nn.Linear(8, 6), last=nn.Linear(6, 2),
    )  # fmt: skip
    groups = groups_by_name(model)
    assert "LSTM 'recurrent'" in groups["stem"].reason
    assert groups["hidden"].prunable


def test_channels_that_only_go_together_cannot_be_pruned():
    model = nn.Sequential(conv(3, 8), nn.GroupNorm(1, 8), nn.Flatten(), nn.LayerNorm(512), head3())
    group = groups_by_name(model)["0"]
    assert group.prunable  # one group of a norm, and a norm of all places: each channel by itself
    depthwise = nn.Sequential(conv(3, 4), nn.ChannelShuffle(2), conv(4, 4, groups=2), head(4))
    shuffled = groups_by_name(depthwise)["0"]
    assert shuffled.channels == 1
    assert shuffled.reason == "all of its channels stay or go together"


def head3():
    return nn.Linear(512, 3)


def test_a_norm_without_weights_keeps_its_width():
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 8), nn.LayerNorm(8, elementwise_affine=False)
    )
    model.append(nn.Linear(8, 2))
    assert "fixed width" in groups_by_name(model)["1"].reason


def test_nothing_of_the_model_changes_while_it_is_looked_at():
    model, x = made("attention")
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    channel_groups(model, (x,))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert isinstance(model.attention, nn.MultiheadAttention)


def test_a_model_that_cannot_be_traced_is_refused_by_name():
    def forward(net, x):
        return net.stem(x) if x.sum() > 0 else x

    with pytest.raises(TraceError, match=r"torch\.fx cannot follow"):
        channel_groups(Written(forward, stem=conv(3, 3)), (IMAGE,))
