"""Images in TIFF to write boxes to: uncompressed tiles, which are compressed at the end.

In an uncompressed tiled TIFF the offset of every tile is fixed from the beginning, so that any box
can be written, and written again, without moving another; the size of a compressed tile is not
known before. For ImageJ, which reads no tiles, rows follow one another instead.
"""

import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from jaxconv._files import rasters
from jaxconv._files.tiff_tags import LARGEST_CLASSIC, TiffTags, kept_compression, write_options

TILE_EDGE = 256  # of the tiles in a target, in pixels


class TiffTarget:
    """A TIFF to write boxes to; BigTIFF above 4 GB.

    Its pages are those of the axes before Y and X; samples of a pixel are the last axis.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: str,
        *,
        axes: str = "",
        tags: TiffTags | None = None,
        alpha: bool = False,
        profile: bytes | None = None,
    ) -> None:
        """Open the file, or make it, of zeros.

        Args:
            path: of the file.
            shape: alpha included.
            dtype: by name.
            axes: its letters, S last for samples; "" for planes, or planes with samples.
            tags: of the source, where it was a TIFF.
            alpha: whether the last sample is alpha, where the source was no TIFF.
            profile: ICC.
        """
        axes = axes or ("YX" if len(shape) == 2 else "YXS")
        self._shape, self._path = shape, path
        if axes.endswith("S") and shape[-1] == 1:  # one sample has no axis in TIFF
            shape, axes = shape[:-1], axes[:-1]
        plane = 3 if axes.endswith("S") else 2
        stack, (self._high, self._wide) = shape[:-plane], shape[len(shape) - plane :][:2]
        samples = shape[-1] if plane == 3 else 1
        options = write_options(shape, axes, dtype, tags=tags, alpha=alpha, profile=profile)
        self._separate = options["planarconfig"] == "separate"
        self._compression = kept_compression(tags, dtype)
        self._tiled = not options.get("imagej") or bool(self._compression)
        # as the file has it: planes of samples before the pixels
        stored = (*stack, samples, *shape[-3:-1]) if self._separate else shape
        self._how = {**options, "shape": stored, "dtype": dtype}
        if self._tiled:
            self._how["tile"] = (TILE_EDGE, TILE_EDGE)
        if not path.exists():
            with rasters.explained_write(path):
                _make(path, **self._how)
        self._planes = math.prod(stack) * (samples if self._separate else 1)
        self._inner = 1 if self._separate else samples
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            none = page.compression == tifffile.COMPRESSION.NONE
            pages = math.prod(stack)
            expected = (self._high, self._wide), np.dtype(dtype), samples, pages
            found = page.shape[page.axes.index("Y") :][:2], page.dtype, page.samplesperpixel
            self._compressed = not none and bool(self._compression)
            right = (none and page.is_tiled == self._tiled) or self._compressed
            if (*found, len(file.pages)) != expected or not right:
                raise rasters.ImageError(f"{path}: is not the TIFF that this run began")
            self._dtype = np.dtype(dtype).newbyteorder(file.byteorder)
            offsets = [p.dataoffsets for p in file.pages]
        self._pixel = self._dtype.itemsize * self._inner
        across, down = -(-self._wide // TILE_EDGE), -(-self._high // TILE_EDGE)
        self._across = across
        # of the tiles of each plane, or of the one piece of its rows
        parts = samples if self._separate else 1
        size = across * down if self._tiled else 1
        self._offsets = [page[n * size : (n + 1) * size] for page in offsets for n in range(parts)]
        if not self._tiled and parts > 1:
            whole = self._high * self._wide * self._pixel
            self._offsets = [(page[0] + n * whole,) for page in offsets for n in range(parts)]
        self._file = path.open("r+b", buffering=0)
        self._lock = threading.Lock()

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a box, then flush it to the disk."""
        with rasters.explained_write(self._path):
            self._write(box, values)
            os.fsync(self._file.fileno())

    def _write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        full = rasters.bounds(box, self._shape)
        values = values.reshape([last - first for first, last in full])
        with_samples = len(full) - len(self._stack_shape) == 3
        if not with_samples:
            full, values = [*full, (0, 1)], values[..., None]
        *leading, rows, columns, _ = full
        for at in np.ndindex(values.shape[:-3]):
            place = tuple(n + first for n, (first, _) in zip(at, leading, strict=True))
            number = int(np.ravel_multi_index(place, self._stack_shape)) if place else 0
            plane = values[at].astype(self._dtype, copy=False)
            if not self._separate:
                self._write_plane(number, rows, columns, plane)
                continue
            for sample in range(plane.shape[-1]):
                part = plane[..., sample : sample + 1]
                self._write_plane(number * plane.shape[-1] + sample, rows, columns, part)

    @property
    def _stack_shape(self) -> tuple[int, ...]:
        stored, count = self._how["shape"], len(self._how["shape"])
        with_samples = self._how["planarconfig"] is not None
        return tuple(stored[: count - (3 if with_samples else 2)])

    def _write_plane(
        self, plane: int, rows: tuple[int, int], columns: tuple[int, int], values: np.ndarray
    ) -> None:
        (top, bottom), (left, right), offsets = rows, columns, self._offsets[plane]
        if not self._tiled:
            for row, part in enumerate(values, start=top):
                self._put(offsets[0] + (row * self._wide + left) * self._pixel, part)
            return
        for y in range(top // TILE_EDGE * TILE_EDGE, bottom, TILE_EDGE):
            for x in range(left // TILE_EDGE * TILE_EDGE, right, TILE_EDGE):
                offset = offsets[y // TILE_EDGE * self._across + x // TILE_EDGE]
                y0, y1 = max(y, top), min(y + TILE_EDGE, bottom)
                x0, x1 = max(x, left), min(x + TILE_EDGE, right)
                piece = np.ascontiguousarray(values[y0 - top : y1 - top, x0 - left : x1 - left])
                whole = x1 - x0 == TILE_EDGE  # whole rows of the tile follow one another
                for row, part in enumerate([piece] if whole else piece, start=y0 - y):
                    self._put(offset + (row * TILE_EDGE + x0 - x) * self._pixel, part)

    def _put(self, offset: int, part: np.ndarray) -> None:
        data = memoryview(part.tobytes())
        with self._lock:
            self._file.seek(offset)
            while data:
                data = data[self._file.write(data) :]

    def finish(self) -> None:
        """Compress the tiles, if the source's are, into a file that then takes this one's place."""
        if not self._compression or self._compressed:
            return
        with rasters.explained_write(self._path):
            size = math.prod(self._how["shape"]) * self._dtype.itemsize
            _make(
                self._path,
                data=self._tiles(),
                bigtiff=size >= LARGEST_CLASSIC and not self._how.get("imagej"),
                buffersize=2**25,
                **self._how,
                **self._compression,
            )
        self._compressed = True

    def _tiles(self) -> Iterator[np.ndarray]:
        """All tiles, in the order of the file."""
        shape = (TILE_EDGE, TILE_EDGE, *((self._inner,) if self._inner > 1 else ()))
        count = math.prod(shape) * self._dtype.itemsize
        for offsets in self._offsets:
            for offset in offsets:
                with self._lock:
                    self._file.seek(offset)
                    data = self._file.read(count)
                values = np.frombuffer(data, self._dtype).reshape(shape)
                yield values.astype(self._dtype.newbyteorder("="), copy=False)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def _make(path: Path, *, data: Any = None, **options: Any) -> None:
    """Write a TIFF under another name, then rename it, so that it is never incomplete."""
    name = path.with_name(f".{path.name}.new.tif")
    try:
        tifffile.imwrite(name, data, **options)
        with name.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(name, path)
        rasters.sync_folder(path.parent)
    finally:
        name.unlink(missing_ok=True)
