"""What each operator does to the labels of channels."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from torchedge.pruning.contractions import CONTRACTIONS
from torchedge.pruning.labels import (
    Labels,
    axes_of,
    compact,
    concatenated,
    gathered,
    joined,
    moved,
    without,
)
from torchedge.pruning.norms import NORMS
from torchedge.pruning.tracking import Call, Rule, Tracker, tensors_in
from torchedge.pruning.units import FIXED

__all__ = ["rule_of"]

_SAME = "clone detach alias contiguous _to_copy lift_fresh lift_fresh_copy dropout native_dropout"
_MOVING = (
    "view _unsafe_view reshape permute transpose t squeeze unsqueeze expand split "
    "split_with_sizes chunk repeat flip narrow pixel_unshuffle"
)
_LIKE = "zeros_like ones_like full_like empty_like"
_OWN = "new_zeros new_ones new_full new_empty"
_ALONG_AN_AXIS = (
    "_softmax _log_softmax softmax log_softmax cumsum cumprod logcumsumexp cummax cummin"
)
_PICKING = "select unbind"
_SPATIAL = (
    "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices "
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d _adaptive_avg_pool2d "
    "_adaptive_avg_pool3d adaptive_avg_pool2d adaptive_avg_pool3d "
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d "
    "_upsample_nearest_exact1d _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d "
    "_upsample_bilinear2d_aa _upsample_bicubic2d_aa upsample_trilinear3d "
    "reflection_pad1d reflection_pad2d reflection_pad3d "
    "replication_pad1d replication_pad2d replication_pad3d"
)
_SUMMING = "sum linalg_vector_norm norm"
_REDUCING = "mean amax amin max min var std var_mean std_mean logsumexp prod"
_ENTRY_BY_ENTRY = (
    "hardswish hardtanh relu6 elu selu celu leaky_relu softplus mish silu gelu hardsigmoid "
    "sigmoid tanh add sub mul div pow sqrt rsqrt exp log clamp clamp_min clamp_max where "
    "masked_fill _prelu_kernel rrelu log_sigmoid_forward native_dropout bernoulli"
)


def rule_of(call: Call) -> Rule | None:
    """The rule of an operator; ``None`` where none is known."""
    name = call.name
    if not any(True for _ in tensors_in((call.args, call.kwargs))):
        return _nothing
    rule = _RULES.get(name) or _RULES.get(name.removesuffix("_"))
    if rule is None and torch.Tag.pointwise in call.function.tags:
        return _entry_by_entry
    return rule


def _nothing(tracker: Tracker, call: Call) -> None:
    """It makes values of its own."""


def _same(tracker: Tracker, call: Call) -> None:
    results = tuple(tensors_in(call.result))
    tracker.put(results[0], tracker.of(call.args[0]))


def _restriding(tracker: Tracker, call: Call) -> None:
    """Inside PyTorch's kernels: other strides for axes of size 1; anything else is not followed."""
    if tracker.of(call.args[0]).shape != tuple(call.result.shape):
        tracker.close(call.args, "its memory is read in another order")


def _entry_by_entry(tracker: Tracker, call: Call) -> None:
    operands = [tracker.of(tensor) for tensor in tensors_in((call.args, call.kwargs))]
    for result in tensors_in(call.result):
        tracker.put(result, joined(tracker.units, operands, tuple(result.shape)))


def _moving(tracker: Tracker, call: Call) -> None:
    labels = tracker.of(call.args[0])
    function: Any = torch.ops.aten.reshape if "view" in call.name else call.function
    kwargs = dict(call.kwargs)
    rest = call.args[1:]
    results = list(tensors_in(call.result))
    for place, result in enumerate(results):

        def move(tensor: Tensor, place: int = place) -> Tensor:
            return list(tensors_in(function(tensor, *rest, **kwargs)))[place]

        tracker.put(result, moved(tracker.units, labels, move))


def _padding(tracker: Tracker, call: Call) -> None:
    """A border around the places is part of each channel; more channels are constants."""
    labels = tracker.of(call.args[0])
    widths = list(zip(call.args[1][::2], call.args[1][1::2], strict=True))
    layers = []
    for layer in labels.layers:
        differing = axes_of(layer)
        mine = [w if layer.ndim - 1 - i in differing else (0, 0) for i, w in enumerate(widths)]
        flat = [width for pair in mine for width in pair]
        layers.append(torch.constant_pad_nd(tracker.units.roots(layer), flat, FIXED))
    tracker.put(call.result, Labels(shape=tuple(call.result.shape), layers=tuple(layers)))


