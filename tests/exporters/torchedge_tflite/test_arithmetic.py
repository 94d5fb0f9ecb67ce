"""The reference's arithmetic against LiteRT: random integers on random grids, all equal."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from torchedge.reference.curves import gelu
from torchedge.reference.program import IntegerProgram
from torchedge.reference.resizing import resized_steps
from torchedge.reference.whole_numbers import fixed_point_product
from torchedge_tflite.lowering.program import lowered

pytestmark = pytest.mark.usefixtures("litert")

SEEDS = st.integers(0, 2**16)
LOWEST, HIGHEST = -128, 127


def grid(draw, low=-6.0, high=-2.0, zero=None):
    scale = np.float32(np.exp(draw.uniform(low, high)))
    return scale, int(draw.integers(-60, 60)) if zero is None else zero


def on_grid(name, number):
    """Two nodes that round a tensor to a grid; the grid is stored by its number."""
    grids = [f"scale{number}", f"zero{number}"]
    return [
        helper.make_node("QuantizeLinear", [name, *grids], [f"{name}_integers"]),
        helper.make_node("DequantizeLinear", [f"{name}_integers", *grids], [f"{name}_rounded"]),
    ]


def answer(nodes, grids, inputs, constants=()):
    """Integers of the tensor ``y_rounded`` in LiteRT, as PyTorch lays them out."""
    from ai_edge_litert.interpreter import Interpreter

    stored = [
        numpy_helper.from_array(part, f"{kind}{number}")
        for number, (scale, zero) in enumerate(grids)
        for kind, part in (("scale", scale), ("zero", np.int8(zero)))
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape) for n, x in inputs.items()],
        [helper.make_tensor_value_info("y_rounded", TensorProto.FLOAT, None)],
        [*stored, *constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    data = lowered(onnx.shape_inference.infer_shapes(model)).data
    interpreter = Interpreter(model_content=data, num_threads=1)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    taken = {name: np.moveaxis(x, 1, -1) for name, x in inputs.items()}
    given = next(iter(run(**taken).values()))
    return np.moveaxis(given, -1, 1).astype(np.int64)


def cut(steps, zero):
    """Steps from the zero point as the stored integers."""
    return np.clip(np.asarray(steps) + zero, LOWEST, HIGHEST).astype(np.int64)


class Rounded(torch.nn.Module):
    def __init__(self, scale, zero):
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("zero", torch.tensor(zero, dtype=torch.int8))

    def forward(self, x):
        return torch.ops.torchedge.fake_quantize(x, self.scale, self.zero, 0, LOWEST, HIGHEST)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_floats_beside_a_tie_are_rounded_by_a_product_with_one_over_the_scale(seed):
    draw = np.random.default_rng(seed)
    scale, zero = grid(draw)
    ties = ((draw.integers(-60, 60, (1, 512)) + 0.5) * scale).astype(np.float32)
    x = np.nextafter(ties, ties + draw.choice([-1, 0, 1], ties.shape)).astype(np.float32)
    one = numpy_helper.from_array(np.float32(1), "one")
    nodes = [helper.make_node("Mul", ["x", "one"], ["y"]), *on_grid("y", 0)]
    found = answer(nodes, [(scale, zero)], {"x": x}, [one])
    program = torch.export.export(Rounded(scale, zero).eval(), (torch.from_numpy(x),)).module()
    rounded = IntegerProgram(program, whole_numbers=True).run(torch.from_numpy(x))
    np.testing.assert_array_equal(found, np.rint(rounded.numpy() / scale) + zero)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, right_zero=st.sampled_from([0, 7]))
def test_products_of_matrices_round_by_the_kernel_that_their_right_zero_point_chooses(
    seed, right_zero
):
    draw = np.random.default_rng(seed)
    batch, rows, inner, columns = (int(draw.integers(1, 24)) for _ in range(4))
    grids = [grid(draw), grid(draw, zero=right_zero)]
    step = grids[0][0] * grids[1][0] * np.float32(np.sqrt(inner) * draw.uniform(20, 60))
    grids.append((step, int(draw.integers(-20, 20))))
    left = draw.integers(LOWEST, HIGHEST + 1, (batch, rows, inner)).astype(np.int8)
    right = draw.integers(LOWEST, HIGHEST + 1, (batch, inner, columns)).astype(np.int8)
    nodes = [
        *(*on_grid("a", 0), *on_grid("b", 1)),
        helper.make_node("MatMul", ["a_rounded", "b_rounded"], ["y"]),
        *on_grid("y", 2),
    ]
    found = answer(nodes, grids, {"a": left, "b": right})
    sums = (left.astype(np.int64) - grids[0][1]) @ (right.astype(np.int64) - right_zero)
    if right_zero:
        ratio = float(grids[0][0] * grids[1][0]) / float(step)
        wanted = fixed_point_product(torch.from_numpy(sums).double(), ratio).numpy()
    else:
        wanted = np.rint(sums.astype(np.float32) * (grids[0][0] * grids[1][0] / step))
    np.testing.assert_array_equal(found, cut(wanted, grids[2][1]))


@settings(max_examples=20, deadline=None)
@given(
    seed=SEEDS,
    corners=st.booleans(),
    old=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    new=st.tuples(st.integers(1, 24), st.integers(1, 24)),
)
def test_pictures_are_resized_with_weights_of_eleven_bits(seed, corners, old, new):
    draw = np.random.default_rng(seed)
    integers = draw.integers(LOWEST, HIGHEST + 1, (1, 3, *old)).astype(np.int8)
    nodes = [
        *on_grid("x", 0),
        helper.make_node(
            "Resize",
            ["x_rounded", "", "", "sizes"],
            ["y"],
            mode="linear",
            coordinate_transformation_mode="align_corners" if corners else "half_pixel",
        ),
        *on_grid("y", 0),
    ]
    sizes = numpy_helper.from_array(np.array([1, 3, *new], np.int64), "sizes")
    found = answer(nodes, [grid(draw)], {"x": integers}, [sizes])
    wanted = resized_steps(torch.from_numpy(integers).double(), new, align_corners=corners)
    np.testing.assert_array_equal(found, wanted.numpy())


def test_a_table_of_the_gelu_has_the_cancellation_far_below_zero():
    """Fine steps below zero, where ``F.gelu`` rounds some entries to another integer."""
    draw = np.random.default_rng(0)
    wrong, theirs = 0, 0
    for _ in range(60):
        scale = np.float32(draw.uniform(0.005, 0.03))
        step = np.float32(scale * draw.uniform(0.01, 0.1))
        integers = np.arange(LOWEST, HIGHEST + 1).astype(np.int8)[None]
        nodes = [*on_grid("x", 0), helper.make_node("Gelu", ["x_rounded"], ["y"]), *on_grid("y", 1)]
        found = answer(nodes, [(scale, 127), (step, 127)], {"x": integers})
        x = torch.from_numpy((integers.astype(np.float32) - 127) * scale)
        rounded = [
            cut(np.rint((f(x) * (np.float32(1) / step)).numpy()), 127)
            for f in (gelu, torch.nn.functional.gelu)
        ]
        wrong += np.count_nonzero(found != rounded[0])
        theirs += np.count_nonzero(found != rounded[1])
    assert wrong == 0
    assert theirs > 0
