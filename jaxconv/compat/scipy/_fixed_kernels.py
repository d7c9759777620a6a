"""`ndimage` filters with fixed kernels: uniform, Sobel, Prewitt, Laplace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array, constant
from jaxconv.compat.scipy import _numpy_dtypes
from jaxconv.compat.scipy._ndimage_common import (
    OneOrMore,
    check_axes,
    check_axis,
    correlate_axes,
    correlate_line,
    filter_axes,
    integers,
    output_dtype,
    per_axis,
)


def uniform_filter1d(
    input: jax.Array | np.ndarray,
    size: int,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: ArrayLike = 0.0,
    origin: int = 0,
) -> jax.Array:
    """Average over a window along one axis.

    y[t] = 1 / size sum over a below size of input[t + a - size // 2 - origin]

    Args:
        input: any shape and dtype.
        size: number of elements in the window.
        axis: the axis to filter along.
        output: as in `correlate`.
        mode: as in `correlate`.
        cval: as in `correlate`.
        origin: as in `correlate`.

    Returns:
        y: the input's shape.

    Raises:
        RuntimeError: unknown mode, or size is below 1.
        TypeError: `output` is an array, or axis, size or origin is not an integer.
        ValueError: invalid axis, origin or cval.

    Example:
        >>> uniform_filter1d(jnp.array([2, 8, 0, 4, 1, 9, 9, 0]), 3)
        Array([4, 3, 4, 1, 4, 6, 6, 3], dtype=int32)
    """
    caller = "uniform_filter1d"
    x = as_array(caller, "input", input)
    dtype = output_dtype(caller, output, x)
    return _uniform(caller, x, size, check_axis(caller, axis, x.ndim), mode, cval, origin, dtype)


def uniform_filter(
    input: jax.Array | np.ndarray,
    size: OneOrMore = 3,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
    origin: OneOrMore = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> jax.Array:
    """Average over a window along each axis in turn.

    Args:
        input: any shape and dtype.
        size: as in `uniform_filter1d`, one value or one for each axis.
        output: as in `correlate`.
        mode: as in `correlate`, one value or one for each axis.
        cval: as in `correlate`.
        origin: as in `correlate`, one value or one for each axis.
        axes: the axes to filter along; all by default.

    Returns:
        y: the input's shape; the passes compute in the result's dtype, as in SciPy.

    Raises:
        RuntimeError: unknown mode, or a sequence of the wrong length.
        TypeError: as `uniform_filter1d`.
        ValueError: invalid axes, origin or cval.

    Example:
        >>> uniform_filter(jnp.eye(3) * 9)
        Array([[5., 3., 1.],
               [3., 3., 3.],
               [1., 3., 5.]], dtype=float32)
    """
    caller = "uniform_filter"
    x = as_array(caller, "input", input)
    dtype = output_dtype(caller, output, x)

    def one_axis(x, axis, size, mode, origin):
        if size <= 1:
            return x
        return _uniform(caller, x, int(size), axis, mode, cval, origin, dtype)

    arguments = {"size": size, "mode": mode, "origin": origin}
    return filter_axes(caller, x, axes, dtype, arguments, one_axis)


def sobel(
    input: jax.Array | np.ndarray,
    axis: int = -1,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
) -> jax.Array:
    """Differentiate along one axis (-1, 0, 1) and smooth along every other (1, 2, 1).

    Args:
        input: any shape and dtype.
        axis: the axis to differentiate along.
        output: as in `correlate`.
        mode: as in `correlate`, one value or one for each axis of the input.
        cval: as in `correlate`.

    Returns:
        y: the input's shape.

    Raises:
        RuntimeError: unknown mode, or a sequence of the wrong length.
        TypeError: `output` is an array, or axis is not an integer.
        ValueError: invalid axis or cval.

    Example:
        >>> sobel(jnp.array([[0, 0, 1, 1], [0, 0, 1, 1]]))
        Array([[0, 4, 4, 0],
               [0, 4, 4, 0]], dtype=int32)
    """
    return _edge("sobel", (1, 2, 1), input, axis, output, mode, cval)


def prewitt(
    input: jax.Array | np.ndarray,
    axis: int = -1,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
) -> jax.Array:
    """Differentiate along one axis (-1, 0, 1) and sum along every other (1, 1, 1).

    Args:
        input: as in `sobel`.
        axis: as in `sobel`.
        output: as in `sobel`.
        mode: as in `sobel`.
        cval: as in `sobel`.

    Returns:
        y: the input's shape.

    Raises:
        RuntimeError: as `sobel`.
        TypeError: as `sobel`.
        ValueError: as `sobel`.

    Example:
        >>> prewitt(jnp.array([[0, 0, 1, 1], [0, 0, 1, 1]]))
        Array([[0, 3, 3, 0],
               [0, 3, 3, 0]], dtype=int32)
    """
    return _edge("prewitt", (1, 1, 1), input, axis, output, mode, cval)


def laplace(
    input: jax.Array | np.ndarray,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
    *,
    axes: int | Sequence[int] | None = None,
) -> jax.Array:
    """Add the second differences (1, -2, 1) along all axes.

    Args:
        input: any shape and dtype.
        output: as in `correlate`.
        mode: as in `correlate`, one value or one for each axis.
        cval: as in `correlate`.
        axes: the axes to differentiate along; all by default.

    Returns:
        y: the input's shape; the sum over axes is computed in the result's dtype.

    Raises:
        RuntimeError: unknown mode, or a sequence of the wrong length.
        TypeError: `output` is an array, or an axis is not an integer.
        ValueError: invalid axes or cval.

    Example:
        >>> laplace(jnp.array([0, 0, 1, 0, 0]))
        Array([ 0,  1, -2,  1,  0], dtype=int32)
    """
    caller = "laplace"
    x = as_array(caller, "input", input)
    dtype = output_dtype(caller, output, x, promote=False)
    named = check_axes(caller, axes, x.ndim)
    modes = per_axis(caller, "mode", mode, len(named))
    terms = [
        correlate_line(caller, x, (1, -2, 1), axis, boundary, cval, dtype)
        for axis, boundary in zip(named, modes, strict=True)
    ]
    return sum(terms[1:], start=terms[0]) if terms else _numpy_dtypes.cast(x, dtype)


def _edge(caller, smooth, input, axis, output, mode, cval) -> jax.Array:
    x = as_array(caller, "input", input)
    across = check_axis(caller, axis, x.ndim)
    dtype = output_dtype(caller, output, x, promote=False)
    modes = per_axis(caller, "mode", mode, x.ndim)
    x = correlate_line(caller, x, (-1, 0, 1), across, modes[across], cval, dtype)
    for other in range(x.ndim):
        if other != across:
            x = correlate_line(caller, x, smooth, other, modes[other], cval, dtype)
    return x


def _uniform(caller, x, size, axis: int, mode, cval, origin, dtype) -> jax.Array:
    count, shift = integers(caller, "size and origin", (size, origin))
    if count < 1:
        raise RuntimeError(f"{caller}: size={size!r}: incorrect filter size, it must be at least 1")
    return correlate_axes(
        caller,
        x,
        constant([1] * count, jnp.int32),
        axes=(axis,),
        origins=(shift,),
        mode=mode,
        cval=cval,
        dtype=dtype,
        divisor=count,
    )
