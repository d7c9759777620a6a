"""`signal`'s filters along one axis: `lfilter` and `filtfilt` of finite length, `savgol_filter`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array, constant
from jaxconv.compat.scipy import _direct_sums, _numpy_dtypes
from jaxconv.compat.scipy._design import savgol_numbers
from jaxconv.compat.scipy._ndimage_common import check_axis, correlate_line


def lfilter(
    b: jax.Array | np.ndarray,
    a: jax.Array | np.ndarray,
    x: jax.Array | np.ndarray,
    axis: int = -1,
    zi: jax.Array | np.ndarray | None = None,
) -> Any:
    """Filter along one axis with a filter of finite length: its output at once, as data arrive.

    y[t] = 1 / a[0] sum over k of b[k] x[t - k], with 0 before the first element

    Args:
        b: (taps,), the coefficients.
        a: one number, or an array with one: filters with more are recursive, and refused here.
        x: any shape.
        axis: the axis to filter along.
        zi: what earlier elements add to the first taps - 1 of y: x's shape with taps - 1 elements
            along the axis, or one element along others.

    Returns:
        y: x's shape, of NumPy's common dtype; with `zi` (y, zf), zf being `zi` for what follows x.

    Raises:
        NotImplementedError: integers alone, or bool.
        ValueError: a has more than one coefficient, or wrong shapes or axis.

    Example:
        >>> y, zf = lfilter([0.5, 0.5], 1.0, jnp.array([2.0, 4.0, 6.0]), zi=jnp.array([1.0]))
        >>> y, zf
        (Array([2., 3., 5.], dtype=float32), Array([3.], dtype=float32))
    """
    caller = "lfilter"
    b, scale = _finite(caller, b, a)
    x = as_array(caller, "x", x)
    if x.ndim == 0:
        raise ValueError(f"{caller}: x must be at least 1-D")
    found = check_axis(caller, axis, x.ndim)
    arrays = [b, scale, x]
    if zi is not None:
        zi = as_array(caller, "zi", zi)
        expected = (*x.shape[:found], b.size - 1, *x.shape[found + 1 :])
        fits = zi.ndim == x.ndim and all(
            n == wanted or (n == 1 and place != found)
            for place, (n, wanted) in enumerate(zip(zi.shape, expected, strict=True))
        )
        if not fits:
            raise ValueError(
                f"{caller}: Unexpected shape for parameter zi: expected {expected}, found "
                f"{zi.shape}"
            )
        zi = jnp.broadcast_to(zi, expected)
        arrays.append(zi)
    dtype = _numpy_dtypes.common_dtype(*(array.dtype for array in arrays))
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise NotImplementedError(
            f"{caller}: b, a and x are of common dtype {dtype}, which is not supported; give floats"
        )
    y, zf = _filtered(b, scale, x, zi, axis=found, dtype=dtype)
    return y if zi is None else (y, zf)


def filtfilt(
    b: jax.Array | np.ndarray,
    a: jax.Array | np.ndarray,
    x: jax.Array | np.ndarray,
    axis: int = -1,
    padtype: str | None = "odd",
    padlen: int | None = None,
    method: str = "pad",
) -> jax.Array:
    """Filter along one axis forwards and then backwards, without delay, with a finite length.

    Args:
        b: as in `lfilter`.
        a: as in `lfilter`.
        x: any shape.
        axis: the axis to filter along.
        padtype: what lies outside x: "odd" (turned about its ends by 180 degrees), "even"
            (mirrored, without the edge), "constant" (its end), or None (no padding).
        padlen: elements that are padded at either end; by default three times the coefficients of
            b.
        method: "pad"; SciPy's "gust" is refused here.

    Returns:
        y: x's shape, floating-point.

    Raises:
        NotImplementedError: integers alone.
        ValueError: as `lfilter`, unknown padtype or method, or x no longer than the padding.

    Example:
        >>> filtfilt([0.5, 0.5], 1.0, jnp.array([0.0, 0.0, 8.0, 0.0, 0.0]), padlen=2)
        Array([0., 2., 4., 2., 0.], dtype=float32)
    """
    caller = "filtfilt"
    if method != "pad":
        raise ValueError(f"{caller}: method={method!r}: method must be 'pad'; there is no other")
    b, scale = _finite(caller, b, a)
    x = as_array(caller, "x", x)
    found = check_axis(caller, axis, x.ndim)
    if padtype not in ("even", "odd", "constant", None):
        raise ValueError(
            f"{caller}: Unknown value {padtype!r} given to padtype; it must be 'even', 'odd', "
            "'constant', or None"
        )
    edge = 3 * b.size if padlen is None else padlen
    edge = 0 if padtype is None else edge
    if x.shape[found] <= edge:
        raise ValueError(
            f"{caller}: The length of the input vector x must be greater than padlen, which is "
            f"{edge}; x.shape={x.shape}"
        )
    dtype = _numpy_dtypes.common_dtype(b.dtype, scale.dtype, x.dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise NotImplementedError(
            f"{caller}: b, a and x are of common dtype {dtype}, which is not supported; give floats"
        )
    return _both_ways(b, scale, x, axis=found, edge=edge, padtype=padtype, dtype=dtype)


def savgol_filter(
    x: jax.Array | np.ndarray,
    window_length: int,
    polyorder: int,
    deriv: int = 0,
    delta: float = 1.0,
    axis: int = -1,
    mode: str = "interp",
    cval: ArrayLike = 0.0,
) -> jax.Array:
    """Fit a polynomial to each window along one axis, and return its value or derivative.

    Args:
        x: any shape and real dtype.
        window_length: number of elements in a window.
        polyorder: order of the polynomial, below `window_length`.
        deriv: order of the derivative.
        delta: spacing of the samples.
        axis: the axis to filter along.
        mode: "interp" (near the ends the first and the last window's polynomials), or what lies
            outside x: "mirror", "constant" (`cval`), "nearest", "wrap".
        cval: the constant of "constant".

    Returns:
        y: x's shape, in its floating-point dtype; integers in float64, or float32 unless
        `jax_enable_x64` is on.

    Raises:
        TypeError: complex x, or an argument that must be known is traced.
        ValueError: unknown mode, a window longer than x ("interp"), or as `savgol_coeffs`.

    Example:
        >>> x = jnp.array([2.0, 2.0, 5.0, 2.0, 1.0, 0.0, 1.0, 4.0, 9.0])
        >>> (100 * savgol_filter(x, 5, 2)).round()
        Array([166., 317., 354., 286.,  66.,  17., 100., 400., 900.], dtype=float32)

    Source:
        Savitzky and Golay (1964), "Smoothing and differentiation of data by simplified least
        squares procedures".
    """
    caller = "savgol_filter"
    if mode not in ("mirror", "constant", "nearest", "interp", "wrap"):
        raise ValueError(
            f"{caller}: mode={mode!r}: mode must be 'mirror', 'constant', 'nearest', 'wrap' or "
            "'interp'"
        )
    x = as_array(caller, "x", x)
    if _numpy_dtypes.is_complex(x.dtype):
        raise TypeError(f"{caller}: x is {x.dtype}; filter its real and imaginary parts")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        x = _numpy_dtypes.cast(x, _numpy_dtypes.widest(jnp.float64))
    found = check_axis(caller, axis, x.ndim)
    numbers = partial(savgol_numbers, caller, window_length, polyorder, deriv, delta)
    weights = numbers(None, "conv")[::-1]
    # a correlation's centre is at size // 2; reversed, that of an even window is before it
    how = {"origin": -1 if len(weights) % 2 == 0 else 0, "dtype": x.dtype}
    if mode != "interp":
        return correlate_line(caller, x, weights, found, mode, cval, **how)
    if window_length > x.shape[found]:
        raise ValueError(
            f"{caller}: If mode is 'interp', window_length must be less than or equal to the size "
            f"of x, {x.shape[found]}, got {window_length}"
        )
    y = correlate_line(caller, x, weights, found, "constant", 0.0, **how)
    half = window_length // 2
    places = [*range(half), *range(window_length - half, window_length)]
    if not places:
        return y
    ends = np.stack([numbers(place, "dot") for place in places])
    return _with_ends(x, y, constant(ends).astype(x.dtype), axis=found)


def _finite(
    caller: str, b: jax.Array | np.ndarray, a: jax.Array | np.ndarray
) -> tuple[jax.Array, jax.Array]:
    """Return the coefficients and their divisor.

    Raises:
        ValueError: the filter is recursive, or shapes are wrong.
    """
    b, a = as_array(caller, "b", b), as_array(caller, "a", a)
    for name, array in (("b", b), ("a", a)):
        if array.ndim > 1 or array.size == 0:
            raise ValueError(
                f"{caller}: Parameter {name} is not a non-empty 1d array, since {name}.shape="
                f"{array.shape}!"
            )
    if a.size > 1:
        raise ValueError(
            f"{caller}: a has {a.size} coefficients: the filter is recursive, and there are none "
            "here; a must be one number"
        )
    return b.reshape(-1), a.reshape(())


@partial(jax.jit, static_argnames=("axis", "dtype"))
def _filtered(b, scale, x, zi, *, axis, dtype):
    b, scale, x = b.astype(dtype), scale.astype(dtype), jnp.moveaxis(x.astype(dtype), axis, -1)
    rest = b.size - 1
    # all that x adds, to later elements too
    y = _direct_sums.correlate_padded(x, jnp.flip(b / scale), ((rest, rest),))
    if zi is None:
        return jnp.moveaxis(y[..., : x.shape[-1]], -1, axis), None
    zi = jnp.moveaxis(zi.astype(dtype), axis, -1)
    y = y + jnp.pad(zi, [(0, 0)] * (y.ndim - 1) + [(0, x.shape[-1])])
    parts = y[..., : x.shape[-1]], y[..., x.shape[-1] :]
    return tuple(jnp.moveaxis(part, -1, axis) for part in parts)


@partial(jax.jit, static_argnames=("axis", "edge", "padtype", "dtype"))
def _both_ways(b, scale, x, *, axis, edge, padtype, dtype):
    b, x = b.astype(dtype) / scale.astype(dtype), jnp.moveaxis(x.astype(dtype), axis, -1)
    first, last = x[..., :1], x[..., -1:]
    if edge and padtype == "constant":
        first, last = (jnp.repeat(end, edge, axis=-1) for end in (first, last))
        x = jnp.concatenate([first, x, last], axis=-1)
    elif edge:
        before, after = (
            jnp.flip(part, -1) for part in (x[..., 1 : edge + 1], x[..., -edge - 1 : -1])
        )
        if padtype == "odd":
            before, after = 2 * first - before, 2 * last - after
        x = jnp.concatenate([before, x, after], axis=-1)
    for _ in range(2):
        # as if the first element had been there for ever
        start = jnp.repeat(x[..., :1], b.size - 1, axis=-1)
        x = jnp.concatenate([start, x], axis=-1)
        x = jnp.flip(_direct_sums.correlate_padded(x, jnp.flip(b), ((0, 0),)), -1)
    return jnp.moveaxis(x[..., edge : x.shape[-1] - edge], -1, axis)


@partial(jax.jit, static_argnames=("axis",))
def _with_ends(x, y, ends, *, axis):
    """Replace the elements near both ends: ends (2 half, window) has a row for each."""
    x, y = jnp.moveaxis(x, axis, -1), jnp.moveaxis(y, axis, -1)
    half, window = ends.shape[0] // 2, ends.shape[1]
    product = partial(jnp.einsum, "pw,...w->...p", precision="highest")
    first, last = product(ends[:half], x[..., :window]), product(ends[half:], x[..., -window:])
    y = jnp.concatenate([first, y[..., half : y.shape[-1] - half], last], axis=-1)
    return jnp.moveaxis(y, -1, axis)
