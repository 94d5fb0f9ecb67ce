"""Graphs written by hand, each with one fault, and five without any."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from torchedge.cli import main
from torchedge_tensorrt.rules import RULES, broken_rules

Edit = Callable[["Hand"], None]
FLOAT = onnx.TensorProto.FLOAT


class Hand:
    """A residual block of two convolutions, right by the rules; an edit makes it wrong."""

    def __init__(self) -> None:
        self.opset = 13
        self.nodes: list[onnx.NodeProto] = []
        self.values: dict[str, np.ndarray] = {}
        self.inputs: dict[str, list[int | str]] = {"x": [1, 4, 8, 8]}
        self.outputs = ["y"]

    def pair(
        self, name: str, scale: object = 0.05, zero: object = None, axis: int | None = None
    ) -> str:
        scales = np.asarray(scale, np.float32)
        self.values[f"{name}_s"] = scales
        self.values[f"{name}_z"] = (
            np.zeros(scales.shape, np.int8) if zero is None else np.asarray(zero)
        )
        extra = {} if axis is None else {"axis": axis}
        steps = (
            ("QuantizeLinear", name, f"{name}_q"),
            ("DequantizeLinear", f"{name}_q", f"{name}_dq"),
        )
        for operation, source, result in steps:
            self.add(operation, [source, f"{name}_s", f"{name}_z"], result, **extra)
        return f"{name}_dq"

    def add(self, operation: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def conv(self, source: str, output: str) -> str:
        self.values[f"{output}_w"] = np.full((4, 4, 1, 1), 0.5, np.float32)
        self.values[f"{output}_b"] = np.zeros(4, np.float32)
        weight = self.pair(f"{output}_w", np.full(4, 0.01), axis=0)
        return self.add("Conv", [source, weight, f"{output}_b"], output)

    def node(self, name: str) -> onnx.NodeProto:
        return next(node for node in self.nodes if node.name == name)

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "by_hand",
            [helper.make_tensor_value_info(n, FLOAT, s) for n, s in self.inputs.items()],
            [helper.make_tensor_value_info(n, FLOAT, [*"abcd"]) for n in self.outputs],
            [numpy_helper.from_array(np.asarray(v), n) for n, v in self.values.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=7)


def residual() -> Hand:
    hand = Hand()
    skip = hand.pair("x")
    first = hand.add("Relu", [hand.conv(skip, "c1")], "r1")
    second = hand.conv(hand.pair(first), "c2")
    hand.add("Relu", [hand.add("Add", [second, skip], "sum")], "y")
    return hand


def concatenation() -> Hand:
    hand = Hand()
    source = hand.pair("x")
    one, two = (hand.add("Relu", [hand.conv(source, f"c{i}")], f"r{i}") for i in (1, 2))
    hand.add("Concat", [hand.pair(one), hand.pair(two)], "y", axis=1)
    return hand


def head() -> Hand:
    hand = Hand()
    pooled = hand.add("GlobalAveragePool", [hand.pair("x")], "p")
    flat = hand.add("Flatten", [pooled], "f")
    hand.values["w"] = np.full((3, 4), 0.5, np.float32)
    hand.values["b"] = np.zeros(3, np.float32)
    weight = hand.pair("w", np.full(3, 0.01), axis=0)
    hand.add("Gemm", [hand.pair(flat), weight, "b"], "y", transB=1)
    return hand


def floating() -> Hand:
    hand = Hand()
    hand.values["w"] = np.ones((4, 4, 1, 1), np.float32)
    hand.add("Relu", [hand.add("Conv", ["x", "w"], "c")], "r")
    hand.add("Add", ["r", "x"], "y")
    return hand


def projection() -> Hand:
    hand = Hand()
    source = hand.pair("x")
    long = hand.conv(source, "c1")
    short = hand.pair(hand.conv(source, "c2"))
    hand.add("Add", [long, short], "y")
    return hand


GOOD = [residual, concatenation, head, floating, projection]


def value(name: str, new: object) -> Edit:
    return lambda hand: hand.values.update({name: np.asarray(new)})


def rewire(node: str, index: int, name: str) -> Edit:
    def edit(hand: Hand) -> None:
        hand.node(node).input[index] = name

    return edit


def without_zero_point(hand: Hand) -> None:
    del hand.node("x_q").input[2:]
    del hand.node("x_dq").input[2:]


def without_axis(hand: Hand) -> None:
    del hand.node("c1_w_q").attribute[:]
    del hand.node("c1_w_dq").attribute[:]


def wrong_axis(hand: Hand) -> None:
    for name in ("c1_w_q", "c1_w_dq"):
        hand.node(name).attribute[0].i = 1


def per_channel_activation(hand: Hand) -> None:
    hand.values |= {"x_s": np.full(4, 0.1, np.float32), "x_z": np.zeros(4, np.int8)}


def computed_scale(hand: Hand) -> None:
    hand.nodes.insert(0, helper.make_node("Identity", ["x_s"], ["computed"]))
    for name in ("x_q", "x_dq"):
        hand.node(name).input[1] = "computed"


def another_scale_behind(hand: Hand) -> None:
    hand.values["other"] = np.float32(0.1)
    hand.node("x_dq").input[1] = "other"


def integers_read(hand: Hand) -> None:
    hand.add("Cast", ["x_q"], "integers", to=1)
    hand.outputs.append("integers")


def quantized_bias(hand: Hand) -> None:
    at = hand.nodes.index(hand.node("c1"))
    tail = hand.nodes[at:]
    del hand.nodes[at:]
    hand.pair("c1_b", 0.01)
    hand.nodes += tail
    hand.node("c1").input[2] = "c1_b_dq"


def between(source: str, reader: str) -> Edit:
    def edit(hand: Hand) -> None:
        at = hand.nodes.index(hand.node(reader))
        tail = hand.nodes[at:]
        del hand.nodes[at:]
        pair = hand.pair(source)
        hand.nodes += tail
        hand.node(reader).input[0] = pair

    return edit


def pad_before(hand: Hand) -> None:
    hand.values["pads"] = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    hand.nodes.insert(0, helper.make_node("Pad", ["x", "pads"], ["padded"], name="padded"))
    hand.node("x_q").input[0] = "padded"


def opset(number: int) -> Edit:
    def edit(hand: Hand) -> None:
        hand.opset = number

    return edit


def einsum_like(hand: Hand) -> None:
    hand.add("Det", ["x"], "determinants")
    hand.outputs.append("determinants")


BAD: list[tuple[str, str, Callable[[], Hand], Edit]] = [
    ("uint8 zero point", "Q2", residual, value("x_z", np.uint8(0))),
    ("zero point 5", "Q2", residual, value("x_z", np.int8(5))),
    ("one zero point for four scales", "Q2", residual, value("c1_w_z", np.int8(0))),
    ("no zero point", "Q1", residual, without_zero_point),
    ("zero scale", "Q3", residual, value("x_s", np.float32(0))),
    ("negative scale", "Q3", residual, value("x_s", np.float32(-0.1))),
    ("infinite scale", "Q3", residual, value("x_s", np.float32("inf"))),
    ("zero scale of a channel", "Q3", residual, value("c1_w_s", np.float32([0.1, 0, 0.1, 0.1]))),
    ("computed scale", "Q3", residual, computed_scale),
    ("per-channel activation", "Q4", residual, per_channel_activation),
    ("missing axis", "Q5", residual, without_axis),
    ("input channels as axis", "Q5", residual, wrong_axis),
    ("another scale behind", "Q6", residual, another_scale_behind),
    ("integers read by a cast", "Q6", residual, integers_read),
    ("quantised bias", "Q7", residual, quantized_bias),
    ("between conv and relu", "Q8", residual, between("c1", "r1")),
    ("between pad and conv", "Q8", projection, pad_before),
    ("both operands of a residual", "Q9", residual, between("c2", "sum")),
    ("no operand of a residual", "Q9", residual, rewire("sum", 1, "x")),
    ("mixed concat scales", "Q10", concatenation, value("r2_s", np.float32(0.1))),
    ("one float operand of a concat", "Q10", concatenation, rewire("y", 1, "r2")),
    ("float activation of a layer", "Q11", residual, rewire("c2", 0, "r1")),
    ("float weight of a layer", "Q11", head, rewire("y", 1, "w")),
    ("opset 21 on TensorRT 10.3", "Q12", residual, opset(21)),
    ("unknown operator", "Q12", residual, einsum_like),
]


@pytest.mark.parametrize("make", GOOD)
@pytest.mark.parametrize("tensorrt", [(8, 2, 1), (8, 5, 2), (10, 3, 0), (11, 4, 0)])
def test_a_good_graph_breaks_no_rule(
    make: Callable[[], Hand], tensorrt: tuple[int, int, int]
) -> None:
    assert broken_rules(make().model(), tensorrt) == ()


@pytest.mark.parametrize(("rule", "make", "edit"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_graph_is_caught_by_its_rule_alone(
    rule: str, make: Callable[[], Hand], edit: Edit
) -> None:
    hand = make()
    edit(hand)
    assert {violation.rule for violation in broken_rules(hand.model(), (10, 3, 0))} == {rule}


def test_opset_17_is_too_new_for_tensorrt_8_2_and_not_for_8_5() -> None:
    hand = residual()
    hand.opset = 17
    (violation,) = broken_rules(hand.model(), (8, 2, 1))
    assert (
        violation.text
        == "its opset is 17; the parser of TensorRT 8.2.1 states 13. Export at opset 13"
    )
    assert broken_rules(hand.model(), (8, 5, 2)) == ()


def test_the_accelerator_refuses_open_shapes_and_quantisers() -> None:
    hand = residual()
    hand.inputs["x"] = ["batch", 4, 8, 8]
    texts = [v.text for v in broken_rules(hand.model(), (8, 5, 2), dla=True)]
    assert "its shape is dynamic, which the accelerator cannot run; export a fixed shape" in texts
    assert len(texts) == 2
    assert "takes no Q/DQ" in texts[0]


def saved(hand: Hand, folder: Path) -> str:
    path = folder / "model.onnx"
    path.write_bytes(hand.model().SerializeToString())
    return str(path)


def test_the_command_ends_with_0_for_a_clean_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-tensorrt", saved(residual(), tmp_path)]) == 0
    assert (
        f"all {len(RULES)} rules hold for TensorRT 10.3.0; nothing was run"
        in capsys.readouterr().out
    )


def test_the_command_ends_with_1_and_names_node_and_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hand = residual()
    hand.values["x_z"] = np.int8(5)
    path = saved(hand, tmp_path)
    assert main(["check-tensorrt", path, "--json"]) == 1
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert not found["clean"]
    assert {(v["rule"], v["node"]) for v in found["violations"]} == {("Q2", "x_q"), ("Q2", "x_dq")}
    assert printed.err == f"error: '{path}' breaks 1 of 12 rules (Q2) at 2 nodes; see above.\n"


@pytest.mark.parametrize("content", [None, b"", b"no protobuf"])
def test_the_command_ends_with_2_for_what_it_cannot_read(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    assert main(["check-tensorrt", str(path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
