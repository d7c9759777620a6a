"""The protocol of images that are read and written in boxes, and the errors of image files."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

# Dtypes of stored values, by name.
INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
STORED = ("bool", *INTEGERS, "float16", "float32", "float64")


class ImageError(ValueError):
    """An image file that cannot be used; the message begins with its path."""


@runtime_checkable
class Source(Protocol):
    """An image to read boxes from, by several threads at once.

    It may also have `axes`, a letter an axis (`_files.axes`).

    Attributes:
        shape: all axes.
        dtype: by name, one of `STORED`.
        stamp: a text that changes when the file does.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...

    @property
    def stamp(self) -> str: ...

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box, given by slices of the first axes."""
        ...


@runtime_checkable
class Target(Protocol):
    """An image to write boxes to, by several threads at once.

    It may also have `finish()`, which is called once, after all boxes.
    """

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a box, given by slices of the first axes; return once it is stored."""
        ...


def filtered_dtype(dtype: str) -> str:
    """Return the dtype, by name, of a filtered image: uint8 for bool, else that of the image."""
    return "uint8" if dtype == "bool" else dtype


def bounds(box: tuple[slice, ...], shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the first and the last index plus one along every axis."""
    full = (*box, *(slice(None),) * (len(shape) - len(box)))
    return [part.indices(n)[:2] for part, n in zip(full, shape, strict=True)]


def opaque(dtype: Any) -> float:
    """Return the largest value of an alpha channel."""
    dtype = np.dtype(dtype)
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


@contextmanager
def explained_write(path: Path) -> Iterator[None]:
    """Raise an OSError that names the file and the reason where writing fails.

    tensorstore reports failed writes as ValueErrors.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise OSError(f"{path}: cannot be written ({reason})") from error


def first_line(error: Exception) -> str:
    """The first line of an error's message, without tensorstore's details."""
    return (str(error) or type(error).__name__).splitlines()[0].partition(" [")[0]


def stamp_of(*parts: Any) -> str:
    """A short digest of the values that identify a file."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def file_stamp(path: Path) -> str:
    """The stamp of a file, from its size and the time it was last changed."""
    status = path.stat()
    return stamp_of(status.st_size, status.st_mtime_ns)


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries to the disk, where the system allows it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
