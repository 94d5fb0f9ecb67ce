"""What a public function is called with: its annotations hold before it begins."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchedge.errors import PruningError, UnknownNameError, UsageError
from torchedge.kinds import fields_checked, kinds_checked

_ROOMS = (
    "torchedge.exporting",
    "torchedge.pruning",
    "torchedge.quantization",
    "torchedge.quantization.diagnostics",
    "torchedge.quantization.recovery",
)
# Numbers of a tensor and rules for a histogram: their callers are ours, or check them themselves.
_INNER = {
    *("dequantize", "fake_quantize", "quant_params", "entropy", "minmax", "mse", "percentile"),
    *("target", "target_names", "sqnr", "markdown"),
}


class _Times(Protocol):
    def __call__(self, shapes: list[int]) -> list[float]: ...


@kinds_checked("data", error=PruningError)
def _asked(
    model: nn.Module = nn.Identity(),  # noqa: B008 - not changed
    data: int = 0,
    *,
    share: float = 0.5,
    count: int | None = None,
    forced: bool = False,
    folder: Path | str = "",
    mode: Literal["keep", "drop"] = "keep",
    masks: Mapping[str, Tensor] | None = None,
    layers: Sequence[str] = (),
    pair: tuple[float, float] = (0.0, 1.0),
    timer: _Times | None = None,
    fit: Callable[[nn.Module], None] | None = None,
) -> str:
    return "began"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": None}, "model is None; give a network."),
        ({"model": nn.Identity}, "give a network."),
        ({"share": "half"}, "share is 'half'; give a number."),
        ({"share": True}, "share is True; give a number."),
        ({"share": float("nan")}, "share is nan; give a number."),
        ({"share": torch.zeros(2)}, "give a number."),
        ({"count": 2.0}, "count is 2.0; give a whole number or None."),
        ({"forced": "no"}, "forced is 'no'; give True or False."),
        ({"forced": 1}, "forced is 1; give True or False."),
        ({"folder": None}, "folder is None; give a path or text."),
        ({"folder": b"x"}, "folder is b'x'; give a path or text."),
        ({"mode": np.zeros(2)}, "give one of 'keep', 'drop'."),
        ({"masks": {"a": 1}}, "give a dictionary, from text to a tensor or None."),
        ({"masks": {0: torch.ones(1)}}, "give a dictionary"),
        ({"layers": "head"}, "layers is 'head'; give a list or tuple, each text."),
        ({"layers": [None]}, "layers is [None]; give a list or tuple, each text."),
        ({"pair": (1.0,)}, "pair is (1.0,); give (a number, a number)."),
        ({"timer": 5}, "timer is 5; give a function or None."),
        ({"fit": "train"}, "fit is 'train'; give a function or None."),
    ],
)
def test_an_argument_of_another_kind_is_refused_before_the_function_begins(given, said):
    with pytest.raises(PruningError) as caught:
        _asked(**given)
    assert said in str(caught.value)


def test_a_word_that_is_none_of_those_there_are_is_an_unknown_name():
    with pytest.raises(UnknownNameError, match="mode is 'lose'; give one of 'keep', 'drop'"):
        _asked(mode="lose")


@pytest.mark.parametrize(
    "given",
    [
        {"share": 1},
        {"share": np.float32(0.5)},
        {"count": np.int64(3)},
        {"count": None},
        {"folder": Path("x")},
        {"masks": {"a": torch.ones(1)}},
        {"layers": ["a", "b"]},
        {"layers": ("a",)},
        {"pair": [0, 1]},
        {"timer": lambda shapes: []},
        {"fit": print},
        {"data": "the function says more of it itself"},
    ],
)
def test_what_does_for_the_kind_is_taken(given):
    assert _asked(**given) == "began"


def test_arguments_that_are_missing_are_pythons_own_error_as_ever():
    @kinds_checked()
    def needs(x: int) -> int:
        return x

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        needs()


def test_a_generator_refuses_when_it_is_called_and_not_when_it_is_read():
    @kinds_checked()
    def numbers(count: int):
        yield from range(count)

    assert list(numbers(2)) == [0, 1]
    with pytest.raises(UsageError, match="count is None; give a whole number"):
        numbers(None)


def test_fields_of_a_dataclass_are_held_against_its_annotations():
    @dataclass(frozen=True)
    class Options:
        seed: int = 0
        name: object = ""

        def __post_init__(self) -> None:
            fields_checked(self)

    assert Options(3, None).name is None
    with pytest.raises(UsageError, match="seed is 'a'; give a whole number"):
        Options("a")


def _public_functions():
    for room in _ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value) and name not in _INNER:
                yield pytest.param(value, id=name)


@pytest.mark.parametrize("function", list(_public_functions()))
def test_every_public_function_holds_its_arguments_against_its_annotations(function):
    found = [function]
    while hasattr(found[-1], "__wrapped__"):
        found.append(found[-1].__wrapped__)
    files = [Path(each.__code__.co_filename).name for each in found]
    assert "kinds.py" in files, "decorate it with kinds_checked"
