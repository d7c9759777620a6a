"""`ndimage` filters that add derivatives along all axes: Laplacians and gradient magnitudes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array
from jaxconv.compat.scipy import _numpy_dtypes
from jaxconv.compat.scipy._gaussian_filter import filter_gaussian
from jaxconv.compat.scipy._ndimage_common import OneOrMore, check_axes, output_dtype, per_axis

Derivative = Callable[..., Any]


def gaussian_laplace(
    input: jax.Array | np.ndarray,
    sigma: OneOrMore,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
    *,
    axes: int | Sequence[int] | None = None,
    truncate: float = 4.0,
    radius: OneOrMore = None,
) -> jax.Array:
    """Add the second derivatives of a Gaussian along all axes (Laplacian of Gaussian).

    y = sum over axes a of gaussian_filter(input, sigma, order 2 along a and 0 along the others)

    Args:
        input: any shape and dtype.
        sigma: as in `gaussian_filter`, one value or one for each of `axes`.
        output: as in `correlate`.
        mode: as in `correlate`, one value or one for each of `axes`; each for all passes of the
            derivative along its axis, as in SciPy.
        cval: as in `correlate`.
        axes: the axes to filter along; all by default.
        truncate: as in `gaussian_filter`.
        radius: as in `gaussian_filter`.

    Returns:
        y: the input's shape; the sum over axes is computed in the result's dtype.

    Raises:
        RuntimeError: unknown mode, or a sequence of the wrong length.
        TypeError: as `gaussian_filter`.
        ValueError: as `gaussian_filter`.

    Example:
        >>> spike = jnp.zeros((5, 5)).at[2, 2].set(100.0)
        >>> gaussian_laplace(spike, 1.0)[2].round()
        Array([  6., -10., -32., -10.,   6.], dtype=float32)
    """
    caller = "gaussian_laplace"
    x = as_array(caller, "input", input)
    named = check_axes(caller, axes, x.ndim)
    widths: list[Any] = [0] * x.ndim  # axes with 0 are not filtered
    for axis, width in zip(named, per_axis(caller, "sigma", sigma, len(named)), strict=True):
        widths[axis] = width
    second = _gaussian_derivative(caller, 2, widths, truncate, radius)
    return _combined(_sum, caller, x, second, output, mode, cval, named)


def gaussian_gradient_magnitude(
    input: jax.Array | np.ndarray,
    sigma: OneOrMore,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
    *,
    axes: int | Sequence[int] | None = None,
    truncate: float = 4.0,
    radius: OneOrMore = None,
) -> jax.Array:
    """Compute the length of the gradient of a smoothed array, by derivatives of a Gaussian.

    y = sqrt(sum over axes a of gaussian_filter(input, sigma, order 1 along a, 0 elsewhere)^2)

    Args:
        input: any shape and dtype.
        sigma: as in `gaussian_filter`, one value or one for each axis of the input.
        output: as in `correlate`.
        mode: as in `gaussian_laplace`.
        cval: as in `correlate`.
        axes: the axes to differentiate along, all by default; the input is smoothed along all.
        truncate: as in `gaussian_filter`.
        radius: as in `gaussian_filter`.

    Returns:
        y: the input's shape; squares and sums are computed in the result's dtype (integers wrap
        around, as in SciPy). Its derivative is 0 where it is 0.

    Raises:
        RuntimeError: unknown mode, or a sequence of the wrong length.
        TypeError: as `gaussian_filter`.
        ValueError: as `gaussian_filter`.

    Example:
        >>> step = jnp.zeros((3, 6)).at[:, 3:].set(100.0)
        >>> gaussian_gradient_magnitude(step, 1.0)[0].round()
        Array([ 1., 12., 36., 36., 12.,  1.], dtype=float32)
    """
    caller = "gaussian_gradient_magnitude"
    x = as_array(caller, "input", input)
    first = _gaussian_derivative(caller, 1, sigma, truncate, radius)
    named = check_axes(caller, axes, x.ndim)
    return _combined(_length, caller, x, first, output, mode, cval, named)


def generic_laplace(
    input: jax.Array | np.ndarray,
    derivative2: Derivative,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
    *,
    axes: int | Sequence[int] | None = None,
) -> jax.Array:
    """Add second derivatives along all axes, each by a function.

    y = sum over axes a of derivative2(input, a, dtype, mode, cval, *extra_arguments,
    **extra_keywords)

    Args:
        input: any shape and dtype.
        derivative2: returns the second derivative along an axis. Its third argument is the dtype of
            the result, never an array to write into.
        output: as in `correlate`.
        mode: as in `correlate`, one value or one for each of `axes`.
        cval: as in `correlate`.
        extra_arguments: further arguments of `derivative2`.
        extra_keywords: further keyword arguments of `derivative2`.
        axes: the axes to differentiate along; all by default.

    Returns:
        y: the input's shape; the sum over axes is computed in the result's dtype.

    Raises:
        RuntimeError: a sequence of the wrong length.
        TypeError: `output` is an array.
        ValueError: invalid axes, or derivatives of another shape than the input's.

    Example:
        >>> from jaxconv.compat.scipy import ndimage
        >>> def second_difference(input, axis, output, mode, cval):
        ...     return ndimage.correlate1d(input, [1, -2, 1], axis, output, mode, cval)
        >>> generic_laplace(jnp.array([0, 0, 1, 0, 0]), second_difference)
        Array([ 0,  1, -2,  1,  0], dtype=int32)
    """
    caller = "generic_laplace"
    x = as_array(caller, "input", input)
    named = check_axes(caller, axes, x.ndim)
    function = _with_extra(caller, derivative2, extra_arguments, extra_keywords)
    return _combined(_sum, caller, x, function, output, mode, cval, named)


def generic_gradient_magnitude(
    input: jax.Array | np.ndarray,
    derivative: Derivative,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
    extra_arguments: Sequence[Any] = (),
    extra_keywords: Mapping[str, Any] | None = None,
    *,
    axes: int | Sequence[int] | None = None,
) -> jax.Array:
    """Compute the length of a gradient, its derivatives by a function.

    y = sqrt(sum over axes a of derivative(input, a, dtype, mode, cval, *extra_arguments,
    **extra_keywords)^2)

    Args:
        input: any shape and dtype.
        derivative: as `derivative2` of `generic_laplace`, for first derivatives.
        output: as in `correlate`.
        mode: as in `generic_laplace`.
        cval: as in `correlate`.
        extra_arguments: as in `generic_laplace`.
        extra_keywords: as in `generic_laplace`.
        axes: as in `generic_laplace`.

    Returns:
        y: as in `gaussian_gradient_magnitude`.

    Raises:
        RuntimeError: as `generic_laplace`.
        TypeError: as `generic_laplace`.
        ValueError: as `generic_laplace`.

    Example:
        >>> from jaxconv.compat.scipy import ndimage
        >>> generic_gradient_magnitude(jnp.array([[0.0, 3.0], [4.0, 7.0]]), ndimage.sobel)
        Array([[20., 20.],
               [20., 20.]], dtype=float32)
    """
    caller = "generic_gradient_magnitude"
    x = as_array(caller, "input", input)
    named = check_axes(caller, axes, x.ndim)
    function = _with_extra(caller, derivative, extra_arguments, extra_keywords)
    return _combined(_length, caller, x, function, output, mode, cval, named)


def _gaussian_derivative(
    caller: str, times: int, sigma: OneOrMore, truncate: float, radius: OneOrMore
) -> Derivative:
    """Return the derivative of a Gaussian along an axis, smoothed along all others."""

    def derivative(x, axis, dtype, mode, cval):
        order = [times * (other == axis) for other in range(x.ndim)]
        return filter_gaussian(
            caller, x, sigma, order, dtype, mode, cval, truncate, radius=radius, axes=None
        )

    return derivative


def _with_extra(
    caller: str,
    function: Derivative,
    arguments: Sequence[Any],
    keywords: Mapping[str, Any] | None,
) -> Derivative:
    """Return the user's function, whose results are checked."""

    def derivative(x, axis, dtype, mode, cval):
        y = function(x, axis, dtype, mode, cval, *arguments, **(keywords or {}))
        y = as_array(caller, "the derivative's result", y)
        if y.shape != x.shape:
            raise ValueError(
                f"{caller}: the derivative must return an array of the input's shape {x.shape}, "
                f"got {y.shape}"
            )
        return _numpy_dtypes.cast(y, dtype)

    return derivative


