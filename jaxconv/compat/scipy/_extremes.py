"""`ndimage` filters that take the largest or the smallest element of a window."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array
from jaxconv.compat.scipy import _direct_sums, _numpy_dtypes
from jaxconv.compat.scipy._ndimage_common import (
    OneOrMore,
    check_axes,
    check_axis,
    check_boundary,
    check_cval,
    check_origins,
    integers,
    output_dtype,
    per_axis,
)


def maximum_filter1d(
    input: jax.Array | np.ndarray,
    size: int,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: ArrayLike = 0.0,
    origin: int = 0,
) -> jax.Array:
    """Take the largest element of a window along one axis.

    y[t] = max over a below size of input[t + a - size // 2 - origin]

    Args:
        input: any shape and real dtype.
        size: number of elements in the window.
        axis: the axis to filter along.
        output: as in `correlate`.
        mode: as in `correlate`.
        cval: as in `correlate`.
        origin: as in `correlate`.

    Returns:
        y: the input's shape. NaN in a window gives NaN (in SciPy the result depends on its place).
        Elements that are equally large share the derivative.

    Raises:
        RuntimeError: unknown mode, or size is below 1.
        TypeError: complex input, `output` is an array, or axis, size or origin is not an integer.
        ValueError: invalid axis, origin or cval.

    Example:
        >>> maximum_filter1d(jnp.array([2, 8, 0, 4, 1, 9, 9, 0]), 3)
        Array([8, 8, 8, 4, 9, 9, 9, 9], dtype=int32)
    """
    return _filter1d("maximum_filter1d", input, size, axis, output, mode, cval, origin)


def minimum_filter1d(
    input: jax.Array | np.ndarray,
    size: int,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: ArrayLike = 0.0,
    origin: int = 0,
) -> jax.Array:
    """Take the smallest element of a window along one axis.

    y[t] = min over a below size of input[t + a - size // 2 - origin]

    Args:
        input: as in `maximum_filter1d`.
        size: as in `maximum_filter1d`.
        axis: as in `maximum_filter1d`.
        output: as in `maximum_filter1d`.
        mode: as in `maximum_filter1d`.
        cval: as in `maximum_filter1d`.
        origin: as in `maximum_filter1d`.

    Returns:
        y: as in `maximum_filter1d`.

    Raises:
        RuntimeError: as `maximum_filter1d`.
        TypeError: as `maximum_filter1d`.
        ValueError: as `maximum_filter1d`.

    Example:
        >>> minimum_filter1d(jnp.array([2, 8, 0, 4, 1, 9, 9, 0]), 3)
        Array([2, 0, 0, 0, 1, 1, 0, 0], dtype=int32)
    """
    return _filter1d("minimum_filter1d", input, size, axis, output, mode, cval, origin)


def maximum_filter(
    input: jax.Array | np.ndarray,
    size: OneOrMore = None,
    footprint: jax.Array | np.ndarray | None = None,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
    origin: OneOrMore = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> jax.Array:
    """Take the largest element of a window.

    y[t] = max over a in the window of input[t + a - size // 2 - origin]

    Args:
        input: any shape and real dtype.
        size: of the window, one value or one for each of `axes`; filtered along each in turn.
        footprint: in place of `size` the window's elements, True where they count; one axis for
            each of `axes`. Its values must be known: not traced.
        output: as in `correlate`.
        mode: as in `correlate`; one for each of `axes` too, unless a footprint is not all True.
        cval: as in `correlate`.
        origin: as in `correlate`.
        axes: the axes to filter along; all by default.

    Returns:
        y: as in `maximum_filter1d`.

    Raises:
        RuntimeError: unknown mode, neither size nor footprint, a footprint of the wrong rank, or a
            sequence of the wrong length.
        TypeError: as `maximum_filter1d`, or a traced footprint.
        ValueError: invalid axes, origin or cval, or a footprint without True.

    Example:
        >>> maximum_filter(jnp.array([[1, 0, 0], [0, 0, 0], [0, 0, 5]]), 2)
        Array([[1, 1, 0],
               [1, 1, 0],
               [0, 0, 5]], dtype=int32)
    """
    return _filter("maximum_filter", input, size, footprint, output, mode, cval, origin, axes)


def minimum_filter(
    input: jax.Array | np.ndarray,
    size: OneOrMore = None,
    footprint: jax.Array | np.ndarray | None = None,
    output: Any = None,
    mode: OneOrMore = "reflect",
    cval: ArrayLike = 0.0,
    origin: OneOrMore = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> jax.Array:
    """Take the smallest element of a window.

    y[t] = min over a in the window of input[t + a - size // 2 - origin]

    Args:
        input: as in `maximum_filter`.
        size: as in `maximum_filter`.
        footprint: as in `maximum_filter`.
        output: as in `maximum_filter`.
        mode: as in `maximum_filter`.
        cval: as in `maximum_filter`.
        origin: as in `maximum_filter`.
        axes: as in `maximum_filter`.

    Returns:
        y: as in `maximum_filter`.

    Raises:
        RuntimeError: as `maximum_filter`.
        TypeError: as `maximum_filter`.
        ValueError: as `maximum_filter`.

    Example:
        >>> minimum_filter(jnp.array([[9, 2, 3], [4, 5, 6], [7, 8, 1]]), 3)
        Array([[2, 2, 2],
               [2, 1, 1],
               [4, 1, 1]], dtype=int32)
    """
    return _filter("minimum_filter", input, size, footprint, output, mode, cval, origin, axes)


def _chosen(caller: str) -> Callable[..., jax.Array]:
    return jnp.maximum if caller.startswith("max") else jnp.minimum


def _real(caller: str, input: jax.Array | np.ndarray) -> jax.Array:
    x = as_array(caller, "input", input)
    if _numpy_dtypes.is_complex(x.dtype):
        raise TypeError(f"{caller}: Complex type not supported: input is {x.dtype}")
    return x


def _filter1d(caller, input, size, axis, output, mode, cval, origin) -> jax.Array:
    x = _real(caller, input)
    found = check_axis(caller, axis, x.ndim)
    dtype = output_dtype(caller, output, x)
    return _along(caller, x, found, size, mode, cval, origin, dtype)


def _filter(caller, input, size, footprint, output, mode, cval, origin, axes) -> jax.Array:
    window = None if footprint is None else _window(caller, footprint)
    if window is not None and size is not None:
        warnings.warn(
            f"{caller}: ignoring size because footprint is set", UserWarning, stacklevel=3
        )
    x = _real(caller, input)
    dtype = output_dtype(caller, output, x)
    named = check_axes(caller, axes, x.ndim)
    if window is not None and not window.all():
        return _in_window(caller, x, window, named, mode, cval, origin, dtype)
    if window is not None:
        size = window.shape
    elif size is None:
        raise RuntimeError(f"{caller}: no footprint provided; give size or footprint")
    columns = [
        per_axis(caller, name, value, len(named))
        for name, value in (("size", size), ("mode", mode), ("origin", origin))
    ]
    y = x
    for axis, length, boundary, shift in zip(named, *columns, strict=True):
        if length > 1:
            y = _along(caller, y, axis, int(length), boundary, cval, shift, dtype)
    return _numpy_dtypes.cast(x, dtype) if y is x else y


def _window(caller: str, footprint: jax.Array | np.ndarray) -> np.ndarray:
    as_array(caller, "footprint", footprint)
    if not _numpy_dtypes.is_concrete(footprint):
        raise TypeError(
            f"{caller}: footprint is traced here, and its values must be known; give a NumPy array"
        )
    window = np.asarray(footprint, bool)
    if not window.any():
        raise ValueError(f"{caller}: All-zero footprint is not supported.")
    return window


def _along(caller, x, axis, size, mode, cval, origin, dtype) -> jax.Array:
    boundary = check_boundary(caller, mode)
    length, shift = integers(caller, "size and origin", (size, origin))
    if length < 1:
        raise RuntimeError(f"{caller}: size={size!r}: incorrect filter size, it must be at least 1")
    check_origins(caller, (shift,), (length,))
    fill = check_cval(caller, x, cval) if boundary == "constant" else None
    if x.size == 0:
        return jnp.zeros(x.shape, dtype)
    before = length // 2 + shift
    return _extreme(
        x,
        fill,
        axis=axis,
        size=length,
        pads=((before, length - 1 - before),),
        boundary=boundary,
        dtype=dtype,
        choose=_chosen(caller),
    )


def _in_window(caller, x, window, axes, mode, cval, origin, dtype) -> jax.Array:
    if window.ndim != len(axes):
        raise RuntimeError(
            f"{caller}: footprint.ndim ({window.ndim}) must match len(axes) ({len(axes)})"
        )
    shifts = integers(caller, "origin", per_axis(caller, "origin", origin, len(axes)))
    if not isinstance(mode, str) and hasattr(mode, "__iter__"):
        raise RuntimeError(
            f"{caller}: mode={mode!r}: A sequence of modes is not supported for non-separable "
            "footprints"
        )
    boundary = check_boundary(caller, mode)
    if len(axes) < x.ndim:  # SciPy sorts the axes of the window then, and not otherwise
        shifts = [shifts[axes.index(axis)] for axis in sorted(axes)]
        axes = tuple(sorted(axes))
    else:
        axes = tuple(range(x.ndim))
    check_origins(caller, shifts, window.shape)
    fill = check_cval(caller, x, cval) if boundary == "constant" else None
    if x.size == 0:
        return jnp.zeros(x.shape, dtype)
    before = [n // 2 + shift for n, shift in zip(window.shape, shifts, strict=True)]
    return _extreme_in_window(
        x,
        fill,
        axes=axes,
        places=tuple(map(tuple, np.argwhere(window).tolist())),
        pads=tuple((b, n - 1 - b) for b, n in zip(before, window.shape, strict=True)),
        boundary=boundary,
        dtype=dtype,
        choose=_chosen(caller),
    )


def _widened(x: jax.Array, fill: jax.Array | None, dtype: Any) -> jax.Array:
    """Return integers in a dtype that holds `cval` too."""
    if fill is None or not jnp.issubdtype(x.dtype, jnp.integer):
        return x
    whole = _numpy_dtypes.is_integral(fill.dtype) or _numpy_dtypes.is_integral(dtype)
    wide = _numpy_dtypes.widest(jnp.int64 if whole else jnp.float64)
    return x if whole and x.dtype.itemsize >= wide.itemsize else x.astype(wide)


def _extended(x, fill, pads, axes, boundary) -> jax.Array:
    fill = None if fill is None else _numpy_dtypes.cast(fill, x.dtype)
    return _direct_sums.extend(x, pads, axes, boundary, fill)


@partial(jax.jit, static_argnames=("axis", "size", "pads", "boundary", "dtype", "choose"))
def _extreme(x, fill, *, axis, size, pads, boundary, dtype, choose):
    """Windows of 1, 2, 4, ... elements, and at last two that overlap."""
    y, length = _extended(_widened(x, fill, dtype), fill, pads, (axis,), boundary), 1

    def both(y, shift):
        n = y.shape[axis] - shift
        cut = partial(jax.lax.slice_in_dim, y, axis=axis)
        return choose(cut(0, n), cut(shift, shift + n))

    while 2 * length <= size:
        y, length = both(y, length), 2 * length
    if length < size:
        y = both(y, size - length)
    return _numpy_dtypes.cast(y, dtype)


@partial(jax.jit, static_argnames=("axes", "places", "pads", "boundary", "dtype", "choose"))
def _extreme_in_window(x, fill, *, axes, places, pads, boundary, dtype, choose):
    y = _extended(x, fill, pads, axes, boundary)  # SciPy has `cval` in the input's dtype here
    offsets = np.zeros((len(places), x.ndim), np.int32)
    offsets[:, list(axes)] = places

    def window(n):
        return jax.lax.dynamic_slice(y, jnp.asarray(offsets)[n], x.shape)

    def step(n, found):
        return choose(found, window(n))

    return _numpy_dtypes.cast(jax.lax.fori_loop(1, len(places), step, window(0)), dtype)
