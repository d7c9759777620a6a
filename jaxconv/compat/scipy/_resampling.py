"""`signal`'s changes of rate: `upfirdn`, `resample_poly`, `decimate` by finite filters."""

from __future__ import annotations

import math
import operator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.dtypes import as_array, constant
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv.compat.scipy import _direct_sums, _numpy_dtypes
from jaxconv.compat.scipy._design import firwin_numbers
from jaxconv.compat.scipy._endings import MODES as ENDINGS
from jaxconv.compat.scipy._endings import extend_line
from jaxconv.compat.scipy._ndimage_common import check_axis

# mode of `upfirdn` -> name of a boundary in `_direct_sums`
_BOUNDARIES = {
    "constant": "constant",
    "wrap": "wrap",
    "edge": "nearest",
    "symmetric": "symmetric",
    "reflect": "mirror",
}
MODES = (*_BOUNDARIES, *ENDINGS)
_BACKGROUNDS = {"mean": jnp.mean, "median": jnp.median, "minimum": jnp.min, "maximum": jnp.max}


def upfirdn(
    h: jax.Array | np.ndarray,
    x: jax.Array | np.ndarray,
    up: int = 1,
    down: int = 1,
    axis: int = -1,
    mode: str = "constant",
    cval: float = 0,
) -> jax.Array:
    """Insert zeros, filter, and keep every `down`-th element, along one axis.

    y[m] = sum over k of x[k] h[m down - k up]

    One convolution with stride and as many output channels as there are phases: what is not kept is
    not computed.

    Args:
        h: (taps,), the filter.
        x: any shape and dtype.
        up: factor of the rate before the filter; up - 1 zeros follow each element.
        down: divisor of the rate after the filter.
        axis: the axis to filter along.
        mode: what lies outside x: "constant" (`cval`), "wrap", "edge" (the last element),
            "symmetric" (mirrored, with the edge repeated), "reflect" (without), "antisymmetric",
            "antireflect", "smooth" and "line" (straight lines).
        cval: the constant of "constant".

    Returns:
        y: x's shape with ((n - 1) up + taps - 1) // down + 1 elements along the axis; in the common
        floating-point dtype of h, x and float32.

    Raises:
        ValueError: h is not 1-D or empty, factors below 1, unknown mode or invalid axis.

    Example:
        >>> upfirdn(jnp.array([1.0, 1.0, 1.0]), jnp.array([1.0, 2.0, 3.0]), up=3)
        Array([1., 1., 1., 2., 2., 2., 3., 3., 3.], dtype=float32)

    Source:
        Vaidyanathan, "Multirate Systems and Filter Banks", section 4.3 (polyphase representation).
    """
    return _upfirdn("upfirdn", h, x, up, down, axis, mode, cval)


def resample_poly(
    x: jax.Array | np.ndarray,
    up: int,
    down: int,
    axis: int = 0,
    window: Any = ("kaiser", 5.0),
    padtype: str = "constant",
    cval: float | None = None,
) -> jax.Array:
    """Resample along one axis by the factor up / down, with a filter of linear phase.

    Args:
        x: any shape and dtype.
        up: factor of the rate.
        down: divisor of the rate.
        axis: the axis to resample.
        window: window of the filter, as in `get_window`; or the filter's coefficients, an array.
        padtype: what lies outside x: a mode of `upfirdn`; or "mean", "median", "minimum",
            "maximum": that of each line.
        cval: the constant of "constant"; 0 by default.

    Returns:
        y: x's shape with ceil(n up / down) elements along the axis; floating-point. If up = down it
        is x itself.

    Raises:
        ValueError: factors below 1 or not integers, a `cval` for another padtype than "constant",
            unknown padtype, invalid axis, or a filter that is not 1-D.

    Example:
        >>> resample_poly(jnp.arange(8.0), 1, 2, padtype="line").round(2)
        Array([0., 2., 4., 6.], dtype=float32)
    """
    return _resample("resample_poly", x, up, down, axis, window, padtype, cval)


