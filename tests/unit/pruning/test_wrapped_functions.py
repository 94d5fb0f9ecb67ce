"""Functions that their library tells torch.fx to leave whole."""

import torch
import torch.nn.functional as F
from torch import fx, nn

from tests.unit.pruning.networks import Written, conv, head
from torchedge.graph.trace import trace
from torchedge.pruning import channel_groups, prune_by, remove_channels

IMAGE = torch.linspace(-1, 1, 192).view(1, 3, 8, 8)


@fx.wrap
def attended(x, layers, heads):
    """Attention with all its layers handed over, as torchvision's Swin has it."""
    tokens = x.flatten(2).mT
    batch, places, width = tokens.shape
    qkv = F.linear(tokens, layers[0].weight, layers[0].bias)
    q, k, v = qkv.reshape(batch, places, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    scores = (q * (width // heads) ** -0.5 @ k.mT).softmax(-1)
    mixed = (scores @ v).transpose(1, 2).reshape(batch, places, width)
    return F.linear(mixed, layers[1].weight, layers[1].bias).mT.reshape(x.shape)


@fx.wrap
def by_sample(x):
    """One by one: a trace has as many steps as the example has samples."""
    return torch.cat([part.abs() for part in x.split(1)])


@fx.wrap
def both(x):
    return x, x + 1


def network(forward, **layers):
    torch.manual_seed(0)
    return Written(forward, stem=conv(3, 16), last=conv(16, 16), head=head(16), **layers).eval()


def test_a_stream_goes_through_a_function_that_is_left_whole():
    def forward(net, x):
        x = net.stem(x)
        return net.head(torch.relu(net.last(x + attended(x, [net.qkv, net.projection], 2))))

    model = network(forward, qkv=nn.Linear(16, 48), projection=nn.Linear(16, 16))
    names = {group.name: group for group in channel_groups(model, (IMAGE,))}
    assert names["stem"].prunable
    assert ("projection", "out") in names["stem"].members
    torch.testing.assert_close(remove_channels(model, {})(IMAGE), model(IMAGE))
    pruned = prune_by(model, (IMAGE,), {"stem": 0.5})
    assert pruned.stem.out_channels == 8
    assert pruned(torch.cat([IMAGE, IMAGE])).shape == (2, 3)


def test_a_function_that_is_another_with_two_samples_stays_whole():
    def forward(net, x):
        return net.head(torch.relu(net.last(by_sample(net.stem(x)))))

    model = network(forward)
    first, second, *_ = channel_groups(model, (IMAGE,))
    assert first.reason == "pruning cannot look into the function 'by_sample'"
    pruned = remove_channels(model, {second: range(8)})
    assert pruned(torch.cat([IMAGE, IMAGE])).shape == (2, 3)


def test_a_function_of_several_results_is_traced():
    def forward(net, x):
        one, two = both(net.stem(x))
        return net.head(torch.relu(net.last(one * two)))

    model = network(forward)
    graph_module = trace(model, (IMAGE,))
    assert both not in {node.target for node in graph_module.graph.nodes}
    torch.testing.assert_close(graph_module(IMAGE), model(IMAGE))
    assert channel_groups(model, (IMAGE,))[0].prunable


def test_what_was_left_whole_is_so_again_after_a_trace():
    model = network(lambda net, x: net.head(by_sample(net.stem(x))))
    trace(model, (IMAGE,), into_functions=True)
    assert by_sample in {node.target for node in trace(model, (IMAGE,)).graph.nodes}
