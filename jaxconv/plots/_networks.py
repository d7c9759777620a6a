"""Figures of a layer: its kernels, its feature maps, an image before and after it, its losses."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from jaxconv.plots._matplotlib import draw_panel, new_figure
from jaxconv.plots._runs import SIGNED, draw_image, draw_kernel, draw_losses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_PANELS = 64  # in one figure; more would be too small to see


def before_after(before: ArrayLike, kernel: ArrayLike, after: ArrayLike, *, title: str) -> "Figure":
    """Show an image, a kernel, and the image filtered with the kernel.

    `after = correlate(before, kernel)`

    Args:
        before: (H, W) or (H, W, 3), intensities.
        kernel: (h, w).
        after: (H', W'); if any value is negative, drawn in two colours about zero.
        title: of the figure.

    Returns:
        A Figure with three panels.

    Raises:
        ValueError: kernel or after is not 2-D, or before's shape is not that of an image.

    Example:
        >>> from jaxconv import plots
        >>> x = np.eye(4)
        >>> figure = plots.before_after(x, [[1, -1]], x[:, :-1] - x[:, 1:], title="edges")
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes if axes.get_title()]
        ['before', 'kernel', 'after']

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.2.3.
    """
    before, kernel, after = np.asarray(before), np.asarray(kernel), np.asarray(after)
    _check("before_after", "kernel", kernel, 2)
    _check("before_after", "after", after, 2)
    if before.ndim != 2 and before.shape[2:] != (3,):
        raise ValueError(f"before_after: before.shape={before.shape} must be (H, W) or (H, W, 3)")
    figure = new_figure("before_after", 12, 3.9, title=title)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 0.6, 1])
    draw_image(left, before, "before", limits=(float(before.min()), float(before.max())))
    draw_kernel(middle, kernel, "kernel", bound=_bound(kernel), inches=2.2)
    if after.min() < 0:
        bound = _bound(after)
        image = draw_panel(right, after, "after", cmap=SIGNED, vmin=-bound, vmax=bound)
        figure.colorbar(image, cax=right.inset_axes((1.03, 0, 0.05, 1)), label="intensity")
    else:
        draw_image(right, after, "after", limits=(float(after.min()), float(after.max())))
    return figure


def kernels(w: ArrayLike, *, title: str, labels: Sequence[str] | None = None) -> "Figure":
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
    side = min(2.2, 14 / columns)
    width, height = max(side * columns + 1, 6), max(side * rows * 1.15, 2) + 0.7
    figure = new_figure("kernels", width, height, title=title)
    panels = figure.subplots(rows, columns, squeeze=False)
    bound = _bound(w)
    for (i, o), axes in np.ndenumerate(panels):
        name = labels[int(o)] if rows == 1 else f"in {i}, {labels[int(o)]}"
        draw_kernel(axes, w[:, :, i, o], name, bound=bound, inches=0.75 * side)
    figure.colorbar(panels[0, 0].images[0], ax=panels, label="weight", shrink=0.8)
    return figure


def feature_maps(
    y: ArrayLike, *, title: str, labels: Sequence[str] | None = None, unit: str = "activation"
) -> "Figure":
    """Show the channels of a layer's output, each as an image.

    Args:
        y: (H, W, channels), at most 64 channels.
        title: of the figure.
        labels: one for each channel; the channels' numbers if None.
        unit: of the values.

    Returns:
        A Figure; all maps have one colour scale, about zero if any value is negative.

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
    columns = min(count, 4 if count <= 16 else 8)
    rows = math.ceil(count / columns)
    side = 12 / max(columns, 3)
    height = side * min(max(y.shape[0] / y.shape[1], 0.3), 2)
    figure = new_figure(
        "feature_maps", side * columns + 1, (height + 0.3) * rows + 0.6, title=title
    )
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[count:]:
        axes.set_axis_off()
    low, high, colours = float(y.min()), float(y.max()), "gray"
    if low < 0:
        low, high, colours = -_bound(y), _bound(y), SIGNED
    for channel, (axes, label) in enumerate(zip(panels.flat, labels, strict=False)):
        draw_panel(axes, y[..., channel], label, cmap=colours, vmin=low, vmax=high)
    figure.colorbar(panels[0, 0].images[0], ax=panels, label=unit, shrink=0.8)
    return figure


def losses(
    curves: Sequence[ArrayLike],
    labels: Sequence[str],
    *,
    title: str,
    unit: str = "summed squared error (intensity²)",
) -> "Figure":
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
    figure = new_figure("losses", 7, 4.2)
    axes = figure.subplots()
    draw_losses(axes, [np.asarray(curve) for curve in curves], labels)
    axes.set_title(title, fontsize=13)
    axes.set_ylabel(unit)
    return figure


def _labels(caller: str, labels: Sequence[str] | None, count: int, name: str) -> Sequence[str]:
    if labels is None:
        return [f"{name} {number}" for number in range(count)]
    if len(labels) != count:
        raise ValueError(f"{caller}: {len(labels)} labels for {count} channels")
    return labels


def _bound(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0)) or 1.0


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
