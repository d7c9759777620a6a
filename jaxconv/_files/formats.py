"""Which format a path is: images opened for reading and for writing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxconv._core.extras import needed_by
from jaxconv._files.rasters import STORED, ImageError, Source, Target

TIFF = (".tif", ".tiff")


def open_source(path: Path, *, whole: bool = False) -> Source:
    """Open an image for reading.

    Args:
        path: a zarr array or a TIFF file, from which boxes are read as they are asked for.
        whole: hold all values in memory instead, which png and jpeg files can be too.

    Raises:
        ImageError: not an image file of a kind that can be read here.
        OSError: missing.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    with needed_by(str(path)):
        if whole:
            from jaxconv._files.stored import load as Kind  # noqa: N812 - beside two classes
        elif path.is_dir():
            from jaxconv._files.zarr import ZarrSource as Kind
        elif path.suffix.lower() in TIFF:
            from jaxconv._files.tiff import TiffSource as Kind
        else:
            raise ImageError(f"{path}: neither a zarr folder nor a TIFF file ({', '.join(TIFF)})")
    source = Kind(path)
    check_values(source, path)
    return source


def check_values(source: Source, name: object) -> None:
    """Raise ImageError for an image that is empty or has values of another type."""
    if source.dtype not in STORED:
        raise ImageError(f"{name}: values of type {source.dtype}; expected {', '.join(STORED)}")
    if 0 in source.shape:
        raise ImageError(f"{name}: is empty, shape {source.shape}")


def check_target(path: Path, rank: int) -> None:
    """Refuse a path that no format here can be written to in boxes.

    Raises:
        ImageError: another suffix, or TIFF for other than planes.
        OSError: its folder is missing.
    """
    tiff = path.suffix.lower() in TIFF
    if not tiff and path.suffix.lower() != ".zarr":
        raise ImageError(f"{path}: a target must end in .zarr or {' or '.join(TIFF)}")
    if tiff and rank != 2:
        raise ImageError(f"{path}: TIFF holds planes, not rank {rank}; use .zarr")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder")


def open_target(
    path: Path, shape: Sequence[int], dtype: str, tile: Sequence[int], source: Any
) -> Target:
    """Open or create the file of a target.

    Args:
        path: of the target.
        shape: all axes.
        dtype: by name.
        tile: elements along each spatial axis that are written at once.
        source: its colour profile is kept where both are TIFF.

    Raises:
        ImageError: there is a file with other contents.
    """
    if path.suffix.lower() in TIFF:
        with needed_by(str(path)):
            from jaxconv._files.tiff import TiffTarget

        return TiffTarget(path, tuple(shape), dtype, profile=getattr(source, "profile", None))
    with needed_by(str(path)):
        from jaxconv._files.zarr import ZarrTarget

    return ZarrTarget(path, tuple(shape), dtype, tuple(tile))
