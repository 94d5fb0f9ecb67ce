import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import torchedge
import torchedge.exporting
from tests.exporters.torchedge_tensorrt.entropy_by_hand import entropy_scale
from tests.exporters.torchedge_tensorrt.networks import BATCH, images, save_trained
from torchedge.errors import CalibrationError
from torchedge.exporting import Artifact, load_artifact
from torchedge_tensorrt.calibration_cache import parse_cache
from torchedge_tensorrt.platforms import PLATFORMS
from torchedge_tensorrt.step import OnnxToTensorRTBundle

FILES = {
    "README.md",
    "benchmark.py",
    "build_engine.py",
    "calibration.cache",
    "calibration.json",
    "golden_fp16_output_0.bin",
    "golden_input_0.bin",
    "golden_int8_output_0.bin",
    "model_fp16.onnx",
    "model_fp32.onnx",
    "model_qdq.onnx",
}
WEIGHTED = {"Conv", "Gemm"}


@pytest.fixture
def quantized(bundle: Artifact) -> onnx.ModelProto:
    return onnx.load(bundle.file("model_qdq.onnx"))


@pytest.fixture
def plain(bundle: Artifact) -> onnx.ModelProto:
    return onnx.load(bundle.file("model_fp32.onnx"))


@pytest.fixture
def cache(bundle: Artifact) -> dict[str, float]:
    return parse_cache(bundle.file("calibration.cache").read_text())[1]


def initialisers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def nodes_of(model: onnx.ModelProto, *kinds: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in kinds]


def maker(model: onnx.ModelProto, name: str) -> str:
    """Operation that writes a tensor; an empty string for inputs and initialisers."""
    return next((node.op_type for node in model.graph.node if name in node.output), "")


def trained(model: onnx.ModelProto) -> dict[str, float]:
    """Scale of every activation that has a quantiser."""
    values = initialisers(model)
    quantizers = nodes_of(model, "QuantizeLinear")
    return {n.input[0]: float(values[n.input[1]]) for n in quantizers if n.input[0] not in values}


def test_the_manifest_lists_every_file_with_its_size_and_hash(bundle: Artifact) -> None:
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    on_disk = {path.name: path.read_bytes() for path in bundle.path.iterdir()}
    del on_disk["manifest.json"]
    assert set(on_disk) == FILES
    assert manifest["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "kept_in": ""}
        for name, content in on_disk.items()
    }


def test_the_manifest_says_for_what_the_bundle_is_and_that_no_engine_was_built(
    bundle: Artifact,
) -> None:
    facts = {"jetpack": "6.2", "tensorrt": "10.3.0", "opset": 13, "precision": "int8"}
    facts |= {"device": "Jetson Orin Nano", "calibration_samples": 4 * BATCH}
    assert facts.items() <= bundle.details.items()
    assert bundle.details["engine"] == "not built: engines are built on the board"
    assert bundle.made_by == ("CompressedModel.save", "TorchToOnnx", "OnnxToTensorRTBundle")


def test_the_manifest_identifies_the_calibration_data(bundle: Artifact, exported: Path) -> None:
    samples = (exported / "torch" / "samples.safetensors").read_bytes()
    assert bundle.details["calibration_sha256"] == hashlib.sha256(samples).hexdigest()


def test_the_scripts_are_copied_unchanged(bundle: Artifact) -> None:
    sources = resources.files("torchedge_tensorrt") / "device_scripts"
    for name in ("build_engine.py", "benchmark.py"):
        assert bundle.file(name).read_bytes() == (sources / name).read_bytes()


def test_the_readme_names_the_board_and_the_two_commands(bundle: Artifact) -> None:
    text = bundle.file("README.md").read_text()
    assert text.startswith("# tiny for Jetson Orin Nano\n")
    assert "JetPack 6.2 (TensorRT 10.3.0)" in text
    assert "python3 build_engine.py\npython3 benchmark.py\n" in text


@pytest.mark.parametrize("name", ["model_qdq.onnx", "model_fp32.onnx"])
def test_both_models_have_the_opset_and_ir_version_of_the_oldest_parser(
    bundle: Artifact, name: str
) -> None:
    model = onnx.load(bundle.file(name))
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    assert model.ir_version == 7


def test_only_the_quantised_model_has_quantisers(
    quantized: onnx.ModelProto, plain: onnx.ModelProto
) -> None:
    assert nodes_of(quantized, "QuantizeLinear", "DequantizeLinear")
    assert not nodes_of(plain, "QuantizeLinear", "DequantizeLinear")


def test_both_models_call_their_tensors_alike(
    quantized: onnx.ModelProto, plain: onnx.ModelProto
) -> None:
    real = [n for n in quantized.graph.node if "quantizelinear" not in n.op_type.lower()]
    assert [(n.op_type, *n.output) for n in real] == [
        (n.op_type, *n.output) for n in plain.graph.node
    ]


