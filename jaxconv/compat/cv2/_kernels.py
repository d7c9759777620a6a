"""The kernels of OpenCV's filters, as NumPy arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jaxconv._core.geometry.messages import shown
from jaxconv.compat.cv2 import _arguments as arguments
from jaxconv.compat.cv2._constants import CV_32F, CV_64F, FILTER_SCHARR

# OpenCV takes these for odd sizes up to 9 where sigma is not positive: halves, in parts of 256
_SMALL_GAUSSIANS = {
    1: [256],
    3: [64, 128],
    5: [16, 64, 96],
    7: [8, 28, 56, 72],
    9: [4, 13, 30, 51, 60],
}


def getGaussianKernel(ksize: int, sigma: float, ktype: int = CV_64F) -> np.ndarray:
    """Return a Gaussian as a column whose sum is 1.

    g[a] = exp(-(a - (ksize - 1) / 2)^2 / (2 sigma^2)) / Z

    If sigma is not positive, it is 0.3 ((ksize - 1) / 2 - 1) + 0.8; but the sizes 1, 3, 5, 7 and 9
    have tables, as in OpenCV, with parts of 256: (64, 128, 64), (16, 64, 96, 64, 16), ...

    Args:
        ksize: number of elements, odd.
        sigma: standard deviation, in elements.
        ktype: CV_32F or CV_64F.

    Returns:
        (ksize, 1).

    Raises:
        TypeError: `ksize` or `ktype` is not an integer, or sigma not a number.
        ValueError: `ksize` is even or below 1, or another `ktype`.

    Example:
        >>> getGaussianKernel(3, 0).ravel(), getGaussianKernel(3, 0.8).ravel().round(3)
        (array([0.25, 0.5 , 0.25]), array([0.239, 0.522, 0.239]))
    """
    caller = "getGaussianKernel"
    size = arguments.integer(caller, "ksize", ksize)
    if size < 1 or size % 2 == 0:
        raise ValueError(
            f"{caller}: ksize={size} must be odd, and 1 or more; jaxconv.filters.gaussian has even "
            "sizes"
        )
    return gaussian(size, _known(caller, "sigma", sigma))[:, None].astype(
        arguments.floating(caller, ktype)
    )


def getDerivKernels(
    dx: int,
    dy: int,
    ksize: int,
    kx: None = None,
    ky: None = None,
    normalize: bool = False,
    ktype: int = CV_32F,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernels of Sobel's and Scharr's derivatives, for rows and for columns.

    Sobel's are products of (1, 1) and, as often as is differentiated, (-1, 1), as polynomials.

    Args:
        dx: order of the derivative along x.
        dy: order of the derivative along y.
        ksize: 1 (no smoothing, 3 elements where is differentiated), odd up to 31, or FILTER_SCHARR.
        kx: None.
        ky: None.
        normalize: whether to scale them, so that the derivative of a ramp of slope 1 is 1.
        ktype: CV_32F or CV_64F.

    Returns:
        kx, ky: (n, 1) each.

    Raises:
        TypeError: `dx`, `dy`, `ksize` or `ktype` is not an integer, or `kx` or `ky` is given.
        ValueError: orders or sizes that OpenCV does not have, or another `ktype`.

    Example:
        >>> [k.ravel() for k in getDerivKernels(1, 0, 3)]
        [array([-1.,  0.,  1.], dtype=float32), array([1., 2., 1.], dtype=float32)]
    """
    caller = "getDerivKernels"
    for name, value in (("kx", kx), ("ky", ky)):
        if value is not None:
            raise TypeError(f"{caller}: {name} must be None; use the arrays that are returned")
    dtype = arguments.floating(caller, ktype)
    row, column = derivatives(caller, dx, dy, ksize, normalize=bool(normalize))
    return row[:, None].astype(dtype), column[:, None].astype(dtype)


