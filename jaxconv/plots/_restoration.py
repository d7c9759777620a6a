"""The figure of a restored image: before and after, a line through both, and what is left over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxconv.plots._layout import SMALL, name_panel
from jaxconv.plots._panels import draw_image, draw_residual
from jaxconv.plots._runs import PANEL, draw_kernels, draw_on_right, rows_of_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLURRED, RESTORED = "#d55e00", "#0072b2"  # Okabe and Ito's vermilion and blue


def restoration(
    blurred: np.ndarray,
    restored: np.ndarray,
    residual: np.ndarray,
    *,
    kernels: Sequence[np.ndarray],
    title: str,
    labels: Sequence[str] = ("red", "green", "blue"),
    row: int | None = None,
    unit: str = "intensity",
) -> Figure:
    """Show an image before and after its blur is undone.

    `residual = blurred - blur of restored`: noise without a picture in it, if all went well

    Args:
        blurred: (H, W) or (H, W, 3).
        restored: likewise.
        residual: likewise.
        kernels: (h, w), the blur, or one for each colour.
        title: of the figure.
        labels: one for each of several kernels.
        row: the row of the line profile; by default the one that changes most from element to
            element in the restored image, not too near its ends.
        unit: of the values.

    Returns:
        A Figure; `figure.savefig(path)` writes it.

    Example:
        >>> import numpy as np
        >>> from jaxconv import plots
        >>> x = np.eye(4)
        >>> figure = plots.restoration(x, x, 0 * x, kernels=[np.ones((1, 1))], title="no", row=2)
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes if axes.get_title()]
        ['blurred', 'restored', 'residual = blurred - blur of restored', 'row 2', 'blur, 1x1']

    Source: colours of Okabe and Ito, Color Universal Design, 2008.
    """
    one = len(kernels) == 1
    panels = rows_of_panels("restoration", blurred.shape, len(kernels), title=title)
    if row is None:
        row = steepest_row(restored)
    # one black and one white for both; a few bright points do not make all else black
    low, high = np.percentile(np.stack([blurred, restored]), (0.1, 99.9)).tolist()
    for column, (pixels, name) in enumerate(((blurred, "blurred"), (restored, "restored"))):
        axes = panels.panel(0, column)
        draw_image(axes, pixels, name, limits=(low, high))
        # where the profile is, beside the image
        start = -0.5 - 0.2 * pixels.shape[1] / PANEL
        axes.annotate("", (-0.5, row), (start, row), arrowprops={"arrowstyle": "->"})
    rms = float(np.sqrt(np.mean(np.square(residual))))
    name = f"residual = blurred - blur of restored\nrms {rms:.3g}"
    draw_residual(panels.panel(0, 2), residual, name, unit=unit)
    axes = panels.panel(1, 0, columns=2 if one else 3)
    _draw_profiles(axes, blurred[row], restored[row], f"row {row}", unit)
    names = ["blur"] if one else [f"blur, {label}" for label in labels]
    draw_kernels(panels, kernels, names, column=2)
    return panels.figure


def steepest_row(image: np.ndarray) -> int:
    """The row in which neighbours differ most, so that its profile has something to show.

    Not one of the first or last eighth, where a restoration depends on what is beyond the image.
    """
    grey = image.mean(-1) if image.ndim == 3 else image
    if grey.shape[1] == 1:
        return 0
    edge = len(grey) // 8
    inner = grey[edge : len(grey) - edge]
    return edge + int(np.argmax(np.abs(np.diff(inner, axis=1)).sum(1)))


def _draw_profiles(
    axes: Axes, blurred: np.ndarray, restored: np.ndarray, title: str, unit: str
) -> None:
    for values, colour, label in ((blurred, BLURRED, "blurred"), (restored, RESTORED, "restored")):
        grey = values.mean(-1) if values.ndim == 2 else values
        style = "--" if label == "blurred" else "-"  # distinct in print without colours too
        axes.plot(grey, style, color=colour, linewidth=1.2, label=label)
    name_panel(axes, title)
    axes.set_xlabel("column", fontsize=SMALL + 1)
    axes.set_ylabel(unit, fontsize=SMALL + 1)
    axes.tick_params(labelsize=SMALL)
    axes.margins(x=0)
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=SMALL, frameon=False)
    draw_on_right(axes)
