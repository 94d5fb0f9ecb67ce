"""Products, sigmoids and hard sigmoids between integers run on ONNX Runtime's integer kernels."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import torchedge
from tests.conftest import quantized
from torchedge import exporting
from torchedge.bench import Gate
from torchedge.compressed import CompressedModel, TorchRunner
from torchedge.reference.elementwise import (
    Grid,
    Operand,
    hard_gate_steps,
    product_steps,
)
from torchedge_onnx.hard_gates import hard_gates_as_sums
from torchedge_onnx.session import open_model
from torchedge_onnx.step import FLOAT_FILE, MODEL_FILE

TARGET = exporting.target("onnx-cpu")
EVERY = np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2)


class Excited(nn.Module):
    """A squeeze-and-excitation block between two gated activations."""

    def __init__(self, activation, gate):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 1)
        self.reduce, self.expand = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.act, self.gate = activation, gate
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.act(self.first(x))
        squeezed = self.reduce(x.mean((2, 3), keepdim=True))
        x = self.act(self.last(x * self.gate(self.expand(squeezed.relu()))))
        return self.head(x.mean((2, 3), keepdim=True).flatten(1))


class Scores(nn.Module):
    """Two probabilities multiplied for the output: nothing reads them as integers."""

    def __init__(self):
        super().__init__()
        self.box, self.label = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 5, 1)

    def forward(self, x):
        return self.box(x).sigmoid() * self.label(x).sigmoid()


def kernel(operator, operands, result):
    """One of ONNX Runtime's integer kernels: operands as (integers, scale, zero point)."""
    names, held = [], {}
    for index, (_, scale, zero) in enumerate(operands):
        names += [f"x{index}", f"s{index}", f"z{index}"]
        held |= {f"s{index}": np.float32(scale), f"z{index}": np.uint8(zero)}
    held |= {"s": np.float32(result[0]), "z": np.uint8(result[1])}
    node = helper.make_node(operator, [*names, "s", "z"], ["y"], domain="com.microsoft")
    values = [
        helper.make_tensor_value_info(f"x{index}", TensorProto.UINT8, integers.shape)
        for index, (integers, *_) in enumerate(operands)
    ]
    output = helper.make_tensor_value_info("y", TensorProto.UINT8, None)
    constants = [numpy_helper.from_array(np.array(v), k) for k, v in held.items()]
    graph = helper.make_graph([node], "one", values, [output], constants)
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {f"x{i}": integers for i, (integers, *_) in enumerate(operands)})[0]


def grid(scale, zero=0):
    return Grid(scale=torch.tensor(np.float32(scale)), zero_point=torch.tensor(int(zero)))


def operand(integers, scale, zero):
    steps = torch.from_numpy(integers.astype(np.float32)) - float(zero)
    return Operand(steps=steps, grid=grid(scale, zero))


