"""A quantised program run on its integers, as its runtime runs it.

Float arithmetic on fake-quantised values differs from integer arithmetic in the last bit, now and
then on the other side of a rounding, and in a deep network such differences grow. Here the sums are
exact integers and each result is rounded once, with the same float32 multiplier as in the runtime.

An operation returns whole steps of the quantiser behind it, so that a ReLU between them, and the
quantiser itself, cannot round them again.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, fx
from typing_extensions import override

from torchedge.reference import graph
from torchedge.reference.curves import gelu
from torchedge.reference.elementwise import (
    Grid,
    Operand,
    hard_gate_steps,
    in_steps,
    is_hard_gate_grid,
    product_steps,
    sum_steps,
)
from torchedge.reference.lines import hard_sigmoid_steps, norm_steps
from torchedge.reference.logistic import runtime_sigmoid, runtime_silu
from torchedge.reference.resizing import resized_steps
from torchedge.reference.sums import along, exact_sums, per_output, window_sums
from torchedge.reference.whole_numbers import fixed_point_product, whole_average, whole_sum

__all__ = ["IntegerProgram"]

_ATEN = torch.ops.aten
_ONNX_RUNTIME_CURVES: dict[object, Callable[[Tensor], Tensor]] = {
    _ATEN.sigmoid.default: runtime_sigmoid,
    _ATEN.sigmoid_.default: runtime_sigmoid,
    _ATEN.silu.default: runtime_silu,
    _ATEN.silu_.default: runtime_silu,
}
_TFLITE_CURVES: dict[object, Callable[..., Tensor]] = {_ATEN.gelu.default: gelu}


@final
class IntegerProgram(fx.Interpreter):
    """Runs the graph of an exported program whose biases are int32.

    Convolutions, linear layers, sums, products, hard gates and averages between quantisers are
    computed on integers; curves to the last bit as the runtime does; everything else as it is
    written.

    Args:
        graph_module: ``program.module()`` of a program with ``torchedge::fake_quantize`` nodes.
        whole_numbers: Whether LiteRT with XNNPACK is the runtime; otherwise ONNX Runtime is.
    """

    def __init__(self, graph_module: fx.GraphModule, *, whole_numbers: bool = False) -> None:
        super().__init__(graph_module)
        self._whole_numbers = whole_numbers
        self._curves = _TFLITE_CURVES if whole_numbers else _ONNX_RUNTIME_CURVES
        self._constants = graph_module
        self._results = dict(self._integer_results())

    @override
    def run_node(self, n: fx.Node) -> Any:
        """Compute one node, on integers where its result is quantised."""
        if n in self._results:
            with torch.no_grad():
                return self._results[n](n)
        if n.target in self._curves:
            arguments, options = self.fetch_args_kwargs_from_env(n)
            return self._curves[n.target](*arguments, **options)
        if n.target is graph.QUANTIZE and self._whole_numbers:
            return _quantized_by_reciprocal(*self.fetch_args_kwargs_from_env(n)[0])
        return super().run_node(n)

    def _integer_results(self) -> Iterator[tuple[fx.Node, Callable[[fx.Node], Tensor]]]:
        """Nodes that run on integers, found from the quantisers backwards."""
        for quantizer in self._constants.graph.nodes:
            if quantizer.target is not graph.QUANTIZE or not isinstance(quantizer.args[0], fx.Node):
                continue
            node = graph.before_clip(quantizer.args[0])
            result = self._grid(quantizer)
            compute = None if node is None else self._on_integers(node, result)
            if node is not None and compute is not None:
                yield node, partial(compute, result=result)

    def _on_integers(self, node: fx.Node, result: Grid) -> Callable[..., Tensor] | None:
        """How a node is computed whose operands are on grids; ``None`` for any other."""
        if node.target in graph.WEIGHTED:
            return self._weighted if self._has_integer_operands(node) else None
        if node.target in graph.ADDITIONS:
            return self._added if self._joins_integers(node) else None
        if node.target in graph.PRODUCTS:
            return self._multiplied if self._joins_integers(node) else None
        if node.target in graph.HARD_GATES:
            return self._hard_gate_of(node, result)
        if self._whole_numbers and node.target not in graph.AVERAGES:
            return self._in_whole_numbers(node, result)
        return self._averaged if self._averages_integers(node) else None

    def _in_whole_numbers(self, node: fx.Node, result: Grid) -> Callable[..., Tensor] | None:
        """What LiteRT alone computes on integers."""
        if node.target in graph.MATRIX_PRODUCTS:
            return self._multiplied_matrices if self._joins_integers(node) else None
        source = self._source_grid(node.args[0]) if node.args else None
        if node.target is graph.NORM:
            return self._normalised if source else None
        if node.target in graph.RESIZES:
            return self._resized if source and _is_same(source, result) else None
        return None

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
        passed = graph.SAME_VALUES | graph.PIECES if self._whole_numbers else graph.SAME_VALUES
        quantizer = graph.quantizer_behind(node, passed)
        return None if quantizer is None else self._grid(quantizer)

    def _has_integer_operands(self, node: fx.Node) -> bool:
        _, weight, *rest = node.args
        bias = rest[0] if rest else None
        integer_bias = bias is None or graph.quantizer_behind(bias, frozenset()) is not None
        on_grid = graph.weight_quantizer(weight, _channel_axis(node)) is not None
        return on_grid and integer_bias and self._source_grid(node.args[0]) is not None

    def _joins_integers(self, node: fx.Node) -> bool:
        scaled = len(node.args) != 2 or bool(node.kwargs)  # alpha · the second operand
        return not scaled and all(self._source_grid(value) for value in node.args)

    def _averages_integers(self, node: fx.Node) -> bool:
        source = node.args[0] if node.target in graph.AVERAGES else None
        if self._source_grid(source) is None or graph.axes_of(source) != 4:
            return False
        if node.target is graph.AVERAGE_POOL:  # the kernel of the whole-number average
            return self._whole_numbers and graph.has_whole_windows(node)
        if node.target is graph.MEAN:
            return sorted(d % 4 for d in graph.whole_arguments(node.args[1])) == [2, 3]
        return graph.whole_arguments(node.args[1]) == [1, 1]

    def _weighted(self, node: fx.Node, result: Grid) -> Tensor:
        """``float(Σ x_q·w_q + b_q) · (s_x·s_w / s_y)`` steps (ONNX Runtime's requantisation)."""
        arguments, _ = self.fetch_args_kwargs_from_env(node)
        x, weight, *rest = arguments
        axis = _channel_axis(node)
        quantizer = graph.weight_quantizer(node.args[1], axis)
        source = self._source_grid(node.args[0])
        assert quantizer is not None
        assert source is not None
        weights = self._grid(quantizer)
        integers = torch.round(weight / along(weights.scale, weight.ndim, axis))
        sums = exact_sums(node.target, torch.round(x / source.scale), integers, rest[1:])
        channel = -1 if node.target is _ATEN.linear.default else 1
        scales = per_output(source.scale * weights.scale, sums.shape[channel])
        if rest and rest[0] is not None:
            bias = torch.round(rest[0].double() / scales.double())
            sums = sums + along(bias, sums.ndim, channel)
        ratios = along(scales / result.scale, sums.ndim, channel)
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
        """XNNPACK multiplies by a matrix whose zero point is 0, LiteRT itself by any other."""
        left, right = self._operands(node)
        sums = left.steps.double() @ right.steps.double()
        if int(right.grid.zero_point) == 0:
            ratio = left.grid.scale * right.grid.scale / result.scale
            return in_steps(sums.float(), ratio) * result.scale
        scales = float(left.grid.scale * right.grid.scale) / float(result.scale)
        return fixed_point_product(sums, scales).float() * result.scale

    def _resized(self, node: fx.Node, result: Grid) -> Tensor:
        x, _, align_corners, *_ = self.fetch_args_kwargs_from_env(node)[0]
        sizes = node.meta["val"].shape[2:]
        steps = torch.round(x / result.scale)
        rows = steps if steps.ndim == 4 else steps[:, :, None]
        wanted = sizes if steps.ndim == 4 else (1, *sizes)
        found = resized_steps(rows, wanted, align_corners=bool(align_corners))
        return found.float().view(*steps.shape[:2], *sizes) * result.scale

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
        sums, count = window_sums(node, torch.round(x / source.scale))
        if self._whole_numbers and source.scale == result.scale:
            return whole_average(sums, count, result.zero_point).float() * result.scale
        return in_steps(sums, source.scale / (result.scale * count)) * result.scale


def _channel_axis(weighted: fx.Node) -> int:
    return 1 if weighted.target in graph.TRANSPOSED else 0


def _is_same(a: Grid, b: Grid) -> bool:
    return bool(a.scale == b.scale) and int(a.zero_point) == int(b.zero_point)


def _quantized_by_reciprocal(
    x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """``scale · (clip(round(x · (1 / scale)) + zero_point, …) - zero_point)``, as XNNPACK does."""
    step, zero = along(scale, x.ndim, axis), along(zero_point, x.ndim, axis).to(x.dtype)
    return (torch.clamp(torch.round(x * (1 / step)) + zero, quant_min, quant_max) - zero) * step
