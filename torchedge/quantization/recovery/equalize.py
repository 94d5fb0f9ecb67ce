"""Channels of a float network brought to like ranges, before it is quantised."""

import copy

import torch
from torch import Tensor, fx, nn

from torchedge.batches.examples import Examples, example_tensors
from torchedge.graph.wrappers import unwrapped
from torchedge.kinds import kinds_checked
from torchedge.quantization.batches import Inputs
from torchedge.quantization.modules import WeightedLayer
from torchedge.quantization.names import scheme_of
from torchedge.quantization.operations import kind_of
from torchedge.quantization.recovery.channel_groups import (
    ChannelGroup,
    channel_groups,
    float_graph,
    input_channels,
    layer_of,
    weights_by_input,
)
from torchedge.quantization.recovery.channel_statistics import (
    ROOF,
    Channels,
    Seen,
    observed,
    reach_of,
    widened,
)
from torchedge.quantization.recovery.group_noise import Trial, expected_noise, measured_noise
from torchedge.quantization.recovery.held_out import Parts, held_out
from torchedge.quantization.recovery.layerwise import kept_batches
from torchedge.quantization.recovery.rescaling import ClippedReLU, Relu6Mode, Rescaling
from torchedge.quantization.recovery.same_function import same_function
from torchedge.scheme import QuantScheme

__all__ = ["ClippedReLU", "Relu6Mode", "equalize"]

_ROUNDS = 40
_CONVERGED = 1e-3
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_WORTH = 0.9  # noise that is left of a group's, at most, where scaling it pays
_LARGEST_FACTOR = 2.0**20  # either way: further apart, channels are dead and not uneven


@kinds_checked("model", "example_inputs", "scheme")
def equalize(
    model: nn.Module,
    example_inputs: Examples,
    *,
    batches: object = None,
    scheme: QuantScheme | str | None = None,
    relu6: Relu6Mode = "keep",
    seed: int = 0,
) -> nn.Module:
    """A copy of a float model, batch norms merged, whose channels have like ranges.

    A factor for each channel passes through ReLU, pooling, additions and flattening, so layers that
    write a tensor are multiplied by it and layers that read it are divided by it; the function
    stays the same. Additions are passed too: a residual stream gets one set of factors. The result
    is compared with ``model``, on the example and on the samples held out, and a group whose
    factors would change an output by more than 1e-5 of the largest is left as it was.

    Without data the factors make the weight ranges before and behind equal,
    ``f = √(range of reader / range of writer)``, repeated until nothing moves (Nagel et al. 2019,
    section 4.1). With data they are ``(reach / reach of the channel)^α · (weight range)^β`` with
    the exponents of the least expected noise: rounding of the tensor on its one grid plus rounding
    of the readers' and writers' weights on theirs. The reach is the largest value that the data
    supports, not only shows, so a channel that is rare in it is not blown up. A quarter of the
    samples is held out, and a group is scaled only where that lowers the noise measured on them.

    Args:
        model: A float network that torch.fx can follow.
        example_inputs: One valid set of inputs.
        batches: Inputs as the network sees them in use.
        scheme: Grids that the noise is estimated for; by default those of ``QuantScheme()``. It
            matters with data only.
        relu6: What becomes of a ReLU6 between scaled channels. ``keep``: it stays, and a channel is
            scaled up at most until the largest value that ``batches`` support meets the 6 (the
            function is the same for values up to that; without data, such channels stay as they
            are).
            ``per_channel``: an exact clip for each channel, which integer runtimes compute in
            float. ``replace``: a ReLU, which lets values above 6 pass.
        seed: Of the choice of the samples held out.

    Raises:
        TraceError: torch.fx cannot follow the model.
        CalibrationError: ``batches`` is empty or holds NaN or infinity.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> x = torch.rand(8, 4)
        >>> torch.allclose(equalize(net, (x,))(x), net(x), atol=1e-6)
        True
    """
    model = unwrapped(model)
    example_inputs = example_tensors(model, example_inputs)
    graph_module = float_graph(model, example_inputs)
    groups = channel_groups(graph_module, example_inputs)
    rescaling = Rescaling(graph_module, groups)
    data: list[Inputs] = [example_inputs]
    if batches is None:
        factors = _factors_of_weights(graph_module, groups, rescaling, relu6)
    else:
        parts = held_out(kept_batches(graph_module, batches), seed=seed)
        grids = QuantScheme() if scheme is None else scheme_of(scheme)
        factors = _factors_of_data(graph_module, groups, parts, grids, relu6)
        data += parts.held
    original = model
    if relu6 != "keep":
        for group in factors:
            rescaling.exchange_relu6(group, relu6)
        # A ReLU in the place of a ReLU6 is another function on purpose.
        original = copy.deepcopy(graph_module) if relu6 == "replace" else model
    _set_where_same(rescaling, factors, original, graph_module, data)
    graph_module.delete_all_unused_submodules()
    graph_module.recompile()
    return graph_module.train(model.training)


def _set_where_same(
    rescaling: Rescaling,
    factors: dict[ChannelGroup, Tensor],
    original: nn.Module,
    graph_module: fx.GraphModule,
    data: list[Inputs],
) -> None:
    """Scale all groups; where that changes the function, those that do not change it alone."""
    rescaling.set(factors)
    if same_function(original, graph_module, data):
        return
    harmless = {}
    for group, each in factors.items():
        rescaling.set({group: each})
        if same_function(original, graph_module, data):
            harmless[group] = each
    rescaling.set(harmless)
    if not same_function(original, graph_module, data):
        rescaling.set({})


