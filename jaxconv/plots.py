"""Pictures of what the package computes, as matplotlib Figures that no global state knows.

Colours are safe for colour-blind eyes: greys for images, purple to orange about zero for signed
values. Needs the `cli` extra.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SIGNED = "PuOr"
LINE, REFERENCE = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion
LARGEST_NUMBERED = 7  # a kernel with more cells a side is drawn without numbers


def draw_image(axes: Axes, pixels: np.ndarray, title: str, *, limits: tuple[float, float]) -> None:
    """Draw a grey (H, W) or colour (H, W, 3) image, limits shown as black and white."""
    low, high = limits
    if pixels.ndim == 3:
        pixels = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1)
        axes.imshow(pixels)
    else:
        axes.imshow(pixels, cmap="gray", vmin=low, vmax=high)
    axes.set_title(f"{title}\nblack {low:.3g}, white {high:.3g}", fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def draw_residual(axes: Axes, residual: np.ndarray, title: str) -> None:
    """Draw signed differences (H, W), or of colours (H, W, 3) the largest one at each pixel."""
    if residual.ndim == 3:
        largest = np.argmax(np.abs(residual), axis=-1, keepdims=True)
        residual = np.take_along_axis(residual, largest, axis=-1)[..., 0]
    bound = float(np.percentile(np.abs(residual), 99.9)) or 1e-12
    image = axes.imshow(residual, cmap=SIGNED, vmin=-bound, vmax=bound)
    axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="intensity")
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def draw_kernel(axes: Axes, kernel: np.ndarray, title: str, *, bound: float | None = None) -> None:
    """Draw a kernel (h, w) with its numbers in the cells where they fit."""
    bound = bound or float(np.abs(kernel).max()) or 1.0
    axes.imshow(kernel, cmap=SIGNED, vmin=-bound, vmax=bound)
    axes.set_title(title, fontsize=10)
    axes.set_xticks(range(kernel.shape[1]) if kernel.shape[1] <= LARGEST_NUMBERED else [])
    axes.set_yticks(range(kernel.shape[0]) if kernel.shape[0] <= LARGEST_NUMBERED else [])
    axes.tick_params(length=0, labelsize=8)
    if max(kernel.shape) > LARGEST_NUMBERED:
        return
    size = {1: 16, 2: 14, 3: 12, 4: 10, 5: 9}.get(max(kernel.shape), 7)
    for (row, column), value in np.ndenumerate(kernel):
        dark = abs(value) > 0.6 * bound
        axes.text(
            column,
            row,
            f"{value:.3f}",
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else "black",
        )


def draw_losses(
    axes: Axes, losses: Sequence[np.ndarray], labels: Sequence[str], *, floor: float | None = None
) -> None:
    """Draw loss curves on a log axis, and the level that rounding leaves if it is known."""
    styles = ("-", "--", ":")
    for number, (curve, label) in enumerate(zip(losses, labels, strict=True)):
        style = styles[number % 3]
        axes.semilogy(np.arange(1, len(curve) + 1), curve, style, color=LINE, label=label)
    if floor is not None:
        axes.axhline(floor, color=REFERENCE, linewidth=1, label=f"8-bit rounding: {floor:.1e}")
    if floor is not None or len(losses) > 1:
        axes.legend(fontsize=8, frameon=False)
    axes.set_title("loss", fontsize=10)
    axes.set_xlabel("step")
    axes.set_ylabel("mean squared error (intensity²)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(True, which="major", alpha=0.3)


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
) -> Figure:
    """Show one run of learning: before, after, prediction, residual, kernels, loss curves.

    `residual = prediction - after`

    Args:
        before: (H, W) or (H, W, 3), intensities.
        after: (H - h + 1, W - w + 1) or the same with 3 colours, intensities.
        prediction: as after.
        kernels: one (h, w) or one a colour.
        losses: one curve (steps,) a kernel, intensities squared.
        labels: one a kernel, such as its colour.
        title: above all.
        floor: the loss that rounding the images leaves, if known.

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
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes][:3]
        ['before', 'after', 'prediction']

    Source: colours of Okabe and Ito, Color Universal Design, 2008.
    """
    figure = Figure(figsize=(13, 8.4), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=13)
    grid = figure.add_gridspec(2, 3)
    limits = (float(after.min()), float(after.max()))
    draw_image(
        figure.add_subplot(grid[0, 0]),
        before,
        "before",
        limits=(float(before.min()), float(before.max())),
    )
    draw_image(figure.add_subplot(grid[0, 1]), after, "after", limits=limits)
    draw_image(figure.add_subplot(grid[0, 2]), prediction, "prediction", limits=limits)
    residual = prediction - after
    rms = float(np.sqrt(np.mean(np.square(residual))))
    draw_residual(
        figure.add_subplot(grid[1, 0]), residual, f"residual = prediction - after\nrms {rms:.3g}"
    )
    cells = grid[1, 1].subgridspec(len(kernels), 1)
    bound = max(float(np.abs(kernel).max()) for kernel in kernels)
    for row, (kernel, label) in enumerate(zip(kernels, labels, strict=True)):
        name = "learned kernel" if len(kernels) == 1 else f"learned kernel, {label}"
        draw_kernel(figure.add_subplot(cells[row, 0]), kernel, name, bound=bound)
    draw_losses(figure.add_subplot(grid[1, 2]), losses, labels, floor=floor)
    return figure
