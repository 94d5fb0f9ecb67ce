"""The scheme is carried by the model; declaring another one is refused."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.conftest import quantized
from torchedge import exporting
from torchedge.backends import CORE_ML, ONNX_RUNTIME, TENSORRT, TFLITE
from torchedge.compressed import CompressedModel
from torchedge.errors import SchemeError
from torchedge.quantization import fold_batchnorms
from torchedge.quantization.bit_widths import with_bits
from torchedge.quantization.diagnostics import requantize
from torchedge.quantization.recovery import quantize
from torchedge.saving.carried import require_carried

BACKENDS = {"onnx": ONNX_RUNTIME, "tensorrt": TENSORRT, "tflite": TFLITE, "coreml": CORE_ML}


def save(module, scheme, images, folder):
    return CompressedModel(
        module=module, example_inputs=(images[:1],), samples=(images,), scheme=scheme
    ).save(folder)


@pytest.mark.parametrize(("carried", "declared"), [*itertools.permutations(BACKENDS, 2)])
def test_every_other_backends_scheme_is_refused(carried, declared, net, images, tmp_path):
    module = quantized(net, images, BACKENDS[carried])
    with pytest.raises(SchemeError, match="carries other numbers than the scheme") as caught:
        save(module, BACKENDS[declared], images, tmp_path / "m")
    assert "requantize" in str(caught.value)
    assert not list(tmp_path.iterdir())
    require_carried(module, BACKENDS[carried])


CHANGES = {
    "placement": lambda s: replace(s, placement=replace(s.placement, fused_add=True)),
    "bias": lambda s: replace(s, bias="float"),
    "activation bits": lambda s: replace(s, activation=replace(s.activation, bits=7)),
    "narrow weights": lambda s: replace(s, weight=replace(s.weight, narrow=False)),
    "short scales": lambda s: replace(s, weight=replace(s.weight, scale_bits=4)),
    "weights per tensor": lambda s: replace(s, weight=replace(s.weight, axis=None)),
    "linear weights": lambda s: replace(s, linear_weight=s.weight),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_field_of_a_scheme_counts(change, net, images):
    module = quantized(net, images, ONNX_RUNTIME)
    with pytest.raises(SchemeError, match="carries other numbers"):
        require_carried(module, CHANGES[change](ONNX_RUNTIME))


def test_a_model_that_does_not_say_is_known_by_its_quantisers_and_weights(net, images):
    module = quantized(net, images, ONNX_RUNTIME)
    del module.torchedge_origin
    require_carried(module, ONNX_RUNTIME)
    with pytest.raises(SchemeError, match=r"'quantizers\.\w+' is uint8, asymmetric, and the"):
        require_carried(module, CHANGES["activation bits"](ONNX_RUNTIME))
    with pytest.raises(SchemeError, match=r"the weight of 'stem\.0' is .* with scale_bits None"):
        require_carried(module, CHANGES["short scales"](ONNX_RUNTIME))


KEPT = {
    "copied": copy.deepcopy,
    "merged": fold_batchnorms,
    "fewer bits": lambda module: with_bits(module, {"project": 4, "classifier": 32}),
}


@pytest.mark.parametrize("change", KEPT)
def test_what_keeps_the_backends_numbers_keeps_its_scheme(change, net, images):
    require_carried(KEPT[change](quantized(net, images, TENSORRT)), TENSORRT)


def test_quantize_and_requantize_carry_the_scheme_that_they_were_given(net, images):
    module = quantize(net, TENSORRT, images.split(8), effort="fast")
    require_carried(module, TENSORRT)
    require_carried(requantize(module, TFLITE, images.split(8)).model, TFLITE)


def test_transposed_convolutions_and_linear_layers_have_axes_of_their_own(images):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 4, 2, groups=2), nn.Flatten(), nn.Linear(900, 3)
    )
    for name in ("onnx-cpu", "raspberry-pi-5"):
        scheme = exporting.target(name).scheme
        module = quantized(net.eval(), images, scheme)
        del module.torchedge_origin
        require_carried(module, scheme)


def test_weights_of_few_bits_are_saved_with_their_scheme(net, images, tmp_path):
    scheme = replace(ONNX_RUNTIME, weight=replace(ONNX_RUNTIME.weight, bits=4))
    artifact = save(quantized(net, images, scheme), scheme, images, tmp_path / "m")
    assert artifact.scheme.weight.bits == 4
    assert torch.isfinite(torch.tensor(artifact.outputs[0].scale))
