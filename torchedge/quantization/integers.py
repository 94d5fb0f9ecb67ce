"""A quantised program run on its integers, as ONNX Runtime runs it.

Float arithmetic on fake-quantised values differs from integer arithmetic in the last bit, now and
then on the other side of a rounding, and in a deep network such differences grow. Here the sums are
exact integers and each result is rounded once, with the same float32 multiplier as in the runtime.

An operation returns whole steps of the quantiser behind it, so that a ReLU between them, and the
quantiser itself, cannot round them again.
"""

import math
import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, fx, nn
from typing_extensions import override

from torchedge.quantization.elementwise import (
    Grid,
    Operand,
    hard_gate_steps,
    in_steps,
    is_hard_gate_grid,
    product_steps,
    sum_steps,
)
from torchedge.quantization.lines import hard_sigmoid_steps, norm_steps
from torchedge.quantization.logistic import runtime_sigmoid, runtime_silu
from torchedge.quantization.operator import fake_quantize_operator
from torchedge.quantization.whole_numbers import fixed_point_product, whole_average, whole_sum

__all__ = ["IntegerProgram"]

_ATEN = torch.ops.aten
_EXACT = 2**24  # float32 counts up to here
_CONVOLUTIONS = {
    _ATEN.conv1d.default,
    _ATEN.conv2d.default,
    _ATEN.conv3d.default,
    _ATEN.conv1d.padding,
    _ATEN.conv2d.padding,
    _ATEN.conv3d.padding,
    _ATEN.conv_transpose1d.default,
    _ATEN.conv_transpose2d.input,
    _ATEN.conv_transpose3d.input,
}
_TRANSPOSED = frozenset(
    {
        _ATEN.conv_transpose1d.default,
        _ATEN.conv_transpose2d.input,
        _ATEN.conv_transpose3d.input,
    }
)
_WEIGHTED = frozenset({*_CONVOLUTIONS, _ATEN.linear.default})
_CLIPS = frozenset(
    {
        *(_ATEN.relu.default, _ATEN.relu_.default, _ATEN.relu6.default, _ATEN.relu6_.default),
        *(_ATEN.hardtanh.default, _ATEN.hardtanh_.default),
        *(_ATEN.clamp.default, _ATEN.clamp_.default),
    }
)
_ADDITIONS = frozenset({_ATEN.add.Tensor, _ATEN.add_.Tensor})
_PRODUCTS = frozenset({_ATEN.mul.Tensor, _ATEN.mul_.Tensor})
_MATRIX_PRODUCTS = frozenset({_ATEN.matmul.default, _ATEN.bmm.default})
_HARD_GATES = frozenset({_ATEN.hardsigmoid.default, _ATEN.hardsigmoid_.default})
_NORM = _ATEN.batch_norm.default
_POOL = _ATEN.avg_pool2d.default
_AVERAGES = frozenset({_ATEN.adaptive_avg_pool2d.default, _ATEN.mean.dim, _POOL})
_SAME_VALUES = frozenset(
    {
        *(_ATEN.flatten.using_ints, _ATEN.view.default, _ATEN.reshape.default),
        *(_ATEN.max_pool1d.default, _ATEN.max_pool2d.default, _ATEN.max_pool3d.default),
        *(_ATEN.squeeze.default, _ATEN.squeeze.dim, _ATEN.unsqueeze.default),
        *(_ATEN.permute.default, _ATEN.transpose.int, _ATEN.dropout.default),
        *(_ATEN.contiguous.default, _ATEN.pad.default, _ATEN.unflatten.int),
    }
)
_PIECES = frozenset(
    {
        *(operator.getitem, _ATEN.chunk.default, _ATEN.split.Tensor, _ATEN.unbind.int),
        *(_ATEN.split_with_sizes.default, _ATEN.select.int, _ATEN.slice.Tensor),
        *(_ATEN.expand.default, _ATEN.as_strided.default, _ATEN.clone.default),
        *(_ATEN.pixel_shuffle.default, _ATEN.roll.default, _ATEN.flip.default),
        *(_ATEN.reshape_as.default, _ATEN.view_as.default, _ATEN.expand_as.default),
    }
)
_MOVED = frozenset(
    {
        *(_ATEN.as_strided.default, _ATEN.flatten.using_ints, _ATEN.view.default),
        *(_ATEN.reshape.default, _ATEN.squeeze.dim, _ATEN.unsqueeze.default),
        *(_ATEN.permute.default, _ATEN.transpose.int, _ATEN.contiguous.default),
    }
)
_POINTWISE = {
    _ATEN.sigmoid.default: runtime_sigmoid,
    _ATEN.sigmoid_.default: runtime_sigmoid,
    _ATEN.silu.default: runtime_silu,
    _ATEN.silu_.default: runtime_silu,
}
_QUANTIZE = torch.ops.torchedge.fake_quantize.default
assert fake_quantize_operator is not None  # its import registers the operator