def test_every_weighted_operation_reads_a_quantised_activation_and_weight(
    quantized: onnx.ModelProto,
) -> None:
    weighted = nodes_of(quantized, *WEIGHTED)
    assert len(weighted) == 6
    for node in weighted:
        assert [maker(quantized, name) for name in node.input[:2]] == ["DequantizeLinear"] * 2


def test_biases_are_float_initialisers_without_a_quantiser(quantized: onnx.ModelProto) -> None:
    values = initialisers(quantized)
    biases = [node.input[2] for node in nodes_of(quantized, *WEIGHTED) if len(node.input) > 2]
    assert len(biases) >= 4
    assert {values[name].dtype for name in biases} == {np.dtype(np.float32)}
    assert not set(biases) & {n.input[0] for n in nodes_of(quantized, "QuantizeLinear")}


def test_quantised_activations_are_read_by_nothing_but_convolutions_linears_pools_and_additions(
    quantized: onnx.ModelProto,
) -> None:
    values = initialisers(quantized)
    quantizers = nodes_of(quantized, "QuantizeLinear")
    integers = {node.output[0] for node in quantizers if node.input[0] not in values}
    dequantizers = nodes_of(quantized, "DequantizeLinear")
    real = {node.output[0] for node in dequantizers if node.input[0] in integers}
    readers = [node for node in quantized.graph.node if real & set(node.input)]
    assert {node.op_type for node in readers} == {"Conv", "Gemm", "GlobalAveragePool", "Add"}
    assert not real & {output.name for output in quantized.graph.output}


def test_each_addition_has_one_quantised_operand_and_it_is_the_skip(
    quantized: onnx.ModelProto,
) -> None:
    identity, projection = nodes_of(quantized, "Add")
    assert sorted(maker(quantized, n) for n in identity.input) == ["Conv", "DequantizeLinear"]
    assert sorted(maker(quantized, n) for n in projection.input) == ["Conv", "DequantizeLinear"]
    skip = next(n for n in projection.input if maker(quantized, n) == "DequantizeLinear")
    integers = next(n for n in quantized.graph.node if skip in n.output).input[0]
    source = next(n for n in quantized.graph.node if integers in n.output).input[0]
    convolution = next(n for n in quantized.graph.node if source in n.output)
    weight = initialisers(quantized)[_weight_name(quantized, convolution)]
    assert convolution.op_type == "Conv"
    assert weight.shape == (6, 4, 1, 1)  # the projection's, not the long branch's (6, 6, 1, 1)


def _weight_name(model: onnx.ModelProto, node: onnx.NodeProto) -> str:
    name = node.input[1]
    while source := next((n for n in model.graph.node if name in n.output), None):
        name = source.input[0]
    return name


def test_weights_have_a_scale_for_each_output_channel_and_activations_have_one(
    quantized: onnx.ModelProto,
) -> None:
    values = initialisers(quantized)
    quantizers = nodes_of(quantized, "QuantizeLinear")
    assert sum(node.input[0] in values for node in quantizers) == 6
    for node in quantizers:
        scale, zero_point = values[node.input[1]], values[node.input[2]]
        weight = values.get(node.input[0])
        axis = next(a.i for a in node.attribute if a.name == "axis") if weight is not None else 0
        assert (axis, scale.shape) == (0, () if weight is None else (len(weight),))
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        assert np.all(scale > 0)


def test_the_cache_covers_every_float_tensor_of_the_plain_model(
    cache: dict[str, float], plain: onnx.ModelProto
) -> None:
    inputs = {value.name for value in plain.graph.input}
    assert set(cache) == inputs | {name for node in plain.graph.node for name in node.output}


def test_the_cache_has_the_trained_scales_of_the_quantised_model(
    cache: dict[str, float], quantized: onnx.ModelProto
) -> None:
    scales = trained(quantized)
    assert len(scales) >= 6
    assert {name: cache[name] for name in scales} == scales


def test_clips_relus_pools_and_reshapes_share_a_scale_with_the_tensor_they_read(
    cache: dict[str, float], plain: onnx.ModelProto
) -> None:
    nodes = nodes_of(plain, "Clip", "Relu", "MaxPool", "Reshape", "Flatten")
    assert {"Clip", "Relu", "MaxPool"} <= {node.op_type for node in nodes}
    assert {"Reshape", "Flatten"} & {node.op_type for node in nodes}
    assert all(cache[node.output[0]] == cache[node.input[0]] for node in nodes)


