"""Which format a path is: images opened for reading and for writing."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._core.extras import needed_by
from jaxconv._files.axes import Layout
from jaxconv._files.rasters import STORED, ImageError, Source, Target

TIFF = (".tif", ".tiff")
_ZARR = ("zarr.json", ".zarray", ".zgroup")  # one of them is in every zarr's folder


def open_source(
    path: Path, *, whole: bool = False, page: int | None = None, level: int = 0
) -> Source:
    """Open an image for reading.

    Args:
        path: a zarr array or a TIFF file, from which boxes are read as they are asked for.
        whole: hold all values in memory instead, which png and jpeg files can be too.
        page: number of one page of a stack, from 0; None for all.
        level: number of the level of a pyramid, 0 for the full resolution.

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
    source = Kind(path, page=page, level=level)
    check_values(source, path)
    return source


def check_values(source: Source, name: object) -> None:
    """Raise ImageError for an image that is empty or has values of another type."""
    if source.dtype not in STORED:
        why = (
            "; their largest values are not exact in float32, in which images are computed"
            if source.dtype in ("int64", "uint64")
            else ""
        )
        raise ImageError(
            f"{name}: values of type {source.dtype}; expected {', '.join(STORED)}{why}"
        )
    if 0 in source.shape:
        raise ImageError(f"{name}: is empty, shape {source.shape}")


def check_target(path: Path, axes: str, rank: int) -> None:
    """Refuse a path that no format here can be written to in boxes.

    Args:
        path: of the target.
        axes: letters of the result, "" where they are not known.
        rank: number of spatial axes.

    Raises:
        ImageError: another suffix, or TIFF for what does not end in planes.
        OSError: its folder is missing.
    """
    tiff = path.suffix.lower() in TIFF
    if not tiff and path.suffix.lower() != ".zarr":
        raise ImageError(f"{path}: a target must end in .zarr or {' or '.join(TIFF)}")
    if tiff and not axes and rank != 2:
        raise ImageError(f"{path}: TIFF holds planes, not rank {rank}; use .zarr")
    if tiff and axes and not axes.endswith(("YX", "YXS", "YXC")):
        raise ImageError(f"{path}: TIFF holds pages of Y and X, not the axes {axes}; use .zarr")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder")


def remove(path: Path) -> None:
    """Remove an image: a file, or the folder of a zarr and nothing else.

    Raises:
        ImageError: another folder.
    """
    if path.is_dir() and not path.is_symlink():
        if not any((path / name).exists() for name in _ZARR):
            raise ImageError(f"{path}: is a folder, but not a zarr; it is not removed")
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def open_target(
    path: Path,
    shape: Sequence[int],
    dtype: str,
    chunk: Sequence[int],
    *,
    layout: Layout,
    source: Any = None,
    begin: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
) -> Target:
    """Open or create the file of a target.

    Args:
        path: of the target.
        shape: all axes, without alpha.
        dtype: by name.
        chunk: elements along each axis that are written at once.
        layout: which of the axes are spatial.
        source: what its file says besides values is kept where the target's can hold it; its
            alpha is copied.
        begin: where in the source the target's first element is computed, along each spatial axis;
            0 by default.
        steps: elements of the source between those of the target, along each spatial axis.

    Raises:
        ImageError: there is a file with other contents.
    """
    axes, rank = layout.axes, len(layout.space)
    begin, steps = begin or (0,) * rank, steps or (1,) * rank
    alpha = getattr(getattr(source, "tags", None), "alpha", None) is not None
    if path.suffix.lower() not in TIFF:
        if alpha:
            raise ImageError(f"{path}: zarr cannot hold alpha; use .tif")
        with needed_by(str(path)):
            from jaxconv._files.zarr import ZarrTarget, kept

        said = kept(axes, source)
        if said["places"] is not None:
            first, step = [0] * len(shape), [1] * len(shape)
            for n, *at in zip(layout.space, begin, steps, strict=True):
                first[n], step[n] = at
            said["places"] = said["places"].cut(first, step)
        return ZarrTarget(path, tuple(shape), dtype, tuple(chunk), **said)
    with needed_by(str(path)):
        from jaxconv._files.tiff_target import TiffTarget

    begin, steps = (each[-2:] if rank > 1 else (n, n) for n, each in enumerate((begin, steps)))
    axes = axes.removesuffix("C") + "S" if axes.endswith("YXC") else axes
    tags = getattr(source, "tags", None)
    tags = None if tags is None else tags.moved(*begin).scaled(*steps)
    full = tuple(shape)
    if alpha:
        axes, count = axes.removesuffix("S") + "S", 1 + (shape[-1] if axes.endswith("S") else 1)
        full = (*(shape[:-1] if count > 2 else shape), count)
    profile = getattr(source, "profile", None)
    target = TiffTarget(path, full, dtype, axes=axes, tags=tags, profile=profile)
    return _WithAlpha(target, source, begin) if alpha else target


class _WithAlpha:
    """A target of colours that writes the source's alpha beside them, as it is."""

    def __init__(self, target: Any, source: Any, begin: Sequence[int]) -> None:
        self._target, self._source, self._begin = target, source, begin
        self.finish = target.finish

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Write a box of the colours with that of the alpha."""
        from jaxconv._files.tiff_tags import with_alpha

        pixels = self._source.shape[: len(self._source.shape) - self._source.axes.endswith("S")]
        *stack, rows, columns = box[: len(pixels)]
        moved = [
            slice(part.start + first, part.stop + first)
            for part, first in zip((rows, columns), self._begin, strict=True)
        ]
        alpha = self._source.alpha((*stack, *moved))
        self._target.write((*stack, rows, columns), with_alpha(values, alpha, self._source.tags))
