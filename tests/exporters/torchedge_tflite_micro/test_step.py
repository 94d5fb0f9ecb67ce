"""From a .tflite file to a project: what is measured, what is refused, and with which words."""

from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated

from tests.exporters.torchedge_tflite.files import Tensor, file_of
from tests.exporters.torchedge_tflite_micro.models import convolution, dense
from torchedge.errors import ArtifactError, BudgetError, ExportError, MissingDependencyError
from torchedge.exporting import load_artifact
from torchedge.exporting.samples import SAMPLES_FILE, load_samples
from torchedge_tflite.flatbuffer import parse, read_model
from torchedge_tflite.metadata import with_embedded
from torchedge_tflite.simulator import Simulator
from torchedge_tflite_micro import runtime
from torchedge_tflite_micro.boards import BOARDS
from torchedge_tflite_micro.operators import require_runnable, resolver_method
from torchedge_tflite_micro.runner import TFLiteMicroRunner
from torchedge_tflite_micro.runtime import Interpreter, smallest_arena
from torchedge_tflite_micro.scratch import arena_bytes, scratch_bytes
from torchedge_tflite_micro.step import MODEL_FILE, TFLiteToMicro

NANO = BOARDS["arduino-nano-33-ble"]


def with_first(data, **changes):
    """A file whose first tensor was changed."""
    flat = parse(data)
    first, *rest = flat.tensors
    return replace(flat, tensors=(replace(first, **changes), *rest))


def test_the_project_is_sealed_and_opens_again(tflite_artifact, out):
    source = tflite_artifact(dense())
    TFLiteToMicro(board=NANO).export(source, out)
    artifact = load_artifact(out)
    assert artifact.format == "tflite-micro"
    inputs = next(load_samples(artifact.file(SAMPLES_FILE)).batches(1))
    simulator = Simulator(read_model(artifact.file(MODEL_FILE)))
    steps = np.clip(np.rint(inputs[0] * 128), -128, 127).astype(np.int8)
    with TFLiteMicroRunner().open(artifact) as session:
        np.testing.assert_allclose(session(*inputs)[0], (simulator(steps)[0] + 3.0) / 16)
    assert TFLiteMicroRunner().census(artifact).integer_share == 1


def test_the_arena_is_the_smallest_and_sixteen_bytes_less_fail(tflite_artifact):
    for data in (dense(), convolution()):
        source = tflite_artifact(data, name=f"net-{len(data)}")
        smallest = smallest_arena(source.file(MODEL_FILE))
        Interpreter(data, arena_bytes=smallest, outputs=1)
        with pytest.raises(ArtifactError, match=f"arena of {smallest - 16:,} bytes"):
            Interpreter(data, arena_bytes=smallest - 16, outputs=1)


