import numpy as np
import onnx
import pytest
import torch
from torch import nn

from torchedge import exporting
from torchedge.bench import compare
from torchedge.errors import ArtifactError, SchemeError
from torchedge.exporting.artifact import file_record, load_artifact
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge.scheme import QuantScheme, QuantSpec
from torchedge_onnx.census import runtime_census
from torchedge_onnx.cpu import may_saturate
from torchedge_onnx.graph import constants
from torchedge_onnx.runner import OnnxRunner
from torchedge_onnx.session import open_model, session_options
from torchedge_onnx.step import FLOAT_FILE, MODEL_FILE, TorchToOnnx


@pytest.fixture
def onnx_artifact(save_model, tmp_path):
    def make(target="onnx-cpu"):
        folder = tmp_path / f"onnx-{target}"
        folder.mkdir()
        return exporting.target(target).steps[0].export(save_model(target), folder)

    return make


def parity(artifact, session):
    samples = load_samples(artifact.file(SAMPLES_FILE))
    expected = iter(samples.expected[0])
    scales = [output.scale for output in artifact.outputs]
    return compare(session, lambda *_: (next(expected)[None],), samples.batches(1), scales=scales)


def test_onnx_runtime_is_within_one_step_of_pytorch_on_every_logit(onnx_artifact):
    artifact = onnx_artifact()
    with OnnxRunner().open(artifact) as session:
        found = parity(artifact, session).outputs[0]
    assert found.max_lsb <= 1.001
    assert found.identical_share >= 0.99


def test_the_jetson_graph_is_within_a_thousandth_of_the_logit_range(onnx_artifact):
    artifact = onnx_artifact("jetson")
    with OnnxRunner().open(artifact) as session:
        assert parity(artifact, session).outputs[0].relative_to_range <= 1e-3


def test_optimising_the_jetson_graph_changes_nothing(onnx_artifact):
    """ONNX Runtime's WeightBiasQuantization once rounded its float biases."""
    import onnxruntime

    artifact = onnx_artifact("jetson")
    plain = session_options()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    images = load_samples(artifact.file(SAMPLES_FILE)).inputs[0]
    optimised, literal = (
        open_model(artifact.file(MODEL_FILE)),
        open_model(artifact.file(MODEL_FILE), plain),
    )
    for image in images:
        a, b = optimised(image[None])[0], literal(image[None])[0]
        np.testing.assert_allclose(a, b, atol=1e-5 * float(np.abs(b).max()))


def test_all_arithmetic_is_integer_in_onnx_runtimes_own_graph(onnx_artifact):
    census = runtime_census(onnx_artifact().file(MODEL_FILE))
    assert census.integer_share == 1
    assert {layer.operation for layer in census.layers} == {"QLinearConv", "QGemm"}
    # By hand: stem 8·8·8·9, depthwise 8·8·8·9, projection 8·8·8·8, classifier 8·4.
    assert census.macs == 2 * 8 * 8 * 8 * 9 + 8 * 8 * 8 * 8 + 8 * 4


def test_the_census_of_a_float_graph_is_zero(onnx_artifact):
    census = runtime_census(onnx_artifact().file(FLOAT_FILE))
    assert census.integer_share == 0
    assert census.macs == 2 * 8 * 8 * 8 * 9 + 8 * 8 * 8 * 8 + 8 * 4


def test_a_graph_with_one_float_layer_is_counted_layer_by_layer(onnx_artifact, tmp_path):
    model = onnx.load(onnx_artifact().file(MODEL_FILE))
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    weight = next(node for node in model.graph.node if node.output[0] == gemm.input[1])
    values = constants(model)
    integers, scale = values[weight.input[0]], values[weight.input[1]]
    real = (integers * scale[:, None]).astype(np.float32)
    model.graph.node.remove(weight)
    model.graph.initializer.append(onnx.numpy_helper.from_array(real, gemm.input[1]))
    path = tmp_path / "mixed.onnx"
    onnx.save(model, path)
    census = runtime_census(path)
    floating = [layer for layer in census.layers if not layer.integer]
    assert [layer.macs for layer in floating] == [8 * 4]
    assert floating[0].reason


def test_int8_weights_take_a_quarter_of_the_bytes(save_model, tmp_path, images):
    from torchedge.quantization import calibrate, minmax, prepare_qat

    wide = nn.Sequential(nn.Flatten(), nn.Linear(256, 512))
    scheme = exporting.target("onnx-cpu").scheme
    module = calibrate(prepare_qat(wide, scheme, (images[:1],)), [images], minmax)
    (tmp_path / "onnx").mkdir()
    artifact = TorchToOnnx().export(save_model(module=module, labels=None), tmp_path / "onnx")
    share = artifact.files[MODEL_FILE].bytes / artifact.files[FLOAT_FILE].bytes
    assert share < 0.27


def test_the_files_are_valid_static_and_hold_no_local_path(onnx_artifact):
    artifact = onnx_artifact()
    for name in (MODEL_FILE, FLOAT_FILE):
        model = onnx.load(artifact.file(name))
        onnx.checker.check_model(model, full_check=True)
        assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [
            1,
            1,
            16,
            16,
        ]
        assert b"/site-packages/" not in model.SerializeToString()
        assert [model.graph.input[0].name, model.graph.output[0].name] == ["input_0", "output_0"]


