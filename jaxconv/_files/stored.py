"""Image files as they are stored: values in their own type, alpha separate, colour profile kept.

An image of which something would be lost is refused, with the reason. Needs the `cli` extra.
"""

import contextlib
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from jaxconv._files.rasters import ImageError, filtered_dtype
from jaxconv._files.tiff import misread

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
TIFF = (".tif", ".tiff")
# PNG's colour chunks that Pillow reads; fractions are stored as integers in units of 1e-5
_COLOUR_CHUNKS = {"gamma": b"gAMA", "chromaticity": b"cHRM", "srgb": b"sRGB"}
# Chunks that Pillow does not read: code points of video signals, and of high dynamic range
_SIGNAL_CHUNKS = (b"cICP", b"mDCV", b"cLLI")
# the values of sRGB
_SRGB = {"gamma": (0.45455,), "chromaticity": (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)}
# TIFF 6.0, Orientation: from the rows and columns of the file to those of the upright image
_UPRIGHT = {
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
    """One image as a file holds it; in memory, a source and a target of `rasters`.

    Attributes:
        colours: (H, W) or (H, W, 3): bool, uint8, uint16 or floating; not premultiplied.
        alpha: (H, W) in the colours' type, None where there is none.
        profile: the ICC profile, None where there is none.
        extra: metadata that `save` writes too (PNG's gamma, EXIF, resolution).
        remarks: what differs from the file, one remark a string.
        stamp: none; an image in memory is filtered without a journal.
    """

    colours: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
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

    def blank(self, *box: slice) -> "Stored":
        """The rows and columns of a box, with colours that are zero, to write a filtered image."""
        colours = np.zeros(self.colours[box].shape, filtered_dtype(self.dtype))
        return replace(self, colours=colours, alpha=None if self.alpha is None else self.alpha[box])


def load(path: str | Path) -> Stored:
    """Read an image file without changing its values.

    Args:
        path: a png, jpeg or tiff file of one image. Images are turned upright, palettes are
            looked up.

    Returns:
        A `Stored`.

    Raises:
        ImageError: not such a file, broken, more than one image, 16-bit png of more than a grey
            plane, CMYK and other inks, premultiplied alpha that is not opaque.
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
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise ImageError(f"{path}: not an image file that can be read ({', '.join(SUFFIXES)})")
    depth, kind = _png_header(path)
    if depth == 16 and kind in (2, 4, 6):
        what = "grey png with alpha" if kind == 4 else "colour png"
        raise ImageError(f"{path}: 16-bit {what} would lose half its bits; save it as tiff")
    try:
        return _load_tiff(path) if path.suffix.lower() in TIFF else _load_pillow(path)
    except _Refused as refused:
        raise ImageError(f"{path}: {refused}") from None
    except UnidentifiedImageError as error:
        reason = "its first bytes are not those of a png, jpeg or tiff file"
        raise ImageError(f"{path}: cannot be read as an image ({reason})") from error
    except Exception as error:  # every decoder raises errors of its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ImageError(f"{path}: cannot be read as an image ({reason})") from error


class _Refused(Exception):  # noqa: N818 - becomes an ImageError with the path
    """A valid file that cannot be used here."""


def _png_header(path: Path) -> tuple[int, int]:
    """The depth and colour type of a png, (0, 0) for other files."""
    # 8 bytes of signature, 8 of the chunk's head, 8 of size, then depth and colour type
    with path.open("rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if head[:4] == b"\x89PNG" and len(head) == 26 else (0, 0)


def _load_pillow(path: Path) -> Stored:
    remarks = []
    with Image.open(path) as opened:
        if (count := getattr(opened, "n_frames", 1)) > 1:
            raise _Refused(f"holds {count} images; expected one")
        extra = {k: opened.info[k] for k in ("dpi", *_COLOUR_CHUNKS) if k in opened.info}
        if signal := _signal_chunks(path):
            extra["signal"] = signal
        profile = opened.info.get("icc_profile")
        image = ImageOps.exif_transpose(opened)
        if exif := image.getexif():
            extra["exif"] = exif.tobytes()
        transparent = "transparency" in image.info
        if image.mode == "P":
            remarks.append(f"{path}: its palette was looked up")
            image = image.convert("RGBA" if transparent else "RGB")
        elif transparent and image.mode in ("L", "RGB"):
            image = image.convert("LA" if image.mode == "L" else "RGBA")
        elif transparent and image.mode not in ("LA", "RGBA"):
            raise _Refused("one of its colours is declared transparent; save it with alpha instead")
        if image.mode not in ("1", "L", "LA", "RGB", "RGBA", "I;16"):
            raise _Refused(f"its colours are stored as {image.mode}; save it as grey or RGB")
        values = _pixels(image)
    colours, alpha = (values, None) if values.ndim == 2 else _split_alpha(values)
    return Stored(colours=colours, alpha=alpha, profile=profile, extra=extra, remarks=remarks)


def _pixels(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    # Pillow stores true as the byte 255, where NumPy and XLA expect 1
    return values.view(np.uint8) != 0 if values.dtype == bool else values


def _signal_chunks(path: Path) -> bytes:
    """The chunks `_SIGNAL_CHUNKS` before a png's pixels, as stored; empty for other files."""
    found = b""
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return found
        while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
            size = struct.unpack(">I", head[:4])[0] + 4  # and the checksum
            if head[4:] in _SIGNAL_CHUNKS:
                found += head + file.read(size)
            else:
                file.seek(size, 1)
    return found


def _load_tiff(path: Path) -> Stored:
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        series = file.series[0]
        if len(file.series) > 1:
            raise _Refused(f"holds {len(file.series)} images; expected one")
        if why := misread(page):
            raise _Refused(why)
        photometric, extras = page.photometric, tuple(page.extrasamples)
        if photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB):
            raise _Refused(f"its colours are stored as {photometric.name}; save it as grey or RGB")
        tags = {name: tag.value for name in _TAGS if (tag := page.tags.get(name)) is not None}
        turn = tags.get("Orientation", 1)
        values, axes = _decoded(path, series, page, upright=turn not in _UPRIGHT), series.axes
        profile, compressed = page.iccprofile, page.compression != tifffile.COMPRESSION.NONE
    if axes == "SYX":  # one plane after another
        values = np.moveaxis(values, 0, -1)
    if values.ndim != 2 and (values.ndim != 3 or values.shape[2] not in (2, 3, 4)):
        raise _Refused(
            f"holds an array of shape {values.shape}; expected one grey image (H, W) or one "
            f"colour image (H, W, 3)"
        )
    if values.dtype not in (bool, np.uint8, np.uint16) and values.dtype.kind != "f":
        raise _Refused(
            f"pixels of type {values.dtype}; expected unsigned of 8 or 16 bits, or floating"
        )
    if turn in _UPRIGHT:
        values = np.ascontiguousarray(_UPRIGHT[turn](values))
    colours, alpha = (values, None) if values.ndim == 2 else _split_alpha(values)
    if (
        alpha is not None
        and tifffile.EXTRASAMPLE.ASSOCALPHA in extras
        and np.any(alpha != opaque(alpha.dtype))
    ):
        raise _Refused("its colours are premultiplied by alpha; save it with straight alpha")
    extra: dict[str, Any] = {"compressed": compressed}
    if "XResolution" in tags and "YResolution" in tags:
        both = (_ratio(tags["XResolution"]), _ratio(tags["YResolution"]))
        extra["resolution"] = both[::-1] if turn > 4 else both
        extra["resolutionunit"] = tags.get("ResolutionUnit", 2)
    return Stored(colours=colours, alpha=alpha, profile=profile, extra=extra)