def test_the_reserved_arena_is_the_smallest_with_scratch_in_whole_kib(tflite_artifact, out):
    """A 3 x 3 convolution of two channels: two columns of 20 integers of 16 bits, and one note."""
    artifact = TFLiteToMicro(board=NANO).export(tflite_artifact(convolution()), out)
    smallest, arena = (artifact.details[k] for k in ("smallest_arena_bytes", "arena_bytes"))
    assert arena == -(-(smallest + 80 + 16) // 1024) * 1024
    assert f"kArenaBytes = {arena};" in (out / "net/src/config.h").read_text()


@pytest.mark.parametrize(
    ("data", "kernels", "bytes_"),
    [
        (convolution(kernel=3, inputs=2), "cmsis-nn", 2 * 20 * 2),
        (convolution(kernel=1), "cmsis-nn", 0),
        (convolution(kernel=3), "reference", 0),
        (dense(), "cmsis-nn", 0),
        (convolution(size=8, inputs=2, outputs=4), "esp-nn-s3", 2 * (72 + 128) + 128 + 64),
    ],
)
def test_scratch_is_as_by_hand(data, kernels, bytes_):
    flat = parse(data)
    assert scratch_bytes(flat.operators[0], flat, kernels) == bytes_


def depthwise(kernel, multiplier):
    x = Tensor((1, 8, 8, 4), 0.1)
    weight = Tensor(
        (1, kernel, kernel, 4 * multiplier),
        0.1,
        values=np.ones((1, kernel, kernel, 4 * multiplier), "i1"),
    )
    y = Tensor((1, 8, 8, 4 * multiplier), 0.1)
    options = {"strideH": 1, "strideW": 1, "depthMultiplier": multiplier}
    return file_of("DEPTHWISE_CONV_2D", [x, weight, None], [y], ("DepthwiseConv2DOptions", options))


@pytest.mark.parametrize(("kernel", "multiplier", "bytes_"), [(3, 1, 0), (5, 1, 200), (3, 2, 72)])
def test_depthwise_scratch_is_as_by_hand(kernel, multiplier, bytes_):
    flat = parse(depthwise(kernel, multiplier))
    assert scratch_bytes(flat.operators[0], flat, "cmsis-nn") == bytes_
    assert arena_bytes(1000, flat, "cmsis-nn") == (1024 if bytes_ == 0 else 2048)


def test_the_resolver_adds_exactly_the_operators_of_the_model(tflite_artifact, out):
    TFLiteToMicro(board=NANO).export(tflite_artifact(dense()), out)
    text = (out / "net/src/inference.cpp").read_text()
    assert "MicroMutableOpResolver<1>" in text
    assert [line for line in text.splitlines() if "resolver.Add" in line] == [
        "  if (resolver.AddFullyConnected() != kTfLiteOk) return false;"
    ]


def test_every_operator_of_the_simulator_has_a_method():
    methods = [resolver_method(name) for name in ("CONV_2D", "MAX_POOL_2D", "LEAKY_RELU")]
    assert methods == ["AddConv2D", "AddMaxPool2D", "AddLeakyRelu"]


def test_the_bytes_in_the_source_are_those_of_the_file(tflite_artifact, out):
    source = tflite_artifact(dense())
    TFLiteToMicro(board=NANO).export(source, out)
    body = (out / "net/src/model.cpp").read_text().split("= {")[1].split("};")[0]
    numbers = [int(word, 16) for word in body.replace(",", " ").split()]
    assert bytes(numbers) == source.file(MODEL_FILE).read_bytes()


def test_what_a_file_says_about_itself_takes_no_flash(tflite_artifact, out):
    source = tflite_artifact(dense())
    described = tflite_artifact(with_embedded(dense(), source), name="described")
    artifact = TFLiteToMicro(board=NANO).export(described, out)
    assert artifact.file(MODEL_FILE).read_bytes() == dense()
    assert f"kModelBytes = {len(dense())};" in "".join(p.read_text() for p in out.rglob("*.h"))


def test_golden_answers_are_those_of_the_device(tflite_artifact, out):
    source = tflite_artifact(dense())
    TFLiteToMicro(board=NANO, golden_samples=2).export(source, out)
    text = (out / "net/src/golden.cpp").read_text()
    inputs, outputs = (part.split("};")[0] for part in text.split("= {")[1:3])
    rows = [np.array(row.split(","), int) for row in numbers_of(inputs)]
    answers = [np.array(row.split(","), int) for row in numbers_of(outputs)]
    assert len(rows) == len(answers) == 2
    run = Interpreter(source.file(MODEL_FILE).read_bytes(), arena_bytes=1 << 16, outputs=1)
    for row, answer in zip(rows, answers, strict=True):
        np.testing.assert_array_equal(run(row[None].astype(np.int8))[0].ravel(), answer)


def numbers_of(text):
    lines = [line.strip().rstrip(",") for line in text.splitlines()]
    return [line for line in lines if line and line[0] in "-0123456789"]


def test_golden_inputs_take_at_most_64_kib_but_there_is_one(tflite_artifact, out):
    source = tflite_artifact(convolution(size=200, inputs=2, outputs=1))
    artifact = TFLiteToMicro(board=BOARDS["stm32h7"]).export(source, out)
    assert artifact.details["golden_samples"] == 1


def test_too_large_a_model_is_refused_with_numbers_and_contributors(tflite_artifact, out):
    source = tflite_artifact(dense(inputs=2000, outputs=300), name="fat")
    with pytest.raises(BudgetError) as caught:
        TFLiteToMicro(board=BOARDS["stm32f4"]).export(source, out)
    text = str(caught.value)
    assert "bytes of flash on STM32F446" in text
    assert f"model {len(dense(2000, 300)):,} (measured)" in text
    assert "In the model: 't1' 600,000" in text
    assert list(out.iterdir()) == []


def test_too_large_an_arena_is_refused_with_the_widest_operator(tflite_artifact, out):
    source = tflite_artifact(convolution(size=150, inputs=4, outputs=4))
    with pytest.raises(
        BudgetError, match=r"bytes of RAM on STM32F446.*CONV_2D 't3' reads and writes"
    ):
        TFLiteToMicro(board=BOARDS["stm32f4"]).export(source, out)


def test_an_arena_that_fits_in_all_but_not_in_one_piece_is_refused(tflite_artifact, out):
    source = tflite_artifact(convolution(size=160, inputs=4, outputs=4))
    with pytest.raises(BudgetError, match="RAM in one piece on ESP32"):
        TFLiteToMicro(board=BOARDS["esp32"]).export(source, out)


def test_too_small_a_chosen_arena_is_refused_with_what_is_needed(tflite_artifact, out):
    with pytest.raises(BudgetError, match=r"an arena of 1,024 bytes is too small.*Give so many"):
        TFLiteToMicro(board=NANO, arena_bytes=1024).export(tflite_artifact(dense()), out)
    assert list(out.iterdir()) == []


def test_a_larger_chosen_arena_is_taken(tflite_artifact, out):
    artifact = TFLiteToMicro(board=NANO, arena_bytes=9000).export(tflite_artifact(dense()), out)
    assert artifact.details["arena_bytes"] == 9000


def test_an_operator_without_a_kernel_is_refused_with_layer_and_alternative():
    x = Tensor((1, 4), 0.1)
    with pytest.raises(ExportError, match=r"no GELU, which makes 't1'; use ReLU, ReLU6 or hard"):
        require_runnable(parse(file_of("GELU", [x], [x])))


def test_a_dynamic_size_is_refused():
    with pytest.raises(ExportError, match=r"'t0' \(1, 12\) has a size that is known at run time"):
        require_runnable(with_first(dense(), dynamic=True))


def test_a_size_that_the_file_leaves_open_is_seen_as_dynamic():
    model = schema_py_generated.ModelT.InitFromPackedBuf(bytearray(dense()), 0)
    model.subgraphs[0].tensors[0].shapeSignature = np.array([-1, 12], np.int32)
    import flatbuffers

    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    assert [t.dynamic for t in parse(bytes(builder.Output())).tensors] == [True, *[False] * 3]


def test_five_axes_are_refused_but_for_moves():
    flat = with_first(dense(), shape=(1, 2, 2, 3, 1))
    with pytest.raises(ExportError, match=r"FULLY_CONNECTED works on 't0' with 5 axes"):
        require_runnable(flat)
    moved = replace(flat, operators=(replace(flat.operators[0], name="RESHAPE"),))
    require_runnable(moved)


def test_float_inputs_are_refused():
    with pytest.raises(ExportError, match="'t0' is float32"):
        require_runnable(with_first(dense(), dtype="float32"))


def test_what_tflite_micro_itself_cannot_prepare_is_refused_with_its_words(tflite_artifact, out):
    """A result of SOFTMAX with another scale than 1/256."""
    x, y = Tensor((1, 4), 0.1), Tensor((1, 4), 0.5, -128)
    source = tflite_artifact(file_of("SOFTMAX", [x], [y], ("SoftmaxOptions", {"beta": 1.0})))
    with pytest.raises(ExportError, match=r"in any arena: .*SOFTMAX"):
        TFLiteToMicro(board=NANO).export(source, out)


def test_classes_that_clash_are_refused_by_name(tflite_artifact, out):
    source = tflite_artifact(dense(), class_names=("go left", "go-left", "stop"))
    with pytest.raises(ExportError, match=r"'go left' and 'go-left' would both be CLASS_GO_LEFT"):
        TFLiteToMicro(board=NANO).export(source, out)


def test_without_tflite_micro_one_line_says_what_to_type(monkeypatch):
    import sys

    from torchedge_tflite_micro import runtime

    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'tflite-micro=="):
        runtime.tflite_micro()


def test_the_memory_of_a_board_is_itemised_and_marked(tflite_artifact, out):
    artifact = TFLiteToMicro(board=NANO).export(tflite_artifact(dense()), out)
    flash, ram = TFLiteMicroRunner().fit(artifact).memories
    assert [(part.name, part.evidence) for part in flash.parts] == [
        ("model", "measured"),
        ("golden test", "measured"),
        ("kernels (1)", "estimated"),
        ("runtime and C library", "estimated"),
        ("core", "estimated"),
    ]
    assert [(part.name, part.evidence) for part in ram.parts] == [
        ("tensor arena", "measured"),
        ("core", "estimated"),
        ("stack", "estimated"),
    ]
    assert ram.limit_bytes == 262_144


def test_a_defect_of_either_implementation_stops_the_export(tflite_artifact, out, monkeypatch):
    from torchedge.errors import VerificationError
    from torchedge_tflite.simulator import program

    def wrong(call):
        return np.zeros(call.output.shape, np.int8)

    monkeypatch.setattr(program, "_KERNELS", {"FULLY_CONNECTED": wrong})
    with pytest.raises(VerificationError, match="simulator differ in"):
        TFLiteToMicro(board=NANO).export(tflite_artifact(dense()), out)


def test_a_search_for_the_arena_that_takes_too_long_is_one_line(tflite_artifact, monkeypatch):
    file = tflite_artifact(convolution()).file(MODEL_FILE)
    monkeypatch.setattr(runtime, "_LIMIT_S", 0.01)
    with pytest.raises(ExportError, match=r"smallest arena of 'model.tflite'.*more than 0\.01 s"):
        smallest_arena(file)
