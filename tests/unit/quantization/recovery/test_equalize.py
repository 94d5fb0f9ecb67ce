import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchedge.quantization.recovery import equalize
from torchedge.quantization.recovery.channel_groups import channel_groups, float_graph
from torchedge.quantization.recovery.equalize import ClippedReLU


class Residual(nn.Module):
    """A stream that two blocks add to, with a depthwise layer in each, and a classifier."""

    def __init__(self, activation=nn.ReLU):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(nn.Conv2d(6, 12, 1), activation()),
                *(nn.Conv2d(12, 12, 3, padding=1, groups=12), activation()),
                nn.Conv2d(12, 6, 1),
            )
            for _ in range(2)
        )
        self.head = nn.Linear(6 * 4 * 4, 3)

    def forward(self, x):
        x = self.norm(self.stem(x))
        for block in self.blocks:
            x = x + block(x)
        return self.head(torch.flatten(nn.functional.max_pool2d(x, 2), 1))


def uneven(network, seed=0):
    """Channels of weights and biases away from each other by up to 100 times."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        spread = 10 ** (2 * torch.rand(len(parameter), generator=generator) - 1)
        parameter.data *= spread.view(-1, *[1] * (parameter.ndim - 1))
    return network.eval()


def assert_same_function(first, second, x):
    """Equal to float rounding: each of some 8 layers adds a few units in the last place."""
    with torch.no_grad():
        ours, theirs = first.double()(x.double()), second.double()(x.double())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=float(theirs.abs().max()) * 1e-5)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), with_data=st.booleans())
def test_the_equalised_network_computes_what_the_float_network_did(seed, with_data):
    network, x = uneven(Residual(), seed), torch.randn(4, 2, 8, 8)
    equalized = equalize(network, (x,), batches=[x] if with_data else None)
    assert_same_function(equalized, network, x)


@pytest.mark.parametrize("activation", [nn.LeakyReLU, nn.PReLU, nn.Identity])
def test_factors_pass_through_every_positively_homogeneous_activation(activation):
    network, x = uneven(Residual(activation)), torch.randn(4, 2, 8, 8)
    equalized = equalize(network, (x,))
    assert not torch.equal(
        equalized.get_submodule("blocks.0.0").weight, network.blocks[0][0].weight
    )
    assert_same_function(equalized, network, x)


def test_an_activation_that_is_not_homogeneous_stops_the_factors():
    network, x = uneven(Residual(nn.Hardswish)), torch.randn(4, 2, 8, 8)
    depthwise = equalize(network, (x,)).get_submodule("blocks.0.2")
    assert torch.equal(depthwise.weight, network.blocks[0][2].weight)


def test_without_data_ranges_before_and_behind_become_equal():
    network, x = (
        uneven(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))),
        torch.randn(2, 5),
    )
    equalized = equalize(network, (x,))
    before = equalized.get_submodule("0").weight.abs().amax(1)
    behind = equalized.get_submodule("2").weight.abs().amax(0)
    torch.testing.assert_close(before, behind)


def test_rescaling_the_channels_first_makes_no_difference_to_the_result():
    network, x = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), torch.randn(2, 5)
    plain = equalize(network, (x,)).get_submodule("0").weight
    factors = torch.logspace(-3, 3, 7)
    with torch.no_grad():
        network[0].weight *= factors[:, None]
        network[0].bias *= factors
        network[2].weight /= factors
    torch.testing.assert_close(equalize(network, (x,)).get_submodule("0").weight, plain)


def test_a_residual_stream_and_its_depthwise_triples_are_groups():
    x = torch.randn(1, 2, 8, 8)
    graph = float_graph(Residual(), (x,))
    found = [(len(g.writers), len(g.readers), g.channels) for g in channel_groups(graph, (x,))]
    # The stem and both projections write the stream; both expansions and the classifier read it.
    assert sorted(found) == [(1, 1, 12)] * 4 + [(3, 3, 6)]


def test_a_tensor_that_is_also_an_output_is_left_alone():
    class TwoOutputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            hidden = torch.relu(self.first(x))
            return hidden, self.second(hidden)

    network, x = TwoOutputs(), torch.randn(2, 4)
    equalized = equalize(network, (x,))
    torch.testing.assert_close(equalized(x), network(x), rtol=0, atol=0)


def test_a_linear_layer_over_a_sequence_is_left_alone():
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(2, 4, 4)
    assert torch.equal(equalize(network, (x,))(x), network(x))


@pytest.mark.parametrize("kind", [nn.ConvTranspose2d, nn.Conv2d])
def test_grouped_and_transposed_layers_are_scaled_on_the_right_axes(kind):
    network = nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.ReLU(), kind(4, 8, 3, groups=2), nn.ReLU(), kind(8, 2, 3, groups=2)
    )
    x = torch.randn(2, 2, 9, 9)
    assert_same_function(equalize(uneven(network), (x,)), network, x)


class TestRelu6:
    x = torch.randn(16, 2, 8, 8, generator=torch.Generator().manual_seed(3))

    def network(self):
        torch.manual_seed(0)
        network = uneven(Residual(nn.ReLU6))
        with torch.no_grad():
            for block in network.blocks:
                block[0].weight *= 4
        return network

    def test_kept_it_never_clips_a_value_that_was_seen(self):
        network = self.network()
        equalized = equalize(network, (self.x,), batches=[self.x])
        assert sum(isinstance(m, nn.ReLU6) for m in equalized.modules()) == 4
        assert_same_function(equalized, network, self.x)

    def test_kept_it_leaves_no_channel_smaller(self):
        equalized, network = equalize(self.network(), (self.x,), batches=[self.x]), self.network()
        paths = [f"blocks.{block}.{layer}" for block in range(2) for layer in (0, 2)]
        factors = torch.cat(
            [equalized.get_submodule(p).bias / network.get_submodule(p).bias for p in paths]
        )
        assert factors.min() >= 1 - 1e-5
        assert factors.max() > 1.5

    def test_kept_without_data_it_stops_the_factors(self):
        network = self.network()
        equalized = equalize(network, (self.x,))
        assert_same_function(equalized, network, 10 * self.x)

    def test_per_channel_clips_keep_the_function_for_all_values(self):
        network = self.network()
        equalized = equalize(network, (self.x,), relu6="per_channel")
        assert sum(isinstance(m, ClippedReLU) for m in equalized.modules()) == 4
        assert_same_function(equalized, network, 10 * self.x)

    def test_replaced_it_keeps_the_function_where_nothing_reached_six(self):
        network = self.network()
        with torch.no_grad():
            for layer in network.modules():
                if getattr(layer, "bias", None) is not None:
                    layer.bias *= 1e-3
        equalized = equalize(network, (self.x,), relu6="replace")
        assert not any(isinstance(m, nn.ReLU6) for m in equalized.modules())
        assert_same_function(equalized, network, 1e-3 * self.x)


def test_a_channel_that_is_dead_stays_finite():
    network, x = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), torch.randn(2, 5)
    with torch.no_grad():
        network[0].weight[2] = 0
        network[0].bias[2] = -1
    for batches in (None, [x]):
        equalized = equalize(network, (x,), batches=batches)
        assert all(p.isfinite().all() for p in equalized.parameters())
        torch.testing.assert_close(equalized(x), network(x))


def test_the_model_that_was_given_is_not_changed():
    network, x = uneven(Residual()), torch.randn(4, 2, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    equalize(network, (x,), batches=[x])
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_how_the_data_is_batched_makes_no_difference():
    network, x = uneven(Residual()), torch.randn(8, 2, 8, 8)
    whole, parts = (equalize(network, (x,), batches=b).state_dict() for b in ([x], x.split(2)))
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name])