_TAGS = ("Orientation", "XResolution", "YResolution", "ResolutionUnit")


def _ratio(value: tuple[int, int]) -> float:
    return value[0] / value[1] if value[1] else 0.0


def _decoded(path: Path, series: Any, page: Any, *, upright: bool) -> np.ndarray:
    try:
        return series.asarray()
    except (ValueError, ImportError) as error:
        if not (isinstance(error, ImportError) or "imagecodecs" in str(error)):
            raise
        # Pillow decodes some more compressions; used only where it keeps shape and dtype
        if upright:
            with contextlib.suppress(OSError, ValueError), Image.open(path) as image:
                values = _pixels(image)
                if (values.shape, values.dtype) == (page.shape, page.dtype):
                    return values
        name = tifffile.COMPRESSION(page.compression).name
        raise _Refused(f"is compressed by {name}, which needs: pip install imagecodecs") from None


def _split_alpha(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    if values.shape[2] == 3:
        return values, None
    return (values[..., 0] if values.shape[2] == 2 else values[..., :3]), values[..., -1]


def opaque(dtype: np.dtype) -> float:
    """The largest value of an alpha channel."""
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0


def check_holds(path: str | Path, image: Stored) -> None:
    """Refuse a format that cannot hold an image without loss.

    Args:
        path: decides by its suffix.
        image: the image to save; its values do not matter.

    Raises:
        ValueError: another suffix, or more bits or alpha than the format has, or the unusual
            colour chunks of a png.

    Example:
        >>> import numpy as np
        >>> from jaxconv._files import stored
        >>> stored.check_holds("a.jpg", stored.Stored(colours=np.zeros((2, 2), np.uint16)))
        Traceback (most recent call last):
        ValueError: a.jpg: jpeg cannot hold uint16 values; name a tiff or png file

    Source: JFIF; PNG (ISO/IEC 15948), section 11.2.2.
    """
    path = Path(path)
    suffix, dtype = path.suffix.lower(), image.colours.dtype
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{path}: not the suffix of an image that can be written ({', '.join(SUFFIXES)})"
        )
    if suffix != ".png" and (chunk := _unusual_chunk(image)):
        raise ValueError(
            f"{path}: {'tiff' if suffix in TIFF else 'jpeg'} cannot hold the colour "
            f"information of the png (chunk {chunk}); name a png file"
        )
    if suffix in TIFF:
        return
    plain = image.colours.ndim == 2 and image.alpha is None
    deep = suffix == ".png" and plain
    if dtype not in ((bool, np.uint8, np.uint16) if deep else (bool, np.uint8)):
        name = "png" if suffix == ".png" else "jpeg"
        what = f"{dtype} values" + (
            " with colour or alpha" if name == "png" and dtype == np.uint16 else ""
        )
        other = "tiff or png" if plain and dtype == np.uint16 else "tiff"
        raise ValueError(f"{path}: {name} cannot hold {what}; name a {other} file")
    if suffix != ".png" and image.alpha is not None:
        raise ValueError(f"{path}: jpeg cannot hold alpha; name a png or tiff file")


