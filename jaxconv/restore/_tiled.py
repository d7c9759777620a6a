"""Restoration of images larger than memory: `restore_tiled`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxconv._core.geometry.messages import shown


def restore_tiled(
    source: Any,
    target: Any,
    function: Callable[[np.ndarray], Any],
    *,
    tile: int | Sequence[int],
    margin: int | Sequence[int],
    on_tile: Callable[[int, int], None] | None = None,
) -> None:
    """Restore an image tile by tile.

    `target[tile] = function(source[tile and its margin])[tile]`, where windows that would reach
    over an end are moved inside, so that all have one shape and `function` is compiled once

    A restored element depends on all of the image, but little on what is many kernels away: the
    result differs from that of the whole image by what lies beyond the margin. Give the function a
    balance that is the same for all tiles.

    Args:
        source: what has a `shape` and gives NumPy arrays for slices: an array, a memory map, a zarr
            or HDF5 array.
        target: what takes arrays for slices, of source's shape; not source itself.
        function: from an array to one of its shape, such as
            `lambda y: restore.tikhonov(y, k, balance=0.01).image`.
        tile: elements along each axis that are restored at once, or one number for all.
        margin: elements around a tile that are looked at as well, likewise; some three times the
            kernel's size.
        on_tile: called with the number of tiles done and of all.

    Raises:
        ValueError: a tile below 1, a margin below 0, as many of them as axes not given, or another
            shape from `function`.

    Example:
        >>> import numpy as np
        >>> from jaxconv import restore
        >>> y, k = np.eye(64, 96, dtype=np.float32), np.full((3, 3), 1 / 9, np.float32)
        >>> way = lambda y: restore.tikhonov(y, k, balance=0.1).image
        >>> tiled = np.zeros_like(y)
        >>> restore.restore_tiled(y, tiled, way, tile=32, margin=16)
        >>> bool(np.abs(tiled - way(y)).max() < 1e-3)
        True

    Source: the overlap-save method; T. G. Stockham, "High-speed convolution and correlation", AFIPS
    Spring Joint Computer Conference, 1966.
    """
    shape = tuple(source.shape)
    tiles, margins = _per_axis("tile", tile, shape, 1), _per_axis("margin", margin, shape, 0)
    windows = [min(n, t + 2 * m) for n, t, m in zip(shape, tiles, margins, strict=True)]
    firsts = [range(0, n, t) for n, t in zip(shape, tiles, strict=True)]
    count = int(np.prod([len(first) for first in firsts]))
    for done, corner in enumerate(itertools.product(*firsts), start=1):
        box, window, inner = [], [], []
        for at, n, t, m, w in zip(corner, shape, tiles, margins, windows, strict=True):
            end, begin = min(at + t, n), min(max(at - m, 0), n - w)
            box.append(slice(at, end))
            window.append(slice(begin, begin + w))
            inner.append(slice(at - begin, end - begin))
        restored = np.asarray(function(np.asarray(source[tuple(window)])))
        if restored.shape != tuple(windows):
            raise ValueError(
                f"restore_tiled: function made {restored.shape} of a window of {tuple(windows)}; "
                "it must keep the shape"
            )
        target[tuple(box)] = restored[tuple(inner)]
        if on_tile is not None:
            on_tile(done, count)


def _per_axis(name: str, value: Any, shape: Sequence[int], least: int) -> tuple[int, ...]:
    found = (value,) * len(shape) if np.ndim(value) == 0 else tuple(value)
    if len(found) != len(shape) or any(int(v) != v or v < least for v in found):
        raise ValueError(
            f"restore_tiled: {name}={shown(value)} must be an integer of {least} or more, or one "
            f"for each axis of the image, {tuple(shape)}"
        )
    return tuple(map(int, found))
