"""What normalisations do to the labels of channels."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from torchedge.pruning.labels import Labels, axes_of, gathered, joined, without
from torchedge.pruning.tracking import Call, Rule, Tracker

__all__ = ["NORMS"]


def _with_vectors(tracker: Tracker, labels: Labels, vectors: tuple[Tensor | None, ...]) -> Labels:
    """Labels joined, along axis 1, with those of the norm's parameters."""
    elsewhere = [axis for axis in range(len(labels.shape)) if axis != 1]
    layers = gathered(tracker.units, labels, elsewhere, "it is normalised over its places")
    beside = (1, -1) + (1,) * (len(labels.shape) - 2)
    operands = [Labels(shape=labels.shape, layers=layers)]
    for vector in vectors:
        if vector is not None:
            known = tracker.of(vector)
            shape = (1, known.shape[0], *beside[2:])
            operands.append(Labels(shape=shape, layers=tuple(v.view(beside) for v in known.layers)))
    return joined(tracker.units, operands, labels.shape)


def _standardised(tracker: Tracker, weight: Labels, vectors: tuple[Tensor | None, ...]) -> Labels:
    """A weight filter by filter (Qiao et al. 2019), over what is left: as in a layer norm."""
    read = tuple(layer for layer in weight.layers if 1 not in axes_of(layer))
    made = tuple(layer for layer in weight.layers if 1 in axes_of(layer))
    tracker.mixed.extend(read)
    filters = _with_vectors(tracker, replace(weight, layers=made), vectors)
    return replace(weight, layers=(*filters.layers, *read))


def _batch_norm(tracker: Tracker, call: Call) -> None:
    known, vectors = tracker.of(call.args[0]), tuple(call.args[1:5])
    norm = _standardised if known.parameter else _with_vectors
    labels = norm(tracker, known, vectors)
    first = call.result if isinstance(call.result, Tensor) else call.result[0]
    tracker.put(first, labels)


def _layer_norm(tracker: Tracker, call: Call) -> None:
    x, shape, weight = call.args[:3]
    labels = tracker.of(x)
    axes = range(len(labels.shape) - len(shape), len(labels.shape))
    vectors = [tracker.of(v) for v in call.args[2:4] if v is not None]
    tracker.mixed.extend(layer for a in axes if (layer := labels.along(a)) is not None)
    if weight is None:
        without(tracker.units, labels, axes, "its norm has a fixed width and no weights")
    first = call.result if isinstance(call.result, Tensor) else call.result[0]
    tracker.put(first, joined(tracker.units, [labels, *vectors], labels.shape))


def _group_norm(tracker: Tracker, call: Call) -> None:
    """The same channels go in every group, so that all groups stay equally wide."""
    x, weight, bias = call.args[:3]
    groups = call.argument("group", 0) or call.argument("num_groups", 0)
    labels = _with_vectors(tracker, tracker.of(x), (weight, bias))
    along = labels.along(1)
    if along is not None and along.shape[1] > groups:
        tracker.mixed.append(along)
        tracker.units.join_along(along.reshape(groups, -1), 0)
    first = call.result if isinstance(call.result, Tensor) else call.result[0]
    tracker.put(first, labels)


NORMS: Mapping[str, Rule] = {
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "batch_norm": _batch_norm,
    "native_layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "_fused_rms_norm": _layer_norm,
    "native_group_norm": _group_norm,
}
