"""Image files as they are stored, whole: values in their own type, alpha separate, tags kept.

An image of which something would be lost is refused, with the reason. Needs the `cli` extra for
png and jpeg.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from jaxconv._files import pillow
from jaxconv._files.pillow import Refused
from jaxconv._files.rasters import ImageError, filtered_dtype, first_line

if TYPE_CHECKING:
    from jaxconv._files.ngff import Places
    from jaxconv._files.tiff_tags import TiffTags

TIFF = (".tif", ".tiff")
SUFFIXES = (*pillow.SUFFIXES, *TIFF)
CHUNK_EDGE = 1024  # of the chunks of a zarr that is written whole, along rows and columns
# TIFF 6.0, Orientation: from the rows and columns of the file to those of the upright image
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda v: v[:, ::-1],
    3: lambda v: v[::-1, ::-1],
    4: lambda v: v[::-1],
    5: lambda v: v.swapaxes(0, 1),
    6: lambda v: np.rot90(v, -1),
    7: lambda v: v[::-1, ::-1].swapaxes(0, 1),
    8: lambda v: np.rot90(v),
}


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One image or stack as a file holds it; in memory, a source and a target of `rasters`.

    Attributes:
        colours: values of any axes, channels last for samples of a pixel; not premultiplied.
        alpha: in the colours' type and shape without samples, None where there is none.
        axes: letters of the colours' axes, as in `axes`; "" where the file has none.
        profile: the ICC profile, None where there is none.
        tags: of a TIFF.
        names: of a zarr's dimensions.
        places: of a zarr's elements, as OME-NGFF says.
        compressed: whether a zarr's chunks are.
        extra: metadata that `save` writes too (PNG's gamma, EXIF, resolution).
        remarks: what differs from the file, one remark a string.
        stamp: none; an image in memory is filtered without a journal.
    """

    colours: np.ndarray
    alpha: np.ndarray | None = None
    axes: str = ""
    profile: bytes | None = None
    tags: "TiffTags | None" = None
    names: Sequence[str | None] | None = None
    places: "Places | None" = None
    compressed: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    stamp: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the colours."""
        return self.colours.shape

    @property
    def dtype(self) -> str:
        """Of the colours."""
        return self.colours.dtype.name

    def read(self, box: tuple[slice, ...]) -> np.ndarray:
        """Return a box of the colours."""
        return self.colours[box]

    def write(self, box: tuple[slice, ...], values: np.ndarray) -> None:
        """Set a box of the colours."""
        self.colours[box] = values

    def blank(self, axes: str, box: tuple[slice, ...]) -> "Stored":
        """A box of the image, with colours that are zero, to write a filtered image.

        Args:
            axes: letters of the image.
            box: slices of all its axes.
        """
        colours = np.zeros(self.colours[box].shape, filtered_dtype(self.dtype))
        alpha, tags = self.alpha, self.tags
        if alpha is not None:
            alpha = alpha[box[: alpha.ndim]]
        if tags is not None and {"Y", "X"} <= set(axes):
            top, left = (box[axes.index(letter)].start or 0 for letter in "YX")
            tags = tags.moved(top, left)
        begin = [part.start or 0 for part in box]
        places = None if self.places is None else self.places.cut(begin, [1] * len(begin))
        return replace(self, colours=colours, alpha=alpha, tags=tags, axes=axes, places=places)


def load(path: str | Path, *, page: int | None = None, level: int = 0) -> Stored:
    """Read an image file without changing its values.

    Args:
        path: a png or jpeg file of one image, a tiff file, or the folder of a zarr. Images are
            turned upright, palettes are looked up.
        page: number of one page, from 0; None for all pages of a stack.
        level: number of the level of a pyramid.

    Returns:
        A `Stored`.

    Raises:
        ImageError: not such a file, broken, several images that are no stack, 16-bit png of more
            than a grey plane, CMYK and other inks, premultiplied alpha that is not opaque.
        OSError: missing or not readable.

    Example:
        >>> import numpy as np, tempfile, pathlib
        >>> from jaxconv._files import stored
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "deep.png"
        >>> stored.save(path, stored.Stored(colours=np.array([[0, 65535]], np.uint16)))
        >>> stored.load(path).colours
        array([[    0, 65535]], dtype=uint16)
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.is_dir() and path.suffix.lower() not in SUFFIXES:
        return _load_zarr(path, page, level)
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        known = ", ".join(SUFFIXES)
        raise ImageError(f"{path}: not an image that can be read ({known}, or a zarr folder)")
    try:
        if path.suffix.lower() in TIFF:
            return _load_tiff(path, page, level)
        if level:
            raise Refused(f"is no pyramid; level={level} is not there")
        values, kept, remarks = pillow.read(path, page)
    except Refused as refused:
        raise ImageError(f"{path}: {refused}") from None
    except ImageError:
        raise
    except Exception as error:  # every decoder raises errors of its own
        why = first_line(error)
        raise ImageError(f"{path}: cannot be read as an image ({why})") from error
    colours, alpha = (values, None) if values.ndim == 2 else _split_alpha(values)
    profile = kept.pop("profile", None)
    axes = "YX" if colours.ndim == 2 else "YXS"
    return Stored(
        colours=colours, alpha=alpha, axes=axes, profile=profile, extra=kept, remarks=remarks
    )


