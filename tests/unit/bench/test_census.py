"""Operators beside the arithmetic, counted and put in words."""

from torchedge.bench.census import Census, LayerCount, counted, operators_text

FOUND = [("Conv", True), ("Conv", False), ("Transpose", False), ("DequantizeLinear", True)]


def test_operators_are_counted_by_type_and_those_on_floats_apart():
    entries = counted(FOUND, {"DequantizeLinear"})
    assert [(e.operation, e.count, e.in_float, e.converts) for e in entries] == [
        ("Conv", 2, 1, False),
        ("DequantizeLinear", 1, 1, True),
        ("Transpose", 1, 0, False),
    ]


def test_the_sentence_has_floats_transposes_and_conversions_apart():
    census = Census(layers=(), evidence="", operators=counted(FOUND, {"DequantizeLinear"}))
    assert operators_text(census) == (
        "Operators: 4; in float: 1 Conv; transposes: 1; between floats and integers: "
        "1 DequantizeLinear"
    )


def test_where_the_runtime_decides_types_are_named_and_called_nothing():
    census = Census(layers=(), evidence="", operators=counted([("Conv", None), ("Relu", None)], ()))
    assert operators_text(census) == (
        "Operators: 2; 1 Conv, 1 Relu; transposes: 0; between floats and integers: none"
    )


def test_the_share_of_the_arithmetic_is_of_layers_alone():
    layer = LayerCount(name="a", operation="QLinearConv", macs=10, integer=True)
    census = Census(layers=(layer,), evidence="", operators=counted(FOUND, ()))
    assert (census.integer_share, census.macs) == (1, 10)
