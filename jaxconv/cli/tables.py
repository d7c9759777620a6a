"""Kernels in a terminal of 80 columns: tables of numbers, or pictures of characters."""

from collections.abc import Mapping

import numpy as np
from rich.console import Console

from jaxconv._core.number_text import common_format

COLUMNS = 80
LARGEST_TABLE = 9  # rows or columns of a kernel that is printed as numbers
LARGEST_PICTURE = 38  # cells of two characters in a row, beside a frame
BLOCKS, ASCII = "░▒▓█", ".:*#"  # shades of a quarter of the largest weight each


def fits_table(shape: tuple[int, ...]) -> bool:
    """Whether a kernel is small enough for a table of numbers."""
    return max(shape) <= LARGEST_TABLE


def print_kernels(
    console: Console, kernels: Mapping[str, np.ndarray], *, one_format: bool = True
) -> None:
    """Print kernels of one size, side by side as far as they fit.

    Up to 9x9 they are tables of numbers, larger ones pictures with a legend.

    Args:
        console: without a terminal whose encoding is UTF-8 pictures are of ASCII.
        kernels: (h, w), by name.
        one_format: whether all tables have the same number of decimals and power of ten.
    """
    shape = next(iter(kernels.values())).shape
    if fits_table(shape):
        together = np.stack([*kernels.values()])
        blocks = [
            table(kernel, name, together if one_format else kernel)
            for name, kernel in kernels.items()
        ]
        legend = []
    else:
        shades = ASCII if console.options.ascii_only else BLOCKS
        bound = max(float(np.abs(kernel).max()) for kernel in kernels.values())
        blocks = [picture(k, name, bound, shades) for name, k in kernels.items()]
        signed = any(float(kernel.min()) < -bound / 8 for kernel in kernels.values())
        legend = legend_of(bound, shades, signed=signed)
    for line in [*beside(blocks), *legend]:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def table(kernel: np.ndarray, name: str, together: np.ndarray) -> list[str]:
    """The lines of a table; `together` is all that its format is for."""
    number = common_format(together)
    width = max(len(number(value)) for value in together.flat)
    rows = [" ".join(f"{number(value):>{width}}" for value in row) for row in kernel]
    return _below(name + number.note, rows)


def picture(kernel: np.ndarray, name: str, bound: float, shades: str) -> list[str]:
    """The lines of a picture: two characters a weight, or for several the largest of them."""
    step = -(-max(kernel.shape) // LARGEST_PICTURE)
    # (h, w) -> (h / step, w / step, step * step), with zeros beyond the ends
    padded = np.pad(kernel, [(0, -n % step) for n in kernel.shape])
    h, w = (n // step for n in padded.shape)
    parts = padded.reshape(h, step, w, step).swapaxes(1, 2).reshape(h, w, -1)
    at = np.abs(parts).argmax(-1)[..., None]
    cells = np.take_along_axis(parts, at, -1)[..., 0]
    levels = np.rint(len(shades) * np.abs(cells) / (bound or 1.0)).astype(int)
    marks = [" ", *shades]
    inside = [
        "".join(
            ("-" if value < 0 and level else marks[level]) + marks[level]
            for value, level in zip(*row, strict=True)
        )
        for row in zip(cells, levels, strict=True)
    ]
    edge = f"+{'-' * (2 * w)}+"
    many = f", the largest of each {step}x{step} weights" if step > 1 else ""
    size = "x".join(map(str, kernel.shape))
    return _below(
        f"{name}, {size}{many}", [edge, *(f"|{row}|" for row in inside), edge], rule=False
    )


def legend_of(bound: float, shades: str, *, signed: bool) -> list[str]:
    """What the shades of a picture mean."""
    levels = [(n - 0.5) / len(shades) * bound for n in range(1, len(shades) + 1)]
    number = common_format([*levels, bound], digits=4)
    told = [f"{2 * shade} from {number(x)}" for shade, x in zip(shades, levels, strict=True)]
    lines = [f"  {', '.join(told)} to {number(bound)}{number.note}"]
    return lines + [f"  -{shades[-1]} is negative, and so are the others with a minus"] * signed


def beside(blocks: list[list[str]]) -> list[str]:
    """Join blocks of lines, as many beside each other as fit; an empty line after each row."""
    lines, row = [], []
    for block in [*blocks, None]:
        width = sum(len(b[0]) + 2 for b in row) + (len(block[0]) if block else COLUMNS + 1)
        if row and width > COLUMNS:
            joined = zip(*row, strict=True)
            lines += [*("  ".join(parts).rstrip() for parts in joined), ""]
            row = []
        row += [block] if block else []
    return lines


def _below(title: str, rows: list[str], *, rule: bool = True) -> list[str]:
    """A block of lines of one length, indented."""
    width = max(len(title), *map(len, rows))
    lines = [title, *(["-" * width] if rule else []), *rows]
    return [f"  {line:<{width}}" for line in lines]