def _unusual_chunk(image: Stored) -> str | None:
    """The chunk that gives a png's values colours that other formats cannot represent, if any.

    Signal chunks take precedence over all, a profile or the sRGB chunk over gamma and primaries.
    """
    if "signal" in image.extra:
        return image.extra["signal"][4:8].decode()
    if image.profile is not None or "srgb" in image.extra:
        return None
    for name, usual in _SRGB.items():
        found = np.ravel(image.extra.get(name, usual))
        if found.size != len(usual) or np.abs(found - usual).max() > 1e-3:
            return _COLOUR_CHUNKS[name].decode()
    return None


def save(path: str | Path, image: Stored) -> None:
    """Write an image file with exactly its values; jpeg at quality 95 with full colour resolution.

    Args:
        path: png, jpeg or tiff, by its suffix.
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
    values = image.colours
    if image.alpha is not None:
        values = np.dstack([values, image.alpha])
    if path.suffix.lower() in TIFF:
        tifffile.imwrite(
            path,
            values,
            photometric="rgb" if image.colours.ndim == 3 else "minisblack",
            planarconfig=None if values.ndim == 2 else "contig",
            extrasamples=None if image.alpha is None else ["unassalpha"],
            iccprofile=image.profile,
            compression="zlib" if image.extra.get("compressed") else None,
            metadata=None,
            **{k: image.extra[k] for k in ("resolution", "resolutionunit") if k in image.extra},
        )
        return
    options = {k: image.extra[k] for k in ("dpi", "exif") if k in image.extra}
    if image.profile is not None:
        options["icc_profile"] = image.profile
    if path.suffix.lower() == ".png":
        options["pnginfo"] = _colour_chunks(image.extra)
    else:
        options |= {"quality": 95, "subsampling": 0}
    Image.fromarray(values).save(path, **options)
    if "signal" in image.extra:  # Pillow leaves out chunks that it does not know
        data = path.read_bytes()
        header = 33  # bytes of the signature and the chunk IHDR
        path.write_bytes(data[:header] + image.extra["signal"] + data[header:])


def _colour_chunks(extra: dict[str, Any]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for name, chunk in _COLOUR_CHUNKS.items():
        if name == "srgb" and name in extra:
            info.add(chunk, bytes([extra[name]]))
        elif name in extra:
            numbers = np.ravel(extra[name])
            info.add(chunk, struct.pack(f">{numbers.size}I", *np.rint(1e5 * numbers).astype(int)))
    return info
