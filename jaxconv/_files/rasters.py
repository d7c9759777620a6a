"""What an array on disk has to offer, and how its errors are told."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

# Dtypes of stored values, by name.
STORED = ("bool", "uint8", "uint16", "float16", "float32", "float64")


class Source(Protocol):
    """An array on disk to read boxes from, by several threads at once.

    Attributes:
        shape: all axes.
        dtype: by name, one of `STORED`.
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


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries to the disk, where the system lets us."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
