"""The figure of a run of learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxconv.plots._layout import Panels, name_panel
from jaxconv.plots._panels import colour_bound, draw_image, draw_kernel, draw_losses, draw_residual

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 3.3  # inches


def in_font(text: str) -> str:
    """Escape the characters of a file name that the figures' font lacks, as in u65e5."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = get_font(findfont(FontProperties())).get_charmap()
    return "".join(
        c if c.isprintable() and ord(c) in glyphs else c.encode("unicode_escape").decode()
        for c in text
    )


def rows_of_panels(caller: str, shape: tuple[int, ...], kernels: int, *, title: str) -> Panels:
    """Rows of three panels for images of a shape: two, and more for several kernels."""
    height = PANEL * min(max(shape[0] / shape[1], 0.75), 1.25)
    rows = 2 if kernels == 1 else 2 + -(-kernels // 3)
    options = {"title": in_font(title), "parse_math": False}
    return Panels(caller, rows, 3, width=PANEL, height=height, **options)


def draw_kernels(
    panels: Panels, kernels: Sequence[np.ndarray], names: Sequence[str], *, column: int
) -> None:
    """Draw kernels of one scale: one in a column of the second row, several in the rows below."""
    bound, _ = colour_bound(np.stack(kernels))
    for number, (kernel, name) in enumerate(zip(kernels, names, strict=True)):
        row, place = (1, column) if len(kernels) == 1 else (2 + number // 3, number % 3)
        size = "x".join(map(str, kernel.shape))
        draw_kernel(panels.panel(row, place), kernel, f"{name}, {size}", bound=bound)


def draw_on_right(axes: Axes) -> None:
    """Move the ticks and the label of the vertical axis to where colour bars have theirs."""
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")


def learning(
    before: np.ndarray,
    after: np.ndarray,
    prediction: np.ndarray,
    *,
    kernels: Sequence[np.ndarray],
    losses: Sequence[np.ndarray],
    labels: Sequence[str],
    title: str,
    floor: float | None = None,
    used: np.ndarray | None = None,
    unit: str = "intensity",
) -> Figure:
    """Show one run of learning: before, after, prediction, residual, kernels, loss curves.

    `residual = prediction - after`

    Args:
        before: (H, W) or (H, W, 3), intensities, or levels as a file has them.
        after: (H - h + 1, W - w + 1) or the same with 3 colours, likewise.
        prediction: of after's shape.
        kernels: one (h, w), or one for each colour.
        losses: (steps,) for each kernel, in squared units of after.
        labels: one for each kernel, such as its colour.
        title: of the figure.
        floor: the loss that rounding the images leaves, if known.
        used: of after's shape, False where it was left out; the residual is 0 there. All if None.
        unit: of the values of after.

    Returns:
        A Figure; `figure.savefig(path)` writes it.

    Example:
        >>> import numpy as np
        >>> from jaxconv import plots
        >>> x = np.arange(12.0).reshape(3, 4)
        >>> y = x[:, 1:] - x[:, :-1]
        >>> kernels, losses = [np.array([[-1.0, 1.0]])], [np.array([1.0, 0.1])]
        >>> figure = plots.learning(
        ...     x, y, y, kernels=kernels, losses=losses, labels=["grey"], title="difference"
        ... )
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes if axes.get_title()][3:]
        ['residual = prediction - after', 'learned kernel, 1x2', 'loss']

    Source: colours of Okabe and Ito, Color Universal Design, 2008.
    """
    panels = rows_of_panels("learning", before.shape, len(kernels), title=title)
    frame = before.shape[:2]
    dark, bright = float(after.min()), float(after.max())
    limits = {"before": (float(before.min()), float(before.max()))}
    pictures = {"before": before, "after": after, "prediction": prediction}
    for column, (name, pixels) in enumerate(pictures.items()):
        both = limits.get(name, (dark, bright))
        draw_image(panels.panel(0, column), pixels, name, limits=both, frame=frame)
    counted = np.ones(after.shape, bool) if used is None else used
    residual = np.where(counted, prediction - after, 0)
    rms = float(np.sqrt(np.mean(np.square(residual), where=counted)))
    name = f"residual = prediction - after\nrms {rms:.3g}"
    draw_residual(panels.panel(1, 0), residual, name, unit=unit, frame=frame)
    one = len(kernels) == 1
    names = ["learned kernel"] if one else [f"learned, {label}" for label in labels]
    draw_kernels(panels, kernels, names, column=1)
    axes = panels.panel(1, 2) if one else panels.panel(1, 1, columns=2)
    name_panel(axes, "loss")
    draw_losses(axes, losses, labels, floor=floor, unit=f"mean squared error ({unit}²)")
    draw_on_right(axes)
    return panels.figure
