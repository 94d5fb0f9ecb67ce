import pytest
import torch
from torch import nn

from tests.unit.pruning.networks import Written, conv, head
from torchedge.errors import PruningError
from torchedge.pruning import Limits, prune_to
from torchedge.pruning.cost import Costs
from torchedge.pruning.dependency import dependencies
from torchedge.pruning.latency import Latencies, LayerShape

IMAGE = torch.zeros(1, 3, 8, 8)


def by_vector(shapes):
    """A runtime that fills its vectors of 16 channels: an output takes as long as sixteen."""
    return [-(-shape.outputs // 16) * shape.inputs / 100 for shape in shapes]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        conv(3, 32), nn.ReLU(), conv(32, 32, groups=32), nn.ReLU(), conv(32, 64, 1), nn.ReLU(),
        head(64),
    ).eval()  # fmt: skip


def latencies(model, timer, multiple=16):
    found = dependencies(model, (IMAGE,))
    costs = Costs(found, model)
    return Latencies(found, costs, timer, Limits(multiple=multiple)), costs


def test_the_whole_network_takes_the_sum_of_its_layers():
    measured, costs = latencies(network(), by_vector)
    # 3→32, 32→32 (depthwise), 32→64, 64→3.
    whole = 2 * 3 + 2 * 32 + 4 * 32 + 1 * 64
    assert measured.milliseconds(costs.everything) == pytest.approx(whole / 100)


def test_layers_are_measured_as_the_runtime_sees_them():
    seen = []

    def timer(shapes):
        seen.extend(shapes)
        return [1.0] * len(shapes)

    latencies(network(), timer)
    assert len(set(seen)) == len(seen)  # none twice
    depthwise = {shape for shape in seen if shape.groups > 1}
    assert all(shape.groups == shape.inputs == shape.outputs for shape in depthwise)
    first = [shape for shape in seen if shape.inputs == 3]
    assert {shape.outputs for shape in first} == {16, 32}
    assert {shape.size for shape in first} == {(8, 8)}
    assert LayerShape(inputs=64, outputs=3) in seen


def test_between_widths_the_time_rises_evenly():
    def timer(shapes):
        return [shape.inputs * shape.outputs / 100 for shape in shapes]

    measured, costs = latencies(nn.Sequential(conv(3, 32), head(32)).eval(), timer)
    kept = costs.everything.copy()
    kept[: 32 - 24] = False  # 24 is between 16 and 32
    assert measured.milliseconds(kept) == pytest.approx((3 * 24 + 24 * 3) / 100)


def test_a_block_saves_the_difference_of_the_layers_it_touches():
    from torchedge.pruning.channel_scores import l2_norms
    from torchedge.pruning.ranking import blocks_of

    model = network()
    measured, costs = latencies(model, by_vector)
    group = costs.groups[0]
    (block,) = blocks_of(model, group, l2_norms, Limits(multiple=16))
    after = costs.everything.copy()
    begin = costs.units(group).start
    after[[begin + channel for channel in block.channels]] = False
    difference = measured.milliseconds(costs.everything) - measured.milliseconds(after)
    assert measured.saved(costs.everything, block, costs) == pytest.approx(difference)
    assert difference > 0


def test_with_a_timer_channels_that_cost_time_go_before_others_of_as_many_macs():
    def slow_rows(shapes):
        return [shape.outputs if shape.kernel == (1, 9) else 1e-3 for shape in shapes]

    def forward(net, x):
        return net.head(torch.cat([net.square(x), net.row(x)], 1))

    torch.manual_seed(0)
    row = nn.Conv2d(3, 64, (1, 9), padding=(0, 4))
    model = Written(forward, square=conv(3, 64), row=row, head=head(128)).eval()
    pruned = prune_to(model, (IMAGE,), macs=0.75, timer=slow_rows)
    assert (pruned.square.out_channels, pruned.row.out_channels) == (64, 32)


def test_a_latency_target_is_met():
    model = network()
    pruned = prune_to(model, (IMAGE,), latency=0.5, timer=by_vector, limits=Limits(multiple=16))
    measured, costs = latencies(pruned, by_vector)
    whole = latencies(model, by_vector)
    share = measured.milliseconds(costs.everything) / whole[0].milliseconds(whole[1].everything)
    assert 0.3 <= share <= 0.5


@pytest.mark.parametrize(
    ("word", "number"), [("valid", 0), ("same", 2)], ids=lambda value: str(value)
)
def test_a_padding_in_words_is_measured_as_its_numbers(word, number):
    def shapes_of(padding):
        layers = nn.Conv2d(3, 32, 3, padding=padding, dilation=2), nn.ReLU(), head(32)
        measured, _ = latencies(nn.Sequential(*layers).eval(), by_vector)
        return [layer.shape for layer in measured.layers]

    assert shapes_of(word) == shapes_of(number)


@pytest.mark.parametrize(
    ("layer", "image"),
    [
        (nn.Conv3d(3, 32, 3), torch.zeros(1, 3, 8, 8, 8)),
        (nn.ConvTranspose2d(3, 32, 3), IMAGE),
        (nn.Conv2d(3, 32, 4, padding="same"), IMAGE),
    ],
    ids=["3d", "transposed", "more on one side"],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_a_convolution_that_no_timer_measures_is_refused_by_its_name(layer, image):
    net = nn.Sequential(layer, nn.ReLU(), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    net = nn.Sequential(net, nn.Linear(32, 3)).eval()
    with pytest.raises(PruningError, match=r"the time of '0\.0'"):
        prune_to(net, (image,), latency=0.5, timer=by_vector)
    assert prune_to(net, (image,), macs=0.6, timer=by_vector)[1].in_features < 32
