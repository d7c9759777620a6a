"""What `jaxconv restore` restores at once: windows of one plane or volume, in float32."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv import plots
from jaxconv._files.axes import Layout
from jaxconv._files.rasters import Source

LARGEST_DRAWN = 1024  # rows and columns of a figure, from the middle of larger images


class View:
    """One plane or volume of an image as (*space, channels), read and written in boxes."""

    def __init__(self, source: Source, parts: Layout, at: tuple[int, ...]) -> None:
        self._source, self._parts, self._at = source, parts, at
        self.target: Any = None
        _, space, channels = parts.sizes(source.shape)
        self.shape = (*space, channels)
        self.clipped = 0

    def window(self, tile: tuple[int, ...], margin: tuple[int, ...]) -> tuple[slice, ...]:
        """The middle one of the windows that are restored at once."""
        space = self.shape[:-1]
        sizes = [min(n, t + 2 * m) for n, t, m in zip(space, tile, margin, strict=True)]
        starts = [(n - w) // 2 for n, w in zip(space, sizes, strict=True)]
        return tuple(slice(at, at + w) for at, w in zip(starts, sizes, strict=True))

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        """Values in float32."""
        stored = self._source.read(self._parts.box(self._at, box[: len(self.shape) - 1]))
        values = self._parts.inward(stored).astype(np.float32)
        broken = values.size - np.isfinite(values).sum()
        if broken:
            raise ValueError(
                f"source: {broken} of {values.size} values are NaN or infinite; fill them first: "
                "a restoration spreads them over all of the image"
            )
        return values

    def __setitem__(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Values are rounded to the image's type; those beyond it are clipped, and counted."""
        dtype = np.dtype(self._source.dtype)
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            rounded = np.rint(values.astype(np.float64))
            self.clipped += int(np.sum((rounded < limits.min) | (rounded > limits.max)))
            values = np.clip(rounded, limits.min, limits.max)
        outward = self._parts.outward(values.astype(dtype))
        self.target.write(self._parts.box(self._at, box[: len(self.shape) - 1]), outward)


def draw(
    before: np.ndarray,
    after: np.ndarray,
    residual: np.ndarray,
    *,
    kernels: Sequence[np.ndarray],
    title: str,
    dtype: str,
) -> Callable[[Path], object]:
    """Return a function that draws the middle of an image, of a volume its middle plane.

    Args:
        before: (*space, channels), like the next two.
        after: restored.
        residual: what is left over.
        kernels: (*kernel), one for each channel.
        title: of the figure.
        dtype: of the file; a restored value beyond its range is drawn as the file has it.
    """
    unit = "value" if dtype.startswith("float") else "level"
    if unit == "level":
        after = np.clip(after, np.iinfo(dtype).min, np.iinfo(dtype).max)
    middle = [slice(n // 2, n // 2 + 1) for n in before.shape[:-3]]
    for n in before.shape[-3:-1]:
        drawn = min(n, LARGEST_DRAWN)
        middle.append(slice((n - drawn) // 2, (n - drawn) // 2 + drawn))
    planes = []
    for values in (before, after, residual):
        plane = values[tuple(middle)]
        plane = plane.reshape(*plane.shape[-3:])
        planes.append(plane if plane.shape[-1] == 3 else plane[..., 0])
    # of volumes the middle plane; one kernel if all are the same, or the colours not drawn
    blurs = [k.reshape(-1, *k.shape[-2:])[math.prod(k.shape[:-2]) // 2] for k in kernels]
    if planes[0].ndim == 2 or all(np.array_equal(blur, blurs[0]) for blur in blurs):
        blurs = blurs[:1]
    return plots.restoration(*planes, kernels=blurs, title=title, unit=unit).savefig