def _combined(combine, caller, x, derivative, output, mode, cval, axes) -> jax.Array:
    """Return what `combine` makes of the derivatives along axes, or x where there are none."""
    dtype = output_dtype(caller, output, x, promote=False)
    modes = per_axis(caller, "mode", mode, len(axes))
    terms = [derivative(x, axis, dtype, m, cval) for axis, m in zip(axes, modes, strict=True)]
    return combine(*terms) if terms else _numpy_dtypes.cast(x, dtype)


def _sum(*terms: jax.Array) -> jax.Array:
    return functools.reduce(jnp.add, terms)


@jax.jit
def _length(*terms: jax.Array) -> jax.Array:
    total = _sum(*(term * term for term in terms))
    if jnp.issubdtype(total.dtype, jnp.integer):
        return _integer_root(total)
    # the derivative of a root is infinite at 0: what is not taken must not see it
    zero = total == 0
    return jnp.where(zero, total, jnp.sqrt(jnp.where(zero, jnp.ones_like(total), total)))


def _integer_root(total: jax.Array) -> jax.Array:
    """Return the root, rounded down; 0 for negative numbers, which have wrapped around."""
    dtype = total.dtype
    if dtype.itemsize < 4:
        total = total.astype(jnp.int32)
    total = jnp.maximum(total, 0)
    # float32's root can be off by one: what follows cannot overflow
    largest = math.isqrt(jnp.iinfo(total.dtype).max)
    root = jnp.sqrt(total.astype(_numpy_dtypes.widest(jnp.float64)))
    whole = jnp.minimum(root.astype(total.dtype), largest)
    whole = jnp.where(whole * whole > total, whole - 1, whole)
    whole = jnp.where(total - whole * whole > 2 * whole, whole + 1, whole)
    return whole.astype(dtype)
