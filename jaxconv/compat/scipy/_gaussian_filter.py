"""`ndimage.gaussian_filter1d` and `ndimage.gaussian_filter`."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array
from jaxconv.compat.scipy import _numpy_dtypes
from jaxconv.compat.scipy._ndimage_common import (
    OneOrMore,
    check_axis,
    correlate_line,
    filter_axes,
    integers,
    output_dtype,
)


def gaussian_filter1d(
    input: jax.Array | np.ndarray,
    sigma: Any,
    axis: int = -1,
    order: int = 0,
    output: Any = None,
    mode: str = "reflect",
    cval: ArrayLike = 0.0,
    truncate: float = 4.0,
    *,
    radius: int | None = None,
) -> jax.Array:
    """Convolve with a Gaussian, or a derivative of one, along one axis.

    y[t] = sum over a of input[t - a] g(a), g(a) = d^order/da^order exp(-a^2 / (2 sigma^2)) / Z,
    |a| <= radius, Z the sum of the exponentials

    Args:
        input: any shape and dtype.
        sigma: standard deviation, in elements; may be traced if `radius` is given.
        axis: the axis to filter along.
        order: number of times that the Gaussian is differentiated.
        output: as in `correlate`.
        mode: as in `correlate`.
        cval: as in `correlate`.
        truncate: the default `radius`, in units of sigma.
        radius: elements of the Gaussian on each side of its centre.

    Returns:
        y: the input's shape.

    Raises:
        RuntimeError: unknown mode.
        TypeError: `output` is an array, axis or order is not an integer, or sigma is traced without
            a radius.
        ValueError: a negative order, or a radius that is negative or not an integer.

    Example:
        >>> spike = jnp.array([0.0, 0.0, 1.0, 0.0, 0.0])
        >>> (1000 * gaussian_filter1d(spike, 1, radius=1)).astype(int)
        Array([  0, 274, 451, 274,   0], dtype=int32)
    """
    caller = "gaussian_filter1d"
    x = as_array(caller, "input", input)
    dtype = output_dtype(caller, output, x)
    found = check_axis(caller, axis, x.ndim)
    weights = _gaussian(caller, sigma, order, truncate, radius)
    return correlate_line(caller, x, weights, found, mode, cval, dtype)


def gaussian_filter(
    input: jax.Array | np.ndarray,
    sigma: OneOrMore,
    order: OneOrMore = 0,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
    truncate: float = 4.0,
    *,
    radius: OneOrMore = None,
    axes: int | Sequence[int] | None = None,
) -> jax.Array:
    """Convolve with a Gaussian, or a derivative of one, along each axis in turn.

    Args:
        input: any shape and dtype.
        sigma: as in `gaussian_filter1d`, one value or one for each axis; axes with 0 are not
            filtered.
        order: as in `gaussian_filter1d`, one value or one for each axis.
        output: as in `correlate`.
        mode: as in `correlate`, one value or one for each axis.
        cval: as in `correlate`.
        truncate: as in `gaussian_filter1d`.
        radius: as in `gaussian_filter1d`, one value or one for each axis.
        axes: the axes to filter along; all by default.

    Returns:
        y: the input's shape; the passes compute in the result's dtype, as in SciPy.

    Raises:
        RuntimeError: unknown mode, or a sequence of the wrong length.
        TypeError: as `gaussian_filter1d`.
        ValueError: as `gaussian_filter1d`, or invalid axes.

    Example:
        >>> (100 * gaussian_filter(jnp.eye(3), 1.0)).round().astype(int)
        Array([[50, 33, 17],
               [33, 34, 33],
               [17, 33, 50]], dtype=int32)
    """
    caller = "gaussian_filter"
    x = as_array(caller, "input", input)
    dtype = output_dtype(caller, output, x, promote=False)

    return filter_gaussian(
        caller, x, sigma, order, dtype, mode, cval, truncate, radius=radius, axes=axes
    )


def filter_gaussian(
    caller: str,
    x: jax.Array,
    sigma: OneOrMore,
    order: OneOrMore,
    dtype: Any,
    mode: OneOrMore,
    cval: ArrayLike,
    truncate: float,
    *,
    radius: OneOrMore,
    axes: int | Sequence[int] | None,
) -> jax.Array:
    """Compute `gaussian_filter` for any caller."""

    def one_axis(x, axis, sigma, order, mode, radius):
        if _numpy_dtypes.is_concrete(sigma) and sigma <= 1e-15:
            return x
        weights = _gaussian(caller, sigma, order, truncate, radius)
        return correlate_line(caller, x, weights, axis, mode, cval, dtype)

    arguments = {"sigma": sigma, "order": order, "mode": mode, "radius": radius}
    return filter_axes(caller, x, axes, dtype, arguments, one_axis)


def _gaussian(caller: str, sigma: Any, order: Any, truncate: Any, radius: Any) -> Any:
    """Return the weights in reverse, for a correlation."""
    if radius is None:
        if not _numpy_dtypes.is_concrete(sigma):
            raise TypeError(
                f"{caller}: sigma is traced here, so the filter's size is unknown; give radius"
            )
        radius = int(float(truncate) * float(sigma) + 0.5)
    try:
        half = operator.index(radius)
    except TypeError:
        half = -1
    if half < 0:
        raise ValueError(f"{caller}: radius={radius!r}: Radius must be a nonnegative integer.")
    (times,) = integers(caller, "order", [order])
    if times < 0:
        raise ValueError(f"{caller}: order={order}: order must be non-negative")
    a = np.arange(-half, half + 1, dtype=np.float64)
    if _numpy_dtypes.is_concrete(sigma):
        variance, exp = float(sigma) ** 2, np.exp
    else:
        variance, exp = sigma * sigma, jnp.exp
        a = jnp.asarray(a, sigma.dtype)
    g = exp(-0.5 / variance * a**2)
    g = g / g.sum()
    # g^(m + 1) = -(a g^(m) + m g^(m - 1)) / variance, by differentiating g' = -a g / variance
    last, g_m = 0.0 * g, g
    for m in range(times):
        last, g_m = g_m, -(a * g_m + m * last) / variance
    return g_m[::-1]