def test_biases_are_int32_with_the_product_of_the_scales(onnx_artifact):
    model = onnx.load(onnx_artifact().file(MODEL_FILE))
    values = constants(model)
    made_by = {node.output[0]: node for node in model.graph.node}
    weighted = [node for node in model.graph.node if node.op_type in {"Conv", "Gemm"}]
    for node in weighted:
        source, weight, bias = (made_by[name] for name in node.input)
        while source.op_type != "DequantizeLinear":
            source = made_by[source.input[0]]
        assert values[bias.input[0]].dtype == np.int32
        product = values[source.input[1]] * values[weight.input[1]]
        np.testing.assert_allclose(values[bias.input[1]], product, rtol=1e-6)
    assert len(weighted) == 4


def test_the_float_twin_computes_what_the_integers_mean_without_rounding(onnx_artifact):
    artifact = onnx_artifact()
    with OnnxRunner().open_float(artifact) as session:
        found = parity(artifact, session)
    # The quantised network's distance from it is rounding noise: correlated, but not equal.
    assert found.cosine_similarity > 0.99
    assert found.outputs[0].identical_share < 0.9


def test_a_truncated_file_is_refused_by_runner_and_census(onnx_artifact):
    path = onnx_artifact().file(MODEL_FILE)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ArtifactError, match=r"500 bytes.* is no intact ONNX file"):
        open_model(path)
    with pytest.raises(ArtifactError, match="500 bytes"):
        runtime_census(path)


@pytest.mark.parametrize("activation", [QuantSpec(bits=4), QuantSpec(narrow=True)])
def test_activations_that_onnx_cannot_say_are_refused(
    save_model, net, images, tmp_path, activation
):
    from torchedge.quantization import calibrate, minmax, prepare_qat

    scheme = QuantScheme(activation=activation)
    module = calibrate(prepare_qat(net, scheme, (images[:1],)), [images], minmax)
    with pytest.raises(SchemeError, match="The nearest that it can: weights int8"):
        TorchToOnnx().export(save_model(module=module, scheme=scheme), tmp_path)


def test_4_bit_weights_are_written_with_their_own_integers(save_model, net, images, tmp_path):
    from torchedge.quantization import calibrate, minmax, prepare_qat

    scheme = QuantScheme(
        weight=QuantSpec(bits=4, axis=0, narrow=True),
        activation=QuantSpec(symmetric=False, signed=False),
        bias="int32",
    )
    module = calibrate(prepare_qat(net, scheme, (images[:1],)), [images], minmax)
    (tmp_path / "onnx").mkdir()
    artifact = TorchToOnnx().export(save_model(module=module, scheme=scheme), tmp_path / "onnx")
    with OnnxRunner().open(artifact) as session:
        assert parity(artifact, session).outputs[0].max_lsb <= 1.001
    integers = [
        v for v in constants(onnx.load(artifact.file(MODEL_FILE))).values() if v.dtype == np.int8
    ]
    assert max(int(np.abs(v).max()) for v in integers if v.ndim > 1) == 7


def test_samples_and_manifest_travel_with_the_graph(onnx_artifact):
    artifact = load_artifact(onnx_artifact().path)
    assert artifact.made_by == ("CompressedModel.save", "TorchToOnnx")
    assert artifact.files[MODEL_FILE] == file_record(artifact.path / MODEL_FILE)
    assert load_samples(artifact.file(SAMPLES_FILE)).calibration[0].shape == (16, 1, 16, 16)


def test_only_x86_without_vnni_may_saturate():
    assert may_saturate("x86_64", "flags: avx2 fma")
    assert may_saturate("AMD64", "")
    assert not may_saturate("x86_64", "flags: avx2 avx512_vnni")
    assert not may_saturate("aarch64", "")


def test_the_exact_kernels_give_the_same_answers(onnx_artifact):
    """A graph whose weights shared a zero point could not be loaded with this option."""
    artifact = onnx_artifact()
    exact = session_options()
    exact.add_session_config_entry("session.x64quantprecision", "1")
    found = parity(artifact, open_model(artifact.file(MODEL_FILE), exact)).outputs[0]
    assert found.max_lsb <= 1.001


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("target", ["onnx-cpu", "jetson"])
def test_real_networks_become_integer_as_a_whole(name, target, save_model, tmp_path):
    import torchvision

    from torchedge.quantization import calibrate, minmax, prepare_qat
    from torchedge_tensorrt.census import eligible_census

    images = torch.rand(4, 3, 64, 64)
    model = getattr(torchvision.models, name)().eval()
    place = exporting.target(target)
    module = calibrate(prepare_qat(model, place.scheme, (images[:1],)), [images], minmax)
    saved = save_model(
        target,
        module=module,
        example_inputs=(images[:1],),
        samples=(images,),
        calibration=(),
        labels=None,
    )
    (tmp_path / "onnx").mkdir()
    artifact = place.steps[0].export(saved, tmp_path / "onnx")
    count = runtime_census if target == "onnx-cpu" else eligible_census
    assert count(artifact.file(MODEL_FILE)).integer_share == 1
