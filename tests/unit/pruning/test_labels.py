import torch
from hypothesis import given
from hypothesis import strategies as st

from torchedge.pruning.labels import Labels, compact, concatenated, joined
from torchedge.pruning.units import FIXED, Units

PAIRS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=15)


def connected(pairs, count):
    """Sets of numbers that pairs connect, by going through them until nothing changes."""
    sets = [{number} for number in range(1, count + 1)]
    for a, b in pairs:
        together = [s for s in sets if a in s or b in s]
        sets = [s for s in sets if s not in together] + [set().union(*together)]
    return {frozenset(s) for s in sets}


@given(PAIRS)
def test_units_are_what_joins_connect(pairs):
    units = Units()
    labels = units.fresh(12)
    for a, b in pairs:
        units.join(labels[a - 1 : a], labels[b - 1 : b])
    roots = units.roots(labels).tolist()
    found = {frozenset(i + 1 for i in range(12) if roots[i] == root) for root in roots}
    assert found == connected(pairs, 12)


@given(PAIRS, st.integers(1, 12))
def test_a_reason_holds_for_the_whole_unit_whenever_it_is_given(pairs, closed):
    before, after = Units(), Units()
    for units in (before, after):
        units.fresh(12)
    before.close(torch.tensor([closed]), "example")
    for units in (before, after):
        for a, b in pairs:
            units.join(torch.tensor([a]), torch.tensor([b]))
    after.close(torch.tensor([closed]), "example")
    assert [before.reason(i) for i in range(1, 13)] == [after.reason(i) for i in range(1, 13)]


def test_the_first_reason_stays():
    units = Units()
    label = units.fresh(1)
    units.close(label, "first")
    units.close(label, "second")
    assert units.reason(int(label)) == "first"


def test_what_meets_a_constant_cannot_be_removed():
    units = Units()
    label = units.fresh(1)
    units.join(label, torch.tensor([FIXED]))
    assert units.reason(int(label)) is not None


def test_axes_without_differences_have_size_one():
    labels = torch.tensor([1, 2]).view(1, 2, 1).expand(3, 2, 5)
    assert compact(labels).shape == (1, 2, 1)


def test_a_sum_joins_channels_and_a_number_for_all_of_them_joins_nothing():
    units = Units()
    a, b, gain = units.fresh(3).view(1, 3), units.fresh(3).view(1, 3), units.fresh(1).view(1, 1)
    operands = [Labels(shape=(4, 3), layers=(layer,)) for layer in (a, b)]
    joined(units, [*operands, Labels(shape=(1, 1), layers=(gain,))], (4, 3))
    assert torch.equal(units.roots(a), units.roots(b))
    assert len(set(units.roots(torch.cat([a, b, gain], 1)).flatten().tolist())) == 4


def test_a_concatenation_with_something_unlabelled_keeps_the_labels_in_their_places():
    units = Units()
    layer = units.fresh(2).view(1, 2)
    first, second = Labels(shape=(1, 3)), Labels(shape=(1, 2), layers=(layer,))
    found = concatenated(units, [first, second], 1)
    assert found.shape == (1, 5)
    assert found.layers[0].tolist() == [[FIXED] * 3 + layer[0].tolist()]