def test_all_other_scales_are_those_of_a_brute_force_entropy_search(
    cache: dict[str, float], quantized: onnx.ModelProto, bundle: Artifact
) -> None:
    shared = set(trained(quantized).values())
    others = [name for name, scale in cache.items() if scale not in shared]
    assert len(others) >= 3
    values = computed_by_the_plain_model(bundle, others)
    assert {name: cache[name] for name in others} == {
        name: entropy_scale(batches) for name, batches in values.items()
    }


def computed_by_the_plain_model(bundle: Artifact, names: list[str]) -> dict[str, list[np.ndarray]]:
    """What the network computes for each batch of the calibration data."""
    model = onnx.load(bundle.file("model_fp32.onnx"))
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    batches = images(4 * BATCH, seed=1).numpy().reshape(4, BATCH, 1, 8, 8)
    results = [session.run(names, {"input_0": batch}) for batch in batches]
    return {name: [result[i] for result in results] for i, name in enumerate(names)}


@pytest.mark.parametrize(
    ("board", "header"),
    [
        ("jetson-agx-xavier", "TRT-8502"),
        ("jetson-agx-orin", "TRT-100300"),
        ("jetson-thor", "TRT-101300"),
    ],
)
def test_the_caches_header_is_of_the_boards_tensorrt(
    exported: Path, tmp_path: Path, board: str, header: str
) -> None:
    step = OnnxToTensorRTBundle(platform=PLATFORMS[board])
    made = step.export(load_artifact(exported / "onnx"), tmp_path)
    first_line = made.file("calibration.cache").read_text().split("\n")[0]
    assert first_line == f"{header}-EntropyCalibration2"


def test_without_calibration_data_there_is_no_bundle(tmp_path: Path) -> None:
    source = save_trained(tmp_path / "torch", calibration=())
    with pytest.raises(CalibrationError, match="the calibration set is empty"):
        torchedge.export(source, torchedge.exporting.target("jetson"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["torch"]


@pytest.mark.parametrize(
    ("target", "made_for"),
    [
        ("jetson-orin-nano", "JetPack 6.2 (TensorRT 10.3.0)"),
        ("jetson-nano", "JetPack 4.6 (TensorRT 8.2.1)"),
        ("desktop-gpu", "TensorRT 10.13.0"),
    ],
)
def test_the_readme_of_a_bundle_names_its_own_software_and_every_file_that_lies_in_it(
    exported: Path, tmp_path: Path, target: str, made_for: str
) -> None:
    step = torchedge.exporting.target(target).steps[-1]
    made = step.export(load_artifact(exported / "onnx"), tmp_path)
    text = made.file("README.md").read_text()
    assert f"Made for {made_for}; the models, of opset 13, are read by TensorRT 8.0.0" in text
    named = {word for word in text.split("`") if word.endswith((".py", ".onnx", ".cache", ".bin"))}
    for name in named:
        assert list(made.path.glob(name)), name
    models = {path.name for path in made.path.iterdir() if path.suffix in {".onnx", ".cache"}}
    assert models == {name for name in named if name.endswith((".onnx", ".cache"))}


def test_the_float16_network_comes_near_to_the_float_one(bundle: Artifact) -> None:
    """A half has 11 significant bits; five layers of few sums lose little more than one of them."""
    given = images(BATCH).numpy()
    answers = [
        onnxruntime.InferenceSession(bundle.file(name)).run(None, {"input_0": given})[0]
        for name in ("model_fp32.onnx", "model_fp16.onnx")
    ]
    assert 0 < np.abs(answers[0] - answers[1]).max() < 2**-9 * np.abs(answers[0]).max()


@pytest.mark.parametrize(("name", "there"), [("jetson-thor", True), ("jetson-xavier-nx", False)])
def test_boards_that_never_get_tensorrt_11_carry_no_float16_network(
    exported: Path, tmp_path: Path, name: str, there: bool
) -> None:
    step = OnnxToTensorRTBundle(platform=PLATFORMS[name])
    made = step.export(load_artifact(exported / "onnx"), tmp_path)
    assert ("model_fp16.onnx" in made.files) is there
    assert ("model_fp16.onnx" in (tmp_path / "README.md").read_text()) is there


@pytest.mark.parametrize("fault", ["range", "unreadable"])
def test_a_network_that_float16_cannot_hold_is_exported_without_and_says_why(
    exported: Path, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "range":
        monkeypatch.setattr("torchedge_onnx.half._LARGEST", 1e-6)
    else:
        monkeypatch.setattr("torchedge_onnx.half.half_precision", lambda model: onnx.ModelProto())
    step = OnnxToTensorRTBundle(platform=PLATFORMS["jetson-orin-nano"])
    made = step.export(load_artifact(exported / "onnx"), tmp_path)
    assert "model_fp16.onnx" not in made.files
    assert made.details["fp16_file"].startswith("left out: ")
