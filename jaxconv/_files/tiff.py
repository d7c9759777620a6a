"""Planes in TIFF, by tifffile: any kind it decodes to read, tiled and uncompressed to write.

In an uncompressed tiled TIFF every tile has its place from the beginning, so that any box can be
written, and written again, without moving another; compressed tiles have no such place.
"""

import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from jaxconv._files import rasters

EDGE = 256  # of the tiles in a target
# A compressed piece is decoded whole; one above this would break the bound on memory.
MOST = 256 * 2**20
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)


class TiffSource:
    """The one image of a TIFF file, (H, W) or (H, W, channels)."""

    def __init__(self, path: Path) -> None:
        try:
            self._look(path)
        except OSError:
            raise
        except Exception as error:  # tifffile has none of its own for tags that make no sense
            if str(error).startswith("apply_tiled: "):
                raise
            raise ValueError(f"apply_tiled: {path}: cannot be read as TIFF ({error})") from error
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()

    def _look(self, path: Path) -> None:
        # open as long as this lives: it reads what its tags say when it is asked
        self._tiff = tifffile.TiffFile(path)
        count = len(self._tiff.pages)
        if count != 1:
            raise ValueError(f"apply_tiled: {path}: holds {count} pages; expected one")
        page = self._tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        self._order: Any = self._tiff.byteorder
        if page.axes not in ("YX", "YXS"):
            raise ValueError(
                f"apply_tiled: {path}: its axes are {page.axes}; expected YX or YXS (channels last)"
            )
        if page.photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB):
            raise ValueError(
                f"apply_tiled: {path}: its colours are stored as "
                f"{tifffile.PHOTOMETRIC(page.photometric).name}; save it as grey or RGB"
            )
        turn = page.tags.get("Orientation")
        if turn is not None and turn.value != 1:
            raise ValueError(
                f"apply_tiled: {path}: its tag Orientation={int(turn.value)} turns it; save it "
                "upright"
            )
        if any(extra in _ALPHA for extra in page.extrasamples):
            raise ValueError(f"apply_tiled: {path}: has alpha, which is no colour; save it without")
        self._path = path
        self._page: Any = page
        self.shape = tuple(page.shape)
        self.dtype = str(np.dtype(page.dtype).name)
        self.profile: bytes | None = page.iccprofile
        status = path.stat()
        self.stamp = rasters.stamp_of(status.st_size, status.st_mtime_ns)
        self._plain = page.is_memmappable
        piece = int(np.prod(page.chunks)) * np.dtype(page.dtype).itemsize
        if not self._plain and piece > MOST:
            raise ValueError(
                f"apply_tiled: {path}: is compressed in pieces of {piece} bytes, which are decoded "
                f"whole; at most {MOST} here: save it in tiles"
            )
        kind, predictor = page.compression, page.predictor
        if kind not in tifffile.TIFF.DECOMPRESSORS or predictor not in tifffile.TIFF.UNPREDICTORS:
            raise ValueError(
                f"apply_tiled: {path}: is compressed as {getattr(kind, 'name', kind)} (predictor "
                f"{int(predictor)}), which the package imagecodecs may decode: install it, or save "
                "the image with zlib or uncompressed"
            )
        pieces = math.prod(-(-n // c) for n, c in zip(page.shape, page.chunks, strict=True))
        if min(len(page.dataoffsets), len(page.databytecounts)) < (1 if self._plain else pieces):
            raise ValueError("not all pieces have a place")
        page.decode  # noqa: B018 - made once, before threads ask for it

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box."""
        if self._plain:
            return self._rows(*box)
        (top, bottom), (left, right) = ((s.start, s.stop) for s in box)
        result = np.zeros((bottom - top, right - left, *self.shape[2:]), self.dtype)
        high, wide = self._page.chunks[:2]
        across = -(-self.shape[1] // wide)
        for row in range(top // high, -(-bottom // high)):
            for column in range(left // wide, -(-right // wide)):
                number = row * across + column
                page = self._page
                data = self._bytes(page.dataoffsets[number], page.databytecounts[number])
                try:
                    segment, (_, _, y, x, _), (_, h, w, _) = page.decode(data or None, number)
                except Exception as error:  # every codec has errors of its own
                    raise ValueError(
                        f"apply_tiled: {self._path}: its piece {number} cannot be decoded ({error})"
                    ) from error
                if segment is None:  # left out of the file: zeros
                    continue
                own = segment[0, :h, :w].reshape(h, w, *self.shape[2:])
                y0, y1, x0, x1 = max(y, top), min(y + h, bottom), max(x, left), min(x + w, right)
                result[y0 - top : y1 - top, x0 - left : x1 - left] = own[
                    y0 - y : y1 - y, x0 - x : x1 - x
                ]
        return result

    def _rows(self, rows: slice, columns: slice) -> np.ndarray:
        """A box of a plain image, row after row in the file."""
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
            raise ValueError(
                f"apply_tiled: {self._path}: is cut off, {count - len(data)} of the {count} bytes "
                f"at {offset} are missing"
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
        if shape[2:] == (1,):  # TIFF has no axis for one channel; the bytes are the same
            shape = shape[:2]
        if not path.exists():
            with rasters.telling(path):
                _make(path, shape, dtype, profile)
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            plain = page.compression == tifffile.COMPRESSION.NONE and page.is_tiled
            if (tuple(page.shape), page.dtype, plain) != (shape, np.dtype(dtype), True):
                raise ValueError(f"apply_tiled: {path}: is not the TIFF that this run began")
            self._offsets = tuple(page.dataoffsets)
            self._dtype = np.dtype(dtype).newbyteorder(file.byteorder)
        self._across = -(-shape[1] // EDGE)
        self._pixel = self._dtype.itemsize * int(np.prod(shape[2:]))
        self._file = path.open("r+b", buffering=0)
        self._lock = threading.Lock()

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a box, then flush it to the disk."""
        with rasters.telling(self._path):
            self._write(box, values)

    def _write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        (top, bottom), (left, right) = ((s.start, s.stop) for s in box)
        values = values.astype(self._dtype, copy=False)
        for y in range(top // EDGE * EDGE, bottom, EDGE):
            for x in range(left // EDGE * EDGE, right, EDGE):
                offset = self._offsets[y // EDGE * self._across + x // EDGE]
                y0, y1 = max(y, top), min(y + EDGE, bottom)
                x0, x1 = max(x, left), min(x + EDGE, right)
                piece = np.ascontiguousarray(values[y0 - top : y1 - top, x0 - left : x1 - left])
                whole = x1 - x0 == EDGE  # whole rows of the tile follow one another
                for row, part in enumerate([piece] if whole else piece, start=y0 - y):
                    self._put(offset + (row * EDGE + x0 - x) * self._pixel, part)
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
    """Write a TIFF of zeros under another name, then rename it: where it is, it is whole."""
    name = path.with_name(f".{path.name}.new.tif")
    try:
        tifffile.imwrite(
            name,
            shape=shape,
            dtype=dtype,
            tile=(EDGE, EDGE),
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
