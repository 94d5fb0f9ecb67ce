"""Memory against limits, and its way through a manifest."""

import json

import pytest

from torchedge.bench import Fit, Memory, MemoryPart
from torchedge.errors import ArtifactError, BudgetError


def part(name, size, evidence="measured"):
    return MemoryPart(name=name, bytes=size, evidence=evidence, how="by hand")


def board(limit, *parts):
    return Fit(device="Board", memories=(Memory(kind="flash", limit_bytes=limit, parts=parts),))


def test_what_just_fits_is_not_refused():
    board(10, part("a", 4), part("b", 6)).require("net")


def test_one_byte_more_is_refused_with_the_three_largest_and_a_hint():
    parts = part("a", 1), part("b", 5, "estimated"), part("c", 3), part("d", 2)
    with pytest.raises(BudgetError) as caught:
        board(10, *parts).require("net", {"flash": "In the model: 'w' 4"})
    assert str(caught.value) == (
        "'net' needs 11 bytes of flash on Board, 1 more than its 10. Largest: b 5 (estimated), "
        "c 3 (measured), d 2 (measured). In the model: 'w' 4. Shrink the network, or pick a larger "
        "target."
    )


def test_it_comes_back_from_a_manifest_unchanged():
    fit = board(10, part("a", 4), part("b", 6, "estimated"))
    assert Fit.from_dict(json.loads(json.dumps(fit.to_dict()))) == fit


def test_a_manifest_without_it_is_refused():
    with pytest.raises(ArtifactError, match="describes no memory"):
        Fit.from_dict({"device": "Board"})
