"""Which weights are pruned, and of every other parameter why it is not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from torch import nn

from torchedge.arguments import require
from torchedge.errors import PruningError
from torchedge.pruning.mask_checks import require_network, require_same_names
from torchedge.quantization.layers import TRANSPOSED, WeightedLayer

__all__ = [
    "LeaveOut",
    "Selection",
    "plain_name",
    "select_weights",
    "shared_weights",
    "weighted_layers",
]

LeaveOut: TypeAlias = Sequence[str | type[nn.Module]]
_PARAMETRISED = ".parametrizations."
_PARAMETRISED_ALREADY = "parametrised already"
_SHARED = "shared by several layers"
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, *TRANSPOSED)
_NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


@final
@dataclass(frozen=True, kw_only=True)
class Selection:
    """Weights to prune, and why the other parameters stay as they are.

    Args:
        weights: Names of parameters, as in the ``state_dict`` of the network without masks.
        left_out: The reason, by the name of the parameter.
    """

    weights: tuple[str, ...]
    left_out: Mapping[str, str]


def select_weights(
    model: nn.Module, *, leave_out: LeaveOut = (), last_layer: bool = False
) -> Selection:
    """The weights of convolutions and linear layers, but for the last layer.

    Biases and norms stay: they are few, and the network depends on each. The last layer is the one
    that was registered last; each of its outputs is an answer.

    Args:
        model: With or without masks, before or after ``prepare_qat``.
        leave_out: Names of layers, or of modules with everything in them, and types of layers.
        last_layer: Prune the last layer as well.

    Raises:
        PruningError: A name to leave out is not in the network, or nothing is left to prune.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        >>> chosen = select_weights(net)
        >>> chosen.weights, chosen.left_out["1.weight"], chosen.left_out["2.weight"]
        (('0.weight',), 'a norm', 'the last layer')
    """
    require_network(model)
    way_out = "give names or types of layers in a tuple, ('head',)"
    listed = isinstance(leave_out, list | tuple | set | frozenset)
    require(listed, "leave_out", leave_out, way_out, PruningError)
    names = [entry for entry in leave_out if isinstance(entry, str)]
    require_same_names(names, [n for n, _ in model.named_modules()], "layers to leave out are")
    reasons = {
        plain_name(name): _reason(name, model.get_submodule(_taken_apart(name)[0]), leave_out)
        for name, _ in model.named_parameters()
    }
    shared = shared_weights(model)
    reasons |= {name: _SHARED for name, why in reasons.items() if not why and name in shared}
    weighted = weighted_layers(model)
    reasons |= {n: _PARAMETRISED_ALREADY for n in weighted if f"{n}.original0" in reasons}
    layers = [name for name in weighted if name in reasons]
    if layers and not last_layer and not reasons[layers[-1]]:
        reasons[layers[-1]] = "the last layer"
    chosen = tuple(name for name, why in reasons.items() if not why)
    if not chosen:
        raise PruningError(
            "no weight is left to prune: " + _summed_up(reasons.values()) + "; leave out less, or "
            "set last_layer=True."
        )
    return Selection(weights=chosen, left_out={n: why for n, why in reasons.items() if why})


def weighted_layers(model: nn.Module) -> dict[str, WeightedLayer]:
    """Convolutions and linear layers by the names of their weights, in the order of registration.

    Raises:
        PruningError: The model is no network.

    Example:
        >>> list(weighted_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU())))
        ['0.weight']
    """
    require_network(model)
    return {
        f"{path}.weight" if path else "weight": module
        for path, module in model.named_modules()
        if isinstance(module, _WEIGHTED)
    }


def plain_name(name: str) -> str:
    """A parameter's name without what a parametrisation adds to it.

    Example:
        >>> plain_name("features.0.parametrizations.weight.original")
        'features.0.weight'
    """
    owner, inside = _taken_apart(name)
    tensor, _, part = inside.partition(".")
    plain = tensor if part == "original" else inside
    return f"{owner}.{plain}" if owner else plain


def _taken_apart(name: str) -> tuple[str, str]:
    """The module that computes with a parameter, and the parameter's name in it."""
    owner, found, inside = f".{name}".partition(_PARAMETRISED)
    if not found:
        owner, _, inside = f".{name}".rpartition(".")
    return owner.removeprefix("."), inside


def _reason(name: str, module: nn.Module, leave_out: LeaveOut) -> str:
    """Why a parameter is not pruned; empty if it is."""
    parametrised, name = _PARAMETRISED in f".{name}", plain_name(name)
    if parametrised and not hasattr(module, name.rpartition(".")[2]):
        return _PARAMETRISED_ALREADY
    if isinstance(module, _NORMS):
        return "a norm"
    if name.rpartition(".")[2] == "bias":
        return "a bias"
    if not isinstance(module, _WEIGHTED) or name.rpartition(".")[2] != "weight":
        return f"of a {type(module).__name__}"
    return _asked_for(name, module, leave_out)


def _asked_for(name: str, module: nn.Module, leave_out: LeaveOut) -> str:
    for entry in leave_out:
        if isinstance(entry, str):
            if name.startswith(f"{entry}."):
                return f"left out by name: '{entry}'"
        elif isinstance(module, entry):
            return f"left out by type: {entry.__name__}"
    return ""


def shared_weights(model: nn.Module) -> set[str]:
    """Names of the weights that a second module uses, which would not see the mask.

    Example:
        >>> net = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6))
        >>> net[1].weight = net[0].weight
        >>> sorted(shared_weights(net))
        ['0.weight', '1.weight']
    """
    every = list(model.named_parameters(remove_duplicate=False))
    owners = {name: model.get_submodule(_taken_apart(name)[0]) for name, _ in every}
    count = Counter(parameter for parameter, _ in {(id(p), id(owners[n])) for n, p in every})
    return {plain_name(name) for name, p in every if count[id(p)] > 1}


def _summed_up(reasons: Iterable[str]) -> str:
    counts = Counter(reasons)
    return ", ".join(f"{count:,} × {why}" for why, count in counts.items()) or "no parameters"
