"""What all pictures share: a figure of its own, without a window or global state, and colours."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BLUE", "RED", "new_figure"]

BLUE, RED = "#4878a8", "#d1495b"


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, so wide and high in inches.

    Example:
        >>> new_figure(4, 3).get_size_inches().tolist()
        [4.0, 3.0]
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