@final
class IntegerProgram(fx.Interpreter):
    """Runs the graph of an exported program whose biases are int32.

    Convolutions, linear layers, sums, products, hard gates and global averages between quantisers
    are computed on integers; sigmoids to the last bit as the runtime does; everything else as it is
    written.

    Args:
        graph_module: ``program.module()`` of a program with ``torchedge::fake_quantize`` nodes.
        whole_numbers: Additions, products, and averages that keep their operand's grid, as TFLite
            computes them.
    """

    def __init__(self, graph_module: fx.GraphModule, *, whole_numbers: bool = False) -> None:
        super().__init__(graph_module)
        self._whole_numbers = whole_numbers
        self._constants = graph_module
        self._results = dict(self._integer_results())

    @override
    def run_node(self, n: fx.Node) -> Any:
        """Compute one node, on integers where its result is quantised."""
        if n in self._results:
            with torch.no_grad():
                return self._results[n](n)
        if n.target in _POINTWISE:
            return _POINTWISE[n.target](self.fetch_args_kwargs_from_env(n)[0][0])
        return super().run_node(n)

    def _integer_results(self) -> Iterator[tuple[fx.Node, Callable[[fx.Node], Tensor]]]:
        """Nodes that run on integers, found from the quantisers backwards."""
        for quantizer in self._constants.graph.nodes:
            if quantizer.target is not _QUANTIZE or not isinstance(quantizer.args[0], fx.Node):
                continue
            node = _before_clip(quantizer.args[0])
            result = self._grid(quantizer)
            compute = None if node is None else self._on_integers(node, result)
            if node is not None and compute is not None:
                yield node, partial(compute, result=result)

    def _on_integers(self, node: fx.Node, result: Grid) -> Callable[..., Tensor] | None:
        """How a node is computed whose operands are on grids; ``None`` for any other."""
        if node.target in _WEIGHTED:
            return self._weighted if self._has_integer_operands(node) else None
        if node.target in _ADDITIONS:
            return self._added if self._joins_integers(node) else None
        if node.target in _PRODUCTS:
            return self._multiplied if self._joins_integers(node) else None
        if node.target in _MATRIX_PRODUCTS:
            whole = self._whole_numbers and self._joins_integers(node)
            return self._multiplied_matrices if whole else None
        if node.target in _HARD_GATES:
            return self._hard_gate_of(node, result)
        if node.target is _NORM:
            whole = self._whole_numbers and self._source_grid(node.args[0]) is not None
            return self._normalised if whole else None
        return self._averaged if self._averages_integers(node) else None

    def _hard_gate_of(self, node: fx.Node, result: Grid) -> Callable[..., Tensor] | None:
        if self._source_grid(node.args[0]) is None:
            return None
        if self._whole_numbers:
            return self._hard_sigmoid
        cut = is_hard_gate_grid(float(result.scale), int(result.zero_point))
        return self._hard_gate if cut else None

    def _grid(self, quantizer: fx.Node) -> Grid:
        scale, zero_point = (self._constant(quantizer.args[index]) for index in (1, 2))
        assert scale is not None
        assert zero_point is not None
        return Grid(scale=scale, zero_point=zero_point)

    def _constant(self, node: object) -> Tensor | None:
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return None
        constant: Tensor = self.fetch_attr(str(node.target)).detach()
        return constant

    def _source_grid(self, node: object) -> Grid | None:
        """The grid of an activation: its quantiser's, also through operations that keep values."""
        passed = _SAME_VALUES | _PIECES if self._whole_numbers else _SAME_VALUES
        while isinstance(node, fx.Node) and node.target in passed:
            node = node.args[0]
        if not isinstance(node, fx.Node) or node.target is not _QUANTIZE:
            return None
        return self._grid(node)

    def _has_integer_operands(self, node: fx.Node) -> bool:
        _, weight, *rest = node.args
        on_grid = isinstance(weight, fx.Node) and weight.target is _QUANTIZE
        bias = rest[0] if rest else None
        integer_bias = bias is None or (isinstance(bias, fx.Node) and bias.target is _QUANTIZE)
        return on_grid and integer_bias and self._source_grid(node.args[0]) is not None

    def _joins_integers(self, node: fx.Node) -> bool:
        scaled = len(node.args) != 2 or bool(node.kwargs)  # alpha · the second operand
        return not scaled and all(self._source_grid(value) for value in node.args)

    def _averages_integers(self, node: fx.Node) -> bool:
        source = node.args[0] if node.target in _AVERAGES else None
        if self._source_grid(source) is None or _axes(source) != 4:
            return False
        if node.target is _POOL:  # the kernel of the whole-number average
            return self._whole_numbers and _has_whole_windows(node)
        if node.target is _ATEN.mean.dim:
            return sorted(d % 4 for d in _whole_numbers(node.args[1])) == [2, 3]
        return _whole_numbers(node.args[1]) == [1, 1]

    def _weighted(self, node: fx.Node, result: Grid) -> Tensor:
        """``float(Σ x_q·w_q + b_q) · (s_x·s_w / s_y)`` steps (ONNX Runtime's requantisation)."""
        arguments, _ = self.fetch_args_kwargs_from_env(node)
        x, weight, *rest = arguments
        source, weights = self._source_grid(node.args[0]), self._grid(node.args[1])  # type: ignore[arg-type]
        assert source is not None
        axis = 1 if node.target in _TRANSPOSED else 0
        per_channel = _along(weights.scale, weight.ndim, axis)
        integers = torch.round(weight / per_channel)
        sums = _exact_sums(node.target, torch.round(x / source.scale), integers, rest[1:])
        channel = -1 if node.target is _ATEN.linear.default else 1
        scales = _per_output(source.scale * weights.scale, sums.shape[channel])
        if rest and rest[0] is not None:
            bias = torch.round(rest[0].double() / scales.double())
            sums = sums + _along(bias, sums.ndim, channel)
        ratios = _along(scales / result.scale, sums.ndim, channel)
        return in_steps(sums.float(), ratios) * result.scale

    def _added(self, node: fx.Node, result: Grid) -> Tensor:
        first, second = self._operands(node)
        if self._whole_numbers:
            ratios = first.grid.scale / result.scale, second.grid.scale / result.scale
            return whole_sum((first.steps, second.steps), ratios).float() * result.scale
        return sum_steps(first, second, result) * result.scale

    def _multiplied(self, node: fx.Node, result: Grid) -> Tensor:
        first, second = self._operands(node)
        if self._whole_numbers:
            ratio = first.grid.scale * second.grid.scale / result.scale
            return in_steps(first.steps * second.steps, ratio) * result.scale
        return product_steps(first, second, result) * result.scale

    def _normalised(self, node: fx.Node, result: Grid) -> Tensor:
        x, *norm, _, _, epsilon, _ = self.fetch_args_kwargs_from_env(node)[0]
        source = self._source_grid(node.args[0])
        assert source is not None
        scales = source.scale, result.scale
        steps = norm_steps(torch.round(x / source.scale), norm, epsilon, scales)
        return steps * result.scale

    def _multiplied_matrices(self, node: fx.Node, result: Grid) -> Tensor:
        left, right = self._operands(node)
        sums = left.steps.double() @ right.steps.double()
        ratio = float(left.grid.scale * right.grid.scale) / float(result.scale)
        return fixed_point_product(sums, ratio).float() * result.scale

    def _hard_gate(self, node: fx.Node, result: Grid) -> Tensor:
        (x,) = self._operands(node)
        return hard_gate_steps(x, result) * result.scale

    def _hard_sigmoid(self, node: fx.Node, result: Grid) -> Tensor:
        (x,) = self._operands(node)
        steps = hard_sigmoid_steps(x.steps, (x.grid.scale, result.scale))
        return (steps * result.scale).clamp(0.0, 1.0)

    def _operands(self, node: fx.Node) -> tuple[Operand, ...]:
        values, _ = self.fetch_args_kwargs_from_env(node)
        pairs = zip(values, map(self._source_grid, node.args), strict=True)
        return tuple(
            Operand(steps=torch.round(value / grid.scale), grid=grid)
            for value, grid in pairs
            if grid is not None
        )

    def _averaged(self, node: fx.Node, result: Grid) -> Tensor:
        """``float(Σ x_q) · (s_x / (s_y·n))`` steps."""
        x = self.fetch_args_kwargs_from_env(node)[0][0]
        source = self._source_grid(node.args[0])
        assert source is not None
        sums, count = _window_sums(node, torch.round(x / source.scale))
        if self._whole_numbers and source.scale == result.scale:
            return whole_average(sums, count, result.zero_point).float() * result.scale
        return in_steps(sums, source.scale / (result.scale * count)) * result.scale


