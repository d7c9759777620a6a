"""Derivatives of images: `Sobel`, `Scharr` and `Laplacian`."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxconv._core.geometry.dtypes import constant
from jaxconv.compat.cv2 import _arguments as arguments
from jaxconv.compat.cv2._constants import BORDER_DEFAULT, FILTER_SCHARR
from jaxconv.compat.cv2._kernels import derivatives
from jaxconv.compat.cv2._sums import weighted_sum


def Sobel(
    src: jax.Array | np.ndarray,
    ddepth: int,
    dx: int,
    dy: int,
    dst: None = None,
    ksize: int = 3,
    scale: Any = 1,
    delta: Any = 0,
    borderType: int = BORDER_DEFAULT,
) -> jax.Array:
    """Differentiate an image along one direction, and smooth it along the other.

    y = scale * (src correlated with ky kx^T) + delta, kx and ky as in `getDerivKernels`

    Args:
        src: as in `filter2D`.
        ddepth: as in `filter2D`; of unsigned dtypes only results of 0 or more are kept.
        dx: order of the derivative along x.
        dy: order of the derivative along y.
        dst: None.
        ksize: 1, 3, 5, ..., 31, or FILTER_SCHARR.
        scale: a factor; it may be traced.
        delta: as in `filter2D`.
        borderType: as in `filter2D`.

    Returns:
        y: as in `filter2D`.

    Raises:
        TypeError: as `filter2D`.
        ValueError: as `filter2D`, or orders and sizes that OpenCV does not have.

    Example:
        >>> from jaxconv.compat import cv2
        >>> src = np.array([[9, 9, 5, 5], [9, 9, 5, 5]], np.uint8)
        >>> cv2.Sobel(src, cv2.CV_16S, 1, 0)
        Array([[  0, -16, -16,   0],
               [  0, -16, -16,   0]], dtype=int16)

    Source: as `jaxconv.filters.sobel`.
    """
    return _derivative("Sobel", src, ddepth, dx, dy, dst, ksize, scale, delta, borderType)


def Scharr(
    src: jax.Array | np.ndarray,
    ddepth: int,
    dx: int,
    dy: int,
    dst: None = None,
    scale: Any = 1,
    delta: Any = 0,
    borderType: int = BORDER_DEFAULT,
) -> jax.Array:
    """Differentiate an image by (-1, 0, 1), and smooth it across by (3, 10, 3).

    Args:
        src: as in `filter2D`.
        ddepth: as in `Sobel`.
        dx: 1 or 0.
        dy: 0 or 1.
        dst: None.
        scale: as in `Sobel`.
        delta: as in `filter2D`.
        borderType: as in `filter2D`.

    Returns:
        y: as in `filter2D`.

    Raises:
        TypeError: as `filter2D`.
        ValueError: as `filter2D`, or other orders.

    Example:
        >>> from jaxconv.compat import cv2
        >>> cv2.Scharr(np.array([[9, 9, 5, 5]], np.uint8), cv2.CV_16S, 1, 0)
        Array([[  0, -64, -64,   0]], dtype=int16)

    Source: as `jaxconv.filters.scharr`.
    """
    how = (ddepth, dx, dy, dst, FILTER_SCHARR, scale, delta, borderType)
    return _derivative("Scharr", src, *how)


def Laplacian(
    src: jax.Array | np.ndarray,
    ddepth: int,
    dst: None = None,
    ksize: int = 1,
    scale: Any = 1,
    delta: Any = 0,
    borderType: int = BORDER_DEFAULT,
) -> jax.Array:
    """Add the second derivatives along x and y.

    y = scale * (Sobel(src, dx=2) + Sobel(src, dy=2)) + delta, rounded once

    Args:
        src: as in `filter2D`.
        ddepth: as in `Sobel`.
        dst: None.
        ksize: 1 for (0, 1, 0; 1, -4, 1; 0, 1, 0), or 3, 5, ..., 31 as in `Sobel`.
        scale: as in `Sobel`.
        delta: as in `filter2D`.
        borderType: as in `filter2D`.

    Returns:
        y: as in `filter2D`.

    Raises:
        TypeError: as `filter2D`.
        ValueError: as `filter2D`, or another `ksize`.

    Example:
        >>> from jaxconv.compat import cv2
        >>> cv2.Laplacian(np.array([[0, 0, 1, 0, 0]], np.uint8), cv2.CV_16S)
        Array([[ 0,  1, -2,  1,  0]], dtype=int16)
    """
    caller = "Laplacian"
    x, dtype = arguments.image(caller, src, ddepth, dst)
    size = arguments.integer(caller, "ksize", ksize)
    if size % 2 == 0 or not 1 <= size <= 31:
        raise ValueError(f"{caller}: ksize={size} must be odd, from 1 to 31")
    second, smooth = derivatives(caller, 2, 0, size)
    if size > 3:
        terms = [[_row(second), _column(smooth)], [_row(smooth), _column(second)]]
    elif size == 3:
        terms = [[np.outer(smooth, second) + np.outer(second, smooth)]]
    else:
        terms = [[np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])]]
    return _scaled_sum(caller, x, terms, scale, delta, borderType, dtype)


def _derivative(caller, src, ddepth, dx, dy, dst, ksize, scale, delta, border) -> jax.Array:
    x, dtype = arguments.image(caller, src, ddepth, dst)
    row, column = derivatives(caller, dx, dy, ksize)
    return _scaled_sum(caller, x, [[_row(row), _column(column)]], scale, delta, border, dtype)


def _scaled_sum(caller, x, terms, scale, delta, border, dtype) -> jax.Array:
    factor = arguments.number(caller, "scale", scale)
    if not isinstance(factor, float):
        terms = [[constant(first, factor.dtype), *rest] for first, *rest in terms]
    terms = [[first * factor, *rest] for first, *rest in terms]
    return weighted_sum(
        caller,
        x,
        terms,
        mode=arguments.border(caller, border),
        dtype=dtype,
        delta=arguments.number(caller, "delta", delta),
    )


def _row(k: np.ndarray) -> np.ndarray:
    return k[None, :]


def _column(k: np.ndarray) -> np.ndarray:
    return k[:, None]
