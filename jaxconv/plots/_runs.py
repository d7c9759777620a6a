"""The figure of a run of learning, and the panels that it shares with other figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxconv.plots._matplotlib import draw_panel, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNED = "PuOr"
# Okabe and Ito's vermilion, bluish green and blue, for the curves of red, green and blue
LINES = ("#0072b2",)
COLOUR_LINES = ("#d55e00", "#009e73", "#0072b2")
SMALLEST_CELL = 0.28  # inches; numbers in smaller cells cannot be read


def draw_image(
    axes: "Axes", pixels: np.ndarray, title: str, *, limits: tuple[float, float]
) -> None:
    """Draw a grey (H, W) or colour (H, W, 3) image; limits are drawn as black and as white."""
    low, high = limits
    if pixels.ndim == 3:
        pixels = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1)
    title = f"{title}\nblack {low:.3g}, white {high:.3g}"
    draw_panel(axes, pixels, title, cmap="gray", vmin=low, vmax=high)  # ignored for colours


def draw_residual(
    axes: "Axes", residual: np.ndarray, title: str, *, unit: str = "intensity"
) -> None:
    """Draw signed differences (H, W), of (H, W, 3) the largest of the colours at each pixel."""
    if residual.ndim == 3:
        largest = np.argmax(np.abs(residual), axis=-1, keepdims=True)
        residual = np.take_along_axis(residual, largest, axis=-1)[..., 0]
    bound = float(np.percentile(np.abs(residual), 99.9)) or 1e-12
    image = draw_panel(axes, residual, title, cmap=SIGNED, vmin=-bound, vmax=bound)
    # an inset is as high as the image, whatever the image's shape
    axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.05, 1)), label=unit)


def draw_kernel(
    axes: "Axes", kernel: np.ndarray, title: str, *, bound: float, inches: float = 3.5
) -> None:
    """Draw a kernel (h, w) in a square with sides of `inches`, with its numbers if they fit."""
    draw_panel(axes, kernel, title, cmap=SIGNED, vmin=-bound, vmax=bound)
    cell = inches / max(kernel.shape)
    if cell < SMALLEST_CELL:
        return
    # 72 points an inch; six characters and a gap, each 0.6 of the font size wide, fill the cell
    size = min(16.0, 72 * cell / (7 * 0.6))
    for (row, column), value in np.ndenumerate(kernel):
        axes.text(
            column,
            row,
            _number(value),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if abs(value) > 0.6 * bound else "black",
        )


def in_font(text: str) -> str:
    """Escape the characters of a file name that the figures' font lacks, as in u65e5."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = get_font(findfont(FontProperties())).get_charmap()
    return "".join(
        c if c.isprintable() and ord(c) in glyphs else c.encode("unicode_escape").decode()
        for c in text
    )


def _number(value: float) -> str:
    # six characters at most up to +-99; no minus before what rounds to zero
    decimals = 3 if abs(value) < 9.9995 else 2
    text = f"{value:.{decimals}f}" if abs(value) < 100 else f"{value:.3g}"
    return text.removeprefix("-") if float(text) == 0 else text


def draw_losses(
    axes: "Axes", losses: Sequence[np.ndarray], labels: Sequence[str], *, floor: float | None = None
) -> None:
    """Draw loss curves on a log axis, and a line at the loss that rounding leaves, if known."""
    from matplotlib.ticker import MaxNLocator

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
        axes.axhline(floor, color="black", linewidth=1, label=f"8-bit rounding: {floor:.1e}")
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
    used: np.ndarray | None = None,
) -> "Figure":
    """Show one run of learning: before, after, prediction, residual, kernels, loss curves.

    `residual = prediction - after`

    Args:
        before: (H, W) or (H, W, 3), intensities.
        after: (H - h + 1, W - w + 1) or the same with 3 colours, intensities.
        prediction: of after's shape.
        kernels: one (h, w), or one for each colour.
        losses: (steps,) for each kernel, in squared intensities.
        labels: one for each kernel, such as its colour.
        title: of the figure.
        floor: the loss that rounding the images leaves, if known.
        used: of after's shape, False where it was left out; the residual is 0 there. All if None.

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
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes if axes.get_title()]
        ['before', 'after', 'prediction', 'residual = prediction - after', 'learned kernel', 'loss']

    Source: colours of Okabe and Ito, Color Universal Design, 2008.
    """
    figure = new_figure("learning", 13, 8.4)
    figure.suptitle(in_font(title), fontsize=13, parse_math=False)
    # Rows of three pictures; several kernels share the middle of the second row
    grid = figure.add_gridspec(2, 1)
    upper = grid[0].subgridspec(1, 3)
    widths = [1.0, 1.0, 1.0] if len(kernels) == 1 else [0.85, 1.6, 0.85]
    lower = grid[1].subgridspec(1, 3, width_ratios=widths)
    limits = (float(after.min()), float(after.max()))
    draw_image(
        figure.add_subplot(upper[0]),
        before,
        "before",
        limits=(float(before.min()), float(before.max())),
    )
    draw_image(figure.add_subplot(upper[1]), after, "after", limits=limits)
    draw_image(figure.add_subplot(upper[2]), prediction, "prediction", limits=limits)
    counted = np.ones(after.shape, bool) if used is None else used
    residual = np.where(counted, prediction - after, 0)
    rms = float(np.sqrt(np.mean(np.square(residual), where=counted)))
    draw_residual(
        figure.add_subplot(lower[0]), residual, f"residual = prediction - after\nrms {rms:.3g}"
    )
    cells = lower[1].subgridspec(1, len(kernels))
    bound = max(float(np.abs(kernel).max()) for kernel in kernels) or 1.0
    inches = 3.5 if len(kernels) == 1 else 1.8
    for cell, kernel, label in zip(cells, kernels, labels, strict=True):  # pyright: ignore
        name = "learned kernel" if len(kernels) == 1 else f"learned, {label}"
        draw_kernel(figure.add_subplot(cell), kernel, name, bound=bound, inches=inches)
    draw_losses(figure.add_subplot(lower[2]), losses, labels, floor=floor)
    return figure
