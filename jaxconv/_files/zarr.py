"""Arrays in zarr, versions 2 and 3, by tensorstore."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from jaxconv._files import rasters

# a file in the folder -> the driver that reads the array
_DRIVERS = {"zarr.json": "zarr3", ".zarray": "zarr"}


# Size of the cache of decoded chunks: neighbouring tiles read the same ones.
CACHE_BYTES = 192 * 2**20


def _open(path: Path, driver: str, *, cache_bytes: int = 0, **options: Any) -> ts.TensorStore:
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path.absolute()}/"}}
    # file_io_sync: a write has reached the disk when it returns
    context = {"file_io_sync": True, "cache_pool": {"total_bytes_limit": cache_bytes}}
    try:
        return ts.open(spec, context=ts.Context(context), **options).result()
    except ValueError as error:
        raise rasters.ImageError(
            f"{path}: cannot be opened as zarr ({rasters.first_line(error)})"
        ) from error


class ZarrSource:
    """A zarr array to read boxes from."""

    def __init__(self, path: Path) -> None:
        found = next((name for name in _DRIVERS if (path / name).exists()), None)
        if found is None:
            raise rasters.ImageError(
                f"{path}: is not a zarr array ({' or '.join(_DRIVERS)} is missing); if it is a "
                "group, name one of its arrays"
            )
        self._path = path
        # chunks in the cache stay valid, as nobody writes to a source
        caching: Any = {"cache_bytes": CACHE_BYTES, "recheck_cached_data": "open"}
        self._store = _open(path, _DRIVERS[found], open=True, read=True, **caching)
        self.shape = tuple(self._store.shape)
        self.dtype = str(self._store.dtype.name)
        self.stamp = rasters.stamp_of((path / found).read_bytes())

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box."""
        try:
            return np.asarray(self._store[box].read().result())
        except ValueError as error:
            raise rasters.ImageError(
                f"{self._path}: cannot be read ({rasters.first_line(error)})"
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
        """Write a box; each chunk's file is written and synced under another name, then renamed."""
        with rasters.explained_write(self._path):
            self._store[box].write(values).result()
