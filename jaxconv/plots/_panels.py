"""The panels of figures: images, residuals, kernels, loss curves.

A picture keeps its proportions inside its panel: the axes fill the panel whatever the picture's
shape, so that panels stay aligned. Pixels of small pictures are told apart by a grid; below larger
ones there is a scale in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv._core.number_text import common_format, readable
from jaxconv.plots._layout import SMALL, WIDTH, draw_colour_bar, inches, name_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

SIGNED = "PuOr"
# Okabe and Ito's vermilion, bluish green and blue, for the curves of red, green and blue
LINES = ("#0072b2",)
COLOUR_LINES = ("#d55e00", "#009e73", "#0072b2")
GRIDDED, SMALLEST_PIXEL = 40, 0.06  # rows or columns at most, inches at least, for a grid
SMALLEST_NUMBER = 5.4  # points; smaller numbers cannot be read
LIMIT = 99.9  # percentile of the magnitudes at which the colours of differences end


def draw_panel(
    axes: Axes,
    values: np.ndarray,
    name: str,
    *,
    frame: tuple[int, int] | None = None,
    scale: bool = True,
    **options: Any,
) -> AxesImage:
    """Draw an array (H, W) or (H, W, 3) in the middle of a panel.

    Args:
        axes: of the panel.
        values: drawn with square pixels.
        name: of the panel.
        frame: rows and columns that fill the panel, if more than those of the array: panels of one
            frame have pixels of one size.
        scale: whether the size is told below: in words under a grid, else by a bar.
        options: of `imshow`.
    """
    from matplotlib.patches import Rectangle

    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    rows, columns = values.shape[:2]
    height, width = (max(sizes) for sizes in zip(frame or (1, 1), (rows, columns), strict=True))
    left, top = (columns - width) / 2 - 0.5, (rows - height) / 2 - 0.5
    image = axes.imshow(values, aspect="equal", **options)
    # limits of the panel's own proportions, so that it keeps them
    panel_width, panel_height = inches(axes)
    unit = max(width / panel_width, height / panel_height)
    across, down = (unit * panel_width - width) / 2, (unit * panel_height - height) / 2
    axes.set_xlim(left - across, left + width + across)
    axes.set_ylim(top + height + down, top - down)
    name_panel(axes, name, above=0.5 + height / (2 * unit * panel_height))
    axes.add_patch(Rectangle((-0.5, -0.5), columns, rows, fill=False, linewidth=0.8, clip_on=False))
    if max(rows, columns) <= GRIDDED and unit * SMALLEST_PIXEL <= 1:
        line = {"color": "0.5", "linewidth": 0.4, "alpha": 0.7}
        axes.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, **line)
        axes.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, **line)
    if scale:
        _draw_scale(axes, rows, columns, nice_length(width / 4), unit)
    return image


def _draw_scale(axes: Axes, rows: int, columns: int, length: int, unit: float) -> None:
    """Tell the size of a picture below its left corner; `unit` is pixels an inch."""
    y, text, start = rows - 0.5 + 0.13 * unit, f"{rows}x{columns} pixels", -0.5
    if max(rows, columns) > GRIDDED:
        line = {"color": "black", "linewidth": 2, "solid_capstyle": "butt"}
        axes.plot((start, start + length), (y, y), clip_on=False, **line)
        text, start = f"{length} pixels", start + length + 0.06 * unit
    axes.text(start, y, text, fontsize=SMALL, va="center_baseline")


def nice_length(most: float) -> int:
    """The largest of 1, 2, 5, 10, 20, ... that is at most this."""
    power = 10 ** int(np.log10(max(most, 1)))
    return max(m * power for m in (1, 2, 5) if m == 1 or m * power <= most)


def content(axes: Axes, shape: tuple[int, ...]) -> tuple[float, float]:
    """What parts of a panel's width and height its picture fills."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return shape[1] / (right - left), shape[0] / (bottom - top)


def draw_bar_beside(axes: Axes, image: AxesImage, label: str, **options: Any) -> None:
    """Draw a colour bar on the right of a picture, as high as it, or half as high as the panel."""
    array: Any = image.get_array()
    width, height = content(axes, array.shape)
    height, inch = max(height, 0.5), 1 / inches(axes)[0]
    place = (0.5 + width / 2 + 0.1 * inch, 0.5 - height / 2, 0.14 * inch, height)
    draw_colour_bar(axes.inset_axes(place), image, label, **options)


