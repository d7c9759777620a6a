"""Figures of receptive fields, differences between arrays, and numbers of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from jaxconv._core.number_text import readable
from jaxconv.plots._layout import SMALL, Panels
from jaxconv.plots._panels import draw_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZES = "cividis"
_STAGES = {"dense": "#d55e00", "shared": "#0072b2", "local": "#009e73"}  # Okabe and Ito


def receptive_fields(
    theoretical: Sequence[ArrayLike],
    effective: Sequence[ArrayLike],
    *,
    labels: Sequence[str],
    title: str,
) -> Figure:
    r"""Show the inputs that an output depends on, and below them how strongly.

    Args:
        theoretical: a (H, W) boolean mask for each panel, such as `ReceptiveField.mask`.
        effective: a (H, W) array of magnitudes for each panel, such as `influence(...).magnitude`;
            drawn as a share of the largest.
        labels: one for each panel.
        title: of the figure.

    Returns:
        A Figure of two rows.

    Raises:
        ValueError: the numbers of arrays and labels differ, an array is not 2-D, or a mask and its
            magnitudes differ in shape.

    Example:
        >>> from jaxconv import plots
        >>> mask = np.eye(3, dtype=bool)
        >>> figure = plots.receptive_fields([mask], [2.0 * mask], labels=["a"], title="fields")
        >>> [axes.get_title() for axes in figure.axes if axes.get_title()]
        ['a\ncan see 3 of 9', '3 (100 % of it) above half the peak']

    Source:
        Luo, Li, Urtasun and Zemel (2016), "Understanding the Effective Receptive Field in Deep
        Convolutional Neural Networks".
    """
    masks = [np.asarray(mask, bool) for mask in theoretical]
    magnitudes = [np.asarray(magnitude, float) for magnitude in effective]
    if not len(masks) == len(magnitudes) == len(labels) > 0:
        raise ValueError(
            f"receptive_fields: {len(masks)} theoretical and {len(magnitudes)} effective fields "
            f"for {len(labels)} labels; give as many of each, at least one"
        )
    for mask, magnitude in zip(masks, magnitudes, strict=True):
        if mask.ndim != 2 or mask.shape != magnitude.shape:
            raise ValueError(
                f"receptive_fields: fields of shapes {mask.shape} and {magnitude.shape} must be "
                "2-D and of one shape; join channels by any(-1) and sum(-1)"
            )
    places: dict[str, Any] = {"width": 3.0, "height": 3.0, "gap": 0.25, "last": 1.0, "left": 0.5}
    panels = Panels("receptive_fields", 2, len(labels), title=title, **places)
    for column, (mask, magnitude, label) in enumerate(zip(masks, magnitudes, labels, strict=True)):
        upper, lower = (panels.panel(row, column) for row in range(2))
        name = f"{label}\ncan see {mask.sum():,} of {mask.size:,}"
        draw_panel(upper, mask, name, cmap="gray", vmin=0, vmax=1)
        share = magnitude / (magnitude.max() or 1.0)
        strong = int((share > 0.5).sum())
        of_field = 100 * strong / max(int(mask.sum()), 1)
        name = f"{strong:,} ({of_field:.0f} % of it) above half the peak"
        draw_panel(lower, share, name, cmap=_SIZES, vmin=0, vmax=1)
        if column == 0:
            upper.set_ylabel("theoretical: white is seen", fontsize=SMALL + 1)
            lower.set_ylabel("effective: gradient magnitude", fontsize=SMALL + 1)
    panels.colour_bar("share of the largest gradient", row=1)
    return panels.figure


def errors(
    maps: Sequence[ArrayLike], *, labels: Sequence[str], title: str, unit: str = "intensity"
) -> Figure:
    r"""Show where arrays differ, such as `equivariance_map` of several layers.

    Args:
        maps: a (H, W) array of absolute differences for each panel.
        labels: one for each panel.
        title: of the figure.
        unit: of the differences.

    Returns:
        A Figure of one row; all panels have one colour scale, which starts at zero.

    Raises:
        ValueError: the numbers of labels and maps differ, or a map is not 2-D.

    Example:
        >>> from jaxconv import plots
        >>> figure = plots.errors([np.zeros((2, 2))], labels=["circular"], title="shift by 1")
        >>> figure.axes[0].get_title()
        'circular\nzero everywhere'

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.1.1.
    """
    planes = [np.asarray(plane, float) for plane in maps]
    if len(planes) != len(labels) or not planes:
        raise ValueError(
            f"errors: {len(labels)} labels for {len(planes)} maps; give as many, at least one"
        )
    for plane in planes:
        if plane.ndim != 2:
            raise ValueError(f"errors: a map of shape {plane.shape} must be 2-D")
    rows, columns = planes[0].shape
    height = 3.3 * min(max(rows / columns, 0.5), 1.5)
    places: dict[str, Any] = {"width": 3.3, "height": height, "gap": 0.25, "last": 1.0}
    panels = Panels("errors", 1, len(planes), title=title, **places)
    largest = max(float(plane.max()) for plane in planes) or 1.0
    for column, (plane, label) in enumerate(zip(planes, labels, strict=True)):
        share = 100 * float((plane > 0).mean())
        note = f"not zero at {readable(share)} % of places" if share else "zero everywhere"
        shown = np.ma.masked_equal(plane, 0)  # left white
        axes = panels.panel(0, column)
        draw_panel(axes, shown, f"{label}\n{note}", cmap=_SIZES, vmin=0, vmax=largest)
    panels.colour_bar(f"difference ({unit}), zero in white")
    return panels.figure


def parameter_counts(
    counts: Sequence[tuple[int, int, int]], *, labels: Sequence[str], title: str
) -> Figure:
    """Show the number of weights of a dense, a shared and a local layer, on a log axis.

    Args:
        counts: a `jaxconv.analysis.ParameterCounts` for each image size.
        labels: one for each image size.
        title: of the figure.

    Returns:
        A Figure with three bars for each image size, and each bar's number above it.

    Raises:
        ValueError: the numbers of labels and counts differ.

    Example:
        >>> from jaxconv import plots
        >>> from jaxconv.analysis import parameter_counts
        >>> counts = [parameter_counts((8, 8), 1)]
        >>> figure = plots.parameter_counts(counts, labels=["digit"], title="weights")
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['4,096', '225', '9']

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.1.2.
    """
    if len(labels) != len(counts) or not counts:
        raise ValueError(
            f"parameter_counts: {len(labels)} labels for {len(counts)} counts; give as many, at "
            "least one"
        )
    places: dict[str, Any] = {"left": 0.85, "last": 0.2, "head": 0.1, "foot": 0.5}
    width = max(2.9 * len(counts), 4)
    panels = Panels("parameter_counts", 1, 1, title=title, width=width, height=3.7, **places)
    axes = panels.panel(0, 0)
    for place, (stage, colour) in enumerate(_STAGES.items()):
        heights = [count[place] for count in counts]
        bars = axes.bar(
            np.arange(len(counts)) + (place - 1) * 0.28, heights, 0.26, color=colour, label=stage
        )
        axes.bar_label(bars, labels=[_short(height) for height in heights], fontsize=8, padding=2)
    axes.set_yscale("log")
    axes.set_ylim(0.8, 30 * max(count[0] for count in counts))
    axes.set_xticks(range(len(counts)), labels)
    axes.set_ylabel("weights (number, log scale)", fontsize=SMALL + 1)
    axes.tick_params(labelsize=SMALL + 1)
    axes.legend(frameon=False, ncols=3, loc="upper left", fontsize=SMALL + 1)
    return panels.figure


def _short(number: int) -> str:
    if number < 10**6:
        return f"{number:,}"
    mantissa, _, exponent = f"{number:.2e}".partition("e")
    return rf"${mantissa}\times10^{{{int(exponent)}}}$"
