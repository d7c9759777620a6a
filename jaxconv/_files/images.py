"""Photographs in and out of files: png, jpeg and tiff, grey or colour, 8 or 16 bits.

Pixels are float32 arrays (H, W) or (H, W, 3). Unsigned integers are divided by the largest value
of their type, so that 8 and 16 bits both span 0 to 1; floating-point values are kept.
Needs the `cli` extra.
"""

from pathlib import Path

import numpy as np

from jaxconv._files.rasters import opaque
from jaxconv._files.stored import Stored, load, save

# Photographs inside scikit-image's wheel, which need no download.
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
        path: a png, jpeg or tiff file of one image, which is turned upright as its tags say.

    Returns:
        Pixels float32 (H, W) or (H, W, 3), and remarks on what differs from the file.

    Raises:
        ValueError: not such a file, broken, more than one image, transparent somewhere, or with
            pixels that are NaN or infinite.
        OSError: missing or not readable.

    Example:
        >>> import numpy as np, tempfile, pathlib
        >>> from jaxconv._files import images
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.png"
        >>> images.write(path, np.array([[0.0, 1.0]]))
        >>> images.read(path)
        (array([[0., 1.]], dtype=float32), [])

    Source: PNG (ISO/IEC 15948), section 13.12: samples scale by their largest value.
    """
    image, remarks = photograph(path)
    pixels = as_float(image.colours, Path(path))
    if image.alpha is not None:
        if np.any(image.alpha != opaque(image.alpha.dtype)):
            raise ValueError(f"{path}: has transparent pixels; flatten it onto a background first")
        remarks.append(f"{path}: dropped its alpha channel, which is opaque everywhere")
    return pixels, remarks


def photograph(path: str | Path) -> tuple[Stored, list[str]]:
    """Load an image file as it is stored, if it is one grey or colour image.

    Args:
        path: a png, jpeg or tiff file.

    Returns:
        The image, and remarks on what differs from the file.

    Raises:
        ValueError: not such a file, a stack, bands that are not colours, signed or wide integers.
        OSError: missing or not readable.
    """
    image = load(path)
    _check_photograph(Path(path), image)
    return image, [f"{path}: {remark}" for remark in image.remarks]


def _check_photograph(path: Path, image: Stored) -> None:
    shape, dtype = image.shape, image.colours.dtype
    if image.axes == "YXS" and shape[-1] != 3:
        rgb = image.tags is not None and image.tags.rgb
        first = "red, green, blue" if rgb else "grey"
        alpha = " and alpha" if image.alpha is not None else ""
        raise ValueError(
            f"{path}: has the bands {first}, {shape[-1] - (3 if rgb else 1)} unspecified{alpha}; "
            "expected one grey image (H, W) or one colour image (H, W, 3)"
        )
    if image.axes not in ("YX", "YXS"):
        what = f"axes {image.axes} of the shape {shape}" if image.axes else f"the shape {shape}"
        raise ValueError(
            f"{path}: has {what}; expected one grey image (H, W) or one colour image (H, W, 3)"
        )
    if dtype not in (bool, np.uint8, np.uint16) and dtype.kind != "f":
        raise ValueError(
            f"{path}: pixels of type {dtype}; expected unsigned of 8 or 16 bits, or floating"
        )


def as_float(stored: np.ndarray, path: Path) -> np.ndarray:
    """Read stored values as intensities, 0 to 1 for integers, float32.

    Args:
        stored: any shape, bool, unsigned or floating.
        path: for the message.

    Returns:
        The same shape.

    Raises:
        ValueError: some values are NaN or infinite in float32.

    Example:
        >>> import numpy as np, pathlib
        >>> from jaxconv._files import images
        >>> images.as_float(np.array([0, 51, 255], np.uint8), pathlib.Path("a.png"))
        array([0. , 0.2, 1. ], dtype=float32)

    Source: PNG (ISO/IEC 15948), section 13.12.
    """
    if stored.dtype == bool:
        return stored.astype(np.float32)
    if np.issubdtype(stored.dtype, np.unsignedinteger):
        return (stored / np.iinfo(stored.dtype).max).astype(np.float32)
    with np.errstate(over="ignore"):  # overflow gives infinity, which is refused below
        pixels = stored.astype(np.float32)
    broken = np.argwhere(~np.isfinite(pixels))
    if len(broken):
        row, column = broken[0][:2]
        raise ValueError(
            f"{path}: {len(broken)} of {pixels.size} values are NaN or infinite, the first at "
            f"row {row}, column {column}"
        )
    return pixels


def sample(name: str) -> np.ndarray:
    """Return a photograph that scikit-image contains.

    `pixels = stored / 255`

    Args:
        name: one of `SAMPLES`.

    Returns:
        Pixels float32 (H, W) or (H, W, 3), from 0 to 1.

    Raises:
        ValueError: another name.

    Example:
        >>> from jaxconv._files import images
        >>> images.sample("camera").shape
        (512, 512)
    """
    if name not in SAMPLES:
        raise ValueError(f"no photograph is called {name!r}; known: {', '.join(SAMPLES)}")
    from skimage import data

    return as_float(getattr(data, name)(), Path(name))


def quantise(pixels: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Round to 8 bits like a saved image, with the range of values mapped onto 0 to 255.

    `stored = round((pixels - offset) / scale)`, `offset = min`, `scale = (max - min) / 255`

    Args:
        pixels: any shape, floating point, any units.

    Returns:
        stored uint8 of the same shape, scale and offset: `stored * scale + offset` is within half
        a scale of the pixels.

    Example:
        >>> import numpy as np
        >>> from jaxconv._files import images
        >>> images.quantise(np.array([-0.25, 0.5, 63.5]))
        (array([  0,   3, 255], dtype=uint8), 0.25, -0.25)
    """
    offset = float(pixels.min())
    scale = (float(pixels.max()) - offset) / 255 or 1.0
    return np.rint((pixels - offset) / scale).astype(np.uint8), scale, offset


def write(path: str | Path, pixels: np.ndarray, *, bits: int = 8) -> None:
    """Write an image file.

    `stored = round(clip(pixels, 0, 1) * (2 ** bits - 1))`

    Args:
        path: png, jpeg or tiff, by its suffix.
        pixels: (H, W) or (H, W, 3), clipped to 0 to 1.
        bits: 8 or 16 (16 for tiff, and for grey png).

    Raises:
        ValueError: another suffix, or 16 bits in a format that lacks them.

    Example:
        >>> import numpy as np, tempfile, pathlib
        >>> from jaxconv._files import images
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "deep.tiff"
        >>> images.write(path, np.array([[0.0, 0.25, 1.0]]), bits=16)
        >>> images.read(path)[0].round(4)
        array([[0.  , 0.25, 1.  ]], dtype=float32)

    Source: PNG (ISO/IEC 15948), section 13.12.
    """
    levels = np.rint(np.clip(pixels, 0, 1) * (2**bits - 1))
    save(path, Stored(colours=levels.astype(f"uint{bits}")))
