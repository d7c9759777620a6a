"""Figures whose panels have one size, in inches, and stand in rows and columns.

matplotlib is imported on first use: `jaxconv.plots` loads without it.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv._core.extras import needed_by
from jaxconv._core.number_text import common_format

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

TITLE, NAME, SMALL = 13.0, 10.0, 8.0  # font sizes: figure, panel, ticks and notes
WIDTH = 0.6  # of a character, as a part of the font size
BAR = 0.95  # inches beside a panel, for a colour bar with its ticks and its label


class Panels:
    """A Figure, and the places of its panels.

    Lengths are in inches. A panel has its name above it (`head`), its ticks or scale below it
    (`foot`), and its colour bar or ticks on its right (`gap`, `last` for the last column).
    """

    def __init__(
        self,
        caller: str,
        rows: int,
        columns: int,
        *,
        title: str,
        width: float,
        height: float,
        gap: float = BAR,
        last: float = BAR,
        left: float = 0.3,
        head: float = 0.5,
        foot: float = 0.45,
        parse_math: bool = True,
    ) -> None:
        """Make the Figure.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        with needed_by(f"jaxconv.plots.{caller}"):
            from matplotlib.figure import Figure
        self._rows, self._left, self._gap, self._foot = rows, left, gap, foot
        self._width, self._height, self._row = width, height, head + height + foot
        self._panels_width = columns * width + (columns - 1) * gap
        self._sizes = left + self._panels_width + last, 0.45 + rows * self._row
        self.figure = Figure(figsize=self._sizes, dpi=120)
        self.figure.suptitle(
            title,
            y=1 - 0.3 / self._sizes[1],
            va="center",
            fontsize=fitting(title, self._sizes[0] - 0.2, TITLE),
            parse_math=parse_math,
        )

    def panel(self, row: int, column: int, *, columns: int = 1) -> "Axes":
        """New axes, one column wide, or several with the gaps between them."""
        x = self._left + column * (self._width + self._gap)
        width = columns * self._width + (columns - 1) * self._gap
        return self._axes(x, self._bottom_of(row), width, self._height)

    def colour_bar(self, label: str, *, row: int | None = None, **options: Any) -> None:
        """One colour bar on the right of all panels, or of a row, with the last panel's colours.

        The options are those of `draw_colour_bar`.
        """
        image = self.figure.axes[-1].images[0]
        x = self._left + self._panels_width + 0.15
        first, last = (0, self._rows - 1) if row is None else (row, row)
        height = (last - first) * self._row + self._height
        bar = self._axes(x, self._bottom_of(last), 0.16, height)
        draw_colour_bar(bar, image, label, **options)

    def _bottom_of(self, row: int) -> float:
        return self._foot + (self._rows - 1 - row) * self._row

    def _axes(self, x: float, y: float, width: float, height: float) -> "Axes":
        w, h = self._sizes
        return self.figure.add_axes((x / w, y / h, width / w, height / h))


def fitting(text: str, inches: float, size: float) -> float:
    """The font size, `size` at most, at which the longest line of a text is this wide at most."""
    longest = max(map(len, text.split("\n")))
    return max(5.0, min(size, 72 * inches / (WIDTH * max(longest, 1))))


def inches(axes: "Axes") -> tuple[float, float]:
    """Width and height of a panel."""
    scale = axes.get_figure(root=True).dpi  # pyright: ignore[reportOptionalMemberAccess]
    return axes.bbox.width / scale, axes.bbox.height / scale


def name_panel(axes: "Axes", name: str, *, above: float = 1.0) -> None:
    """Write a panel's name above a part of its height, small enough to stay clear of the next."""
    axes.set_title(name, fontsize=fitting(name, inches(axes)[0] + 0.1, NAME), y=above)


def draw_colour_bar(
    axes: "Axes",
    image: "AxesImage",
    label: str,
    *,
    extend: str = "neither",
    exponent: int | None = None,
) -> None:
    """Draw an image's colour bar into axes: two to eight ticks, and a label with their unit.

    Args:
        axes: to fill.
        image: whose colours these are.
        label: what the values are.
        extend: "both" or "max" where values lie beyond the colours, which arrowheads show.
        exponent: of the power of ten in which the panel writes its numbers; None for the ticks'.
    """
    from matplotlib.ticker import MaxNLocator

    low, high = image.get_clim()
    bar = image.figure.colorbar(image, cax=axes, extend=extend)  # pyright: ignore
    count = min(max(int(inches(axes)[1] / 0.35), 2), 8)
    locator = MaxNLocator(count, steps=[1, 2, 5, 10])
    near = 1e-3 * (high - low)  # a learned 1.9999 has a tick at 2
    ticks = [t for t in locator.tick_values(low, high) if low - near <= t <= high + near]
    number = common_format(ticks, exponent=exponent)
    bar.set_ticks(np.clip(ticks, low, high).tolist(), labels=[number(tick) for tick in ticks])
    axes.tick_params(labelsize=SMALL)
    axes.set_ylabel(f"{label}{number.note}", fontsize=SMALL + 1)
