"""Read the elements of an image that a tile needs, given by indices along each axis."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from jaxconv._core.geometry.extension import NONE

Read = Callable[[tuple[slice, ...]], np.ndarray]


def gather(read: Read, axes: Sequence[np.ndarray]) -> np.ndarray:
    """Read the elements at the given indices, each run of consecutive indices at once.

    `y[i, j, ...] = x[axes[0][i], axes[1][j], ...]`, 0 where an index is `NONE`

    Args:
        read: returns a box of x, given by slices of its spatial axes; x may have more axes.
        axes: one array of indices a spatial axis.

    Returns:
        As many elements along each spatial axis as it has indices, in x's dtype.

    Example:
        >>> x = np.arange(10, 20)
        >>> gather(lambda box: x[box], [np.array([9, 0, 1, -1])])
        array([19, 10, 11,  0])
    """
    size = tuple(len(axis) for axis in axes)
    if all((axis[0] >= 0) and (np.diff(axis) == 1).all() for axis in axes):
        return read(tuple(slice(int(axis[0]), int(axis[-1]) + 1) for axis in axes))
    needed = [np.unique(axis[axis != NONE]) for axis in axes]
    if not all(map(len, needed)):  # only padding
        sample = read((slice(0, 1),) * len(axes))
        return np.zeros((*size, *sample.shape[len(axes) :]), sample.dtype)
    block = None
    for runs in itertools.product(*map(_runs, needed)):
        piece = read(tuple(slice(first, last + 1) for first, last, _ in runs))
        if block is None:
            channels = piece.shape[len(axes) :]
            block = np.empty((*map(len, needed), *channels), piece.dtype)
        block[tuple(slice(at, at + last - first + 1) for first, last, at in runs)] = piece
    assert block is not None
    places = [np.searchsorted(own, axis) for own, axis in zip(needed, axes, strict=True)]
    result = block[np.ix_(*places)]
    for n, axis in enumerate(axes):
        result[(slice(None),) * n + (axis == NONE,)] = 0
    return result


def _runs(indices: np.ndarray) -> list[tuple[int, int, int]]:
    """The runs of consecutive integers in ascending indices: first, last, position of the first."""
    cuts = np.flatnonzero(np.diff(indices) > 1) + 1
    parts = np.split(indices, cuts)
    starts = [0, *map(int, cuts)]
    return [(int(p[0]), int(p[-1]), at) for p, at in zip(parts, starts, strict=True)]
