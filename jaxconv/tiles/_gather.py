"""Which elements of the image a tile of the result reads, and how they are put together.

Along one axis, outputs a to b - 1 read the positions `a stride - lo` to `(b - 1) stride - lo +
span - 1` of the extended image; `E(p)` of `extension` says which element a position p is.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

NONE = -1  # a position that reads zero
Read = Callable[[tuple[slice, ...]], np.ndarray]


def sources(start: int, stop: int, size: int, mode: str) -> np.ndarray:
    """Return the index that each position of an extended axis reads, -1 for zero.

    `[E(start), ..., E(stop - 1)]`

    Args:
        start: the first position; negative ones lie before the image.
        stop: the position after the last.
        size: elements of the image along the axis.
        mode: a padding mode of `jaxconv.conv`.

    Returns:
        (stop - start,) int64.

    Example:
        >>> for mode in ("zeros", "reflect", "symmetric", "replicate", "circular"):
        ...     print(f"{mode:10}", sources(-2, 6, 4, mode))
        zeros      [-1 -1  0  1  2  3 -1 -1]
        reflect    [2 1 0 1 2 3 2 1]
        symmetric  [1 0 0 1 2 3 3 2]
        replicate  [0 0 0 1 2 3 3 3]
        circular   [2 3 0 1 2 3 0 1]

    Source: the table of `extension`.
    """
    p = np.arange(start, stop)
    match mode:
        case "zeros":
            return np.where((p >= 0) & (p < size), p, NONE)
        case "replicate":
            return np.clip(p, 0, size - 1)
        case "circular":
            return p % size
        case "reflect":  # the widths are below the size, so that it folds once
            return np.where(p < 0, -p, np.where(p < size, p, 2 * (size - 1) - p))
        case _:
            return np.where(p < 0, -p - 1, np.where(p < size, p, 2 * size - 1 - p))


def gather(read: Read, axes: Sequence[np.ndarray]) -> np.ndarray:
    """Read the elements that the axes name, each run of neighbours in one piece.

    `y[i, j, ...] = x[axes[0][i], axes[1][j], ...]`, 0 where an index is -1

    Args:
        read: returns a box of x, given by slices of its spatial axes; it may have more axes.
        axes: one array of indices a spatial axis.

    Returns:
        As many elements along each spatial axis as it has indices, in x's dtype.

    Example:
        >>> x = np.arange(10, 20)
        >>> gather(lambda box: x[box], [np.array([9, 0, 1, -1])])
        array([19, 10, 11,  0])
    """
    whole = tuple(len(axis) for axis in axes)
    if all((axis[0] >= 0) and (np.diff(axis) == 1).all() for axis in axes):
        return read(tuple(slice(int(axis[0]), int(axis[-1]) + 1) for axis in axes))
    needed = [np.unique(axis[axis >= 0]) for axis in axes]
    if not all(map(len, needed)):  # nothing but padding
        sample = read((slice(0, 1),) * len(axes))
        return np.zeros((*whole, *sample.shape[len(axes) :]), sample.dtype)
    block = None
    for runs in itertools.product(*map(_runs, needed)):
        piece = read(tuple(slice(first, last + 1) for first, last, _ in runs))
        if block is None:
            trailing = piece.shape[len(axes) :]
            block = np.empty((*map(len, needed), *trailing), piece.dtype)
        block[tuple(slice(at, at + last - first + 1) for first, last, at in runs)] = piece
    assert block is not None
    places = [np.searchsorted(own, axis) for own, axis in zip(needed, axes, strict=True)]
    result = block[np.ix_(*places)]
    for n, axis in enumerate(axes):
        result[(slice(None),) * n + (axis < 0,)] = 0
    return result


def _runs(indices: np.ndarray) -> list[tuple[int, int, int]]:
    """The runs of neighbours in ascending indices: first, last, and where the run begins."""
    cuts = np.flatnonzero(np.diff(indices) > 1) + 1
    parts = np.split(indices, cuts)
    starts = [0, *map(int, cuts)]
    return [(int(p[0]), int(p[-1]), at) for p, at in zip(parts, starts, strict=True)]
