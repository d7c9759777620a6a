"""Figures of a layer: its kernels, its feature maps, an image before and after it, its losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from jaxconv.plots._layout import Panels
from jaxconv.plots._panels import (
    SIGNED,
    colour_bound,
    draw_bar_beside,
    draw_image,
    draw_kernel,
    draw_losses,
    draw_panel,
    write_numbers,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_PANELS = 64  # in one figure; more would be too small to see
_WIDTH = 3.3  # inches of a panel
_LIMIT = 99.5  # percentile of the magnitudes at which the colours of feature maps end


def before_after(
    before: ArrayLike,
    kernel: ArrayLike,
    after: ArrayLike,
    *,
    title: str,
    unit: str = "intensity",
) -> Figure:
    """Show an image, a kernel, and the image filtered with the kernel.

    `after = correlate(before, kernel)`

    Args:
        before: (H, W) or (H, W, 3), intensities.
        kernel: (h, w).
        after: (H', W'); if any value is negative, drawn in two colours about zero.
        title: of the figure.
        unit: of after.

    Returns:
        A Figure with three panels.

    Raises:
        ValueError: kernel or after is not 2-D, or before's shape is not that of an image.

    Example:
        >>> from jaxconv import plots
        >>> x = np.eye(4)
        >>> figure = plots.before_after(x, [[1, -1]], x[:, :-1] - x[:, 1:], title="edges")
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes if axes.get_title()]
        ['before', 'kernel, 1x2', 'after']

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.2.3.
    """
    before, kernel, after = np.asarray(before), np.asarray(kernel), np.asarray(after)
    _check("before_after", "kernel", kernel, 2)
    _check("before_after", "after", after, 2)
    if before.ndim != 2 and before.shape[2:] != (3,):
        raise ValueError(f"before_after: before.shape={before.shape} must be (H, W) or (H, W, 3)")
    rows, columns = frame = before.shape[:2]
    height = _WIDTH * min(max(rows / columns, 0.5), 1.5)
    panels = Panels("before_after", 1, 3, title=title, width=_WIDTH, height=height)
    limits = float(before.min()), float(before.max())
    draw_image(panels.panel(0, 0), before, "before", limits=limits)
    size = "x".join(map(str, kernel.shape))
    bound, _ = colour_bound(kernel)
    draw_kernel(panels.panel(0, 1), kernel, f"kernel, {size}", bound=bound)
    axes = panels.panel(0, 2)
    if after.min() < 0:
        bound, _ = colour_bound(after)
        options = {"cmap": SIGNED, "vmin": -bound, "vmax": bound}
        image = draw_panel(axes, after, "after", frame=frame, **options)
        exponent = write_numbers(axes, after, bound=bound)
        draw_bar_beside(axes, image, unit, exponent=exponent)
    else:
        limits = float(after.min()), float(after.max())
        draw_image(axes, after, "after", limits=limits, frame=frame)
    return panels.figure


def kernels(w: ArrayLike, *, title: str, labels: Sequence[str] | None = None) -> Figure:
    """Show the kernels of a layer: a row for each input channel, a column for each output.

    Args:
        w: (h, w, in // groups, out), as `jaxconv.conv` takes it; at most 64 kernels.
        title: of the figure.
        labels: one for each output channel; the channels' numbers if None.

    Returns:
        A Figure; all kernels have one colour scale about zero, so that they can be compared.

    Raises:
        ValueError: w is not 4-D or has more than 64 kernels, or the number of labels differs from
            that of the output channels.

    Example:
        >>> from jaxconv import plots
        >>> len(plots.kernels(np.ones((3, 3, 2, 4)), title="a layer").axes)
        9

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.1.4.
    """
    w = np.asarray(w)
    _check("kernels", "w", w, 4)
    rows, columns = w.shape[2:]
    _check_count("kernels", "w", w, rows * columns, "w[..., :8]")
    labels = _labels("kernels", labels, columns, "out")
    side = min(2.2, 13 / columns)
    places: dict[str, Any] = {"width": side, "height": side, "gap": 0.2, "head": 0.35, "foot": 0.1}
    panels = Panels(
        "kernels", rows, columns, title=title, last=max(1.0, 6 - side * columns), **places
    )
    bound, _ = colour_bound(w)
    exponent = None
    for i, o in np.ndindex(rows, columns):
        name = labels[int(o)] if rows == 1 else f"in {i}, {labels[int(o)]}"
        own = draw_kernel(panels.panel(i, o), w[:, :, i, o], name, bound=bound, bar=False)
        exponent = own if exponent is None else exponent  # None for a kernel without numbers
    panels.colour_bar("weight", exponent=exponent)
    return panels.figure


def feature_maps(
    y: ArrayLike,
    *,
    title: str,
    labels: Sequence[str] | None = None,
    unit: str = "activation",
    image: ArrayLike | None = None,
) -> Figure:
    """Show the channels of a layer's output, each as an image.

    Args:
        y: (H, W, channels), at most 64 channels.
        title: of the figure.
        labels: one for each channel; the channels' numbers if None.
        unit: of the values.
        image: (H', W') or (H', W', 3), the layer's input, to be shown before them; none if None.

    Returns:
        A Figure; all maps have one colour scale. If any value is negative it is about zero, and
        ends at the 99.5th percentile of the magnitudes.

    Raises:
        ValueError: y is not 3-D or has more than 64 channels, or the number of labels differs from
            that of the channels.

    Example:
        >>> from jaxconv import plots
        >>> figure = plots.feature_maps(np.ones((5, 6, 3)), title="after ReLU")
        >>> [axes.get_title() for axes in figure.axes if axes.get_title()]
        ['channel 0', 'channel 1', 'channel 2']

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.2.6.
    """
    y = np.asarray(y)
    _check("feature_maps", "y", y, 3)
    count = y.shape[2]
    _check_count("feature_maps", "y", y, count, "y[..., :64]")
    labels = _labels("feature_maps", labels, count, "channel")
    first = 0 if image is None else 1
    columns = min(count + first, 4 if count <= 16 else 8)
    side = 12 / max(columns, 3) - 0.2
    frame = y.shape[:2] if image is None else np.shape(image)[:2]
    height = side * min(max(frame[0] / frame[1], 0.3), 2)
    places: dict[str, Any] = {
        "width": side,
        "height": height,
        "gap": 0.2,
        "head": 0.35 + 0.15 * first,
    }
    rows = math.ceil((count + first) / columns)
    panels = Panels("feature_maps", rows, columns, title=title, last=1.0, foot=0.3, **places)
    if image is not None:
        pixels = np.asarray(image)
        limits = float(pixels.min()), float(pixels.max())
        draw_image(panels.panel(0, 0), pixels, "input", limits=limits)
    low, high, colours, extend = float(y.min()), float(y.max()), "gray", "neither"
    if low < 0:
        high, extend = colour_bound(y, _LIMIT)
        low, colours = -high, SIGNED
    options = {"cmap": colours, "vmin": low, "vmax": high if high > low else low + 1}
    for number, label in enumerate(labels):
        axes = panels.panel(*divmod(number + first, columns))
        draw_panel(axes, y[..., number], label, frame=frame, **options)
    panels.colour_bar(unit, extend=extend)
    return panels.figure


def losses(
    curves: Sequence[ArrayLike],
    labels: Sequence[str],
    *,
    title: str,
    unit: str = "summed squared error (intensity²)",
) -> Figure:
    """Show loss curves on a log axis.

    Args:
        curves: (steps,) positive losses of each run; one to three runs.
        labels: one for each run.
        title: of the figure.
        unit: label of the axis: the loss and its unit.

    Returns:
        A Figure with one panel.

    Raises:
        ValueError: the numbers of labels and curves differ, or there are more than three.

    Example:
        >>> from jaxconv import plots
        >>> plots.losses([[3.0, 1.0, 0.5]], ["SGD"], title="loss").axes[0].get_yscale()
        'log'

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.2.4.
    """
    if len(labels) != len(curves) or not 1 <= len(curves) <= 3:
        raise ValueError(
            f"losses: {len(labels)} labels for {len(curves)} curves; give as many, one to three"
        )
    places: dict[str, Any] = {
        "width": 6.0,
        "height": 3.3,
        "left": 0.85,
        "last": 0.2,
        "head": 0.1,
        "foot": 0.5,
    }
    panels = Panels("losses", 1, 1, title=title, **places)
    draw_losses(panels.panel(0, 0), [np.asarray(curve) for curve in curves], labels, unit=unit)
    return panels.figure


def _labels(caller: str, labels: Sequence[str] | None, count: int, name: str) -> Sequence[str]:
    if labels is None:
        return [f"{name} {number}" for number in range(count)]
    if len(labels) != count:
        raise ValueError(f"{caller}: {len(labels)} labels for {count} channels")
    return labels


def _check(caller: str, name: str, array: np.ndarray, rank: int) -> None:
    if array.ndim != rank or 0 in array.shape:
        raise ValueError(
            f"{caller}: {name}.shape={array.shape} must have {rank} dimensions, none empty"
        )


def _check_count(caller: str, name: str, array: np.ndarray, count: int, fewer: str) -> None:
    if count > _MOST_PANELS:
        raise ValueError(
            f"{caller}: {name}.shape={array.shape} has {count} panels, more than the "
            f"{_MOST_PANELS} that can be seen; show some, such as {fewer}"
        )