def _split_alpha(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """The colours and the alpha of a png."""
    if values.shape[2] == 3:
        return values, None
    return (values[..., 0] if values.shape[2] == 2 else values[..., :3]), values[..., -1]


def _load_zarr(path: Path, page: int | None, level: int) -> Stored:
    from jaxconv._files.zarr import ZarrSource

    source = ZarrSource(path, page=page, level=level)
    values = source.read((slice(None),) * len(source.shape))
    return Stored(
        colours=values,
        axes=source.axes,
        names=source.names,
        places=source.places,
        compressed=source.compressed,
        remarks=source.remarks,
    )


def _load_tiff(path: Path, page: int | None, level: int) -> Stored:
    from jaxconv._files.tiff import TiffSource

    source = TiffSource(path, page=page, level=level, whole=True)
    values, tags, turn = _decoded(path, source), source.tags, source.orientation
    if turn in _UPRIGHT:
        values = np.ascontiguousarray(_UPRIGHT[turn](values))
        if tags.resolution is not None and turn > 4:
            across, down, unit = tags.resolution
            tags = replace(tags, resolution=(down, across, unit))
    colours, alpha = values, None
    if tags.alpha is not None:
        alpha = np.ascontiguousarray(values[..., tags.alpha])
        source.check_alpha(alpha)
        kept = tags.colours
        colours = np.ascontiguousarray(values[..., kept[0] if len(kept) == 1 else kept])
    return Stored(
        colours=colours,
        alpha=alpha,
        axes=source.axes,
        profile=source.profile,
        tags=tags,
        remarks=source.remarks,
    )


def _decoded(path: Path, source: Any) -> np.ndarray:
    try:
        return source.values()
    except (ValueError, ImportError) as error:
        if not (isinstance(error, ImportError) or "imagecodecs" in str(error)):
            raise
        # Pillow decodes some more compressions; used only where it keeps shape and dtype
        key = source.first
        if source.orientation not in _UPRIGHT and source.axes in ("YX", "YXS"):
            with contextlib.suppress(OSError, ValueError), Image.open(path) as image:
                values = pillow.pixels(image)
                if (values.shape, values.dtype) == (key.shape, key.dtype):
                    return values
        name = getattr(key.compression, "name", key.compression)
        raise Refused(f"is compressed by {name}, which needs: pip install imagecodecs") from None


def check_holds(path: str | Path, image: Stored) -> None:
    """Refuse a format that cannot hold an image without loss.

    Args:
        path: decides by its suffix.
        image: the image to save; its values do not matter.

    Raises:
        ValueError: another suffix, or more bits, axes or alpha than the format has, or the
            unusual colour chunks of a png.

    Example:
        >>> import numpy as np
        >>> from jaxconv._files import stored
        >>> stored.check_holds("a.jpg", stored.Stored(colours=np.zeros((2, 2), np.uint16)))
        Traceback (most recent call last):
        ValueError: a.jpg: jpeg cannot hold uint16 values; name a tiff or png file

    Source: JFIF; PNG (ISO/IEC 15948), section 11.2.2.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, ".zarr"):
        known = ", ".join((*SUFFIXES, ".zarr"))
        raise ValueError(f"{path}: not the suffix of an image that can be written ({known})")
    name = {".zarr": "zarr", ".png": "png"}.get(suffix, "tiff" if suffix in TIFF else "jpeg")
    if name != "png" and (chunk := pillow.unusual_chunk(image.extra, image.profile)):
        raise ValueError(
            f"{path}: {name} cannot hold the colour information of the png (chunk {chunk}); name "
            "a png file"
        )
    if name in ("png", "jpeg"):
        _check_pillow(path, name, image)
    elif name == "tiff":
        check_pages(path, _axes(image))
    elif image.alpha is not None:
        raise ValueError(f"{path}: zarr cannot hold alpha; name a tiff file")


def _axes(image: Stored) -> str:
    return image.axes or {2: "YX", 3: "YXS"}.get(image.colours.ndim, "")


def check_pages(path: Path, axes: str) -> None:
    """Refuse axes that a TIFF cannot hold: its pages are planes of Y and X."""
    if not axes.endswith(("YX", "YXS", "YXC")):
        what = f"the axes {axes}" if axes else "axes that are not named"
        raise ImageError(f"{path}: TIFF holds pages of Y and X, not {what}; name a .zarr")


def _check_pillow(path: Path, name: str, image: Stored) -> None:
    axes, dtype = _axes(image), image.colours.dtype
    if axes not in ("YX", "YXS", "YXC"):
        raise ValueError(
            f"{path}: {name} holds one image, not the axes {axes}; name a tiff or .zarr, or take "
            "one page=N"
        )
    channels = 1 if len(axes) == 2 else image.shape[2]
    if channels not in (1, 3):
        raise ValueError(f"{path}: {name} cannot hold {channels} channels; name a tiff file")
    plain = len(axes) == 2 and image.alpha is None
    deep = name == "png" and plain
    if dtype not in ((bool, np.uint8, np.uint16) if deep else (bool, np.uint8)):
        what = f"{dtype} values" + (
            " with colour or alpha" if name == "png" and dtype == np.uint16 else ""
        )
        other = "tiff or png" if plain and dtype == np.uint16 else "tiff"
        raise ValueError(f"{path}: {name} cannot hold {what}; name a {other} file")
    if name == "jpeg" and image.alpha is not None:
        raise ValueError(f"{path}: jpeg cannot hold alpha; name a png or tiff file")


def save(path: str | Path, image: Stored) -> None:
    """Write an image file with exactly its values; jpeg at quality 95 with full colour resolution.

    Args:
        path: png, jpeg, tiff or zarr, by its suffix.
        image: as from `load`.

    Raises:
        ValueError: as `check_holds`.
        OSError: it cannot be written.

    Example:
        >>> import numpy as np, tempfile, pathlib
        >>> from jaxconv._files import stored
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "clear.png"
        >>> plane = np.array([[0, 255]], np.uint8)
        >>> stored.save(path, stored.Stored(colours=plane, alpha=plane))
        >>> stored.load(path).alpha
        array([[  0, 255]], dtype=uint8)
    """
    path = Path(path)
    check_holds(path, image)
    if path.suffix.lower() == ".zarr":
        _save_zarr(path, image)
        return
    values = image.colours
    if path.suffix.lower() in TIFF:
        _save_tiff(path, image)
        return
    if image.alpha is not None:
        values = np.dstack([values, image.alpha])
    pillow.write(path, values, image.extra, image.profile)


def _save_tiff(path: Path, image: Stored) -> None:
    import tifffile

    from jaxconv._files.tiff_tags import kept_compression, with_alpha, write_options

    values, tags = with_alpha(image.colours, image.alpha, image.tags), image.tags
    axes = _axes(image).replace("YXC", "YXS")
    if image.alpha is not None and not axes.endswith("S"):
        axes += "S"
    dtype = image.dtype
    options = write_options(
        values.shape,
        axes,
        dtype,
        tags=tags,
        alpha=image.alpha is not None,
        profile=image.profile,
    )
    if options["planarconfig"] == "separate":
        values = np.moveaxis(values, -1, -3)
    tifffile.imwrite(path, values, **options, **kept_compression(tags, dtype))


def _save_zarr(path: Path, image: Stored) -> None:
    from jaxconv._files.zarr import ZarrTarget, kept

    axes = _axes(image)
    sizes = {"Y": CHUNK_EDGE, "X": CHUNK_EDGE, "S": None, "C": None}  # else one plane a chunk
    chunk = image.shape
    if axes:
        each = zip(axes, image.shape, strict=True)
        chunk = tuple(min(n, sizes.get(a, 1) or n) for a, n in each)
    target = ZarrTarget(path, image.shape, image.dtype, chunk, **kept(axes, image))
    target.write((slice(None),) * len(image.shape), image.colours)
