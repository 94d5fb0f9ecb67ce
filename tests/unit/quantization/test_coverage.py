"""Networks of many kinds: preparing changes nothing, and devices get what PyTorch computes."""

import numpy as np
import pytest
import torch

from tests.unit.quantization.networks import NETWORKS, trained
from torchedge import exporting
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.quantization import (
    FakeQuantize,
    QuantizedLayer,
    calibrate,
    describe,
    minmax,
    prepare_qat,
)
from torchedge_onnx.runner import OnnxRunner

ONNX = exporting.target("onnx-cpu").scheme
FLOAT_EPSILON = 2.0**-24
# Products of two activations, and grouped transposed convolutions, have no integer kernel there.
FLOAT_LAYERS = {
    "grouped_transposed": ["ConvTranspose"],
    "vision_transformer": ["MatMul", "MatMul"],
}


def network(name):
    make, shape = NETWORKS[name]
    inputs = torch.randn(shape)
    return trained(make(), inputs), inputs


def without_quantisation(model):
    for module in model.modules():
        if isinstance(module, FakeQuantize | QuantizedLayer):
            module.enabled = False
    return model


def outputs(result):
    return result if isinstance(result, tuple) else (result,)


def signal_to_noise(expected, found):
    """In decibels."""
    noise = np.square(expected.astype(np.float64) - found).sum()
    return 10 * np.log10(np.square(expected.astype(np.float64)).sum() / max(noise, 1e-30))


@pytest.mark.parametrize("name", NETWORKS)
def test_with_quantisation_off_a_prepared_network_computes_what_it_did(name):
    """Each layer may round otherwise, once for each of the up to 1,152 terms of a sum."""
    model, inputs = network(name)
    prepared = without_quantisation(prepare_qat(model, ONNX, (inputs[:1],))).eval()
    with torch.no_grad():
        pairs = zip(outputs(prepared(inputs)), outputs(model(inputs)), strict=True)
        for found, expected in pairs:
            largest = float(expected.abs().max())
            assert found.shape == expected.shape
            assert float((found - expected).abs().max()) <= 1152 * FLOAT_EPSILON * largest


@pytest.mark.parametrize("name", NETWORKS)
def test_in_training_gradients_reach_every_parameter(name):
    model, inputs = network(name)
    prepared = prepare_qat(model, ONNX, (inputs[:1],)).train()
    result = outputs(prepared(inputs))
    sum(((value - torch.randn_like(value)) ** 2).sum() for value in result).backward()
    missing = [n for n, p in prepared.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
    count = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in prepared.parameters()) == count


@pytest.mark.parametrize("name", ["one_dimensional", "functional", "stochastic_depth"])
def test_dropout_follows_the_mode_after_preparing(name):
    """A functional dropout was once a constant of the trace."""
    model, inputs = network(name)
    prepared = without_quantisation(prepare_qat(model, ONNX, (inputs[:1],)))
    with torch.no_grad():
        assert torch.equal(prepared.eval()(inputs), prepared(inputs))
        assert not torch.equal(prepared.train()(inputs), prepared(inputs))


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("group_norm", {"_2"}),
        ("convnext", {"layer_norm", "blocks_0_norm", "blocks_1_norm", "norm"}),
        ("vision_transformer", {"block_first_norm", "block_second_norm", "norm"}),
    ],
)
def test_layer_and_group_norms_stay_float_and_are_listed(name, norms):
    model, inputs = network(name)
    rows = describe(prepare_qat(model, ONNX, (inputs[:1],)))
    assert {row.name for row in rows if row.kind == "normalisation"} == norms


@pytest.mark.parametrize("name", ["convnext", "vision_transformer"])
def test_a_stream_that_is_normalised_again_and_again_stays_float(name):
    model, inputs = network(name)
    graph = prepare_qat(model, ONNX, (inputs[:1],)).graph
    additions = [node for node in graph.nodes if node.name.startswith("add")]
    assert len(additions) >= 2
    read = {str(operand) for node in (*additions, graph.output_node()) for operand in node.args}
    assert not any(name.startswith("quantizers_add") for name in read)


def test_a_batch_norm_over_a_sequence_is_not_folded():
    """It was once folded into the features, which were as many as the steps."""
    model, inputs = network("sequence_norm")
    prepared = prepare_qat(model, ONNX, (inputs[:1],))
    assert prepared.get_submodule("first").batchnorm is None
    assert [row.kind for row in describe(prepared)].count("batch_norm") == 1


def test_each_layer_stays_in_its_own_mode():
    """Preparing once put a frozen batch norm of a model in training back into training."""
    model, inputs = network("large_epsilon")
    model.train()
    model[2].eval()
    prepared = prepare_qat(model, ONNX, (inputs[:1],))
    assert not prepared.get_submodule("1").batchnorm.training
    assert prepared.get_submodule("0.0").batchnorm.training


def test_boxes_and_scores_joined_for_the_output_keep_their_own_scales():
    """One scale for both once rounded every score to zero."""
    model, inputs = network("detector")
    prepared = calibrate(prepare_qat(model, ONNX, (inputs[:1],)), [inputs], minmax).eval()
    joined = prepared(inputs)[0]
    boxes, scores = (joined[:, part].detach() for part in (slice(0, 4), slice(4, None)))
    assert float(boxes.abs().max()) > 255 / 2  # one step of a shared scale would be 0.5 or more
    assert len(scores.unique()) > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_computes_the_integers_of_pytorch(name, tmp_path):
    model, inputs = network(name)
    prepared = calibrate(prepare_qat(model, ONNX, (inputs[:1],)), [inputs], minmax)
    saved = CompressedModel(
        module=prepared, example_inputs=(inputs[:1],), samples=(inputs,), scheme=ONNX
    ).save(tmp_path / "torch")
    (tmp_path / "onnx").mkdir()
    artifact = exporting.target("onnx-cpu").steps[0].export(saved, tmp_path / "onnx")
    with TorchRunner().open(saved) as reference, OnnxRunner().open(artifact) as session:
        rows = [[f(row[None].numpy()) for row in inputs] for f in (reference, session)]
    wanted, found = ([np.concatenate(column) for column in zip(*r, strict=True)] for r in rows)
    for output, expected, computed in zip(saved.outputs, wanted, found, strict=True):
        if output.scale is None:
            assert signal_to_noise(expected, computed) >= 35
        else:
            steps = np.abs(expected - computed) / output.scale
            assert np.mean(steps < 1.01) >= 0.99
    layers = OnnxRunner().census(artifact).layers
    assert [row.operation for row in layers if not row.integer] == FLOAT_LAYERS.get(name, [])
