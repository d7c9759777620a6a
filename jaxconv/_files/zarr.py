"""Arrays in zarr, versions 2 and 3, by tensorstore (which Flax brings)."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from jaxconv._files import rasters

# what a folder holds -> the driver that reads it
_DRIVERS = {"zarr.json": "zarr3", ".zarray": "zarr"}


# Decoded chunks that are kept, in bytes: a tile and its neighbours read the same ones.
KEPT = 192 * 2**20


def _context(kept: int) -> ts.Context:
    # synced files: a write that has returned is on the disk
    return ts.Context({"file_io_sync": True, "cache_pool": {"total_bytes_limit": kept}})


def _spec(driver: str, path: Path) -> dict[str, Any]:
    return {"driver": driver, "kvstore": {"driver": "file", "path": f"{path.absolute()}/"}}


def _open(path: Path, driver: str, *, kept: int = 0, **options: Any) -> ts.TensorStore:
    try:
        return ts.open(_spec(driver, path), context=_context(kept), **options).result()
    except ValueError as error:
        raise ValueError(
            f"apply_tiled: {path}: cannot be opened as zarr ({rasters.short(error)})"
        ) from error


class ZarrSource:
    """A zarr array to read boxes from."""

    def __init__(self, path: Path) -> None:
        found = next((name for name in _DRIVERS if (path / name).exists()), None)
        if found is None:
            raise ValueError(
                f"apply_tiled: {path}: is no zarr array ({' or '.join(_DRIVERS)} is missing); "
                "where it is a group, name one of its arrays"
            )
        self._path = path
        # what is kept holds: nobody writes to a source
        how: Any = {"kept": KEPT, "recheck_cached_data": "open"}
        self._store = _open(path, _DRIVERS[found], open=True, read=True, **how)
        self.shape = tuple(self._store.shape)
        self.dtype = str(self._store.dtype.name)
        self.stamp = rasters.stamp_of((path / found).read_bytes())

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box."""
        try:
            return np.asarray(self._store[box].read().result())
        except ValueError as error:
            raise ValueError(
                f"apply_tiled: {self._path}: cannot be read ({rasters.short(error)})"
            ) from error


class ZarrTarget:
    """A zarr array to write boxes to, of version 3, one chunk a tile."""

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: str, tile: tuple[int, ...]
    ) -> None:
        chunk = (*tile, *shape[len(tile) :])
        self._path = path
        self._store = _open(
            path,
            "zarr3",
            open=True,
            create=True,
            read=True,
            write=True,
            dtype=dtype,
            shape=shape,
            chunk_layout=ts.ChunkLayout(chunk_shape=chunk),
        )

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a box; a chunk is a file that is synced under another name, then renamed."""
        with rasters.telling(self._path):
            self._store[box].write(values).result()
