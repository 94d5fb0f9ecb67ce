import sys

import pytest
import torch
from torch import nn

from torchedge.errors import MissingDependencyError, NotRunError, PruningError, UsageError
from torchedge.pruning import Limits, prune_to
from torchedge.pruning.latency import LayerShape
from torchedge_onnx.timing import OnnxLayerTimer, _shortest_ms


def convolution(inputs, outputs, *, groups=1, kernel=(3, 3), size=(12, 12)):
    ones = (1,) * len(kernel)
    return LayerShape(
        inputs=inputs,
        outputs=outputs,
        groups=groups,
        kernel=kernel,
        stride=ones,
        padding=ones,
        dilation=ones,
        size=size,
    )


def test_every_kind_of_layer_gets_a_time_of_its_own():
    shapes = [
        convolution(16, 16),
        convolution(3, 5),
        convolution(16, 16, groups=16),
        convolution(8, 8, groups=2),
        convolution(4, 4, kernel=(3,), size=(20,)),
        LayerShape(inputs=16, outputs=8),
        LayerShape(inputs=7, outputs=3, batch=5),
    ]
    times = OnnxLayerTimer(runs=2, threads=1)(shapes)
    assert len(times) == len(shapes)
    assert all(time > 0 for time in times)


def test_more_layers_than_fit_in_a_session_come_back_in_their_order():
    shapes = [LayerShape(inputs=4, outputs=4)] * 70 + [convolution(64, 64, size=(40, 40))]
    times = OnnxLayerTimer(runs=2, threads=1)(shapes)
    assert len(times) == 71
    assert times.index(max(times)) == 70  # 59 M multiply-accumulates, and 16 for each other


def test_no_run_measures_nothing_and_is_refused():
    with pytest.raises(UsageError, match="0 runs"):
        OnnxLayerTimer(runs=0)([LayerShape(inputs=1, outputs=1)])


def test_without_the_runtime_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="pip install onnxruntime"):
        OnnxLayerTimer()([LayerShape(inputs=1, outputs=1)])


def test_a_profile_that_does_not_name_a_layer_is_no_time_of_it():
    shape = LayerShape(inputs=1, outputs=2)
    events = [{"name": "layer_0_kernel_time", "dur": 5}, {"name": "other_kernel_time", "dur": 1}]
    assert _shortest_ms(events, [shape]) == [0.005]
    with pytest.raises(NotRunError, match=r"no time of LayerShape\(inputs=1, outputs=2"):
        _shortest_ms(events, [shape, shape])


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4),
    ).eval()  # fmt: skip


def test_a_latency_target_is_met_by_what_the_runtime_measured():
    model, image = network(), torch.zeros(1, 3, 32, 32)
    timer = OnnxLayerTimer(runs=5, threads=1)
    pruned = prune_to(model, (image,), latency=0.5, timer=timer, limits=Limits(multiple=16))
    assert pruned[0].out_channels < 64 or pruned[2].out_channels < 64


def test_a_latency_that_cannot_be_reached_says_how_near_it_came():
    timer = OnnxLayerTimer(runs=3, threads=1)
    with pytest.raises(
        PruningError, match=r"latency=0.001 cannot be met.*0\.\d{3} of the original"
    ):
        prune_to(network(), (torch.zeros(1, 3, 32, 32),), latency=0.001, timer=timer)
