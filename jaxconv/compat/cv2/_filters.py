"""Filters with kernels of one's own: `filter2D` and `sepFilter2D`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxconv.compat.cv2 import _arguments as arguments
from jaxconv.compat.cv2._constants import BORDER_DEFAULT
from jaxconv.compat.cv2._sums import weighted_sum


def filter2D(
    src: jax.Array | np.ndarray,
    ddepth: int,
    kernel: jax.Array | np.ndarray,
    dst: None = None,
    anchor: Sequence[int] = (-1, -1),
    delta: Any = 0,
    borderType: int = BORDER_DEFAULT,
) -> jax.Array:
    """Correlate an image with a kernel.

    y[i, j] = sum over a, b of src[i + a - anchor[1], j + b - anchor[0]] kernel[a, b] + delta

    Args:
        src: (H, W) or (H, W, channels): uint8, uint16, int16, float32 or float64.
        ddepth: the result's depth, as this module's table has them; -1 is that of `src`.
        kernel: (rows, columns), real; a 1-D one is a row. The same for every channel.
        dst: None.
        anchor: (x, y), the kernel's element that lies on the output's pixel; -1 is the middle,
            size // 2.
        delta: a number that is added; it may be traced.
        borderType: what lies outside `src`; pictures in this module's docstring.

    Returns:
        The shape of `src`, without a channel axis of size 1. Integers are rounded half to even, and
        clipped to what their dtype holds.

    Raises:
        TypeError: a dtype that is not listed, a `dst`, or an argument of another type.
        ValueError: a shape, depth, anchor or border that is not possible.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.compat import cv2
        >>> src = jnp.array([[0, 0, 100, 200]], jnp.uint8)
        >>> cv2.filter2D(src, -1, jnp.array([[-1, 0, 1]]))
        Array([[  0, 100, 200,   0]], dtype=uint8)
        >>> cv2.filter2D(src, cv2.CV_16S, jnp.array([[-1, 0, 1]]), delta=-150)
        Array([[-150,  -50,   50, -150]], dtype=int16)
    """
    caller = "filter2D"
    x, dtype = arguments.image(caller, src, ddepth, dst)
    k = arguments.weights(caller, "kernel", kernel)
    if k.ndim not in (1, 2):
        raise ValueError(
            f"{caller}: kernel must be (rows, columns), got kernel.shape={k.shape}; for one kernel "
            "a channel filter each channel, or use jaxconv.conv"
        )
    k = k if k.ndim == 2 else k[None]
    return weighted_sum(
        caller,
        x,
        [[k]],
        mode=arguments.border(caller, borderType),
        dtype=dtype,
        anchor=arguments.anchored(caller, anchor, k.shape),
        delta=arguments.number(caller, "delta", delta),
    )


def sepFilter2D(
    src: jax.Array | np.ndarray,
    ddepth: int,
    kernelX: jax.Array | np.ndarray,
    kernelY: jax.Array | np.ndarray,
    dst: None = None,
    anchor: Sequence[int] = (-1, -1),
    delta: Any = 0,
    borderType: int = BORDER_DEFAULT,
) -> jax.Array:
    """Correlate the rows of an image with one kernel, and its columns with another.

    y[i, j] = sum over a, b of src[i + a - anchor[1], j + b - anchor[0]] kernelY[a] kernelX[b] +
    delta

    Rounded once, at the end.

    Args:
        src: as in `filter2D`.
        ddepth: as in `filter2D`.
        kernelX: (n,), (n, 1) or (1, n), for the rows.
        kernelY: the same, for the columns.
        dst: None.
        anchor: as in `filter2D`.
        delta: as in `filter2D`.
        borderType: as in `filter2D`.

    Returns:
        y: as in `filter2D`.

    Raises:
        TypeError: as `filter2D`.
        ValueError: as `filter2D`.

    Example:
        >>> import jax.numpy as jnp
        >>> sepFilter2D(jnp.eye(3), -1, jnp.array([1.0, 2.0, 1.0]), jnp.array([-1.0, 0.0, 1.0]))
        Array([[ 0.,  0.,  0.],
               [-2.,  0.,  2.],
               [ 0.,  0.,  0.]], dtype=float32)
    """
    caller = "sepFilter2D"
    x, dtype = arguments.image(caller, src, ddepth, dst)
    row, column = _line(caller, "kernelX", kernelX), _line(caller, "kernelY", kernelY)
    return weighted_sum(
        caller,
        x,
        [[row[None, :], column[:, None]]],
        mode=arguments.border(caller, borderType),
        dtype=dtype,
        anchor=arguments.anchored(caller, anchor, (column.size, row.size)),
        delta=arguments.number(caller, "delta", delta),
    )


def _line(caller: str, name: str, kernel: jax.Array | np.ndarray) -> Any:
    k = arguments.weights(caller, name, kernel)
    if k.ndim not in (1, 2) or max(k.shape) != k.size:
        raise ValueError(
            f"{caller}: {name} must be one row or one column, got {name}.shape={k.shape}; a kernel "
            "of both is for filter2D"
        )
    return k.reshape(-1)
