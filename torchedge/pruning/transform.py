"""Layers that are really smaller: a network and a choice of channels in, a new network out."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from torchedge.arguments import is_whole, require
from torchedge.errors import PruningError
from torchedge.graph.faithful import for_evaluation
from torchedge.graph.trace import evaluating
from torchedge.graph.wrappers import unwrapped
from torchedge.kinds import kinds_checked
from torchedge.pruning.attributes import is_attribute, set_attributes, set_counted
from torchedge.pruning.dependency import Dependencies, dependencies, opened
from torchedge.pruning.groups import ChannelGroup
from torchedge.pruning.guard import require_trains
from torchedge.pruning.kept import Left, Places, removed_places
from torchedge.pruning.settling import Settling

__all__ = ["made_smaller", "remove_channels"]


@kinds_checked(error=PruningError)
def remove_channels(model: nn.Module, keep: Mapping[ChannelGroup, Sequence[int]]) -> nn.Module:
    """A copy of ``model`` with fewer channels: smaller weights, and no mask.

    The copy has the model's own class where its code holds no number of channels. Otherwise, and
    where parts of it are not used in evaluation or heads of attention go, it is the traced graph,
    with such numbers written anew; names of layers are the same, but that attention is opened into
    linear layers. ``CompressedModel.save`` takes either.

    Args:
        model: The network whose ``channel_groups`` were asked.
        keep: For each group to prune, the channels that stay.

    Raises:
        PruningError: A group is not the model's, cannot be pruned, or would be emptied; a channel
            is not in its group.

    Example:
        >>> from torchedge.pruning import channel_groups
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
        >>> group = channel_groups(net, (torch.zeros(1, 1, 8, 8),))[0]
        >>> remove_channels(net, {group: [0, 3]})[2]
        Conv2d(2, 2, kernel_size=(3, 3), stride=(1, 1))
    """
    if not isinstance(keep, Mapping):
        raise PruningError(
            f"keep is a {type(keep).__name__}; give for groups of channel_groups(model, "
            "example_inputs) the channels that stay, {group: [0, 2]}."
        )
    for group, channels in keep.items():
        _require_possible(group, channels)
    inputs = next((group.example_inputs for group in keep), ())
    model = unwrapped(model)
    if not keep:
        return opened(model)
    places = removed_places(keep)
    _require_something_left(places)
    copied = opened(model)
    _require_fitting(copied, places)
    return made_smaller(model, dependencies(model, _on_device_of(copied, inputs)), keep)


def made_smaller(
    model: nn.Module, found: Dependencies, keep: Mapping[ChannelGroup, Sequence[int]]
) -> nn.Module:
    """What :func:`remove_channels` returns, from what is known of the network already.

    Args:
        model: The network.
        found: Its dependencies; the weights of their network are changed.
        keep: For each group to prune, the channels that stay.

    Raises:
        PruningError: As there; and where the result cannot run or computes something else.
    """
    keep = {g: sorted(set(c)) for g, c in keep.items() if len(set(c)) < g.channels}
    places = removed_places(keep)
    inputs, constants = found.example_inputs, _shrunk_constants(keep)
    pruned, graph_module = copy.deepcopy((found.network, found.graph))  # they share their tensors
    more = _has_more(pruned, graph_module)
    set_counted(pruned, {key: v for key, v in constants.items() if is_attribute(key[1])})
    _slice_tensors((pruned, graph_module), places)
    settling = Settling(graph_module, _by_node(constants), Left(found=found, places=places))
    _stop_reading(found, places)
    with torch.no_grad(), evaluating(graph_module), evaluating(found.graph):
        settling.settle(inputs)
    if settling.rewritten or more:
        made = fx.GraphModule(graph_module, graph_module.graph, class_name=type(model).__name__)
        _set_modes(made, pruned)
        pruned = for_evaluation(made, found.evaluation_only)
    pruned.zero_grad()  # what scored the channels is no gradient of the new network
    require_trains(pruned, model, inputs)
    return pruned


def _on_device_of(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    device = next((parameter.device for parameter in model.parameters()), None)
    return tuple(x if device is None else x.to(device) for x in inputs)


def _set_modes(pruned: nn.Module, model: nn.Module) -> None:
    """Each module in the mode that the original's is in."""
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in pruned.named_modules():
        while name not in modes:  # attention was opened
            name = name.rpartition(".")[0]
        module.training = modes[name]


def _by_node(
    constants: Mapping[tuple[str, str], tuple[int, int]],
) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for (node, place), (value, less) in constants.items():
        if not is_attribute(place):
            found[node][place] = value - less
    return found


