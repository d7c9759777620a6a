"""Averages: `blur`, `boxFilter` and `GaussianBlur`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.messages import shown
from jaxconv.compat.cv2 import _arguments as arguments
from jaxconv.compat.cv2._constants import (
    ALGO_HINT_ACCURATE,
    ALGO_HINT_APPROX,
    ALGO_HINT_DEFAULT,
    BORDER_DEFAULT,
)
from jaxconv.compat.cv2._kernels import gaussian
from jaxconv.compat.cv2._sums import weighted_sum


def blur(
    src: jax.Array | np.ndarray,
    ksize: Sequence[int],
    dst: None = None,
    anchor: Sequence[int] = (-1, -1),
    borderType: int = BORDER_DEFAULT,
) -> jax.Array:
    """Average over windows.

    y[i, j] = 1 / (w h) sum over a < h, b < w of src[i + a - anchor[1], j + b - anchor[0]]

    Args:
        src: as in `filter2D`, or int32.
        ksize: (w, h), the window's width and height.
        dst: None.
        anchor: as in `filter2D`.
        borderType: as in `filter2D`.

    Returns:
        y: as in `filter2D`, in the dtype of `src`. Means of integers are exact before rounding.

    Raises:
        TypeError: as `filter2D`.
        ValueError: as `filter2D`, or a size below 1.

    Example:
        >>> blur(jnp.array([[1, 2, 4, 7]], jnp.uint8), (2, 1))  # 1.5, 1.5, 3, 5.5
        Array([[2, 2, 3, 6]], dtype=uint8)
    """
    return _box("blur", src, -1, ksize, dst, anchor, True, borderType)


def boxFilter(
    src: jax.Array | np.ndarray,
    ddepth: int,
    ksize: Sequence[int],
    dst: None = None,
    anchor: Sequence[int] = (-1, -1),
    normalize: bool = True,
    borderType: int = BORDER_DEFAULT,
) -> jax.Array:
    """Average or add over windows.

    Args:
        src: as in `blur`.
        ddepth: the result's depth, as in `filter2D`; CV_32S, too, for integers.
        ksize: as in `blur`.
        dst: None.
        anchor: as in `filter2D`.
        normalize: True for means as in `blur`, False for sums.
        borderType: as in `filter2D`.

    Returns:
        y: as in `filter2D`.

    Raises:
        TypeError: as `filter2D`.
        ValueError: as `blur`.

    Example:
        >>> boxFilter(jnp.array([[1, 2, 4, 250]], jnp.uint8), -1, (3, 1), normalize=False)
        Array([[  5,   7, 255, 255]], dtype=uint8)
    """
    return _box("boxFilter", src, ddepth, ksize, dst, anchor, normalize, borderType)


def GaussianBlur(
    src: jax.Array | np.ndarray,
    ksize: Sequence[int],
    sigmaX: Any,
    dst: None = None,
    sigmaY: Any = 0,
    borderType: int = BORDER_DEFAULT,
    hint: int = ALGO_HINT_DEFAULT,
) -> jax.Array:
    """Average with the weights of a Gaussian, by rows and by columns.

    y[i, j] = sum over a, b of src[i + a - h // 2, j + b - w // 2] g(h, sigmaY)[a] g(w, sigmaX)[b],
    g as in `getGaussianKernel`

    Rounded once, at the end.

    Args:
        src: as in `filter2D`.
        ksize: (w, h), odd. Where 0 or less, 3 sigma on each side for uint8 and 4 for others:
            round(6 sigma + 1) or round(8 sigma + 1), made odd.
        sigmaX: standard deviation along x, in pixels; from `ksize` if not positive. It may be
            traced if `ksize` is given, and counts as positive then.
        dst: None.
        sigmaY: the same along y; if not positive, that along x.
        borderType: as in `filter2D`; BORDER_WRAP, too, for uint8 and uint16.
        hint: one of OpenCV's ALGO_HINT_: the result is the same.

    Returns:
        y: as in `filter2D`, in the dtype of `src`.

    Raises:
        TypeError: as `filter2D`, or a traced sigma without `ksize`.
        ValueError: as `filter2D`, or an even size.

    Example:
        >>> GaussianBlur(jnp.array([[0, 0, 200, 0, 0]], jnp.uint8), (3, 1), 0)
        Array([[  0,  50, 100,  50,   0]], dtype=uint8)
    """
    caller = "GaussianBlur"
    x, dtype = arguments.image(caller, src, -1, dst)
    sizes = arguments.widths(caller, ksize)
    sigma_x = arguments.number(caller, "sigmaX", sigmaX)
    sigma_y = arguments.number(caller, "sigmaY", sigmaY)
    if isinstance(sigma_y, float) and sigma_y <= 0:
        sigma_y = sigma_x
    hints = (ALGO_HINT_DEFAULT, ALGO_HINT_ACCURATE, ALGO_HINT_APPROX)
    if arguments.integer(caller, "hint", hint) not in hints:
        raise ValueError(f"{caller}: hint={shown(hint)} must be one of cv2.ALGO_HINT_...: {hints}")
    reach = 3 if x.dtype == jnp.uint8 else 4
    row, column = (
        _gaussian(caller, ksize, name, size, sigma, reach)
        for name, size, sigma in zip(("sigmaX", "sigmaY"), sizes, (sigma_x, sigma_y), strict=True)
    )
    wrap = x.dtype in (jnp.uint8, jnp.uint16)
    return weighted_sum(
        caller,
        x,
        [[row[None, :], column[:, None]]],
        mode=arguments.border(caller, borderType, wrap=wrap),
        dtype=dtype,
    )


def _box(caller, src, ddepth, ksize, dst, anchor, normalize, border) -> jax.Array:
    x, dtype = arguments.image(caller, src, ddepth, dst, arguments.SUMMED)
    rows, columns = arguments.window(caller, ksize)
    return weighted_sum(
        caller,
        x,
        [[np.ones((1, columns)), np.ones((rows, 1))]],
        mode=arguments.border(caller, border),
        dtype=dtype,
        anchor=arguments.anchored(caller, anchor, (rows, columns)),
        divisor=rows * columns if normalize else 1,
    )


def _gaussian(caller: str, ksize: Any, name: str, size: int, sigma: Any, reach: int) -> Any:
    """Return the weights of `size` elements, or of as many as `reach` sigma on each side need."""
    known = isinstance(sigma, float)
    if size <= 0:
        left = f"{caller}: ksize={shown(ksize)} leaves the size to {name}"
        if not known:
            raise TypeError(f"{left}, which is traced here; give ksize as (width, height)")
        if sigma <= 0:
            raise ValueError(
                f"{left}={sigma}, which must be positive; or give ksize as (width, height)"
            )
        size = round(2 * reach * sigma + 1) | 1
    if size % 2 == 0:
        raise ValueError(
            f"{caller}: ksize={shown(ksize)} must be (width, height), each odd, or 0 for the size "
            "that sigma needs"
        )
    if known:
        return gaussian(size, sigma)
    places = jnp.asarray(np.arange(size) - (size - 1) / 2, sigma.dtype)
    weights = jnp.exp(-0.5 * (places / sigma) ** 2)
    return weights / weights.sum()