def decimate(
    x: jax.Array | np.ndarray,
    q: int,
    n: int | None = None,
    ftype: Any = "iir",
    axis: int = -1,
    zero_phase: bool = True,
) -> jax.Array:
    """Keep every q-th element along one axis, after a filter of finite length against aliasing.

    Args:
        x: any shape and dtype.
        q: divisor of the rate.
        n: order of the filter; 20 q by default.
        ftype: "fir" (a Hamming window), or a `scipy.signal.dlti` without poles. SciPy's default,
            "iir", is recursive, and refused here.
        axis: the axis to filter along.
        zero_phase: whether the filter's delay is taken back.

    Returns:
        y: x's shape with ceil(n / q) elements along the axis; floating-point.

    Raises:
        TypeError: q or n is not an integer.
        ValueError: a recursive filter, unknown ftype, or invalid axis.

    Example:
        >>> decimate(jnp.ones(400), 4, ftype="fir")[40:44].round(3)
        Array([1., 1., 1., 1.], dtype=float32)
    """
    caller = "decimate"
    x = as_array(caller, "x", x)
    q = operator.index(q)
    n = None if n is None else operator.index(n)
    kept = check_axis(caller, axis, x.ndim)
    exact = jnp.issubdtype(x.dtype, jnp.inexact) and x.dtype != jnp.float16
    dtype = x.dtype if exact else _numpy_dtypes.widest(jnp.float64)
    h = constant(_coefficients(caller, ftype, q, n)).astype(dtype)
    if zero_phase:
        return _resample(caller, x, 1, q, kept, h, "constant", None)
    y = _upfirdn(caller, h, x, 1, q, kept, "constant", 0)
    return jax.lax.slice_in_dim(y, 0, -(-x.shape[kept] // q), axis=kept)


def _coefficients(caller: str, ftype: Any, q: int, n: int | None) -> np.ndarray:
    if ftype == "fir":
        return firwin_numbers((20 * q if n is None else n) + 1, 1 / q, "hamming")
    if hasattr(ftype, "poles"):
        if len(ftype.poles):
            raise ValueError(
                f"{caller}: ftype has poles: filters with poles are recursive, and there are none "
                "here; use a filter of finite length, such as ftype='fir'"
            )
        system = ftype.to_tf()
        return np.asarray(system.num) / np.asarray(system.den)
    if ftype == "iir":
        raise ValueError(
            f"{caller}: ftype='iir' is a recursive filter, and there are none here; use ftype='fir'"
        )
    raise ValueError(f"{caller}: ftype={ftype!r}: invalid ftype; use 'fir'")


def _upfirdn(caller, h, x, up, down, axis, mode, cval) -> jax.Array:
    h, x = as_array(caller, "h", h), as_array(caller, "x", x)
    if h.ndim != 1 or h.size == 0:
        raise ValueError(f"{caller}: h must be 1-D with non-zero length, got shape {h.shape}")
    up, down = int(up), int(down)
    if up < 1 or down < 1:
        raise ValueError(f"{caller}: Both up and down must be >= 1, got {up} and {down}")
    if not isinstance(mode, str) or mode.lower() not in MODES:
        raise ValueError(
            f"{caller}: mode={mode!r}: Unknown mode; use {', '.join(map(repr, MODES))}"
        )
    found = check_axis(caller, axis, x.ndim)
    dtype = _numpy_dtypes.common_dtype(h.dtype, x.dtype, jnp.float32)
    fill = None
    if mode.lower() == "constant":
        fill = _numpy_dtypes.check_scalar(caller, "cval", cval)
        if _numpy_dtypes.is_concrete(fill) and not fill:
            fill = None
    return _polyphase(h, x, fill, up=up, down=down, axis=found, mode=mode.lower(), dtype=dtype)


@partial(jax.jit, static_argnames=("up", "down", "axis", "mode", "dtype"))
def _polyphase(h, x, fill, *, up, down, axis, mode, dtype):
    """One output channel for each phase r: y[u j + r] = sum over i of x[d j + i] h[r down - i up].

    u and d are `up` and `down` without their common divisors; i counts from `first`.
    """
    x, h = jnp.moveaxis(x.astype(dtype), axis, -1), h.astype(dtype)
    n, taps = x.shape[-1], h.size
    length = ((n - 1) * up + taps - 1) // down + 1
    common = math.gcd(up, down)
    phases, step = up // common, down // common
    first, last = -((taps - 1) // up), (phases - 1) * down // up
    place = np.arange(phases) * down - np.arange(first, last + 1)[:, None] * up  # (i, r)
    inside = (place >= 0) & (place < taps)
    w = jnp.where(inside, h[np.where(inside, place, 0)], jnp.zeros((), dtype))
    rows = -(-length // phases)
    before, after = -first, (rows - 1) * step + last - (n - 1)
    shape, padding = x.shape[:-1], (before, after)
    if mode != "constant" or fill is not None:
        wider, padding = max(after, 0), (0, min(after, 0))
        if mode in ENDINGS:
            x = extend_line(x, before, wider, mode)
        else:
            pads = ((before, wider),)
            x = _direct_sums.extend(x, pads, (x.ndim - 1,), _BOUNDARIES[mode], fill)
    spec = ConvSpec((step,), (1,), (padding,), 1, (x.shape[-1],), (w.shape[0],))
    highest = jax.lax.Precision.HIGHEST
    # (..., n, 1) and (i, 1, r) -> (..., rows, r)
    y = contract("output", x[..., None], w[:, None], spec, dtype=dtype, precision=highest)
    y = y.reshape(*shape, rows * phases)[..., :length]
    return jnp.moveaxis(y, -1, axis)


def _resample(caller, x, up, down, axis, window, padtype, cval) -> jax.Array:
    x = as_array(caller, "x", x)
    for name, value in (("up", up), ("down", down)):
        if value != int(value):
            raise ValueError(f"{caller}: {name}={value!r}: {name} must be an integer")
    up, down = int(up), int(down)
    if up < 1 or down < 1:
        raise ValueError(f"{caller}: up and down must be >= 1, got {up} and {down}")
    if cval is not None and padtype != "constant":
        raise ValueError(f"{caller}: cval has no effect when padtype is {padtype!r}")
    if padtype not in _BACKGROUNDS and padtype not in MODES:
        names = ", ".join(map(repr, (*_BACKGROUNDS, *MODES)))
        raise ValueError(f"{caller}: padtype={padtype!r}: padtype must be one of: {names}")
    found = check_axis(caller, axis, x.ndim)
    up, down = up // math.gcd(up, down), down // math.gcd(up, down)
    if up == down == 1:
        return x
    h, half = _filter_of(caller, x, window, max(up, down))
    n = x.shape[found]
    wanted = -(-n * up // down)
    # zeros before, so that the middle of the filter is the first element
    zeros = down - half % down
    drop = (half + zeros) // down
    taps = h.size + zeros
    lacking = (drop + wanted - 1) * down - ((n - 1) * up + taps - 1)
    h = _scaled(h, up=up, before=zeros, after=max(lacking, 0))
    if padtype in _BACKGROUNDS:
        inexact = jnp.issubdtype(x.dtype, jnp.inexact)
        x = x if inexact else x.astype(_numpy_dtypes.widest(jnp.float64))
        background = _BACKGROUNDS[padtype](x, axis=found, keepdims=True)
        y = _upfirdn(caller, h, x - background, up, down, found, "constant", 0)
        y = jax.lax.slice_in_dim(y, drop, drop + wanted, axis=found)
        return y + background.astype(y.dtype)
    y = _upfirdn(caller, h, x, up, down, found, padtype, 0 if cval is None else cval)
    return jax.lax.slice_in_dim(y, drop, drop + wanted, axis=found)


@partial(jax.jit, static_argnames=("up", "before", "after"))
def _scaled(h, *, up, before, after):
    return jnp.pad(h * up, (before, after))


def _filter_of(caller: str, x: jax.Array, window: Any, rate: int) -> tuple[jax.Array, int]:
    """Return the coefficients, and the place of their middle."""
    if isinstance(window, list) or hasattr(window, "shape"):
        h = as_array(caller, "window", window)
        if h.ndim > 1:
            raise ValueError(f"{caller}: window must be 1-D, got shape {h.shape}")
        if not jnp.issubdtype(h.dtype, jnp.inexact):
            h = h.astype(_numpy_dtypes.widest(jnp.float64))
        return h, (h.size - 1) // 2
    h = constant(firwin_numbers(20 * rate + 1, 1 / rate, window))
    return h.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else h, 10 * rate