@torch.no_grad()
def _stop_reading(found: Dependencies, places: Places) -> None:
    """Make nothing read the channels that go, in the network that the result is compared with."""
    tensors = _tensors(found.network)
    for part in (part for group in found.groups for part in group.slices if part.side == "in"):
        gone = places.get((part.path, part.axis, len(part.units)))
        if gone:
            tensor = tensors[part.path]
            tensor.index_fill_(part.axis, torch.tensor(sorted(gone), device=tensor.device), 0)


def _require_possible(group: ChannelGroup, channels: Sequence[int]) -> None:
    way_out = "give a group of channel_groups(model, example_inputs)"
    require(isinstance(group, ChannelGroup), "a key of keep", group, way_out, PruningError)
    numbers = isinstance(channels, Iterable) and all(is_whole(c) for c in channels)
    what, way_out = f"what stays of '{group.name}'", "give the numbers of channels, [0, 2]"
    require(numbers, what, channels, way_out, PruningError)
    if group.reason is not None:
        raise PruningError(
            f"the group '{group.name}' cannot be pruned: {group.reason}. Leave it out of keep."
        )
    if len(channels) == 0:
        raise PruningError(
            f"'{group.name}' would lose all of its {group.channels} channels; keep at least one."
        )
    outside = [c for c in channels if not 0 <= c < group.channels]
    if outside:
        raise PruningError(
            f"'{group.name}' has channels 0 to {group.channels - 1}, not {outside[0]}; "
            "take the numbers from its own scores."
        )


def _require_something_left(places: Places) -> None:
    for (path, _, size), gone in places.items():
        if len(gone) == size:
            raise PruningError(
                f"all {size} channels that '{path}' has or reads would be removed; keep one of "
                "them."
            )


def _require_fitting(model: nn.Module, places: Places) -> None:
    tensors = _tensors(model)
    for path, axis, size in places:
        found = tensors.get(path)
        if found is None or found.ndim <= axis or found.shape[axis] != size:
            shape = "is missing" if found is None else f"has shape {tuple(found.shape)}"
            raise PruningError(
                f"the groups are another network's: '{path}' {shape} here; ask "
                "channel_groups(model, example_inputs) of this model."
            )


def _shrunk_constants(
    keep: Mapping[ChannelGroup, Sequence[int]],
) -> dict[tuple[str, str], tuple[int, int]]:
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for group, channels in keep.items():
        kept = {*channels, -1}
        for constant in group.constants:
            less = sum(unit not in kept for unit in constant.units)
            key = (constant.node, constant.place)
            found[key] = (constant.value, found.get(key, (0, 0))[1] + less)
    return found


def _has_more(model: nn.Module, graph_module: fx.GraphModule) -> bool:
    """Whether modules with weights are not reached in evaluation, as auxiliary heads are not."""
    used = fx.GraphModule(graph_module, graph_module.graph)
    return len(dict(used.named_parameters())) < len(dict(model.named_parameters()))


@torch.no_grad()
def _slice_tensors(models: tuple[nn.Module, ...], places: Places) -> None:
    """Put smaller tensors where the large ones were, one for all places of a shared one."""
    made = _sliced_tensors(models[0], places)
    changed = []
    modules = dict.fromkeys(module for model in models for module in model.modules())
    for module in modules:
        for store in (module._parameters, module._buffers):
            smaller = {name: made[id(t)] for name, t in store.items() if id(t) in made}
            store.update(smaller)  # type: ignore[arg-type]
            changed += [module] if smaller else []
    masked = [module for module in modules if parametrize.is_parametrized(module)]
    for module in dict.fromkeys((*changed, *masked)):
        set_attributes(module)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict([*model.named_parameters(), *model.named_buffers()])


def _sliced_tensors(model: nn.Module, places: Places) -> dict[int, Tensor]:
    """By the identity of the tensor that each stands for."""
    by_path: dict[str, dict[int, set[int]]] = defaultdict(dict)
    for (path, axis, _), gone in places.items():
        if gone:
            by_path[path][axis] = gone
    tensors = _tensors(model)
    return {
        id(tensors[path]): _sliced(tensors[path], axes)
        for path, axes in by_path.items()
        if path in tensors
    }


def _sliced(tensor: Tensor, axes: Mapping[int, set[int]]) -> Tensor:
    values = tensor.detach()
    for axis, gone in axes.items():
        kept = [i for i in range(tensor.shape[axis]) if i not in gone]
        values = values.index_select(axis, torch.tensor(kept, device=tensor.device))
    values = values.contiguous().clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(values, requires_grad=tensor.requires_grad)
    return values