def write_numbers(axes: Axes, values: np.ndarray, *, bound: float) -> int | None:
    """Write each number (h, w) into its pixel if all can be read there.

    Args:
        axes: of the panel, with the picture in it.
        values: the numbers.
        bound: the magnitude that has the darkest colour; of all panels of one scale.

    Returns:
        The exponent of the power of ten that they are in units of, or None if they do not fit.
    """
    cell = 72 * inches(axes)[0] * content(axes, values.shape)[0] / values.shape[1]
    exponent = common_format(bound, digits=4).exponent
    for digits in (4, 3):
        number = common_format(np.append(values, bound), digits=digits, exponent=exponent)
        longest = max(len(number(value)) for value in values.flat)
        size = min(14.0, cell / (WIDTH * (longest + 0.5)))
        if size >= SMALLEST_NUMBER:
            break
    else:
        return None
    for (row, column), value in np.ndenumerate(values):
        axes.text(
            column,
            row,
            number(value),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if abs(value) > 0.6 * bound else "black",
        )
    return exponent


def draw_image(
    axes: Axes,
    pixels: np.ndarray,
    title: str,
    *,
    limits: tuple[float, float],
    frame: tuple[int, int] | None = None,
) -> None:
    """Draw a grey (H, W) or colour (H, W, 3) image; limits are drawn as black and as white.

    `frame` is the (rows, columns) that fill the panel, if more than the image's: images of one
    frame have pixels of one size.
    """
    low, high = limits
    if pixels.ndim == 3:
        pixels = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1)
    title = f"{title}\nblack {readable(low)}, white {readable(high)}"
    # limits and colours are ignored for (H, W, 3)
    draw_panel(axes, pixels, title, frame=frame, cmap="gray", vmin=low, vmax=high)


def draw_residual(
    axes: Axes,
    residual: np.ndarray,
    title: str,
    *,
    unit: str = "intensity",
    frame: tuple[int, int] | None = None,
) -> None:
    """Draw signed differences (H, W), of (H, W, 3) the largest of the colours at each pixel.

    The colours end at the 99.9th percentile of the magnitudes. `frame` is as in `draw_image`.
    """
    if residual.ndim == 3:
        largest = np.argmax(np.abs(residual), axis=-1, keepdims=True)
        residual = np.take_along_axis(residual, largest, axis=-1)[..., 0]
    bound, extend = colour_bound(residual, LIMIT)
    options = {"cmap": SIGNED, "vmin": -bound, "vmax": bound}
    image = draw_panel(axes, residual, title, frame=frame, **options)
    draw_bar_beside(axes, image, unit, extend=extend)


def colour_bound(values: np.ndarray, percentile: float = 100) -> tuple[float, str]:
    """The magnitude at which colours end, and "both" if values lie beyond it, else "neither"."""
    magnitudes = np.abs(values)
    bound = float(np.percentile(magnitudes, percentile, method="higher"))
    return bound or float(
        magnitudes.max()
    ) or 1.0, "both" if magnitudes.max() > bound else "neither"


def draw_kernel(
    axes: Axes,
    kernel: np.ndarray,
    title: str,
    *,
    bound: float,
    bar: bool = True,
) -> int | None:
    """Draw a kernel (h, w) in colours from -bound to bound, with its numbers if they fit.

    `bar` is whether there is a colour bar on its right. Returns the exponent of the power of ten in
    units of which the numbers are written, None if they do not fit.
    """
    options = {"cmap": SIGNED, "vmin": -bound, "vmax": bound}
    image = draw_panel(axes, kernel, title, scale=False, **options)
    exponent = write_numbers(axes, kernel, bound=bound)
    if bar:
        draw_bar_beside(axes, image, "weight", exponent=exponent)
    return exponent


def draw_losses(
    axes: Axes,
    losses: Sequence[np.ndarray],
    labels: Sequence[str],
    *,
    floor: float | None = None,
    unit: str = "mean squared error (intensity²)",
) -> None:
    """Draw loss curves on a log axis, and a line at the loss that rounding leaves, if known."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    several = len(losses) > 1
    for number, (curve, label) in enumerate(zip(losses, labels, strict=True)):
        axes.semilogy(
            np.arange(1, len(curve) + 1),
            curve,
            ("-", "--", ":")[number % 3],  # distinct in print without colours too
            marker="." if len(curve) <= 60 else None,
            color=(COLOUR_LINES if several else LINES)[number % 3],
            label=label if several else "learning",
        )
    if floor is not None:
        axes.axhline(floor, color="black", linewidth=1, label=f"8-bit rounding: {floor:.3g}")
    if floor is not None or len(losses) > 1:
        axes.legend(fontsize=SMALL, frameon=False)
    axes.set_xlabel("step", fontsize=SMALL + 1)
    axes.set_ylabel(unit, fontsize=SMALL + 1)
    axes.tick_params(labelsize=SMALL)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    low, high = axes.get_ylim()
    if high < 100 * low:  # a scale with few powers of ten needs other ticks too
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(True, which="major", alpha=0.3)
    axes.margins(x=0.03)