def getGaborKernel(
    ksize: tuple[int, int],
    sigma: float,
    theta: float,
    lambd: float,
    gamma: float,
    psi: float = math.pi / 2,
    ktype: int = CV_64F,
) -> np.ndarray:
    """Return a Gabor function: a cosine under a Gaussian.

    g[y, x] = exp(-(x'^2 + gamma^2 y'^2) / (2 sigma^2)) cos(2 pi x' / lambd + psi),
    x' = x cos(theta) + y sin(theta), y' = y cos(theta) - x sin(theta)

    Both coordinates run from large to small, as in OpenCV.

    Args:
        ksize: (width, height), each rounded up to an odd number; where 0 or less, 3 standard
            deviations on each side.
        sigma: standard deviation of the Gaussian, in pixels.
        theta: direction of the cosine, in radians.
        lambd: its wavelength, in pixels.
        gamma: the Gaussian's aspect ratio.
        psi: the phase of the cosine, in radians.
        ktype: CV_32F or CV_64F.

    Returns:
        (height, width).

    Raises:
        TypeError: an argument is not a number, or `ksize` is not two integers.
        ValueError: a number is not finite, or sigma, lambd or gamma is 0; or another `ktype`.

    Example:
        >>> getGaborKernel((3, 3), 1.0, 0.0, 4.0, 1.0, 0.0)[1].round(3)
        array([0., 1., 0.])

    Source: N. Petkov and P. Kruizinga, "Computational models of visual neurons specialised in the
    detection of periodic and aperiodic oriented visual stimuli", Biological Cybernetics 76, 1997.
    """
    caller = "getGaborKernel"
    size = arguments.widths(caller, ksize)
    values = {"sigma": sigma, "theta": theta, "lambd": lambd, "gamma": gamma, "psi": psi}
    known = {name: _known(caller, name, value) for name, value in values.items()}
    for name in ("sigma", "lambd", "gamma"):
        if known[name] == 0:
            raise ValueError(f"{caller}: {name} must not be 0")
    dtype = arguments.floating(caller, ktype)
    sigmas = known["sigma"], known["sigma"] / known["gamma"]
    cosine, sine = math.cos(known["theta"]), math.sin(known["theta"])
    reach = (
        max(abs(3 * sigmas[0] * cosine), abs(3 * sigmas[1] * sine)),
        max(abs(3 * sigmas[0] * sine), abs(3 * sigmas[1] * cosine)),
    )
    ends = [n // 2 if n > 0 else round(r) for n, r in zip(size, reach, strict=True)]
    x, y = (np.arange(end, -end - 1, -1, dtype=np.float64) for end in ends)
    y = y[:, None]
    along, across = x * cosine + y * sine, y * cosine - x * sine
    envelope = np.exp(-0.5 * ((along / sigmas[0]) ** 2 + (across / sigmas[1]) ** 2))
    return (envelope * np.cos(2 * math.pi / known["lambd"] * along + known["psi"])).astype(dtype)


def gaussian(size: int, sigma: float) -> np.ndarray:
    """Return the elements of `getGaussianKernel`, in float64."""
    if sigma <= 0 and size in _SMALL_GAUSSIANS:
        half = _SMALL_GAUSSIANS[size]
        return np.array([*half, *half[-2::-1]], np.float64) / 256
    sigma = sigma if sigma > 0 else 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    weights = np.exp(-0.5 / sigma**2 * (np.arange(size) - (size - 1) / 2) ** 2)
    return weights / weights.sum()


def derivatives(
    caller: str, dx: Any, dy: Any, ksize: Any, *, normalize: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the elements of `getDerivKernels`, in float64.

    Raises:
        TypeError: `dx`, `dy` or `ksize` is not an integer.
        ValueError: orders or sizes that OpenCV does not have.
    """
    orders = arguments.integer(caller, "dx", dx), arguments.integer(caller, "dy", dy)
    size = arguments.integer(caller, "ksize", ksize)
    given = f"dx={orders[0]}, dy={orders[1]}"
    if size == FILTER_SCHARR:
        if sorted(orders) != [0, 1]:
            raise ValueError(
                f"{caller}: {given} must be 1 and 0, or 0 and 1, for Scharr's kernel; Sobel with "
                "ksize=5 has other derivatives"
            )
        smooth = np.array([3.0, 10.0, 3.0]) / (32 if normalize else 1)
        row, column = (np.array([-1.0, 0.0, 1.0]) if order else smooth for order in orders)
        return row, column
    if size % 2 == 0 or not 1 <= size <= 31:
        raise ValueError(
            f"{caller}: ksize={shown(ksize)} must be odd, from 1 to 31, or cv2.FILTER_SCHARR"
        )
    if min(orders) < 0 or max(orders) == 0:
        raise ValueError(f"{caller}: {given} must be 0 or more, and one of them 1 or more")
    largest = max(size, 3) - 1
    if max(orders) > largest:
        raise ValueError(
            f"{caller}: {given} must be at most {largest}, for ksize={size}; for more take a "
            "larger ksize"
        )
    row, column = (_sobel(max(size, 3) if order else size, order, normalize) for order in orders)
    return row, column


def _sobel(size: int, order: int, normalize: bool) -> np.ndarray:
    k = np.ones(1)
    for _ in range(size - order - 1):
        k = np.convolve(k, [1.0, 1.0])
    for _ in range(order):
        k = np.convolve(k, [-1.0, 1.0])
    return k / 2 ** (size - order - 1) if normalize else k


def _known(caller: str, name: str, value: Any) -> float:
    found = arguments.number(caller, name, value)
    if not isinstance(found, float):
        raise TypeError(
            f"{caller}: {name} must be a fixed number, but is traced here; under jax.jit name it "
            "in static_argnames"
        )
    return found
