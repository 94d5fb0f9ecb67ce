"""Which operators the Edge TPU's compiler maps, by its documentation; nothing is claimed."""

from dataclasses import replace

import numpy as np
import pytest

from torchedge import exporting
from torchedge.backends import TFLITE
from torchedge.cli import main
from torchedge.errors import ExportError, MissingDependencyError, NotRunError
from torchedge.exporting import Artifact, Format, TensorSpec, load_artifact, write_artifact
from torchedge.exporting.samples import SAMPLES_FILE, Samples, save_samples
from torchedge_edgetpu.operators import mapped_operators
from torchedge_edgetpu.runner import EdgeTPURunner
from torchedge_edgetpu.step import MODEL_FILE, TFLiteToEdgeTPU
from torchedge_tflite.flatbuffer import FlatModel, FlatTensor, Operator, schema


def tensor(index, shape, values=None):
    return FlatTensor(
        index=index,
        name=f"t{index}",
        shape=shape,
        dtype="int8",
        scales=(1.0,),
        zero_points=(0,),
        axis=0,
        values=values,
    )


def chain(*operators, shape=(1, 4, 4, 2), constant=None):
    """Operators one after another, all on tensors of one shape."""
    count = len(operators) + 1
    tensors = [tensor(i, shape) for i in range(count)]
    tensors.append(tensor(count, () if constant is None else constant.shape, constant))
    return FlatModel(
        tensors=tuple(tensors),
        operators=tuple(
            Operator(name=name, inputs=(i, count), outputs=(i + 1,), options=options)
            for i, (name, options) in enumerate(operators)
        ),
        inputs=(0,),
        outputs=(count - 1,),
    )


def reasons(*operators, **changes):
    return [entry.reason for entry in mapped_operators(chain(*operators, **changes))]


KERNEL = np.ones((2, 3, 3, 2), np.int8)


def test_all_that_comes_after_the_first_unsupported_operator_stays_on_the_cpu():
    found = reasons(("ADD", {}), ("HARD_SWISH", {}), ("ADD", {}), constant=KERNEL)
    assert found == ["", "not among the compiler's operators", "comes after HARD_SWISH"]


@pytest.mark.parametrize(
    ("name", "options", "constant", "reason"),
    [
        ("CONV_2D", {"dilationHFactor": 2, "dilationWFactor": 2}, KERNEL, ""),
        ("CONV_2D", {"dilationHFactor": 2, "dilationWFactor": 1}, KERNEL, "dilation differs"),
        ("CONV_2D", {}, KERNEL[..., :1], "groups"),
        ("DEPTHWISE_CONV_2D", {"dilationHFactor": 2}, KERNEL, "dilated"),
        ("DEPTHWISE_CONV_2D", {"dilationHFactor": 1}, KERNEL, ""),
        ("MAX_POOL_2D", {"fusedActivationFunction": 1}, None, "fused"),
        ("MEAN", {}, np.array([1, 2]), ""),
        ("MEAN", {}, np.array([3]), "other axes"),
        ("PAD", {}, np.array([[0, 0], [1, 1], [1, 1], [0, 0]]), ""),
        ("PAD", {}, np.array([[0, 0], [0, 0], [0, 0], [0, 1]]), "pads other axes"),
        ("SOFTMAX", {}, None, ""),
    ],
)
def test_the_documented_limits_of_an_operator_are_kept(name, options, constant, reason):
    (found,) = reasons((name, options), constant=constant)
    assert bool(found) == bool(reason)
    assert reason in found


def test_a_row_of_more_than_16000_scores_stays_on_the_cpu():
    assert "16,001 scores" in reasons(("SOFTMAX", {}), shape=(1, 16_001))[0]


def test_four_axes_longer_than_one_stay_on_the_cpu():
    assert "three axes" in reasons(("ADD", {}), shape=(2, 4, 4, 2))[0]


def test_the_runner_says_that_nothing_was_run():
    with pytest.raises(NotRunError, match="edgetpu_compiler and a Coral device are needed"):
        EdgeTPURunner().open(None)


def test_the_target_trains_with_tflites_numbers_and_has_a_source():
    target = exporting.target("coral-edge-tpu")
    assert target.scheme == TFLITE
    assert target.device.source
    assert isinstance(exporting.runner(Format("edgetpu")), EdgeTPURunner)


@pytest.fixture
def require_litert():
    try:
        schema()
    except MissingDependencyError as error:
        pytest.skip(str(error))


def test_a_network_whose_first_operator_is_not_mapped_is_refused(require_litert, tmp_path):
    from tests.exporters.torchedge_tflite.files import Tensor, file_of

    x = Tensor((1, 4), 0.1)
    folder, out = tmp_path / "tflite", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    (folder / MODEL_FILE).write_bytes(file_of("HARD_SWISH", [x], [x], ("HardSwishOptions", {})))
    save_samples(Samples(inputs=(np.zeros((1, 4), "f4"),), expected=()), folder / SAMPLES_FILE)
    spec = (TensorSpec("input_0", (1, 4), "float32"),)
    source = write_artifact(
        Artifact(path=folder, format=Format("tflite"), inputs=spec, outputs=spec, made_by=("x",))
    )
    with pytest.raises(ExportError, match="first operator HARD_SWISH is not mapped"):
        TFLiteToEdgeTPU().export(replace(source, name="net"), out)
    assert list(out.iterdir()) == []


@pytest.mark.slow
def test_an_export_is_verified_in_litert_and_counted_by_the_compilers_rules(
    require_litert, save_model, tmp_path, capsys
):
    source, folder = save_model("coral-edge-tpu"), tmp_path / "out"
    arguments = ["export", str(source.path), "--target", "coral-edge-tpu", "--out", str(folder)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "Edge TPU: not run, edgetpu_compiler" in said
    assert "documentation: not run" in said
    artifact = load_artifact(folder / "edgetpu")
    assert EdgeTPURunner().census(artifact).integer_share == 1
    assert (
        "edgetpu_compiler --show_operations model.tflite"
        in (folder / "edgetpu/README.md").read_text()
    )
