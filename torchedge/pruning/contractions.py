"""What products and sums over channels do to labels: convolutions, matrix products, attention."""

import math
from collections.abc import Mapping

from torch import Tensor

from torchedge.pruning.labels import Labels, axes_of, gathered, joined, line, shared, without
from torchedge.pruning.tracking import Call, Rule, Tracker, Work

__all__ = ["CONTRACTIONS"]

_UNREAD = "what reads or writes it is not a layer's channel"


def _vector(labels: Labels, axis: int) -> Tensor | None:
    """The labels along one axis only."""
    found = labels.along(axis)
    return None if found is None else found.reshape(-1)


def _meet(tracker: Tracker, first: Tensor | None, second: Tensor | None) -> None:
    """What is summed over must be there on both sides."""
    if first is not None and second is not None:
        tracker.units.join(first, second)
        return
    for alone in (first, second):
        if alone is not None:
            tracker.units.close(alone, _UNREAD)


def _mark(tracker: Tracker, weight: Labels, axis: int, *, reads: bool) -> None:
    along = weight.along(axis)
    if not weight.parameter or along is None:
        return
    found = tracker.axis_of(along)
    if found is not None and found[0] == weight.parameter:
        if reads:
            tracker.inputs.add(found)
        else:
            tracker.writers.setdefault(found)


def _convolution(tracker: Tracker, call: Call) -> None:
    x, kernel = tracker.of(call.args[0]), tracker.of(call.args[1])
    transposed, groups = bool(call.argument("transposed")), int(call.argument("groups", 1))
    reading, writing = (0, 1) if transposed else (1, 0)
    rank = len(kernel.shape)
    without(tracker.units, kernel, range(2, rank), "it is a place of a kernel")
    others = [axis for axis in range(rank) if axis != 1]
    layers = gathered(tracker.units, x, others, "it is a place, not a channel")
    x = Labels(shape=x.shape, layers=layers)
    _mark(tracker, kernel, reading, reads=True)
    _mark(tracker, kernel, writing, reads=False)
    inputs, ins = _vector(x, 1), _vector(kernel, reading)
    outs = _vector(kernel, writing)
    if groups == 1:
        _meet(tracker, inputs, ins)
    elif transposed:
        outs = _grouped_transposed(tracker, inputs, ins, outs, groups)
    elif ins is not None and tracker.loses_groups(kernel.parameter, len(ins), groups):
        _whole_groups(tracker, inputs, outs, groups)
    else:
        _grouped(tracker, inputs, ins, outs, groups)
    beside = (1, -1) + (1,) * (rank - 2)
    result = Labels(shape=tuple(call.result.shape), layers=_layer(outs, beside))
    bias = call.args[2]
    if bias is not None:
        known = tracker.of(bias)
        vector = Labels(
            shape=(1, known.shape[0], *beside[2:]),
            layers=tuple(layer.view(beside) for layer in known.layers),
        )
        result = joined(tracker.units, [result, vector], result.shape)
    tracker.put(call.result, result)
    places = call.args[0] if transposed else call.result
    macs = math.prod(kernel.shape) * math.prod(places.shape[2:]) * places.shape[0]
    _note(tracker, macs, (outs, ins))


