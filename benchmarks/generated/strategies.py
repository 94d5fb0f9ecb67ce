"""Recipes as Hypothesis draws them; a failure shrinks to few blocks with default options."""

from collections.abc import Collection
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from benchmarks.generated.recipes import Block, Recipe

__all__ = ["options", "recipes"]


def recipes(*, most_blocks: int = 5, without: Collection[str] = ()) -> st.SearchStrategy[Recipe]:
    """Networks of up to that many blocks.

    Args:
        most_blocks: Between the first layer and the head.
        without: Names of blocks and of the recipe's own options that are not drawn.

    Example:
        >>> from hypothesis import find
        >>> find(recipes(), lambda recipe: True)
        Recipe(blocks=(), head='pooled', axes=2, optional=False, seed=0)
    """
    kinds = [_made(kind) for kind in get_args(Block) if kind.__name__ not in without]
    chosen = {name: drawn for name, drawn in _drawn(Recipe).items() if name not in without}
    # Places that shrink to nothing one by one; a list would keep what it cannot make shorter.
    places = st.tuples(*[st.one_of(st.none(), *kinds)] * most_blocks)
    return st.builds(Recipe, blocks=places.map(_filled), seed=st.integers(0, 999), **chosen)


def _filled(places: tuple[Block | None, ...]) -> tuple[Block, ...]:
    return tuple(block for block in places if block is not None)


def _made(kind: type[Block]) -> st.SearchStrategy[Block]:
    return st.builds(kind, **_drawn(kind))


def _drawn(kind: type[object]) -> dict[str, st.SearchStrategy[Any]]:
    return {name: st.sampled_from(values) for name, values in options(kind).items()}


def options(kind: type[object]) -> dict[str, tuple[Any, ...]]:
    """What the fields of a recipe or a block can be; a failure shrinks to the first of each.

    Example:
        >>> from benchmarks.generated.recipes import Shared
        >>> options(Shared)
        {'form': ('again', 'both')}
    """
    hints = get_type_hints(kind)
    found = {n: (False, True) if t is bool else get_args(t) for n, t in hints.items()}
    return {n: v for n, v in found.items() if v and get_origin(hints[n]) in {None, Literal}}
