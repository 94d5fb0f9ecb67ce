"""What each module, function and method is taken for."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from torchedge.quantization.operations import kind_of

MODULE_KINDS = {
    "conv": [nn.Conv1d(1, 1, 1), nn.Conv3d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1)],
    "linear": [nn.Linear(1, 1)],
    "batch_norm": [nn.BatchNorm1d(1), nn.BatchNorm3d(1)],
    "activation": [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(0, 4)],
    "nonlinear": [nn.Hardtanh(), nn.Hardswish(), nn.SiLU(), nn.PReLU(), nn.GELU()],
    "sigmoid": [nn.Sigmoid(), nn.Hardsigmoid()],
    "tanh": [nn.Tanh()],
    "softmax": [nn.Softmax(1)],
    "average_pool": [nn.AvgPool1d(2), nn.AdaptiveAvgPool3d(1)],
    "same_values": [
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Identity(),
        nn.Unflatten(1, (1,)),
    ],
    "select": [nn.PixelShuffle(2), nn.ReflectionPad2d(1), nn.Upsample(scale_factor=2)],
    "resize": [nn.Upsample(scale_factor=2, mode="bilinear"), nn.UpsamplingBilinear2d(2)],
    "normalisation": [nn.LayerNorm(1), nn.GroupNorm(1, 1), nn.InstanceNorm2d(1)],
    "float": [nn.Softshrink(), nn.GLU(), nn.LogSoftmax(1)],
}


@pytest.mark.parametrize(
    ("module", "kind"),
    [(module, kind) for kind, modules in MODULE_KINDS.items() for module in modules],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_module_is_of_its_kind(module, kind):
    graph_module = fx.symbolic_trace(nn.Sequential(module))
    assert kind_of(list(graph_module.graph.nodes)[1], graph_module) == kind


FUNCTION_KINDS = {
    "activation": [
        F.relu_,
        torch.relu,
        F.relu6,
        lambda x: x.relu(),
        lambda x: x.clamp(0, 6),
        lambda x: torch.clamp(x, min=0, max=6),
        lambda x: F.hardtanh(x, 0, 6),
    ],
    "nonlinear": [F.silu, F.hardswish, lambda x: x.clamp(-1, 1), lambda x: F.leaky_relu(x, 0.2)],
    "sigmoid": [torch.sigmoid, F.hardsigmoid, lambda x: x.sigmoid_()],
    "tanh": [torch.tanh, lambda x: x.tanh()],
    "softmax": [lambda x: F.softmax(x, 1), lambda x: x.softmax(-1)],
    "add": [
        lambda x: x + x.relu(),
        lambda x: operator.iadd(x, x.relu()),
        lambda x: x.add_(x.relu()),
    ],
    "multiply": [lambda x: x * x.relu(), lambda x: torch.mul(x, x.relu())],
    "concat": [lambda x: torch.cat([x, x.relu()], 1), lambda x: torch.concat((x, x.relu()), dim=1)],
    "average_pool": [
        lambda x: x.mean((2, 3)),
        lambda x: x.mean(dim=[-1, -2], keepdim=True),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.avg_pool2d(x, 2),
    ],
    "resize": [lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")],
    "same_values": [
        lambda x: torch.flatten(x, 1),
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.dropout(x, 0.1),
        lambda x: x.unsqueeze(0),
    ],
    "select": [
        lambda x: x[:, 1:],
        lambda x: F.pad(x, (0, 1), value=0.0),
        lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate"),
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.pixel_shuffle(x, 2),
        lambda x: torch.roll(x, 1, 2),
    ],
    "normalisation": [lambda x: F.layer_norm(x, (8,)), lambda x: F.normalize(x)],
    "shape": [lambda x: x.size(0), lambda x: x.shape],
    "float": [
        lambda x: x + 1,
        lambda x: 2 * x,
        lambda x: torch.add(x, x.relu(), alpha=2),
        lambda x: x.mean(1),
        lambda x: x.mean(-1),
        lambda x: x.mean((1, 2, 3)),
        lambda x: x.mean(),
        lambda x: x - x.relu(),
        lambda x: x / x.relu(),
        lambda x: F.pad(x, (1, 1), value=1.0),
        lambda x: x.exp(),
        lambda x: F.log_softmax(x, 1),
        lambda x: x + x.size(0),
    ],
}


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        pytest.param(function, kind, id=f"{kind}-{number}")
        for kind, functions in FUNCTION_KINDS.items()
        for number, function in enumerate(functions)
    ],
)
def test_each_function_is_of_its_kind(function, kind):
    graph_module = fx.symbolic_trace(lambda x: function(x))
    result = graph_module.graph.output_node().args[0]
    assert kind_of(result, graph_module) == kind


@pytest.mark.parametrize(
    ("pad", "reader", "kind"),
    [
        (nn.ZeroPad2d(1), nn.Conv2d(3, 3, 3), "same_values"),
        (nn.ZeroPad2d((-1, 0, 0, 0)), nn.Conv2d(3, 3, 3), "select"),
        (nn.ZeroPad2d(1), nn.ConvTranspose2d(3, 3, 3), "select"),
        (nn.ZeroPad2d(1), nn.MaxPool2d(2), "select"),
        (nn.ZeroPad3d(1), nn.Conv2d(3, 3, 3), "select"),
    ],
)
def test_only_a_convolution_pads_with_zeros_itself(pad, reader, kind):
    """ONNX Runtime once ran in float what read the result of another pad."""
    graph_module = fx.symbolic_trace(nn.Sequential(pad, reader))
    assert kind_of(list(graph_module.graph.nodes)[1], graph_module) == kind
