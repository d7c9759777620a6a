"""Which format a path is: arrays on disk, opened for reading and for writing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxconv._files.rasters import STORED, Source, Target

TIFF = (".tif", ".tiff")


def open_source(path: Path) -> Source:
    """Open an image for reading.

    Raises:
        ValueError: no image of a kind that this reads.
        OSError: missing.
    """
    if not path.exists():
        raise FileNotFoundError(f"apply_tiled: {path}: no such file or folder")
    if path.is_dir():
        from jaxconv._files.zarr import ZarrSource as Kind
    elif path.suffix.lower() in TIFF:
        from jaxconv._files.tiff import TiffSource as Kind
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
        from jaxconv._files.tiff import TiffTarget

        return TiffTarget(path, tuple(shape), dtype, profile=getattr(source, "profile", None))
    from jaxconv._files.zarr import ZarrTarget

    return ZarrTarget(path, tuple(shape), dtype, tuple(tile))