def _factors_of_weights(
    graph_module: fx.GraphModule,
    groups: list[ChannelGroup],
    rescaling: Rescaling,
    relu6: Relu6Mode,
) -> dict[ChannelGroup, Tensor]:
    usable = [group for group in groups if relu6 != "keep" or not group.relu6]
    total = {group: torch.ones(group.channels) for group in usable}
    for _ in range(_ROUNDS):
        moved = 0.0
        for group in usable:
            factors = _weight_factors(graph_module, group, total[group])
            rescaling.scale(group, factors)
            total[group] *= factors
            moved = max(moved, float(factors.log().abs().amax()))
        if moved < _CONVERGED:
            break
    return total


def _weight_factors(graph_module: fx.GraphModule, group: ChannelGroup, so_far: Tensor) -> Tensor:
    writers = [_output_range(layer_of(n, graph_module)) for n in group.writers]
    before = torch.stack(writers).amax(0)
    behind = _reader_range(graph_module, group)
    usable = (before > 0) & (behind > 0)
    factors = torch.where(usable, torch.sqrt(behind / before), torch.ones_like(before))
    return factors.clamp(min=1 / (_LARGEST_FACTOR * so_far), max=_LARGEST_FACTOR / so_far)


def _output_range(layer: WeightedLayer) -> Tensor:
    """Largest magnitude among the weights of each output channel."""
    by_input = weights_by_input(layer, input_channels(layer))
    return by_input.detach().abs().amax((2, 3)).flatten()


def _reader_range(graph_module: fx.GraphModule, group: ChannelGroup) -> Tensor:
    """Largest magnitude among the weights of each input channel, over all readers."""
    ranges = [
        weights_by_input(layer_of(n, graph_module), group.channels).abs().amax((1, 3)).flatten()
        for n in group.readers
    ]
    return torch.stack(ranges).amax(0).detach()


def _factors_of_data(
    graph_module: fx.GraphModule,
    groups: list[ChannelGroup],
    parts: Parts,
    scheme: QuantScheme,
    relu6: Relu6Mode,
) -> dict[ChannelGroup, Tensor]:
    tensors = _looked_at(graph_module, groups)
    seen = observed(graph_module, tensors, parts.fit)
    all_seen = widened(seen, observed(graph_module, tensors, parts.held))
    found = []
    for group in groups:
        roof = _room(group, all_seen) if relu6 == "keep" else None
        factors = _quietest_factors(graph_module, group, seen, scheme, roof)
        found.append(Trial(group=group, factors=factors))
    trials = [trial for trial in found if not bool((trial.factors == 1).all())]
    plain = [Trial(group=t.group, factors=torch.ones_like(t.factors)) for t in trials]
    noise = measured_noise(graph_module, [*trials, *plain], seen, parts.held, scheme)
    pairs = zip(trials, noise[: len(trials)], noise[len(trials) :], strict=True)
    return {
        trial.group: trial.factors for trial, scaled, before in pairs if scaled < _WORTH * before
    }


def _looked_at(graph_module: fx.GraphModule, groups: list[ChannelGroup]) -> list[Channels]:
    tensors = [Channels(node=n, count=g.channels) for g in groups for n in g.tensors]
    read = [
        Channels(node=n.all_input_nodes[0], count=input_channels(layer_of(n, graph_module)))
        for g in groups
        for n in g.writers
    ]
    return tensors + read


def _quietest_factors(
    graph_module: fx.GraphModule,
    group: ChannelGroup,
    seen: dict[Channels, Seen],
    scheme: QuantScheme,
    roof: Tensor | None,
) -> Tensor:
    stored = [n for n in group.tensors if _is_stored(n, graph_module)]
    reach = [reach_of(Channels(node=n, count=group.channels), seen) for n in stored]
    largest, behind = _relative(reach), _relative([_reader_range(graph_module, group)])
    best, least = torch.ones_like(largest), torch.inf
    for alpha in _EXPONENTS:
        for beta in _EXPONENTS:
            factors = largest**-alpha * behind**beta
            if group.relu6:
                factors = factors.clamp(min=1.0)
                factors = factors if roof is None else factors.minimum(roof)
            noise = expected_noise(graph_module, group, factors, seen, scheme)
            if noise < least:
                best, least = factors, noise
    return best


def _room(group: ChannelGroup, seen: dict[Channels, Seen]) -> Tensor | None:
    """How far channels can be scaled up until what the data supports meets the 6."""
    if not group.relu6:
        return None
    reach = [reach_of(Channels(node=n, count=group.channels), seen) for n in group.relu6]
    return torch.stack([ROOF / r.clamp(min=1e-3) for r in reach]).amin(0).clamp(min=1)


def _relative(ranges: list[Tensor]) -> Tensor:
    """Each channel's range in units of the widest channel's, kept off zero."""
    return torch.stack([r / r.amax().clamp(min=1e-12) for r in ranges]).amax(0).clamp(min=1e-3)


def _is_stored(node: fx.Node, graph_module: fx.GraphModule) -> bool:
    """Whether a runtime keeps the tensor: not where an activation is fused behind it."""
    return any(kind_of(user, graph_module) != "activation" for user in node.users)
