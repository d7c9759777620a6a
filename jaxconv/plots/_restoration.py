"""The figure of a restored image: before and after, a line through both, and what is left over."""

from typing import TYPE_CHECKING

import numpy as np

from jaxconv.plots._matplotlib import new_figure
from jaxconv.plots._runs import draw_image, draw_kernel, draw_residual, in_font

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLURRED, RESTORED = "#d55e00", "#0072b2"  # Okabe and Ito's vermilion and blue


def restoration(
    blurred: np.ndarray,
    restored: np.ndarray,
    residual: np.ndarray,
    *,
    kernel: np.ndarray,
    title: str,
    row: int | None = None,
    unit: str = "intensity",
) -> "Figure":
    """Show an image before and after its blur is undone.

    `residual = blurred - blur of restored`: noise without a picture in it, if all went well

    Args:
        blurred: (H, W) or (H, W, 3).
        restored: likewise.
        residual: likewise.
        kernel: (h, w), the blur.
        title: of the figure.
        row: the row of the line profile; by default the one that changes most from element to
            element in the restored image.
        unit: of the values.

    Returns:
        A Figure; `figure.savefig(path)` writes it.

    Example:
        >>> import numpy as np
        >>> from jaxconv import plots
        >>> x = np.eye(4)
        >>> figure = plots.restoration(x, x, 0 * x, kernel=np.ones((1, 1)), title="nothing", row=2)
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes if axes.get_title()]
        ['blurred', 'restored', 'blur', 'row 2', 'residual = blurred - blur of restored']

    Source: colours of Okabe and Ito, Color Universal Design, 2008.
    """
    figure = new_figure("restoration", 13, 8.4)
    figure.suptitle(in_font(title), fontsize=13, parse_math=False)
    grid = figure.add_gridspec(2, 1)
    upper = grid[0].subgridspec(1, 3)
    lower = grid[1].subgridspec(1, 2, width_ratios=(2, 1))
    if row is None:
        row = steepest_row(restored)
    # one black and one white for both; a few bright points do not make all else black
    limits = tuple(np.percentile(np.stack([blurred, restored]), (0.1, 99.9)).tolist())
    for column, (pixels, name) in enumerate(((blurred, "blurred"), (restored, "restored"))):
        axes = figure.add_subplot(upper[column])
        draw_image(axes, pixels, name, limits=limits)
        # where the profile is, beside the image
        axes.annotate("", (0, row), (-0.06 * pixels.shape[1], row), arrowprops={"arrowstyle": "->"})
    bound = float(np.abs(kernel).max()) or 1.0
    size = "x".join(map(str, kernel.shape))
    draw_kernel(figure.add_subplot(upper[2]), kernel, f"blur\n{size}", bound=bound)
    _draw_profiles(figure.add_subplot(lower[0]), blurred[row], restored[row], f"row {row}", unit)
    rms = float(np.sqrt(np.mean(np.square(residual))))
    name = f"residual = blurred - blur of restored\nrms {rms:.3g}"
    draw_residual(figure.add_subplot(lower[1]), residual, name, unit=unit)
    return figure


def steepest_row(image: np.ndarray) -> int:
    """The row in which neighbours differ most, so that its profile has something to show."""
    grey = image.mean(-1) if image.ndim == 3 else image
    return int(np.argmax(np.abs(np.diff(grey, axis=1)).sum(1))) if grey.shape[1] > 1 else 0


def _draw_profiles(
    axes: "Axes", blurred: np.ndarray, restored: np.ndarray, title: str, unit: str
) -> None:
    for values, colour, label in ((blurred, BLURRED, "blurred"), (restored, RESTORED, "restored")):
        grey = values.mean(-1) if values.ndim == 2 else values
        style = "--" if label == "blurred" else "-"  # distinct in print without colours too
        axes.plot(grey, style, color=colour, linewidth=1.2, label=label)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("column")
    axes.set_ylabel(unit)
    axes.margins(x=0)
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
