"""Arrays in zarr, versions 2 and 3, by tensorstore."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from jaxconv._files import ngff, rasters
from jaxconv._files.axes import dimension_names, letters
from jaxconv._files.zarr_groups import find

# Size of the cache of decoded chunks: neighbouring tiles read the same ones.
CACHE_BYTES = 192 * 2**20
# Level of zstd: its fastest but one.
ZSTD = 1


def _open(path: Path, driver: str, *, cache_bytes: int = 0, **options: Any) -> ts.TensorStore:
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path.absolute()}/"}}
    spec |= options.pop("spec", {})
    # file_io_sync: a write has reached the disk when it returns
    context = {"file_io_sync": True, "cache_pool": {"total_bytes_limit": cache_bytes}}
    try:
        return ts.open(spec, context=ts.Context(context), **options).result()
    except ValueError as error:
        raise rasters.ImageError(
            f"{path}: cannot be opened as zarr ({rasters.first_line(error)})"
        ) from error


class ZarrSource:
    """A zarr array to read boxes from, or a level of a pyramid as OME-NGFF describes it.

    Attributes:
        shape, dtype, stamp: as in `rasters.Source`.
        axes: the letters, from the names of the dimensions; "" without.
        names: of the dimensions, None where they have none.
        places: of the elements, as OME-NGFF says, or None.
        compressed: whether the chunks are.
        remarks: which of several levels this is.
    """

    def __init__(self, path: Path, *, page: int | None = None, level: int = 0) -> None:
        """Open an array.

        Args:
            path: of the array, or of the group of a pyramid.
            page: number of one plane of Y and X (and channels behind them), from 0; None for all.
            level: number of the level of a pyramid, 0 for the full resolution.
        """
        found = find(path, level)
        self._path, self.remarks = found.path, list(found.remarks)
        # chunks in the cache stay valid, as nobody writes to a source
        caching: Any = {"cache_bytes": CACHE_BYTES, "recheck_cached_data": "open"}
        store = _open(found.path, found.driver, open=True, read=True, **caching)
        names, self.places = found.names, found.places
        if names is not None and len(names) != store.rank:
            raise rasters.ImageError(
                f"{path}: has {store.rank} axes, but names for {len(names)} dimensions"
            )
        if page is not None:
            store, kept, total = _page(path, store, names, page)
            names = tuple(names[n] for n in kept) if names is not None else None
            self.places = None if self.places is None else self.places.of(kept)
            self.remarks += [f"page {page} of {total} alone"] if total > 1 else []
        self.names = names
        self._store, self.compressed = store, found.compressed
        self.axes = letters(names) if names is not None else ""
        self.shape = tuple(store.shape)
        self.dtype = str(store.dtype.name)
        self.stamp = rasters.stamp_of(found.text, page)

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box."""
        try:
            return np.asarray(self._store[box].read().result())
        except ValueError as error:
            raise rasters.ImageError(
                f"{self._path}: cannot be read ({rasters.first_line(error)})"
            ) from error


def _page(
    path: Path, store: ts.TensorStore, names: tuple[str | None, ...] | None, page: int
) -> tuple[ts.TensorStore, list[int], int]:
    """One plane: the store, the axes that are left, and the number of planes."""
    axes = letters(names) if names is not None else ""
    if names is None or "Y" not in axes:
        raise rasters.ImageError(
            f"{path}: does not say which of its axes {tuple(store.shape)} is what, so that "
            f"page={page} is not one; name its dimensions"
        )
    kept = [n for n, a in enumerate(axes) if a in "YX" or (a in "SC" and n == len(axes) - 1)]
    stack = [n for n in range(len(axes)) if n not in kept]
    sizes = [store.shape[n] for n in stack]
    total = int(np.prod(sizes, dtype=int))
    if not 0 <= page < total:
        raise rasters.ImageError(
            f"{path}: holds {total} page{'s' * (total > 1)}, from 0; page={page} is not there"
        )
    at = dict(zip(stack, np.unravel_index(page, sizes) if sizes else (), strict=True))
    index = tuple(int(at[n]) if n in at else slice(None) for n in range(len(axes)))
    return store[index], kept, total


def kept(axes: str, source: Any) -> dict[str, Any]:
    """Return what of a source a target keeps: its arguments `names`, `places` and `compressed`.

    Args:
        axes: letters of the image; what is said of other axes is not kept.
        source: what its file says is kept.
    """
    places = getattr(source, "places", None)
    places = places if places is not None and letters(places.names) == axes else None
    names = dimension_names(axes, getattr(source, "names", None))
    compressed = getattr(source, "compressed", False)
    return {"names": names, "places": places, "compressed": compressed}


class ZarrTarget:
    """A zarr array to write boxes to, of version 3; in a group that says the elements' places."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: str,
        chunk: tuple[int, ...],
        *,
        names: Sequence[str | None] | None = None,
        places: ngff.Places | None = None,
        compressed: bool = False,
    ) -> None:
        """Open the array, or make it.

        Args:
            path: of its folder.
            shape: of all axes.
            dtype: by name.
            chunk: its size along the first axes, whole along others.
            names: of the dimensions.
            places: of the elements; they make it a group of OME-NGFF with one level.
            compressed: whether to compress the chunks, by zstd and without loss.
        """
        self._path = path
        if places is not None:
            path.mkdir(exist_ok=True)
            with rasters.explained_write(path):
                (path / "zarr.json").write_text(json.dumps(places.metadata(), indent=2))
            path = path / ngff.LEVEL
        metadata: dict[str, Any] = {} if names is None else {"dimension_names": list(names)}
        if compressed:
            metadata["codecs"] = [{"name": "zstd", "configuration": {"level": ZSTD}}]
        self._store = _open(
            path,
            "zarr3",
            open=True,
            create=True,
            read=True,
            write=True,
            dtype=dtype,
            shape=shape,
            chunk_layout=ts.ChunkLayout(chunk_shape=(*chunk, *shape[len(chunk) :])),
            spec={"metadata": metadata},
        )

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a box; each chunk's file is written and synced under another name, then renamed."""
        with rasters.explained_write(self._path):
            self._store[box].write(values).result()