def _slicing(tracker: Tracker, call: Call) -> None:
    axis, step = call.argument("dim", 0), call.argument("step", 1)
    labels = tracker.of(call.args[0])
    along = labels.along(axis)
    if along is not None and step != 1:
        tracker.units.close(along, "every so many of its channels are picked")
    _moving(tracker, call)


def _picking(tracker: Tracker, call: Call) -> None:
    """One index of an axis: the places of the others along it must not change."""
    labels = tracker.of(call.args[0])
    axis = call.argument("dim", 0) % len(labels.shape)
    along = labels.along(axis)
    if along is not None and axes_of(along) == (axis,):
        tracker.units.close(along, "single channels of it are picked by their number")
    elif along is not None:
        tracker.units.join_along(along, axis)
    _moving(tracker, call)


def _rolling(tracker: Tracker, call: Call) -> None:
    labels = tracker.of(call.args[0])
    axes = call.argument("dims", ()) or range(len(labels.shape))
    without(tracker.units, labels, tuple(axes), "its channels are rolled")
    _moving(tracker, call)


def _concatenation(tracker: Tracker, call: Call) -> None:
    operands = [tracker.of(tensor) for tensor in call.args[0]]
    operands = [o for o in operands if o.shape != (0,)]
    tracker.put(call.result, concatenated(tracker.units, operands, call.argument("dim", 0)))


def _stacking(tracker: Tracker, call: Call) -> None:
    axis = call.argument("dim", 0) % call.result.ndim
    operands = [
        moved(tracker.units, tracker.of(t), lambda x: x.unsqueeze(axis)) for t in call.args[0]
    ]
    tracker.put(call.result, concatenated(tracker.units, operands, axis))


def _spatial(tracker: Tracker, call: Call) -> None:
    digits = [c for c in call.name if c.isdigit()]
    count = int(digits[0])
    labels = tracker.of(call.args[0])
    axes = range(len(labels.shape) - count, len(labels.shape))
    layers = gathered(tracker.units, labels, axes, "its places are pooled or resized")
    for result in tensors_in(call.result):
        tracker.put(result, Labels(shape=tuple(result.shape), layers=layers))


def _summing(tracker: Tracker, call: Call) -> None:
    """Channels of zeros add nothing to a sum."""
    labels, axes = tracker.of(call.args[0]), _reduced_axes(call)
    for layer in labels.layers:
        if set(axes_of(layer)) <= axes:
            tracker.mixed.append(layer)
    _reduce(tracker, call, axes, without_closing=True)


def _reducing(tracker: Tracker, call: Call) -> None:
    """Any channel, even of zeros, has its part in a mean or in a largest value.

    Of a filter that is standardised by its own mean the rest has another, as in a layer norm.
    """
    labels, axes = tracker.of(call.args[0]), _reduced_axes(call)
    by_filter = bool(labels.parameter) and any(not set(axes_of(x)) & axes for x in labels.layers)
    if by_filter:
        tracker.mixed.extend(layer for layer in labels.layers if set(axes_of(layer)) & axes)
    _reduce(tracker, call, axes, without_closing=by_filter)
    for result in tensors_in(call.result) if by_filter else ():
        tracker.put(result, replace(tracker.of(result), parameter=labels.parameter))


def _reduced_axes(call: Call) -> set[int]:
    rank = max(call.args[0].ndim, 1)
    given = call.argument("dim")
    given = range(rank) if given is None or given == [] else given
    return {a % rank for a in ([given] if isinstance(given, int) else given)}


def _reduce(tracker: Tracker, call: Call, axes: set[int], *, without_closing: bool) -> None:
    labels = tracker.of(call.args[0])
    rank = len(labels.shape)
    final = [(layer, compact(tracker.units.roots(layer))) for layer in labels.layers]
    layers = [roots for _, roots in final if not set(axes_of(roots)) & axes]
    for layer, roots in final:
        if reason := _closed_by(call, set(axes_of(roots)), axes, without_closing=without_closing):
            tracker.units.close(layer, reason)
    keeps = any(r.ndim == rank for r in tensors_in(call.result))
    for result in tensors_in(call.result):
        kept = layers if keeps else [_dropped(layer, axes) for layer in layers]
        tracker.put(result, Labels(shape=tuple(result.shape), layers=tuple(kept)))


