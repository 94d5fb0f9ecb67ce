"""Functions that a library tells torch.fx to leave whole, looked into."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.fx import _symbolic_trace

__all__ = ["looking_into_functions"]


@contextmanager
def looking_into_functions(wanted: bool) -> Iterator[None]:
    """Whether a trace goes into the functions that were passed to ``torch.fx.wrap``.

    There is no public way to take that back; what was wrapped is so again afterwards.
    """
    wrapped = _symbolic_trace._wrapped_fns_to_patch
    kept = dict(wrapped)
    if wanted:
        wrapped.clear()
    try:
        yield
    finally:
        wrapped.update(kept)
