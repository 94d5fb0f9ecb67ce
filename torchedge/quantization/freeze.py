"""From a model that trains to the one that is exported: constants and one operator a quantiser."""

from collections import Counter
from typing import final

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torchedge.errors import SchemeError
from torchedge.graph.copies import copied
from torchedge.kinds import kinds_checked
from torchedge.quantization.batchnorm_folding import plain_copy
from torchedge.quantization.functional import fake_quantize
from torchedge.quantization.lines import with_rounded_offset
from torchedge.quantization.modules import (
    FakeQuantize,
    QuantizedLayer,
    WeightedLayer,
    apply_layer,
)
from torchedge.quantization.operator import fake_quantize_operator
from torchedge.quantization.scale_source import input_scale_source
from torchedge.quantization.scales import widened_for_bias
from torchedge.scheme import BiasKind, QuantSpec

__all__ = ["FrozenFakeQuantize", "FrozenLayer", "freeze"]

_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1


@final
class FrozenFakeQuantize(nn.Module):
    """A quantiser whose scale and zero point are constants of the exported program."""

    scale: Tensor
    zero_point: Tensor

    def __init__(
        self, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
    ) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("zero_point", zero_point)
        self.axis, self.quant_min, self.quant_max = axis, quant_min, quant_max

    @staticmethod
    def of_spec(scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> "FrozenFakeQuantize":
        """A quantiser to int8 or uint8, as the spec says."""
        integers = zero_point.to(torch.int8 if spec.signed else torch.uint8)
        return FrozenFakeQuantize(scale, integers, spec.axis or 0, spec.quant_min, spec.quant_max)

    @staticmethod
    def of_bias(scale: Tensor) -> "FrozenFakeQuantize":
        """A quantiser to int32 with zero point 0."""
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        return FrozenFakeQuantize(scale, zeros, 0, _INT32_MIN, _INT32_MAX)

    def forward(self, x: Tensor) -> Tensor:
        """Call ``torchedge::fake_quantize``."""
        quantized: Tensor = fake_quantize_operator(
            x, self.scale, self.zero_point, self.axis, self.quant_min, self.quant_max
        )
        return quantized


@final
class FrozenLayer(nn.Module):
    """A layer with constant folded weights, on their grid already."""

    def __init__(
        self,
        layer: WeightedLayer,
        weight_quantizer: FrozenFakeQuantize,
        bias_quantizer: FrozenFakeQuantize | None,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.weight_quantizer = weight_quantizer
        self.bias_quantizer = bias_quantizer

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        bias = self.layer.bias
        if bias is not None and self.bias_quantizer is not None:
            bias = self.bias_quantizer(bias)
        return apply_layer(self.layer, x, self.weight_quantizer(self.layer.weight), bias)


@kinds_checked()
def freeze(model: nn.Module, *, bias: BiasKind = "float") -> nn.Module:
    """A copy of a prepared model for export: evaluation mode, batch norms folded, scales constant.

    Weights are replaced by the values that the device's integers stand for. A layer that is called
    several times becomes a layer for each call, because an integer bias belongs to one input scale.

    Args:
        model: A calibrated or trained model from ``prepare_qat``.
        bias: Whether biases are rounded to multiples of ``input scale · weight scale``, and whether
            they become int32. A channel whose bias would not fit in int32 gets a larger weight
            scale (its weights are negligible beside its bias: the change of the output is below
            ``|bias| · inputs / 2^23``). Batch norms that no layer has taken in get such biases too.

    Raises:
        SchemeError: The model does not come from ``prepare_qat``, its weights are in groups, or
            its quantisation is switched off.
        CalibrationError: A quantiser has no range yet.
    """
    if not isinstance(model, fx.GraphModule):
        raise SchemeError("freeze() takes the model that prepare_qat returned; prepare it first.")
    frozen = copied(model).requires_grad_(False)
    layers = {n: m for n, m in frozen.named_modules() if isinstance(m, QuantizedLayer)}
    calls: Counter[str] = Counter()
    for node in frozen.graph.nodes:
        if node.op == "call_module" and (name := str(node.target)) in layers:
            _require_writable(name, layers[name])
            source = None if bias == "float" else input_scale_source(node, frozen)
            layer = _frozen_layer(layers[name], None if source is None else source.scale, bias)
            node.target = f"{name}_call_{calls[name]}" if calls[name] else name
            frozen.add_submodule(node.target, layer)
            calls[name] += 1
    if bias == "int32":
        _round_norms(frozen)
    _freeze_quantizers(frozen)
    frozen.recompile()
    return frozen.eval().requires_grad_(False)


def _round_norms(frozen: fx.GraphModule) -> None:
    """Norms that no layer has taken in add whole steps, as layers do."""
    calls: Counter[str] = Counter()
    for node in frozen.graph.nodes:
        norm = frozen.get_submodule(str(node.target)) if node.op == "call_module" else None
        source = input_scale_source(node, frozen) if isinstance(norm, _BatchNorm) else None
        if not isinstance(norm, _BatchNorm) or source is None or source.scale.numel() != 1:
            continue
        calls[str(node.target)] += 1
        rounded = with_rounded_offset(norm, float(source.scale))
        node.target = f"{node.target}_on_grid_{calls[str(node.target)]}"
        frozen.add_submodule(node.target, rounded)


def _freeze_quantizers(frozen: fx.GraphModule) -> None:
    for node in list(frozen.graph.nodes):
        name = str(node.target)
        module = frozen.get_submodule(name) if node.op == "call_module" else None
        if isinstance(module, FakeQuantize) and module.excluded:
            node.replace_all_uses_with(node.args[0])
            frozen.graph.erase_node(node)
        elif isinstance(module, FakeQuantize):
            _require_switched_on(name, module)
            module.require_calibrated(name)
            constant = FrozenFakeQuantize.of_spec(module.scale, module.zero_point, module.spec)
            frozen.set_submodule(name, constant)
    frozen.delete_all_unused_submodules()


def _require_switched_on(name: str, module: FakeQuantize | QuantizedLayer) -> None:
    if not module.enabled:
        raise SchemeError(
            f"the quantisation of '{name}' is switched off, so nothing was trained or measured "
            "with it; switch it on (enabled = True) or train until quantize_from_epoch. To leave a "
            "layer in float for good, use with_bits(model, {name: 32})."
        )


def _frozen_layer(
    quantized: QuantizedLayer, input_scale: Tensor | None, bias_kind: BiasKind
) -> nn.Module:
    weight, bias = quantized.folded()
    if quantized.excluded:
        return _plain_layer(quantized, weight, bias)
    scale, zero_point = quantized.params(weight)
    bias_quantizer = None
    if input_scale is not None and bias is not None:
        scale = widened_for_bias(scale, bias, input_scale)
        bias_quantizer = FrozenFakeQuantize.of_bias(input_scale * _per_output(scale, len(bias)))
        bias = bias_quantizer(bias)
    on_grid = fake_quantize(weight, scale, zero_point, quantized.spec)
    layer = _plain_layer(quantized, on_grid, bias)
    weight_quantizer = FrozenFakeQuantize.of_spec(scale, zero_point, quantized.spec)
    return FrozenLayer(layer, weight_quantizer, bias_quantizer if bias_kind == "int32" else None)


def _per_output(scale: Tensor, outputs: int) -> Tensor:
    """One scale an output; groups of a transposed convolution share theirs."""
    return scale.repeat(outputs // len(scale)) if scale.ndim else scale


def _plain_layer(quantized: QuantizedLayer, weight: Tensor, bias: Tensor | None) -> WeightedLayer:
    layer = plain_copy(quantized.layer)
    layer.weight = nn.Parameter(weight)
    layer.bias = None if bias is None else nn.Parameter(bias)
    return layer


def _require_writable(name: str, quantized: QuantizedLayer) -> None:
    if not quantized.excluded:
        _require_switched_on(name, quantized)
    if quantized.spec.group_size is not None:
        raise SchemeError(
            f"'{name}' has weights in groups of {quantized.spec.group_size}, which no exporter "
            "here can write; requantize(model, scheme, batches) with one scale a channel (the "
            "same scheme without group_size is the nearest), or train with that from the start."
        )