def _closed_by(call: Call, differing: set[int], axes: set[int], *, without_closing: bool) -> str:
    """Why channels along some axes cannot go after a reduction over ``axes``; empty if they can."""
    if not differing & axes:
        return ""
    if differing - axes:
        return "it is averaged over a part of its channels"
    return "" if without_closing else f"'{call.name}' is taken over its channels"


def _dropped(layer: Tensor, axes: set[int]) -> Tensor:
    return layer.reshape([size for axis, size in enumerate(layer.shape) if axis not in axes])


def _along_an_axis(tracker: Tracker, call: Call) -> None:
    """Each value is what it is by the others along the axis."""
    labels = tracker.of(call.args[0])
    axis = call.argument("dim", -1) % max(len(labels.shape), 1)
    layers = [compact(tracker.units.roots(layer)) for layer in labels.layers]
    known = Labels(shape=labels.shape, layers=tuple(x for x in layers if axes_of(x)))
    without(tracker.units, known, (axis,), f"'{call.name}' is taken over its channels")
    for result in tensors_in(call.result):
        tracker.put(result, known)


def _embedding(tracker: Tracker, call: Call) -> None:
    labels = tracker.of(call.args[0])
    without(tracker.units, labels, (0,), "its rows are looked up by number")
    along = labels.along(1)
    shape = tuple(call.result.shape)
    layers = () if along is None else (along.view((1,) * (len(shape) - 1) + (-1,)),)
    if along is not None and labels.parameter:
        tracker.writers.setdefault((labels.parameter, 1))
    tracker.put(call.result, Labels(shape=shape, layers=layers))


def _pixel_shuffle(tracker: Tracker, call: Call) -> None:
    """``r²`` neighbouring channels become the pixels of one."""
    labels, factor = tracker.of(call.args[0]), call.args[1]
    layers = gathered(tracker.units, labels, (-1, -2), "its places are moved")
    kept = []
    for layer in layers:
        if len(labels.shape) - 3 in axes_of(layer):
            blocks = layer.view(*layer.shape[:-3], -1, factor * factor, 1, 1)
            tracker.units.join_along(blocks, blocks.ndim - 3)
            layer = blocks.select(blocks.ndim - 3, 0)
        kept.append(layer)
    tracker.put(call.result, Labels(shape=tuple(call.result.shape), layers=tuple(kept)))


def _channel_shuffle(tracker: Tracker, call: Call) -> None:
    along = tracker.of(call.args[0]).along(1)
    if along is not None:
        blocks = along.reshape(call.args[1], -1)
        tracker.units.join_along(blocks, 0)
    _moving(tracker, call)


def _gate(tracker: Tracker, call: Call) -> None:
    """Half of the channels times the sigmoid of the other half."""
    labels = tracker.of(call.args[0])
    axis = call.argument("dim", -1) % len(labels.shape)
    halves = [
        moved(tracker.units, labels, lambda x, i=i: x.chunk(2, axis)[i])  # type: ignore[misc]
        for i in range(2)
    ]
    tracker.put(call.result, joined(tracker.units, halves, tuple(call.result.shape)))


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys((*_SAME.split(), *_LIKE.split()), _same),
    **dict.fromkeys(_OWN.split(), _nothing),
    **dict.fromkeys(_MOVING.split(), _moving),
    **dict.fromkeys(_PICKING.split(), _picking),
    **dict.fromkeys(_SPATIAL.split(), _spatial),
    **dict.fromkeys(_REDUCING.split(), _reducing),
    **dict.fromkeys(_SUMMING.split(), _summing),
    **dict.fromkeys(_ALONG_AN_AXIS.split(), _along_an_axis),
    **dict.fromkeys(_ENTRY_BY_ENTRY.split(), _entry_by_entry),
    "as_strided_": _restriding,
    "constant_pad_nd": _padding,
    "slice": _slicing,
    "roll": _rolling,
    "cat": _concatenation,
    "stack": _stacking,
    "embedding": _embedding,
    "pixel_shuffle": _pixel_shuffle,
    "channel_shuffle": _channel_shuffle,
    "native_channel_shuffle": _channel_shuffle,
    "glu": _gate,
    **CONTRACTIONS,
    **NORMS,
}
