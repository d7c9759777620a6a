"""Png and jpeg files, by Pillow: pixels, and what else says how to show them."""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

SUFFIXES = (".png", ".jpg", ".jpeg")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# PNG's colour chunks that Pillow reads; fractions are stored as integers in units of 1e-5
_COLOUR_CHUNKS = {"gamma": b"gAMA", "chromaticity": b"cHRM", "srgb": b"sRGB"}
# Chunks that Pillow does not read: code points of video signals, and of high dynamic range
_SIGNAL_CHUNKS = (b"cICP", b"mDCV", b"cLLI")
# the values of sRGB
_SRGB = {"gamma": (0.45455,), "chromaticity": (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)}


class Refused(Exception):  # noqa: N818 - becomes an ImageError with the path
    """A valid file that cannot be used here."""


def read(path: Path, page: int | None = None) -> tuple[np.ndarray, dict[str, Any], list[str]]:
    """Return pixels (H, W) or (H, W, 2 to 4), what else `write` takes, and remarks.

    Args:
        path: of the file.
        page: number of one of several images; None where there is one, or for the main picture of
            a jpeg with several (MPO).

    Raises:
        Refused: a file that would lose something, or of more than one image.
    """
    depth, kind = _png_header(path)
    if depth == 16 and kind in (2, 4, 6):
        what = "grey png with alpha" if kind == 4 else "colour png"
        raise Refused(f"16-bit {what} would lose half its bits; save it as tiff")
    remarks = []
    try:
        with warnings.catch_warnings():
            # a warning at half of the size that is refused
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(path)
    except Image.DecompressionBombError:
        largest = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise Refused(
            f"has more than {largest} pixels, the most that Pillow decodes; save it as tiff, which "
            "is also filtered in tiles"
        ) from None
    except UnidentifiedImageError:
        raise ValueError("its first bytes are not those of a png, jpeg or tiff file") from None
    with opened:
        count = getattr(opened, "n_frames", 1)
        if page is None and count > 1 and opened.format != "MPO":
            raise Refused(f"holds {count} images; page=N takes one, from 0")
        if not 0 <= (page or 0) < count:
            many = f"holds {count} image{'s' * (count > 1)}, from 0"
            raise Refused(f"{many}; page={page} is not there")
        if count > 1:
            of = f"main picture of {count}" if page is None else f"page {page} of {count}"
            remarks.append(f"{of} alone")
            opened.seek(page or 0)
        kept = {k: opened.info[k] for k in ("dpi", *_COLOUR_CHUNKS) if k in opened.info}
        if signal := _signal_chunks(path):
            kept["signal"] = signal
        kept["profile"] = opened.info.get("icc_profile")
        image = ImageOps.exif_transpose(opened)
        if exif := image.getexif():
            kept["exif"] = exif.tobytes()
        transparent = "transparency" in image.info
        if image.mode == "P":
            remarks.append("its palette was looked up")
            image = image.convert("RGBA" if transparent else "RGB")
        elif transparent and image.mode in ("L", "RGB"):
            image = image.convert("LA" if image.mode == "L" else "RGBA")
        elif transparent and image.mode not in ("LA", "RGBA"):
            raise Refused("one of its colours is declared transparent; save it with alpha instead")
        if image.mode not in ("1", "L", "LA", "RGB", "RGBA", "I;16"):
            raise Refused(f"its colours are stored as {image.mode}; save it as grey or RGB")
        return pixels(image), kept, remarks


def _png_header(path: Path) -> tuple[int, int]:
    """The depth and colour type of a png, (0, 0) for other files."""
    # 8 bytes of signature, 8 of the chunk's head, 8 of size, then depth and colour type
    with path.open("rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if head[:4] == _SIGNATURE[:4] and len(head) == 26 else (0, 0)


def pixels(image: Image.Image) -> np.ndarray:
    """The values of an image that Pillow opened."""
    values = np.asarray(image)
    # Pillow stores true as the byte 255, where NumPy and XLA expect 1
    return values.view(np.uint8) != 0 if values.dtype == bool else values


def _signal_chunks(path: Path) -> bytes:
    """The chunks `_SIGNAL_CHUNKS` before a png's pixels, as stored; empty for other files."""
    found = b""
    with path.open("rb") as file:
        if file.read(8) != _SIGNATURE:
            return found
        while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
            size = struct.unpack(">I", head[:4])[0] + 4  # and the checksum
            if head[4:] in _SIGNAL_CHUNKS:
                found += head + file.read(size)
            else:
                file.seek(size, 1)
    return found


def unusual_chunk(kept: dict[str, Any], profile: bytes | None) -> str | None:
    """The chunk that gives a png's values colours that other formats cannot represent, if any.

    Signal chunks take precedence over all, a profile or the sRGB chunk over gamma and primaries.
    """
    if "signal" in kept:
        return kept["signal"][4:8].decode()
    if profile is not None or "srgb" in kept:
        return None
    for name, usual in _SRGB.items():
        found = np.ravel(kept.get(name, usual))
        if found.size != len(usual) or np.abs(found - usual).max() > 1e-3:
            return _COLOUR_CHUNKS[name].decode()
    return None


def write(path: Path, values: np.ndarray, kept: dict[str, Any], profile: bytes | None) -> None:
    """Write pixels (H, W) or (H, W, 2 to 4), and what `read` kept."""
    options = {k: kept[k] for k in ("dpi", "exif") if k in kept}
    if profile is not None:
        options["icc_profile"] = profile
    if path.suffix.lower() == ".png":
        options["pnginfo"] = _colour_chunks(kept)
    else:
        options |= {"quality": 95, "subsampling": 0}
    Image.fromarray(values).save(path, **options)
    if "signal" in kept:  # Pillow leaves out chunks that it does not know
        data = path.read_bytes()
        header = 33  # bytes of the signature and the chunk IHDR
        path.write_bytes(data[:header] + kept["signal"] + data[header:])


def _colour_chunks(kept: dict[str, Any]) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for name, chunk in _COLOUR_CHUNKS.items():
        if name == "srgb" and name in kept:
            info.add(chunk, bytes([kept[name]]))
        elif name in kept:
            numbers = np.ravel(kept[name])
            info.add(chunk, struct.pack(f">{numbers.size}I", *np.rint(1e5 * numbers).astype(int)))
    return info
