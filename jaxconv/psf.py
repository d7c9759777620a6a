"""Point-spread functions of common blurs, as NumPy arrays: constants to correlate with.

The image of a point of light under motion, a lens out of focus or diffraction; for the Gaussian see
`jaxconv.filters.gaussian`. Conventions, as in `jaxconv.filters`:

* Shape (rows, columns): y points down, x right; lengths in samples, angles in radians.
* Weights are not negative and sum to 1: a blur keeps the mean of an image.
* All are symmetric under a half turn: correlation and convolution with them are the same.
* Sizes may be even: the centre then lies between samples. A small size cuts the tails off; the
  remaining weights are scaled to sum 1.

Computed in float64 and rounded once, to float32 or to `dtype`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["airy", "defocus", "motion"]

# the first zero of the Bessel function J1 above 0: where the Airy pattern's first dark ring lies
_FIRST_ZERO = 3.8317059702075125


def motion(
    length: float,
    angle: float = 0.0,
    *,
    size: int | Sequence[int] | None = None,
    dtype: DTypeLike = np.float32,
) -> np.ndarray:
    """The blur of steady motion: a point becomes a line of even brightness.

    `kernel[y, x] = (1 / length) integral over s from -length / 2 to length / 2 of
    hat(x - s cos(angle)) hat(y - s sin(angle)) ds`, with `hat(t) = max(0, 1 - |t|)`, which shares a
    point between samples among its four neighbours, and x, y counted from the centre.

    Args:
        length: of the motion during the exposure, in samples, above 0.
        angle: direction in radians from x (right) towards y (down).
        size: (rows, columns), or one number for both; by default the smallest odd size that
            contains the line.
        dtype: a floating or complex dtype.

    Returns:
        (rows, columns), summing to 1.

    Raises:
        ValueError: `length` not above 0 or not finite, `angle` not finite, `size` below 1, or
            an integer dtype.

    Example:
        >>> motion(3.0).round(4)
        array([[0.0417, 0.2917, 0.3333, 0.2917, 0.0417]], dtype=float32)

    Source: M. R. Banham and A. K. Katsaggelos, "Digital image restoration", IEEE Signal Processing
    Magazine 14 (2), 1997, pp. 24-41, on linear motion blur.
    """
    _check_positive("motion", length=length)
    if not math.isfinite(angle):
        raise ValueError(f"motion: angle must be finite, in radians, got {angle!r}")
    along_y, along_x = length / 2 * math.sin(angle), length / 2 * math.cos(angle)
    y, x = _grid("motion", size, (_reach(along_y), _reach(along_x)))
    # between two crossings of rows or columns of samples the integrand is quadratic along the
    # line, which Gauss-Legendre quadrature with two points integrates exactly
    s = _pieces(length, y[:, 0], x[0], angle)
    half = np.diff(s) / 2
    middle = s[:-1] + half
    kernel = np.zeros(y.shape)
    for node in (-1 / math.sqrt(3), 1 / math.sqrt(3)):
        at = middle + node * half
        rows = _hat(y[:, :1] - at * math.sin(angle))  # (rows, pieces)
        columns = _hat(x[0][:, None] - at * math.cos(angle))  # (columns, pieces)
        kernel += (rows * half) @ columns.T
    return _normalised("motion", kernel, dtype)


def defocus(
    radius: float, *, size: int | Sequence[int] | None = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """The blur of a lens out of focus: a point becomes a disc of even brightness.

    `kernel[y, x]` is proportional to the area of sample (y, x), a unit square, that lies within
    `radius` of the centre; each area is a sum over 64 lines, each of them of exact length.

    Args:
        radius: of the circle of confusion, in samples, above 0.
        size: (rows, columns), or one number for both; by default the smallest odd size that
            contains the disc.
        dtype: a floating or complex dtype.

    Returns:
        (rows, columns), summing to 1.

    Raises:
        ValueError: `radius` not above 0 or not finite, `size` below 1, or an integer dtype.

    Example:
        >>> defocus(1.0).round(3)
        array([[0.025, 0.145, 0.025],
               [0.145, 0.318, 0.145],
               [0.025, 0.145, 0.025]], dtype=float32)

    Source: M. R. Banham and A. K. Katsaggelos, "Digital image restoration", IEEE Signal Processing
    Magazine 14 (2), 1997, pp. 24-41, on uniform out-of-focus blur (geometrical optics).
    """
    _check_positive("defocus", radius=radius)
    half = max(
        0, math.ceil(round(radius - 0.5, 9))
    )  # a sample extends half a sample from its centre
    y, x = _grid("defocus", size, (half, half))
    # 64 lines through the part of each row of samples that the disc covers
    low, high = np.maximum(y - 0.5, -radius), np.minimum(y + 0.5, radius)
    width = np.maximum(high - low, 0.0)
    kernel = np.zeros(y.shape)
    for part in (np.arange(64) + 0.5) / 64:
        chord = np.sqrt(np.maximum(radius**2 - (low + part * width) ** 2, 0.0))
        kernel += width * np.maximum(np.minimum(x + 0.5, chord) - np.maximum(x - 0.5, -chord), 0.0)
    return _normalised("defocus", kernel, dtype)


def airy(
    radius: float, *, size: int | Sequence[int] | None = None, dtype: DTypeLike = np.float32
) -> np.ndarray:
    """The blur of diffraction at a round aperture: a disc surrounded by rings.

    `kernel[y, x]` is proportional to `(2 J1(v) / v) ** 2`, with `v = 3.8317 r / radius`, r the
    distance of (y, x) from the centre and J1 the Bessel function of order one.

    Args:
        radius: of the first dark ring in samples, above 0: 1.22 times wavelength times focal length
            over aperture.
        size: (rows, columns), or one number for both; by default the smallest odd size that
            contains the first three bright rings: 95 % of the light.
        dtype: a floating or complex dtype.

    Returns:
        (rows, columns): values at the centres of the samples, summing to 1.

    Raises:
        ValueError: `radius` not above 0 or not finite, `size` below 1, or an integer dtype.

    Example:
        >>> airy(2.0, size=(1, 5)).round(4)
        array([[0. , 0.2118, 0.5764, 0.2118, 0. ]], dtype=float32)

    Source: J. W. Goodman, Introduction to Fourier Optics, section 4.4.2 (Circular aperture).
    """
    from scipy.special import j1  # imported on use: it takes a third of a second

    _check_positive("airy", radius=radius)
    # dark rings lie at 1, 1.831, 2.655 and 3.477 times the first one's radius
    half = math.ceil(round(3.477 * radius, 9)) - 1
    y, x = _grid("airy", size, (half, half))
    v = np.maximum(_FIRST_ZERO / radius * np.hypot(y, x), 1e-4)  # 2 J1(v) / v is 1 to 1e-9 there
    return _normalised("airy", (2 * j1(v) / v) ** 2, dtype)


def _pieces(length: float, rows: np.ndarray, columns: np.ndarray, angle: float) -> np.ndarray:
    """Positions along a line where it crosses rows and columns of samples, and its two ends."""
    cuts = [np.array([-length / 2, length / 2])]
    for positions, step in ((rows, math.sin(angle)), (columns, math.cos(angle))):
        if abs(step) > 1e-9:
            # the hat functions of the outermost samples end one sample further out
            ends = np.concatenate([positions[:1] - 1, positions, positions[-1:] + 1])
            cuts.append(ends / step)
    inside = np.clip(np.concatenate(cuts), -length / 2, length / 2)
    return np.unique(inside)


def _hat(t: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1 - np.abs(t))


def _reach(half: float) -> int:
    """How many samples from the centre a point at distance `half` still contributes to."""
    # rounding noise (sin(pi) = 1e-16) must not add a sample
    return max(0, math.ceil(round(abs(half), 9) + 1) - 1)


def _grid(
    caller: str, size: int | Sequence[int] | None, halves: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns counted from the centre, each (rows, columns)."""
    sizes = tuple(2 * half + 1 for half in halves)
    if size is not None:
        sizes = tuple(size) if isinstance(size, Sequence | np.ndarray) else (size, size)
        if len(sizes) != 2 or not all(isinstance(n, int | np.integer) and n >= 1 for n in sizes):
            raise ValueError(
                f"{caller}: size must be one or two integers of at least 1, got {size!r}"
            )
    y, x = (np.arange(n) - (n - 1) / 2 for n in sizes)
    rows, columns = np.meshgrid(y, x, indexing="ij")
    return rows, columns


def _check_positive(caller: str, **values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{caller}: {name} must be finite and above 0, got {value!r}")


def _normalised(caller: str, kernel: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    dtype = np.dtype(dtype)
    # integers are excluded, not floats included: bfloat16 is not a subtype of np.floating
    if dtype.kind in "biu":
        raise ValueError(f"{caller}: dtype must hold fractions, got {dtype.name}")
    return (kernel / kernel.sum()).astype(dtype)
