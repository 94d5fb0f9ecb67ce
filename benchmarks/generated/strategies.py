"""Recipes as Hypothesis draws them; a failure shrinks to few blocks with default options."""

from collections.abc import Collection
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from benchmarks.generated.recipes import Block, Recipe

__all__ = ["recipes"]


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
    options = {name: option for name, option in _options(Recipe).items() if name not in without}
    blocks = st.lists(st.one_of(kinds), max_size=most_blocks).map(tuple)
    return st.builds(Recipe, blocks=blocks, seed=st.integers(0, 999), **options)


def _made(kind: type[Block]) -> st.SearchStrategy[Block]:
    return st.builds(kind, **_options(kind))


def _options(kind: type[object]) -> dict[str, st.SearchStrategy[Any]]:
    """Fields of few values; a failure shrinks to the first of each."""
    hints = get_type_hints(kind)
    literal = {
        n: st.sampled_from(get_args(t)) for n, t in hints.items() if get_origin(t) is Literal
    }
    return {**literal, **{n: st.booleans() for n, t in hints.items() if t is bool}}