def _has_whole_windows(pool: fx.Node) -> bool:
    """Whether no window of an average reaches beyond the borders, and none has its own divisor."""
    rounds_up = any(pool.args[4:5])
    return len(pool.args) < 7 and not (rounds_up and _has_windows_over_the_edge(pool))


def _has_windows_over_the_edge(pool: fx.Node) -> bool:
    source = pool.args[0]
    assert isinstance(source, fx.Node)
    kernel, stride, borders = _windows(pool)
    sizes = source.meta["val"].shape[2:]
    return any(
        (int(size) + 2 * border - window) % step
        for size, border, window, step in zip(sizes, borders, kernel, stride, strict=True)
    )


def _windows(pool: fx.Node) -> tuple[list[int], list[int], list[int]]:
    kernel, stride, borders = (
        _whole_numbers(pool.args[index]) if len(pool.args) > index else [] for index in (1, 2, 3)
    )
    return kernel, stride or kernel, borders or [0] * len(kernel)


def _window_sums(node: fx.Node, integers: Tensor) -> tuple[Tensor, Tensor | int]:
    """Sums over the windows of an average, and how many values each has."""
    if node.target is _POOL:
        return _pool_sums(node, integers)
    keeps = node.target is not _ATEN.mean.dim or (len(node.args) > 2 and bool(node.args[2]))
    return integers.sum((2, 3), keepdim=keeps), math.prod(integers.shape[2:])


