"""What layers say of their shapes: numbers that must be true after channels went."""

from collections.abc import Callable, Iterator, Mapping

from torch import fx, nn

from torchedge.pruning.sizes import Counted, NodeLabels, units_along, units_of_groups
from torchedge.pruning.units import Units

__all__ = ["counted_attributes", "is_attribute", "set_attributes", "set_counted"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH_NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)
_PREFIX = "attribute "


def counted_attributes(
    node: fx.Node, layer: nn.Module, seen: NodeLabels, units: Units
) -> Iterator[Counted]:
    """Numbers of a layer that has no tensor to read them from.

    Such are a norm without weights or statistics, the sizes of ``nn.Unflatten``, and the number of
    groups of a convolution that loses some.
    """
    if isinstance(layer, nn.Unflatten):
        yield from _unflattened(node, layer, seen, units)
    if isinstance(layer, _CONVOLUTIONS):
        yield from _whole_groups(node, layer, seen, units)
    if not isinstance(layer, (*_BATCH_NORMS, nn.GroupNorm)) or layer.state_dict():
        return
    labels = units_along(seen.results[0], 1, units)
    if labels is None:
        return
    names = ["num_channels" if isinstance(layer, nn.GroupNorm) else "num_features"]
    if isinstance(layer, nn.GroupNorm) and layer.num_groups == layer.num_channels:
        names.append("num_groups")
    for name in names:
        place = _PREFIX + name
        yield Counted(node=str(node.target), place=place, value=len(labels), labels=labels)


def _whole_groups(
    node: fx.Node, layer: nn.Module, seen: NodeLabels, units: Units
) -> Iterator[Counted]:
    assert isinstance(layer, _CONVOLUTIONS)
    assert seen.operand is not None
    labels = units_of_groups(seen.operand, layer.groups, units)
    if labels is not None and layer.groups < layer.in_channels:
        place = f"{_PREFIX}groups"
        yield Counted(node=str(node.target), place=place, value=layer.groups, labels=labels)


def _unflattened(
    node: fx.Node, layer: nn.Unflatten, seen: NodeLabels, units: Units
) -> Iterator[Counted]:
    assert seen.operand is not None
    begin = int(layer.dim) % len(seen.operand.shape)
    for number, size in enumerate(layer.unflattened_size):
        labels = units_along(seen.results[0], begin + number, units)
        if labels is not None and size != -1:
            place = f"{_PREFIX}unflattened_size {number}"
            yield Counted(node=str(node.target), place=place, value=len(labels), labels=labels)


def is_attribute(place: str) -> bool:
    """Whether a counted number is a layer's and not the code's."""
    return place.startswith(_PREFIX)


def set_counted(model: nn.Module, removed: Mapping[tuple[str, str], tuple[int, int]]) -> None:
    """Write such numbers anew, in place.

    Args:
        model: Holds the layers.
        removed: For a layer's name and place, the number that it was and by how much it shrinks.
    """
    for (path, place), (value, less) in removed.items():
        layer = model.get_submodule(path)
        name, _, number = place.removeprefix(_PREFIX).partition(" ")
        new: object = value - less
        if number:
            sizes = list(getattr(layer, name))
            sizes[int(number)] = new
            new = tuple(sizes)
        setattr(layer, name, new)


def set_attributes(module: nn.Module) -> None:
    """Make what a layer says of its shape true."""
    for kinds, setter in _SETTERS:
        if isinstance(module, kinds):
            setter(module)


def _set_convolution(layer: nn.Module) -> None:
    assert isinstance(layer, _CONVOLUTIONS)
    depthwise = layer.groups > 1 and layer.groups == layer.in_channels
    if depthwise:
        layer.groups = layer.weight.shape[0] // (layer.out_channels // layer.groups)
    layer.out_channels = layer.weight.shape[0]
    layer.in_channels = layer.weight.shape[1] * layer.groups


def _set_transposed(layer: nn.Module) -> None:
    assert isinstance(layer, _TRANSPOSED)
    if layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels:
        layer.groups = layer.weight.shape[0]
    layer.in_channels = layer.weight.shape[0]
    layer.out_channels = layer.weight.shape[1] * layer.groups


def _set_linear(layer: nn.Module) -> None:
    assert isinstance(layer, nn.Linear)
    layer.out_features, layer.in_features = layer.weight.shape


def _set_norm(layer: nn.Module) -> None:
    assert isinstance(layer, _BATCH_NORMS)
    vector = layer.weight if layer.weight is not None else layer.running_mean
    if vector is not None:
        layer.num_features = len(vector)


def _set_group_norm(layer: nn.Module) -> None:
    assert isinstance(layer, nn.GroupNorm)
    if layer.num_groups == layer.num_channels:
        layer.num_groups = len(layer.weight)
    layer.num_channels = len(layer.weight)


def _set_layer_norm(layer: nn.Module) -> None:
    assert isinstance(layer, nn.LayerNorm | nn.RMSNorm)
    layer.normalized_shape = tuple(layer.weight.shape)


def _set_prelu(layer: nn.Module) -> None:
    assert isinstance(layer, nn.PReLU)
    layer.num_parameters = len(layer.weight)


def _set_embedding(layer: nn.Module) -> None:
    assert isinstance(layer, nn.Embedding)
    layer.embedding_dim = layer.weight.shape[1]


_SETTERS: tuple[tuple[tuple[type[nn.Module], ...], Callable[[nn.Module], None]], ...] = (
    (_CONVOLUTIONS, _set_convolution),
    (_TRANSPOSED, _set_transposed),
    ((nn.Linear,), _set_linear),
    (_BATCH_NORMS, _set_norm),
    ((nn.GroupNorm,), _set_group_norm),
    ((nn.LayerNorm, nn.RMSNorm), _set_layer_norm),
    ((nn.PReLU,), _set_prelu),
    ((nn.Embedding,), _set_embedding),
)
