"""Generated networks: what must hold for each, tried on hundreds of them.

    python -m benchmarks.fuzz [PROPERTY ...] [--examples 500] [--seed 0]

The properties: ``off`` (prepared with quantisation off, it is the float network in evaluation and
training), ``equalised`` (so it is equalised), ``balanced`` (the default effort is not below
``fast`` on unseen data), ``exported`` (ONNX Runtime computes the reference's integers), ``dead``
(dead channels removed change nothing) and ``pruned`` (half of the channels gone, it runs and
trains). A network that is refused by name violates nothing, and is counted. Failures are shrunk
and printed as a recipe that builds the network again. Written to runs/fuzz.json as well.
"""

import contextlib
import io
import json
import logging
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeAlias, final

import cyclopts
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from benchmarks.generated.networks import generated
from benchmarks.generated.properties import PROPERTIES
from benchmarks.generated.recipes import Recipe
from benchmarks.generated.strategies import recipes
from torchedge.errors import TorchedgeError, UsageError

__all__ = ["Refusals", "Violation", "main", "violations"]

Refusals: TypeAlias = dict[str, list[str]]
_AT_A_TIME = 25


@final
@dataclass(frozen=True, kw_only=True)
class Violation:
    """A property that does not hold.

    Args:
        property: Its name.
        recipe: The smallest network found; it builds it again.
        text: What is wrong.
        seed: Of the examples.
    """

    property: str
    recipe: str
    text: str
    seed: int


def main(
    *names: str,
    examples: int = 500,
    seed: int = 0,
    without: Annotated[tuple[str, ...], cyclopts.Parameter(consume_multiple=True)] = (),
    out: Path = Path("runs/fuzz.json"),
) -> None:
    """Try properties on generated networks; ends with 1 where one is violated.

    Args:
        names: Properties; all of them if none is given.
        examples: Networks for each.
        seed: Of the first networks; each 25 have the next one.
        without: Names of blocks that are not drawn.
        out: JSON file with the violations and the reasons of refusals.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    if set(names) - set(PROPERTIES):
        raise UsageError(f"there is no {set(names) - set(PROPERTIES)}; choose of {[*PROPERTIES]}.")
    found: dict[str, object] = {}
    bad = 0
    for name in names or PROPERTIES:
        refusals: Refusals = defaultdict(list)
        broken = []
        for violation in violations(name, examples, seed, refusals, without):
            broken.append(asdict(violation))
            print(
                f"{name}, seed {violation.seed}: {violation.text}\n    {violation.recipe}",
                flush=True,
            )
        print(
            f"{name}: {examples} networks, {len(broken)} violations, "
            f"{sum(map(len, refusals.values()))} refused"
        )
        for reason, refused in refusals.items():
            print(f"    refused {len(refused)}: {reason}\n        {refused[0]}")
        found[name] = {"examples": examples, "violations": broken, "refused": refusals}
        bad += len(broken)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=2), encoding="utf-8")
    sys.exit(int(bad > 0))


def violations(
    name: str,
    examples: int,
    first_seed: int,
    refusals: Refusals,
    without: Collection[str] = (),
) -> Iterator[Violation]:
    """At most one for each 25 networks, shrunk.

    Args:
        name: The property.
        examples: How many networks.
        first_seed: Of the first 25.
        refusals: Takes the recipes of networks that are refused by name, by reason.
        without: Names of blocks that are not drawn.
    """
    drawn = recipes(without=without)
    for start in range(0, examples, _AT_A_TIME):
        number = first_seed + start // _AT_A_TIME
        violation = _one_seed(name, min(_AT_A_TIME, examples - start), number, refusals, drawn)
        if violation is not None:
            yield violation


def _one_seed(
    name: str,
    examples: int,
    number: int,
    refusals: Refusals,
    drawn: SearchStrategy[Recipe],
) -> Violation | None:
    last: list[tuple[Recipe, str]] = []

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(drawn)
    def check(recipe: Recipe) -> None:
        made = generated(recipe)
        try:
            PROPERTIES[name](made)
        except TorchedgeError as error:
            refusals[_reason(error)].append(repr(recipe))
        except Exception as error:
            last.append((recipe, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"))
            raise

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # torch.fx prints its errors
            check()
    except Exception:
        if not last:  # no property failed: the network itself does not run
            raise
        recipe, text = last[-1]
        return Violation(property=name, recipe=repr(recipe), text=text, seed=number)
    return None


def _reason(error: TorchedgeError) -> str:
    """The first line without what differs from network to network: names and folders."""
    text = re.sub(r"'[^']*'", "'…'", str(error).splitlines()[0])
    return f"{type(error).__name__}: {re.sub(r'/[^ :]*/', '', text)[:200]}"


if __name__ == "__main__":
    cyclopts.run(main)
