import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchedge.errors import SchemeError
from torchedge.scheme import Placement, QuantScheme, QuantSpec

KINDS = st.frozensets(st.sampled_from(["input", "conv", "linear", "add", "average_pool"]))


@st.composite
def specs(draw):
    symmetric = draw(st.booleans())
    return QuantSpec(
        bits=draw(st.integers(2, 8)),
        symmetric=symmetric,
        axis=draw(st.none() | st.integers(0, 3)),
        narrow=draw(st.booleans()),
        signed=symmetric or draw(st.booleans()),
        scale_bits=draw(st.none() | st.integers(2, 24)),
    )


@st.composite
def schemes(draw):
    placement = Placement(
        inputs_of=draw(KINDS), outputs_of=draw(KINDS), fused_add=draw(st.booleans())
    )
    return QuantScheme(
        weight=draw(specs()),
        activation=draw(specs()),
        placement=placement,
        bias=draw(st.sampled_from(["float", "float_on_grid", "int32"])),
    )


@given(schemes())
def test_a_scheme_survives_the_manifest(scheme):
    assert QuantScheme.from_dict(json.loads(json.dumps(scheme.to_dict()))) == scheme


@given(specs())
def test_the_grid_has_two_to_the_bits_integers_or_one_less_when_narrow(spec):
    assert spec.quant_max - spec.quant_min + 1 == 2**spec.bits - spec.narrow


@pytest.mark.parametrize("bits", [1, 9, 16])
def test_bits_outside_2_to_8_are_refused(bits):
    with pytest.raises(SchemeError, match=f"bits = {bits}"):
        QuantSpec(bits=bits)


def test_an_unsigned_symmetric_grid_is_refused():
    with pytest.raises(SchemeError, match="symmetric"):
        QuantSpec(signed=False)


@pytest.mark.parametrize(
    "broken", [{}, {"weight": {"bits": 99}}, {"weight": {"colour": 1}}, {"bias": "int7"}]
)
def test_a_scheme_that_lacks_fields_is_refused(broken):
    with pytest.raises(SchemeError):
        QuantScheme.from_dict({**QuantScheme().to_dict(), **broken} if broken else broken)
