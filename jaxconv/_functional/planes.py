"""Correlation and convolution of planes (and lines, and volumes): no channels, one kernel.

The convolution of two functions, of two sequences and of two planes turns one of them round,

    (f * g)(x) = integral of f(z) g(x - z) dz
    (f * g)(i) = sum over a of f(a) g(i - a)
    (f * g)(i, j) = sum over a, b of f(a, b) g(i - a, j - b)

and is `convolve`. Cross-correlation does not, y(i) = sum over a of f(i + a) g(a), and is
`correlate`, which deep learning calls convolution.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.dispatch.arguments import check_method
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.extension import MODES, check_sizes, name_here
from jaxconv._core.geometry.fill_values import check_fill_value
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.shapes import below
from jaxconv._core.geometry.spec import ConvSpec, resolve_padding
from jaxconv._functional.padding import extended

Mode = Literal["valid", "same", "same_lower", "full"]
_MODES = ("valid", "same", "same_lower", "full")


def corr2d(
    x: jax.Array | np.ndarray, k: jax.Array | np.ndarray, *, method: str = "auto"
) -> jax.Array:
    """Cross-correlate one plane with one kernel, wherever the kernel fits.

    y[i, j] = sum over a, b of x[i + a, j + b] k[a, b]

    Args:
        x: (H, W).
        k: (h, w) in x's dtype, no larger than x.
        method: "auto", "fastest" (which may take FFT, see `jaxconv.conv`), "lax" (XLA's
            convolution), "loops" (a compiled loop over output positions), or any other method's
            name.

    Returns:
        y: (H - h + 1, W - w + 1), in x's dtype, at the device's highest precision.

    Raises:
        TypeError: the dtypes differ, or they are integers of 8 or 16 bits, whose sums may need
            more: `jaxconv.correlate` takes the result's dtype.
        ValueError: x or k is not 2-D, k is larger than x, or there is no such method.

    Example:
        The edge of D2L, section 6.2: 1 from white to black, -1 from black to white.

        >>> x = jnp.ones((6, 8)).at[:, 2:6].set(0)
        >>> corr2d(x, jnp.array([[1.0, -1.0]]))[0]
        Array([ 0.,  1.,  0.,  0.,  0., -1.,  0.], dtype=float32)

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.2.1.
    """
    x, k = dtypes.as_array("corr2d", "x", x), dtypes.as_array("corr2d", "k", k)
    for name, array in (("x", x), ("k", k)):
        if array.ndim != 2:
            raise ValueError(
                f"corr2d: {name} must be a plane (height, width), got {name}.shape={array.shape}; "
                "jaxconv.correlate takes any rank and jaxconv.conv takes channels"
            )
    return _correlate("corr2d", x, k, mode="valid", boundary="zeros", method=method)


def correlate(
    x: jax.Array | np.ndarray,
    k: jax.Array | np.ndarray,
    *,
    mode: Mode = "valid",
    boundary: str = "zeros",
    fill_value: ArrayLike = 0,
    axes: Sequence[int] | None = None,
    method: str = "auto",
    preferred_element_type: Any = None,
) -> jax.Array:
    """Cross-correlate an array of any rank with one kernel.

    y[t] = sum over a of x[t + a - lo] k[a]

    Complex kernels are not conjugated (as in torch; scipy.signal conjugates). By direct sums; FFT
    (method="fft", or "fastest" where it takes it) may change four things: errors are on the scale
    of the whole of x, one NaN or infinity spreads over all of it, exact zeros become small numbers
    of either sign, and an output sees what lies outside its window in its rounding.

    Args:
        x: any shape.
        k: as many dimensions as `axes` has entries (as x, without `axes`), in x's dtype.
        mode: "valid" (no padding), "same" (x's size; of an even kernel's padding the odd element
            goes after), "same_lower" (it goes before, as in scipy and OpenCV), "full" (every
            position that touches x).
        boundary: what lies outside x: "zeros", "constant" (`fill_value`), "reflect", "symmetric",
            "replicate", "circular"; pictures in `jaxconv.pad`.
        fill_value: the constant of boundary="constant".
        axes: the axes of x that k runs over, in k's order; every other axis is a batch axis.
        method: "auto", "fastest" (which may take FFT), or a method's name.
        preferred_element_type: dtype of the result, as in `jaxconv.conv`. By default x's; integers
            of 8 and 16 bits, whose sums may need more, must say: jnp.int32 holds them, and their
            own dtype wraps around.

    Returns:
        y: x's shape, with n - k + 1, n or n + k - 1 elements along `axes`; in x's dtype or
        `preferred_element_type`, at the device's highest precision.

    Raises:
        TypeError: the dtypes differ, integers of 8 or 16 bits without `preferred_element_type`, or
            one that cannot hold the sums.
        ValueError: shapes, mode, boundary or axes do not fit.

    Example:
        >>> correlate(jnp.array([1, 2, 3, 4]), jnp.array([1, 0, -1]), mode="same")
        Array([-2, -2, -2,  3], dtype=int32)

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.2.5.
    """
    return _correlate(
        "correlate",
        x,
        k,
        mode=mode,
        boundary=boundary,
        fill_value=fill_value,
        axes=axes,
        method=method,
        preferred_element_type=preferred_element_type,
    )


def convolve(
    x: jax.Array | np.ndarray,
    k: jax.Array | np.ndarray,
    *,
    mode: Mode = "valid",
    boundary: str = "zeros",
    fill_value: ArrayLike = 0,
    axes: Sequence[int] | None = None,
    method: str = "auto",
    preferred_element_type: Any = None,
) -> jax.Array:
    """Convolve in the strict sense: `correlate` with the kernel reversed along every axis.

    y[t] = sum over a of x[t + lo' - a] k[a], lo' = size of k less 1 less the padding before

    Args:
        x: as in `correlate`.
        k: as in `correlate`.
        mode: as in `correlate`.
        boundary: as in `correlate`.
        fill_value: as in `correlate`.
        axes: as in `correlate`.
        method: as in `correlate`.
        preferred_element_type: as in `correlate`.

    Returns:
        y: as in `correlate`.

    Raises:
        TypeError: as `correlate`.
        ValueError: shapes, mode, boundary or axes do not fit.

    Example:
        Multiplying two polynomials convolves their coefficients.

        >>> convolve(jnp.array([1, 2]), jnp.array([1, 3, 1]), mode="full")
        Array([1, 5, 7, 2], dtype=int32)

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.1.3.
    """
    return _correlate(
        "convolve",
        x,
        k,
        flip=True,
        mode=mode,
        boundary=boundary,
        fill_value=fill_value,
        axes=axes,
        method=method,
        preferred_element_type=preferred_element_type,
    )


def _correlate(
    caller: str,
    x: jax.Array | np.ndarray,
    k: jax.Array | np.ndarray,
    *,
    mode: str,
    boundary: str,
    fill_value: ArrayLike = 0,
    axes: Sequence[int] | None = None,
    method: str,
    preferred_element_type: Any = None,
    flip: bool = False,
) -> jax.Array:
    x, k = dtypes.as_array(caller, "x", x), dtypes.as_array(caller, "k", k)
    taken_by = "jaxconv.correlate" if caller == "corr2d" else ""
    dtype = dtypes.result_dtype(
        caller, ("x", x), ("k", k), preferred_element_type, taken_by=taken_by
    )
    check_method(caller, method)
    if mode not in _MODES:
        raise ValueError(f"{caller}: mode={mode!r} must be one of {', '.join(map(repr, _MODES))}")
    if boundary not in MODES:
        raise ValueError(
            f"{caller}: boundary={boundary!r} must be one of {', '.join(map(repr, MODES))}"
            f"{name_here(boundary, MODES)}"
        )
    check_fill_value(caller, x.dtype, fill_value, boundary, argument="boundary")
    axes = _spatial_axes(caller, x, k, axes)
    size = tuple(x.shape[axis] for axis in axes)
    _check_sizes(caller, x, k, size, mode)
    ones = (1,) * k.ndim
    pads = resolve_padding(caller, mode, size, k.shape, stride=ones, dilation=ones)
    pairs = dict(zip(axes, pads, strict=True))
    check_sizes(caller, x.shape, pairs, mode=boundary, argument="boundary")

    last = tuple(range(x.ndim - k.ndim, x.ndim))
    x = jnp.moveaxis(x, axes, last)
    k = jnp.flip(k) if flip else k
    if boundary == "constant":  # not linear in x: what is added comes from outside
        x = extended(x, dict(zip(last, pads, strict=True)), boundary, fill_value)
        pads, boundary = ((0, 0),) * k.ndim, "zeros"
    # one channel in, one channel out
    spec = ConvSpec(ones, ones, pads, 1, x.shape[x.ndim - k.ndim :], k.shape)
    x, k = x[..., None], k[..., None, None]
    precision = jax.lax.Precision.HIGHEST
    numerics = {"method": method, "precision": precision, "mode": boundary}
    y = contract("output", x, k, spec, dtype=dtype, **numerics)
    return jnp.moveaxis(y[..., 0], last, axes)


def _spatial_axes(
    caller: str, x: jax.Array, k: jax.Array, axes: Sequence[int] | None
) -> tuple[int, ...]:
    if k.ndim < 1:
        raise ValueError(f"{caller}: k must have at least one dimension, got k.shape={k.shape}")
    many = f"{k.ndim} axes" if k.ndim > 1 else "axis"
    if axes is None:
        if x.ndim != k.ndim:
            way = f"; say which {many} of x the kernel runs over with axes=..."
            raise ValueError(
                f"{caller}: x.shape={x.shape} and k.shape={k.shape} differ in rank"
                f"{way if x.ndim > k.ndim else ''}"
            )
        return tuple(range(x.ndim))
    try:
        found = tuple(operator.index(axis) for axis in axes)
    except TypeError:
        raise TypeError(
            f"{caller}: axes={shown(axes)} must be a sequence of integers, one a dimension of k "
            f"(k.shape={k.shape})"
        ) from None
    if len(found) != k.ndim or any(not -x.ndim <= axis < x.ndim for axis in found):
        raise ValueError(
            f"{caller}: axes={shown(axes)} must name {many if k.ndim > 1 else 'one axis'} of x "
            f"(x.shape={x.shape}), one a dimension of k (k.shape={k.shape})"
        )
    found = tuple(axis % x.ndim for axis in found)
    if len(set(found)) != len(found):
        raise ValueError(f"{caller}: axes={shown(axes)} names an axis twice")
    return found


def _check_sizes(caller: str, x: jax.Array, k: jax.Array, size: tuple[int, ...], mode: str) -> None:
    for name, array, sizes in (("x", x, size), ("k", k, k.shape)):
        if any(below(n, 1) for n in sizes):
            raise ValueError(f"{caller}: {name} is empty ({name}.shape={array.shape})")
    if mode == "valid" and any(map(below, size, k.shape)):
        where = f"x.shape={x.shape}" if x.ndim == k.ndim else f"the {size} of x along its axes"
        padded = "mode='same' or mode='full', which pad x"
        other = f"jaxconv.correlate with {padded}" if caller == "corr2d" else padded
        raise ValueError(f"{caller}: k.shape={k.shape} is larger than {where}; use {other}")
