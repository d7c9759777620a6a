"""The protocol of images that are read and written in boxes, and the errors of image files."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

# Dtypes of stored values, by name.
STORED = ("bool", "uint8", "uint16", "float16", "float32", "float64")


class ImageError(ValueError):
    """An image file that cannot be used; the message begins with its path."""


@runtime_checkable
class Source(Protocol):
    """An image to read boxes from, by several threads at once.

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
    """An image to write boxes to, by several threads at once."""

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a box, given by slices of the first axes; return once it is stored."""
        ...


def filtered_dtype(dtype: str) -> str:
    """Return the dtype, by name, of a filtered image: uint8 for bool, else that of the image."""
    return "uint8" if dtype == "bool" else dtype


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
    return str(error).splitlines()[0].partition(" [")[0]


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