def stored(steps, zero):
    return (steps + float(zero)).clamp(0, 255).numpy().astype(np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_a_product_is_the_kernels_for_every_pair_of_integers(seed):
    generator = np.random.default_rng(seed)
    scales, zeros = np.exp(generator.uniform(-6, 0, 2)), generator.integers(0, 256, 3)
    result = scales.prod() * generator.uniform(20, 300)
    operands = [(q, s, z) for q, s, z in zip(EVERY, scales, zeros[:2], strict=True)]
    found = kernel("QLinearMul", operands, (result, zeros[2]))
    steps = product_steps(*(operand(*o) for o in operands), grid(result, zeros[2]))
    np.testing.assert_array_equal(stored(steps, zeros[2]), found)


@pytest.mark.parametrize("seed", range(12))
def test_a_hard_gate_is_the_kernels_sum_with_three_for_every_integer(seed):
    generator = np.random.default_rng(seed)
    scale, zero = np.exp(generator.uniform(-6, 0)), generator.integers(0, 256)
    largest = 1.0 if seed % 2 else generator.uniform(0.3, 1)
    integers = np.arange(256, dtype=np.uint8)
    x, three = (integers, scale, zero), (np.array([1], np.uint8), 3.0, 0)
    step = np.float32(largest / 255)
    found = kernel("QLinearAdd", [x, three], (np.float32(6) * step, 0))
    ours = stored(hard_gate_steps(operand(*x), grid(step)), 0)
    np.testing.assert_array_equal(ours, found)
    in_float = nn.functional.hardsigmoid(operand(*x).steps * np.float32(scale)) / step
    assert np.abs(ours - in_float.clamp(0, 255).numpy()).max() <= 0.5 + 1e-4


@pytest.fixture(
    params=[(nn.SiLU(), nn.Sigmoid()), (nn.Hardswish(), nn.Hardsigmoid())], ids=["silu", "hard"]
)
def exported(request, images, tmp_path):
    torch.manual_seed(0)
    net = Excited(*request.param).eval()
    x = torch.cat([images, images, images], 1) * 4
    source = CompressedModel(
        module=quantized(net, x, TARGET.scheme),
        example_inputs=(x[:1],),
        samples=(x,),
        scheme=TARGET.scheme,
    ).save(tmp_path / "source")
    return (
        net,
        x,
        source,
        torchedge.export(source, TARGET, tmp_path / "out", gate=Gate(forced=True)).artifact,
    )


def test_a_gated_network_has_integer_kernels_only(exported, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(exported[3].file(MODEL_FILE)), options)
    kinds = Counter(n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["QLinearMul"] == 3
    assert kinds["QLinearSigmoid"] + kinds["QLinearAdd"] == 3
    assert not {"Sigmoid", "HardSigmoid", "Mul", "Add"} & kinds.keys()
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (1, 1)


def test_a_gated_network_answers_with_the_references_integers(exported):
    _, x, source, made = exported
    session = open_model(made.file(MODEL_FILE))
    with TorchRunner().open(source) as reference:
        for one in x[:16].split(1):
            np.testing.assert_array_equal(session(one.numpy())[0], reference(one.numpy())[0])


def test_the_float_file_beside_it_computes_the_float_network(exported):
    net, x, _, made = exported
    found = open_model(made.file(FLOAT_FILE))(x[:1].numpy())[0]
    with torch.no_grad():
        wanted = net(x[:1]).numpy()
    assert np.abs(found - wanted).max() < 0.02 * np.ptp(wanted)  # weights are those of int8


def test_probabilities_multiplied_for_the_output_keep_their_precision(images):
    torch.manual_seed(0)
    net = Scores().eval()
    with torch.no_grad():
        net.box.bias.fill_(-7.0)
    x = torch.cat([images, images, images], 1)
    module = quantized(net, x, TARGET.scheme)
    with torch.no_grad():
        found, wanted = module(x), net(x)
    assert wanted.max() < 1 / 255
    assert ((found - wanted).abs() < 0.2 * wanted).all()


@pytest.mark.parametrize(
    ("scale", "zero", "alpha", "opened"),
    [
        (1 / 255, 0, 1 / 6, True),
        (0.8 / 255, 0, 1 / 6, True),
        (1.1 / 255, 0, 1 / 6, False),
        (1 / 255, 3, 1 / 6, False),
        (1 / 255, 0, 0.2, False),
    ],
)
def test_a_hard_gate_that_its_grid_does_not_cut_stays_one(scale, zero, alpha, opened):
    made = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["real"]),
        helper.make_node("HardSigmoid", ["real"], ["gate"], name="hard", alpha=alpha, beta=0.5),
        helper.make_node("QuantizeLinear", ["gate", "t", "u"], ["y"]),
    ]
    held = {"s": np.float32(0.03), "z": np.uint8(100), "t": np.float32(scale), "u": np.uint8(zero)}
    ends = [helper.make_tensor_value_info(n, TensorProto.UINT8, [256]) for n in "xy"]
    constants = [numpy_helper.from_array(np.array(v), k) for k, v in held.items()]
    graph = helper.make_graph(made, "gate", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    kinds = {node.op_type for node in hard_gates_as_sums(model).graph.node}
    assert ("HardSigmoid" not in kinds) == opened
