"""Photographs in and out of files: png, jpeg and tiff, grey or colour, 8 or 16 bits.

Pixels are float32 arrays (H, W) or (H, W, 3). Unsigned integers are divided by the largest value
of their type, so that 8 and 16 bits both span 0 to 1; floating-point files keep their values.
Needs the `cli` extra.
"""

from pathlib import Path

import imageio.v3 as iio
import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
# What scikit-image ships inside its wheel: no download.
SAMPLES = (
    "astronaut",
    "brick",
    "camera",
    "cell",
    "chelsea",
    "clock",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "microaneurysms",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
)


def read(path: str | Path) -> tuple[np.ndarray, list[str]]:
    """Read an image file.

    `pixels = stored / largest value of the stored type` for unsigned integers

    Args:
        path: a png, jpeg or tiff file of one image. Jpegs are turned as their EXIF tag says.

    Returns:
        Pixels float32 (H, W) or (H, W, 3), and remarks on what was left out, one a line.

    Raises:
        ValueError: not such a file, broken, more than one image, transparent somewhere, or with
            pixels that are NaN or infinite.
        OSError: missing or not readable.

    Example:
        >>> import numpy as np, tempfile, pathlib
        >>> from jaxconv import images
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.png"
        >>> images.write(path, np.array([[0.0, 1.0]]))
        >>> images.read(path)
        (array([[0., 1.]], dtype=float32), [])

    Source: PNG (ISO/IEC 15948), section 13.12: samples scale by their largest value.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        raise ValueError(f"{path}: not an image file this reads ({', '.join(SUFFIXES)})")
    if _is_deep_colour_png(path):
        raise ValueError(f"{path}: 16-bit colour png would lose half its bits; save it as tiff")
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            stored = iio.imread(path, plugin="tifffile")
        else:
            stored = iio.imread(path, plugin="pillow", rotate=True)
    except Exception as error:  # each decoder raises what it likes
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: cannot be read as an image ({reason})") from error
    pixels, remarks = _without_alpha(_as_float(np.asarray(stored), path), path)
    return pixels, remarks


def _is_deep_colour_png(path: Path) -> bool:
    # The header: 8 bytes of signature, 8 of the chunk's head, 8 of size, then depth and colour type
    with path.open("rb") as file:
        head = file.read(26)
    return head[:4] == b"\x89PNG" and len(head) == 26 and head[24] == 16 and head[25] in (2, 6)


def _as_float(stored: np.ndarray, path: Path) -> np.ndarray:
    if stored.dtype == bool:
        return stored.astype(np.float32)
    if np.issubdtype(stored.dtype, np.unsignedinteger):
        return (stored / np.iinfo(stored.dtype).max).astype(np.float32)
    if not np.issubdtype(stored.dtype, np.floating):
        raise ValueError(f"{path}: pixels of type {stored.dtype}; expected unsigned or floating")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
        pixels = stored.astype(np.float32)
    broken = np.argwhere(~np.isfinite(pixels))
    if len(broken):
        row, column = broken[0][:2]
        raise ValueError(
            f"{path}: {len(broken)} of {pixels.size} values are NaN or infinite, the first at "
            f"row {row}, column {column}"
        )
    return pixels


def _without_alpha(pixels: np.ndarray, path: Path) -> tuple[np.ndarray, list[str]]:
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3):
        return pixels, []
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")  # its four planes are inks, not alpha
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4) and not jpeg:
        if np.any(pixels[..., -1] != 1):
            raise ValueError(f"{path}: has transparent pixels; flatten it onto a background first")
        pixels = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
        return pixels, [f"{path}: dropped its alpha channel, which is opaque everywhere"]
    raise ValueError(
        f"{path}: holds an array of shape {pixels.shape}; expected one grey image (H, W) or one "
        f"colour image (H, W, 3)"
    )


def sample(name: str) -> np.ndarray:
    """Give a photograph that scikit-image ships.

    `pixels = stored / 255`

    Args:
        name: one of `SAMPLES`.

    Returns:
        Pixels float32 (H, W) or (H, W, 3), from 0 to 1.

    Raises:
        ValueError: another name.

    Example:
        >>> from jaxconv import images
        >>> images.sample("camera").shape
        (512, 512)

    Source: `skimage.data`.
    """
    if name not in SAMPLES:
        raise ValueError(f"no photograph is called {name!r}; known: {', '.join(SAMPLES)}")
    from skimage import data

    return _as_float(getattr(data, name)(), Path(name))


def quantise(pixels: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Round to 8 bits as a saved image is, the range of values stretched onto 0 to 255.

    `stored = round((pixels - offset) / scale)`, `offset = min`, `scale = (max - min) / 255`

    Args:
        pixels: any shape, floating point, any units.

    Returns:
        stored uint8 of the same shape, scale and offset: `stored * scale + offset` restores the
        pixels to half a scale.

    Example:
        >>> import numpy as np
        >>> from jaxconv import images
        >>> images.quantise(np.array([-0.25, 0.5, 63.5]))
        (array([  0,   3, 255], dtype=uint8), 0.25, -0.25)

    Source: uniform quantisation; its error has variance `scale ** 2 / 12`.
    """
    offset = float(pixels.min())
    scale = (float(pixels.max()) - offset) / 255 or 1.0
    return np.rint((pixels - offset) / scale).astype(np.uint8), scale, offset


def write(path: str | Path, pixels: np.ndarray, *, bits: int = 8) -> None:
    """Write an image file.

    `stored = round(clip(pixels, 0, 1) * (2 ** bits - 1))`

    Args:
        path: png, jpeg or tiff, by its suffix.
        pixels: (H, W) or (H, W, 3), from 0 to 1; what lies outside is clipped.
        bits: 8 or 16 (16 for tiff, and for grey png).

    Raises:
        ValueError: another suffix or number of bits, or 16 bits where the format has none.

    Example:
        >>> import numpy as np, tempfile, pathlib
        >>> from jaxconv import images
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "deep.tiff"
        >>> images.write(path, np.array([[0.0, 0.25, 1.0]]), bits=16)
        >>> images.read(path)[0].round(4)
        array([[0.  , 0.25, 1.  ]], dtype=float32)

    Source: PNG (ISO/IEC 15948), section 13.12.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: not an image suffix this writes ({', '.join(SUFFIXES)})")
    deep = suffix in (".tif", ".tiff") or (suffix == ".png" and pixels.ndim == 2)
    if bits not in (8, 16) or (bits == 16 and not deep):
        raise ValueError(f"{path}: bits must be 8, or 16 for tiff and grey png; got {bits!r}")
    stored = np.rint(np.clip(pixels, 0, 1) * (2**bits - 1))
    iio.imwrite(path, stored.astype(np.uint8 if bits == 8 else np.uint16))
