"""What an array on disk has to offer, and which format a path is."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxconv.tiles.program import STORED

TIFF = (".tif", ".tiff")


class Source(Protocol):
    """An array on disk to read boxes from, by several threads at once.

    Attributes:
        shape: all axes.
        dtype: by name, one of `program.STORED`.
        stamp: what tells this file from a later one of its name.
    """

    shape: tuple[int, ...]
    dtype: str
    stamp: str

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box, given by slices of the first axes."""
        ...


class Target(Protocol):
    """An array on disk to write boxes to, by several threads at once."""

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a box, given by slices of the first axes; return when the disk has it."""
        ...


def open_source(path: Path) -> Source:
    """Open an image for reading.

    Raises:
        ValueError: no image of a kind that this reads.
        OSError: missing.
    """
    if not path.exists():
        raise FileNotFoundError(f"apply_tiled: {path}: no such file or folder")
    if path.is_dir():
        from jaxconv.tiles.zarr import ZarrSource as Kind
    elif path.suffix.lower() in TIFF:
        from jaxconv.tiles.tiff import TiffSource as Kind
    else:
        raise ValueError(
            f"apply_tiled: {path}: neither a zarr folder nor a TIFF file ({', '.join(TIFF)})"
        )
    source = Kind(path)
    if source.dtype not in STORED:
        raise ValueError(
            f"apply_tiled: {path}: values of type {source.dtype}; expected {', '.join(STORED)}"
        )
    if 0 in source.shape:
        raise ValueError(f"apply_tiled: {path}: is empty, shape {source.shape}")
    return source


def check_target(path: Path, rank: int) -> None:
    """Refuse a target that no format here can be.

    Raises:
        ValueError: another suffix, or TIFF for other than planes.
        OSError: its folder is missing.
    """
    tiff = path.suffix.lower() in TIFF
    if not tiff and path.suffix.lower() != ".zarr":
        raise ValueError(f"apply_tiled: {path}: a target ends in .zarr or {' or '.join(TIFF)}")
    if tiff and rank != 2:
        raise ValueError(f"apply_tiled: {path}: TIFF holds planes, not rank {rank}; use .zarr")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"apply_tiled: {path.parent}: no such folder")


def open_target(
    path: Path, shape: Sequence[int], dtype: str, tile: Sequence[int], source: Any
) -> Target:
    """Open the target, or make it, of a shape and dtype, `tile` elements a spatial axis at once.

    Args:
        path: of the target.
        shape: all axes.
        dtype: by name.
        tile: one a spatial axis.
        source: its colour profile is kept where both are TIFF.

    Raises:
        ValueError: it is there and is something else.
    """
    if path.suffix.lower() in TIFF:
        from jaxconv.tiles.tiff import TiffTarget

        return TiffTarget(path, tuple(shape), dtype, profile=getattr(source, "profile", None))
    from jaxconv.tiles.zarr import ZarrTarget

    return ZarrTarget(path, tuple(shape), dtype, tuple(tile))


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Say which file cannot be written, and why; tensorstore's errors are ValueErrors."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or short(error)
        raise OSError(f"apply_tiled: {path}: cannot be written ({reason})") from error


def short(error: Exception) -> str:
    """The first line of what an error says, without tensorstore's details."""
    return str(error).splitlines()[0].partition(" [")[0]


def stamp_of(*parts: Any) -> str:
    """A short digest of what identifies a file."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
