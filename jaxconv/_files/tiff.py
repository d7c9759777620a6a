"""Planes in TIFF: reads every encoding that tifffile decodes, writes uncompressed tiles.

In an uncompressed tiled TIFF the offset of every tile is fixed from the beginning, so that any box
can be written, and written again, without moving another; the size of a compressed tile is not
known before. `TiffFile.aszarr` would not bound memory: its chunk of an uncompressed image is a
strip, which may be the whole image; and it needs zarr-python.
"""

import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from jaxconv._files import rasters

TILE_EDGE = 256  # of the tiles in a target, in pixels
# A compressed piece is decoded whole; a larger one would break the bound on memory.
MAX_PIECE_BYTES = 256 * 2**20
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)


def misread(page: Any) -> str | None:
    """Return why tifffile would read wrong values of a page without an error, or None."""
    if page.compression == tifffile.COMPRESSION.LERC and np.dtype(page.dtype).kind == "f":
        # findings/tifffile_lerc_nan.sh
        return (
            "its floats are compressed as LERC, of which one NaN moves the other values of its "
            "tile; save it with zlib or uncompressed"
        )
    return None


class TiffSource:
    """The one image of a TIFF file, (H, W) or (H, W, channels)."""

    def __init__(self, path: Path) -> None:
        try:
            self._open(path)
        except (OSError, rasters.ImageError):
            raise
        except Exception as error:  # tifffile raises errors of many types for damaged tags
            raise rasters.ImageError(f"{path}: cannot be read as TIFF ({error})") from error
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()

    def _open(self, path: Path) -> None:
        # stays open: it reads the values of tags when they are asked for
        self._tiff = tifffile.TiffFile(path)
        count = len(self._tiff.pages)
        if count != 1:
            raise rasters.ImageError(f"{path}: holds {count} pages; expected one")
        page = self._tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        self._order: Any = self._tiff.byteorder
        if page.axes not in ("YX", "YXS"):
            raise rasters.ImageError(
                f"{path}: its axes are {page.axes}; expected YX or YXS (channels last)"
            )
        if page.photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB):
            raise rasters.ImageError(
                f"{path}: its colours are stored as "
                f"{tifffile.PHOTOMETRIC(page.photometric).name}; save it as grey or RGB"
            )
        turn = page.tags.get("Orientation")
        if turn is not None and turn.value != 1:
            raise rasters.ImageError(
                f"{path}: its tag Orientation={int(turn.value)} turns it; save it upright"
            )
        if any(extra in _ALPHA for extra in page.extrasamples):
            raise rasters.ImageError(f"{path}: has an alpha channel; save it without")
        self._path = path
        self._page: Any = page
        self.shape = tuple(page.shape)
        self.dtype = str(np.dtype(page.dtype).name)
        self.profile: bytes | None = page.iccprofile
        self.stamp = rasters.file_stamp(path)
        self._plain = page.is_memmappable
        piece = int(np.prod(page.chunks)) * np.dtype(page.dtype).itemsize
        if not self._plain and piece > MAX_PIECE_BYTES:
            raise rasters.ImageError(
                f"{path}: is compressed in pieces of {piece} bytes, of which each is decoded "
                f"whole; at most {MAX_PIECE_BYTES} are allowed: save it in tiles"
            )
        kind, predictor = page.compression, page.predictor
        if why := misread(page):
            raise rasters.ImageError(f"{path}: {why}")
        if kind not in tifffile.TIFF.DECOMPRESSORS or predictor not in tifffile.TIFF.UNPREDICTORS:
            raise rasters.ImageError(
                f"{path}: is compressed as {getattr(kind, 'name', kind)} (predictor "
                f"{int(predictor)}), which needs the package imagecodecs: install it, or save the "
                "image with zlib or uncompressed"
            )
        pieces = math.prod(-(-n // c) for n, c in zip(page.shape, page.chunks, strict=True))
        if min(len(page.dataoffsets), len(page.databytecounts)) < (1 if self._plain else pieces):
            raise ValueError("the offsets of some pieces are missing")
        page.decode  # noqa: B018 - a cached property, computed before threads use it

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box."""
        if self._plain:
            return self._rows(*box)
        (top, bottom), (left, right) = ((s.start, s.stop) for s in box)
        shape = (bottom - top, right - left, *self.shape[2:])
        result = np.full(shape, self._page.nodata, self.dtype)  # 0 without GDAL's tag
        high, wide = self._page.chunks[:2]
        across = -(-self.shape[1] // wide)
        for row in range(top // high, -(-bottom // high)):
            for column in range(left // wide, -(-right // wide)):
                number = row * across + column
                page = self._page
                data = self._bytes(page.dataoffsets[number], page.databytecounts[number])
                try:
                    segment, (_, _, y, x, _), (_, h, w, _) = page.decode(data or None, number)
                except Exception as error:  # every codec raises errors of its own
                    raise rasters.ImageError(
                        f"{self._path}: its piece {number} cannot be decoded ({error})"
                    ) from error
                if segment is None:  # not stored
                    continue
                own = segment[0, :h, :w].reshape(h, w, *self.shape[2:])
                y0, y1, x0, x1 = max(y, top), min(y + h, bottom), max(x, left), min(x + w, right)
                result[y0 - top : y1 - top, x0 - left : x1 - left] = own[
                    y0 - y : y1 - y, x0 - x : x1 - x
                ]
        return result

    def _rows(self, rows: slice, columns: slice) -> np.ndarray:
        """A box of an uncompressed image, whose rows follow one another in the file."""
        dtype = np.dtype(self.dtype).newbyteorder(self._order)
        pixel = dtype.itemsize * int(np.prod(self.shape[2:]))
        count = (columns.stop - columns.start) * pixel
        begin = self._page.dataoffsets[0] + columns.start * pixel
        pitch = self.shape[1] * pixel
        pieces = [self._bytes(begin + row * pitch, count) for row in range(rows.start, rows.stop)]
        values = np.frombuffer(b"".join(pieces), dtype)
        return values.reshape(len(pieces), -1, *self.shape[2:]).astype(self.dtype, copy=False)

    def _bytes(self, offset: int, count: int) -> bytes:
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(count)
        if len(data) < count:
            raise rasters.ImageError(
                f"{self._path}: is cut off, {count - len(data)} of the {count} bytes at {offset} "
                "are missing"
            )
        return data

    def __del__(self) -> None:
        for file in ("_file", "_tiff"):
            if hasattr(self, file):
                getattr(self, file).close()


class TiffTarget:
    """A tiled, uncompressed TIFF to write boxes to; BigTIFF above 4 GB."""

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: str, *, profile: bytes | None
    ) -> None:
        self._path = path
        if shape[2:] == (1,):  # one channel has no axis in TIFF; the bytes are the same
            shape = shape[:2]
        if not path.exists():
            with rasters.explained_write(path):
                _make(path, shape, dtype, profile)
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            plain = page.compression == tifffile.COMPRESSION.NONE and page.is_tiled
            if (tuple(page.shape), page.dtype, plain) != (shape, np.dtype(dtype), True):
                raise rasters.ImageError(f"{path}: is not the TIFF that this run began")
            self._offsets = tuple(page.dataoffsets)
            self._dtype = np.dtype(dtype).newbyteorder(file.byteorder)
        self._across = -(-shape[1] // TILE_EDGE)
        self._pixel = self._dtype.itemsize * int(np.prod(shape[2:]))
        self._file = path.open("r+b", buffering=0)
        self._lock = threading.Lock()

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a box, then flush it to the disk."""
        with rasters.explained_write(self._path):
            self._write(box, values)

    def _write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        (top, bottom), (left, right) = ((s.start, s.stop) for s in box)
        values = values.astype(self._dtype, copy=False)
        for y in range(top // TILE_EDGE * TILE_EDGE, bottom, TILE_EDGE):
            for x in range(left // TILE_EDGE * TILE_EDGE, right, TILE_EDGE):
                offset = self._offsets[y // TILE_EDGE * self._across + x // TILE_EDGE]
                y0, y1 = max(y, top), min(y + TILE_EDGE, bottom)
                x0, x1 = max(x, left), min(x + TILE_EDGE, right)
                piece = np.ascontiguousarray(values[y0 - top : y1 - top, x0 - left : x1 - left])
                whole = x1 - x0 == TILE_EDGE  # whole rows of the tile follow one another
                for row, part in enumerate([piece] if whole else piece, start=y0 - y):
                    self._put(offset + (row * TILE_EDGE + x0 - x) * self._pixel, part)
        os.fsync(self._file.fileno())

    def _put(self, offset: int, part: np.ndarray) -> None:
        data = memoryview(part.tobytes())
        with self._lock:
            self._file.seek(offset)
            while data:
                data = data[self._file.write(data) :]

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def _make(path: Path, shape: tuple[int, ...], dtype: str, profile: bytes | None) -> None:
    """Write a TIFF of zeros under another name, then rename it, so that it is never incomplete."""
    name = path.with_name(f".{path.name}.new.tif")
    try:
        tifffile.imwrite(
            name,
            shape=shape,
            dtype=dtype,
            tile=(TILE_EDGE, TILE_EDGE),
            photometric="rgb" if shape[2:] == (3,) else "minisblack",
            planarconfig="contig" if len(shape) == 3 else None,
            iccprofile=profile,
            metadata=None,
        )
        with name.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(name, path)
        rasters.sync_folder(path.parent)
    finally:
        name.unlink(missing_ok=True)