def _pool_sums(pool: fx.Node, integers: Tensor) -> tuple[Tensor, Tensor | int]:
    kernel, stride, borders = _windows(pool)
    summed = partial(
        nn.functional.avg_pool2d,
        kernel_size=kernel,
        stride=stride,
        padding=borders,
        divisor_override=1,
    )
    counted = len(pool.args) < 6 or bool(pool.args[5])
    return summed(integers), math.prod(kernel) if counted else summed(torch.ones_like(integers))


def _axes(node: object) -> int | None:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return value.ndim if isinstance(value, Tensor) else None


def _before_clip(node: fx.Node) -> fx.Node | None:
    """The operation whose result, moved or perhaps after a ReLU, only the quantiser reads."""
    passed = _MOVED | _CLIPS
    while node.target in passed and len(node.users) == 1 and isinstance(node.args[0], fx.Node):
        passed = passed - _CLIPS if node.target in _CLIPS else passed
        node = node.args[0]
    return node if len(node.users) == 1 else None


def _along(values: Tensor, rank: int, axis: int) -> Tensor:
    if values.ndim == 0:
        return values
    shape = [1] * rank
    shape[axis] = -1
    return values.view(shape)


def _per_output(scales: Tensor, channels: int) -> Tensor:
    """One scale for each output channel; those of a grouped transposed convolution repeat."""
    return scales.repeat(channels // len(scales)) if scales.ndim else scales


def _exact_sums(operation: Any, x: Tensor, weight: Tensor, options: list[Any]) -> Tensor:  # noqa: ANN401
    """Sums of integer products in float64, from float32 parts that are too small to round."""
    axis = 0 if operation in _TRANSPOSED else 1
    inputs = weight.shape[axis]
    bound = float(weight.abs().transpose(0, 1 - axis).flatten(1).sum(1).amax() * x.abs().amax())
    if bound < _EXACT:
        return _call(operation, x, weight, options).double()
    if _groups(options) > 1:
        return _call(operation, x.double(), weight.double(), options)
    parts = min(inputs, int(2 * bound / _EXACT) + 1)
    channel = -1 if operation is _ATEN.linear.default else 1
    pairs = zip(x.tensor_split(parts, channel), weight.tensor_split(parts, axis), strict=True)
    return sum(
        (_exact_sums(operation, a, b, options) for a, b in pairs), torch.tensor(0.0).double()
    )


def _whole_numbers(argument: object) -> list[int]:
    return [int(str(value)) for value in argument] if isinstance(argument, list | tuple) else []


def _groups(options: list[Any]) -> int:
    return max([value for value in options if isinstance(value, int)], default=1)


def _call(operation: Any, x: Tensor, weight: Tensor, options: list[Any]) -> Tensor:  # noqa: ANN401
    result: Tensor = operation(x, weight, None, *options)
    return result