def _layer(vector: Tensor | None, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    return () if vector is None else (vector.view(shape),)


def _grouped(
    tracker: Tracker, x: Tensor | None, ins: Tensor | None, outs: Tensor | None, groups: int
) -> None:
    """The same channels go in every group; of a depthwise convolution, whole groups."""
    if ins is None:
        _meet(
            tracker,
            None if x is None else x.view(groups, 1),
            None if outs is None else outs.view(groups, -1),
        )
        return
    if x is not None:
        blocks = x.view(groups, -1)
        tracker.units.join_along(blocks, 0)
        x = blocks[0]
    _meet(tracker, x, ins)
    if outs is not None:
        tracker.units.join_along(outs.view(groups, -1), 0)


def _whole_groups(tracker: Tracker, x: Tensor | None, outs: Tensor | None, groups: int) -> None:
    """What a group reads and makes goes with it, and the others stay as wide as they are."""
    first = [None if labels is None else labels.view(groups, -1) for labels in (x, outs)]
    for blocks in first:
        if blocks is not None:
            tracker.units.join_along(blocks, 1)
    _meet(tracker, *(None if blocks is None else blocks[:, 0] for blocks in first))


def _grouped_transposed(
    tracker: Tracker, x: Tensor | None, ins: Tensor | None, outs: Tensor | None, groups: int
) -> Tensor | None:
    _meet(tracker, x, ins)
    if outs is None and ins is not None and len(ins) == groups:
        return ins  # depthwise
    if ins is not None:
        tracker.units.join_along(ins.view(groups, -1), 0)
    return None if outs is None else outs.repeat(groups)


def _note(tracker: Tracker, macs: int, factors: tuple[Tensor | None, ...]) -> None:
    known = tuple(factor.reshape(-1) for factor in factors if factor is not None)
    tracker.works.append(Work(macs=macs, factors=known))


def _product(tracker: Tracker, x: Tensor, y: Tensor, result: Tensor) -> Labels:
    """``x @ y`` for two matrices, or two stacks of them."""
    first, second = (_summed(tracker, t, axis) for t, axis in ((x, -1), (y, -2)))
    _mark(tracker, second, -2, reads=True)
    _mark(tracker, second, -1, reads=False)
    _mark(tracker, first, -1, reads=True)
    _mark(tracker, first, -2, reads=False)
    ins, outs = first.along(-1), second.along(-1)
    summed = second.along(-2)
    _meet(tracker, *(None if t is None else t.reshape(-1) for t in (ins, summed)))
    if ins is not None and not (first.parameter or second.parameter):
        tracker.mixed.append(ins)
    rows = [layer for layer in first.layers if layer is not ins]
    columns = [layer for layer in second.layers if layer is not summed]
    layers = shared(tracker.units, [*_stacked(tracker, first, second, rows, columns)])
    factors = (outs, summed) if second.parameter else (outs, summed, *rows)
    _note(tracker, result.numel() * x.shape[-1], factors)
    return Labels(shape=tuple(result.shape), layers=layers)


def _summed(tracker: Tracker, tensor: Tensor, axis: int) -> Labels:
    """What is summed over within a stack, as the features of a head are, goes as a whole."""
    labels = tracker.of(tensor)
    axis %= tensor.ndim
    layers = []
    for layer in labels.layers:
        if axis in axes_of(layer) and len(axes_of(layer)) > 1:
            tracker.units.join_along(layer, axis)
            layer = layer.narrow(axis, 0, 1)
        layers.append(layer)
    return Labels(shape=labels.shape, layers=tuple(layers), parameter=labels.parameter)


def _stacked(
    tracker: Tracker, first: Labels, second: Labels, rows: list[Tensor], columns: list[Tensor]
) -> list[Tensor]:
    """Along the axis of the stack both must be labelled, or neither."""
    if len(first.shape) == 3:
        sides = [[layer for layer in side if 0 in axes_of(layer)] for side in (rows, columns)]
        if bool(sides[0]) != bool(sides[1]):
            for layer in (*sides[0], *sides[1]):
                tracker.units.close(layer, _UNREAD)
    return [*rows, *columns]


def _matrix_product(tracker: Tracker, call: Call) -> None:
    tracker.put(call.result, _product(tracker, call.args[0], call.args[1], call.result))


def _product_and_sum(tracker: Tracker, call: Call) -> None:
    product = _product(tracker, call.args[1], call.args[2], call.result)
    operands = [product, tracker.of(call.args[0])]
    tracker.put(call.result, joined(tracker.units, operands, product.shape))


def _attention(tracker: Tracker, call: Call) -> None:
    """Heads of query, key and value go together; the width of a head sets the scale and stays."""
    query, key, value = (_summed(tracker, tensor, -1) for tensor in call.args[:3])
    heads = [labels.along(1) for labels in (query, key, value)]
    for labels in (query, key):
        without(tracker.units, labels, (-1,), "the width of its heads sets attention's scale")
    for labels in (query, key, value):
        gathered(tracker.units, labels, (0, 2), "it is a place, not a channel")
    heads = [None if h is None else line(h, 1) for h in heads]
    known = [layer for layer in heads if layer is not None]
    for layer in known:
        if len(known) == 3 and layer.numel() == known[0].numel():
            tracker.units.join(layer, known[0])
        else:
            tracker.units.close(layer, "queries, keys and values have unequal heads")
    _mask_of_heads(tracker, call.argument("attn_mask"), known)
    result = call.result if isinstance(call.result, Tensor) else call.result[0]
    layers = tuple(layer for layer in (heads[2], value.along(-1)) if layer is not None)
    tracker.put(result, Labels(shape=tuple(result.shape), layers=layers))
    macs = 2 * result.numel() * call.args[1].shape[2]
    _note(tracker, macs, (heads[0],))


def _mask_of_heads(tracker: Tracker, mask: object, heads: list[Tensor]) -> None:
    """A mask with numbers of its own for each head loses them with the head, or keeps all heads."""
    if not isinstance(mask, Tensor) or mask.ndim < 3 or mask.shape[-3] == 1:
        return
    own = tracker.of(mask).along(mask.ndim - 3)
    for layer in heads:
        if own is None:
            tracker.units.close(layer, "what is added for each head is not a layer's channel")
        else:
            tracker.units.join(line(own, mask.ndim - 3), layer)


CONTRACTIONS: Mapping[str, Rule] = {
    "convolution": _convolution,
    "_convolution": _convolution,
    "mm": _matrix_product,
    "bmm": _matrix_product,
    "addmm": _product_and_sum,
    "baddbmm": _product_and_sum,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_attention_math": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_flash_attention": _attention,
}
