"""New figures and panels. matplotlib is imported on first use: `jaxconv.plots` loads without it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv._core.extras import needed_by

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


def new_figure(caller: str, width: float, height: float, *, title: str = "") -> "Figure":
    """Return a Figure without panels; width and height are in inches.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    with needed_by(f"jaxconv.plots.{caller}"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=13)
    return figure


def draw_panel(axes: "Axes", values: np.ndarray, title: str, **options: Any) -> "AxesImage":
    """Draw an array with a title and without ticks; the options are those of `imshow`."""
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes.imshow(values, **options)
