"""Images in TIFF to read boxes from: every encoding that tifffile decodes, stacks and levels.

`TiffFile.aszarr` would not bound memory: its chunk of an uncompressed image is a strip, which may
be the whole image; and it needs zarr-python.
"""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from jaxconv._files import rasters
from jaxconv._files.tiff_tags import ALPHA, read_tags

# A compressed piece is decoded whole; a larger one would break the bound on memory.
MAX_PIECE_BYTES = 256 * 2**20


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
    """One image of a TIFF file: (*stack, H, W), or (*stack, H, W, samples) without alpha.

    Attributes:
        shape, dtype, stamp: as in `rasters.Source`.
        axes: the letters, which end in YX or YXS; Q for pages without a name.
        tags: what else the file says.
        profile: ICC.
        first: tifffile's record of the first page.
        remarks: which of several pages or levels this is.
        orientation: the code of the tag, 1 for upright.
    """

    def __init__(
        self, path: Path, *, page: int | None = None, level: int = 0, whole: bool = False
    ) -> None:
        """Open a file.

        Args:
            path: of the file.
            page: number of one page, from 0; None for all.
            level: number of the level of a pyramid, 0 for the full resolution.
            whole: to be read by `values` alone.
        """
        try:
            self._open(path, page, level, whole)
        except (OSError, rasters.ImageError):
            raise
        except Exception as error:  # tifffile raises errors of many types for damaged tags
            kind = "an image" if whole else "TIFF"
            why = rasters.first_line(error)
            raise rasters.ImageError(f"{path}: cannot be read as {kind} ({why})") from error
        self._file = path.open("rb", buffering=0)

    def _open(self, path: Path, page: int | None, level: int, whole: bool) -> None:
        # stays open: it reads the values of tags when they are asked for
        self._tiff, self._path = tifffile.TiffFile(path), path
        self._lock = threading.Lock()
        self.remarks: list[str] = []
        number, series, self._only = self._chosen(page)
        levels = series.levels
        if not 0 <= level < len(levels):
            has = f"has {len(levels)} levels, from 0" if len(levels) > 1 else "is no pyramid"
            raise rasters.ImageError(f"{path}: {has}; level={level} is not there")
        if len(levels) > 1:
            self.remarks.append(f"level {level} of {len(levels)} alone")
        self._level: Any = levels[level]
        key: Any = self._level.keyframe
        self.first, own = key, len(key.axes)
        letters = self._level.axes.replace("I", "Q")
        if key.axes not in ("YX", "YXS", "SYX") or self._level.shape[-own:] != key.shape:
            raise rasters.ImageError(
                f"{path}: its axes are {self._level.axes}, those of a page {key.axes}; expected "
                "pages of YX or YXS"
            )
        if series.is_multifile and not whole:
            raise rasters.ImageError(
                f"{path}: is one of several files of an image; save it in one file"
            )
        self._check(key, whole)
        self.tags = read_tags(self._tiff, number, series.keyframe)
        if sum(code in ALPHA for code in self.tags.extras) > 1:
            raise rasters.ImageError(f"{path}: has more than one alpha channel; save it with one")
        high, wide = (key.shape[key.axes.index(letter)] for letter in "YX")
        count = len(self.tags.colours)
        # letters that the file gives to the axes of its pages are kept, samples come last
        last = letters[-own:].replace("S", "") if own == 3 else letters[-own:]
        sizes = zip(letters[:-own], self._level.shape[:-own], strict=True)
        pages = [(a, n) for a, n in sizes if a != "Q" or n > 1]
        self._stack, self._size = tuple(n for _, n in pages), (high, wide)
        self._samples = key.samplesperpixel
        if self._only is not None:
            pages = []
        self.axes = "".join(a for a, _ in pages) + last + ("S" if count > 1 else "")
        self.shape = (*(n for _, n in pages), high, wide, *((count,) if count > 1 else ()))
        self.dtype = str(np.dtype(key.dtype).name)
        if level:
            full = series.keyframe.shape
            factors = (full[key.axes.index(a)] / n for a, n in zip("YX", self._size, strict=True))
            self.tags = self.tags.scaled(*factors)
        self.profile: bytes | None = series.keyframe.iccprofile
        self.stamp = rasters.stamp_of(rasters.file_stamp(path), page, level)
        self._begin = self._level.dataoffset
        self._sparse = key.nodata
        if not whole:
            self._check_pieces(key)
            key.decode  # noqa: B018 - a cached property, computed before threads use it

    def _chosen(self, page: int | None) -> tuple[int, Any, int | None]:
        """The number of a series, the series, and which of its pages alone is meant."""
        found = self._tiff.series
        if not found:
            raise rasters.ImageError(f"{self._path}: holds no image")
        if len(found) == 1:
            if page is None:
                return 0, found[0], None
            pages = [
                (0, n) for n in range(math.prod(found[0].shape[: -len(found[0].keyframe.axes)]))
            ]
        elif page is None:
            kinds = ", ".join(f"{s.shape} {s.dtype}" for s in found[:3])
            more = ", ..." if len(found) > 3 else ""
            raise rasters.ImageError(
                f"{self._path}: holds {len(found)} images that differ ({kinds}{more}); page=N "
                "takes one page, from 0"
            )
        else:  # in the order of the file
            order = [(p.index, n, at) for n, s in enumerate(found) for at, p in enumerate(s) if p]
            pages = [(number, at) for _, number, at in sorted(order)]
        total = len(pages)
        if not 0 <= page < total:
            raise rasters.ImageError(
                f"{self._path}: holds {total} page{'s' * (total > 1)}, from 0; page={page} is not "
                "there"
            )
        self.remarks += [f"page {page} of {total} alone"] if total > 1 else []
        number, at = pages[page]
        return number, found[number], at

    def _check(self, key: Any, whole: bool) -> None:
        path = self._path
        if key.photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB):
            try:
                name = tifffile.PHOTOMETRIC(key.photometric).name
            except ValueError:
                name = str(key.photometric)
            raise rasters.ImageError(
                f"{path}: its colours are stored as {name}; save it as grey or RGB"
            )
        turn = key.tags.get("Orientation")
        self.orientation = int(turn.value) if turn is not None else 1
        if self.orientation != 1 and (not whole or len(self._level.axes) > len(key.axes)):
            raise rasters.ImageError(
                f"{path}: its tag Orientation={self.orientation} turns it; save it upright"
            )
        if why := misread(key):
            raise rasters.ImageError(f"{path}: {why}")

    def _check_pieces(self, key: Any) -> None:
        path, plain = self._path, key.is_memmappable
        self._high = key.tilelength if key.is_tiled else min(key.rowsperstrip, self._size[0])
        self._wide = key.tilewidth if key.is_tiled else self._size[1]
        planes = self._samples if self.tags.separate else 1
        piece = self._high * self._wide * self._samples // planes * np.dtype(key.dtype).itemsize
        if not plain and piece > MAX_PIECE_BYTES:
            raise rasters.ImageError(
                f"{path}: is compressed in pieces of {piece} bytes, of which each is decoded "
                f"whole; at most {MAX_PIECE_BYTES} are allowed: save it in tiles"
            )
        kind, predictor = key.compression, key.predictor
        if kind not in tifffile.TIFF.DECOMPRESSORS or predictor not in tifffile.TIFF.UNPREDICTORS:
            raise self._codec_missing()
        pieces = planes * math.prod(
            -(-n // c) for n, c in zip(self._size, self._piece, strict=True)
        )
        if min(len(key.dataoffsets), len(key.databytecounts)) < (1 if plain else pieces):
            raise ValueError("the offsets of some pieces are missing")

    def _codec_missing(self) -> rasters.ImageError:
        kind, predictor = self.first.compression, int(self.first.predictor)
        return rasters.ImageError(
            f"{self._path}: is compressed as {getattr(kind, 'name', kind)} (predictor "
            f"{predictor}), which needs the package imagecodecs: install it, or save the image "
            "with zlib or uncompressed"
        )

    @property
    def _piece(self) -> tuple[int, int]:
        return self._high, self._wide

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box of the colours."""
        full = (*box, *(slice(None),) * (len(self.shape) - len(box)))
        stack = len(self.shape) - 2 - self.axes.endswith("S")
        values = self._samples_of(full[: stack + 2])
        kept = self.tags.colours
        if self._samples == 1:
            return values
        if len(kept) == 1:
            return values[..., kept[0]]
        return (values if len(kept) == self._samples else values[..., kept])[..., full[-1]]

    def alpha(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box of the alpha channel, given by slices of all axes but the samples'."""
        values = self._samples_of(box)[..., self.tags.alpha]
        self.check_alpha(values)
        return values

    def check_alpha(self, alpha: np.ndarray) -> None:
        """Refuse colours that are multiplied by an alpha that is not opaque."""
        if self.tags.premultiplied and np.any(alpha != rasters.opaque(alpha.dtype)):
            raise rasters.ImageError(
                f"{self._path}: its colours are premultiplied by alpha; save it with straight alpha"
            )

    def values(self) -> np.ndarray:
        """Return all samples, alpha too, decoded by several threads: (*stack, H, W[, samples])."""
        if self._only is None:
            values = self._level.asarray()
            values = np.moveaxis(values, -3, -1) if self.first.axes == "SYX" else values
            tail = (self._samples,) if self._samples > 1 else ()
            return values.reshape(*self._stack, *self._size, *tail)
        if self._begin is not None:
            return self._samples_of((slice(None), slice(None)))
        page = self._page(self._only)
        if page is None:
            return np.full(self.first.shape, self._sparse, self.dtype)
        values = page.asarray()
        return np.moveaxis(values, 0, -1) if self.first.axes == "SYX" else values

    def _samples_of(self, box: tuple[slice, ...]) -> np.ndarray:
        """A box of all samples: (*stack, h, w[, samples])."""
        pixels = self.shape[: len(self.shape) - self.axes.endswith("S")]
        *leading, rows, columns = rasters.bounds(box, pixels)
        sizes = tuple(last - first for first, last in (*leading, rows, columns))
        tail = (self._samples,) if self._samples > 1 else ()
        if not leading:
            plane = self._plane(self._only or 0, rows, columns)
            return plane.reshape(*sizes, *tail)
        result = np.empty((*sizes, *tail), self.dtype)
        for at in np.ndindex(sizes[:-2]):
            place = tuple(n + first for n, (first, _) in zip(at, leading, strict=True))
            number = int(np.ravel_multi_index(place, self._stack))
            result[at] = self._plane(number, rows, columns).reshape(*sizes[-2:], *tail)
        return result

    def _page(self, number: int) -> Any:
        """A page of the level, which may be missing; None too where pages are not told apart."""
        return self._level[number] if len(self._level) > number else None

    def _plane(self, number: int, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """A box of one plane with all its samples, (h, w, samples)."""
        pixels = math.prod(self._size) * self._samples * np.dtype(self.dtype).itemsize
        if self._begin is not None:  # all planes follow one another
            return self._rows(self._begin + number * pixels, rows, columns)
        with self._lock:
            page = self._page(number)
            offsets = () if page is None else (page.dataoffsets, page.databytecounts)
        if offsets and self.first.is_memmappable and offsets[0][0]:
            return self._rows(offsets[0][0], rows, columns)
        return self._decoded(offsets, rows, columns)

    def _rows(self, begin: int, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """A box of an uncompressed plane, whose rows follow one another in the file."""
        dtype = np.dtype(self.dtype).newbyteorder(self._tiff.byteorder)
        planes = self._samples if self.tags.separate else 1
        pixel = dtype.itemsize * self._samples // planes
        (top, bottom), (left, right) = rows, columns
        pitch, found = self._size[1] * pixel, []
        for plane in range(planes):
            first = begin + plane * self._size[0] * pitch + left * pixel
            if right - left == self._size[1]:
                pieces = [self._bytes(first + top * pitch, (bottom - top) * pitch)]
            else:
                count = (right - left) * pixel
                pieces = [self._bytes(first + row * pitch, count) for row in range(top, bottom)]
            values = np.frombuffer(b"".join(pieces), dtype).astype(self.dtype, copy=False)
            found.append(values.reshape(bottom - top, right - left, -1))
        return found[0] if planes == 1 else np.concatenate(found, axis=-1)

    def _decoded(self, offsets: Any, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """A box of a plane that is stored in tiles or compressed; no data where a piece is not."""
        (top, bottom), (left, right) = rows, columns
        shape = (bottom - top, right - left, self._samples)
        result = np.full(shape, self._sparse, self.dtype)  # 0 without GDAL's tag
        for sample, number in self._numbers(rows, columns) if offsets else ():
            if number >= min(map(len, offsets)):
                raise rasters.ImageError(
                    f"{self._path}: the offset of its piece {number} is missing"
                )
            data = self._bytes(offsets[0][number], offsets[1][number])
            try:
                tables = {"jpegtables": t} if (t := self.first.jpegtables) is not None else {}
                segment, at, size = self.first.decode(data or None, number, **tables)
            except ImportError as error:  # a codec that tifffile lists without its library
                raise self._codec_missing() from error
            except Exception as error:  # every codec raises errors of its own
                raise rasters.ImageError(
                    f"{self._path}: its piece {number} cannot be decoded ({error})"
                ) from error
            if segment is None:  # not stored
                continue
            (_, _, y, x, _), (_, h, w, _) = at, size
            y0, y1, x0, x1 = max(y, top), min(y + h, bottom), max(x, left), min(x + w, right)
            own = segment[0, y0 - y : y1 - y, x0 - x : x1 - x]
            result[y0 - top : y1 - top, x0 - left : x1 - left, sample] = own
        return result

    def _numbers(
        self, rows: tuple[int, int], columns: tuple[int, int]
    ) -> Iterator[tuple[slice, int]]:
        """The pieces that a box touches, each with the samples that it holds."""
        (top, bottom), (left, right) = rows, columns
        down, across = (-(-n // c) for n, c in zip(self._size, self._piece, strict=True))
        planes = range(self._samples) if self.tags.separate else (None,)
        for plane in planes:
            own = slice(None) if plane is None else slice(plane, plane + 1)
            for row in range(top // self._high, -(-bottom // self._high)):
                for column in range(left // self._wide, -(-right // self._wide)):
                    yield own, ((plane or 0) * down + row) * across + column

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
