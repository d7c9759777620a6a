"""`signal.wiener` and `signal.hilbert`."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.dtypes import as_array, one
from jaxconv.compat.scipy import _direct_sums, _numpy_dtypes
from jaxconv.compat.scipy._ndimage_common import check_axis, integers, per_axis


def wiener(im: jax.Array | np.ndarray, mysize: Any = None, noise: Any = None) -> jax.Array:
    """Draw each element towards the mean of its window, as far as noise explains its variance.

    y = m + (x - m) max(1 - noise / v, 0), with the mean m and the variance v of each window

    Args:
        im: any shape and dtype; outside it counts as 0.
        mysize: of the window, one odd number or one for each axis; 3 by default.
        noise: variance of the noise; by default the mean of v.

    Returns:
        y: im's shape, in float64 or complex128, in 32 bits unless `jax_enable_x64` is on. Squares
        of integers do not wrap around (in SciPy they do), and a window of one value keeps it (in
        SciPy without noise NaN).

    Raises:
        RuntimeError: `mysize` has another number of entries than im axes.
        TypeError: a size is not an integer.
        ValueError: a size is below 1, or noise is not a number.

    Example:
        >>> (100 * wiener(jnp.array([1.0, 1.0, 1.0, 7.0, 1.0, 1.0, 1.0]), 3)).round().astype(int)
        Array([ 67, 100, 187, 525, 187, 100,  67], dtype=int32)

    Source:
        Lim, "Two-Dimensional Signal and Image Processing", section 9.2.4, eqs. 9.26 to 9.29.
    """
    caller = "wiener"
    x = as_array(caller, "im", im)
    sizes = per_axis(caller, "mysize", 3 if mysize is None else mysize, x.ndim)
    sizes = tuple(integers(caller, "mysize", sizes))
    if any(size < 1 for size in sizes):
        raise ValueError(f"{caller}: mysize={mysize!r}: sizes must be at least 1")
    kind = jnp.complex128 if _numpy_dtypes.is_complex(x.dtype) else jnp.float64
    if noise is not None:
        noise = _numpy_dtypes.check_scalar(caller, "noise", noise)
    return _shrink(x, noise, sizes=sizes, dtype=_numpy_dtypes.widest(kind))


@partial(jax.jit, static_argnames=("sizes", "dtype"))
def _shrink(x, noise, *, sizes, dtype):
    x = x.astype(dtype)
    pads = tuple((size // 2, (size - 1) // 2) for size in sizes)
    count = jnp.asarray(math.prod(sizes), dtype)
    window = jnp.ones(sizes, dtype)
    # deviations from the mean of all: squares of the elements themselves would lose digits
    centre = jnp.mean(x)

    def mean(values, outside):
        sums = _direct_sums.correlate_padded(values, window, pads, fill=outside)
        return sums / count

    deviation = x - centre
    local = mean(deviation, -centre)
    variance = mean(deviation * deviation, centre * centre) - local * local
    noise = jnp.mean(variance) if noise is None else noise.astype(dtype)
    small = (
        variance <= noise if not _numpy_dtypes.is_complex(dtype) else variance.real <= noise.real
    )
    kept = 1 - noise / jnp.where(small, jnp.ones_like(variance), variance)
    return centre + local + jnp.where(small, jnp.zeros_like(kept), kept) * (deviation - local)


def hilbert(x: jax.Array | np.ndarray, N: int | None = None, axis: int = -1) -> jax.Array:
    """Compute the analytic signal by FFT: x and, as its imaginary part, its Hilbert transform.

    y = F^-1(F(x) 2 U), U being 1 at positive frequencies, 1/2 at 0 and Nyquist's, 0 at negative

    Args:
        x: any shape and real dtype.
        N: number of elements that are transformed: x is cut or padded with zeros; by default all.
        axis: the axis to transform.

    Returns:
        y: x's shape with N elements along the axis; complex.

    Raises:
        ValueError: complex x, N below 1, or invalid axis.

    Example:
        >>> abs(hilbert(jnp.cos(jnp.arange(4) * jnp.pi / 2)))
        Array([1., 1., 1., 1.], dtype=float32)
    """
    caller = "hilbert"
    x = as_array(caller, "x", x)
    if _numpy_dtypes.is_complex(x.dtype):
        raise ValueError(f"{caller}: x must be real, got {x.dtype}")
    found = check_axis(caller, axis, x.ndim)
    length = x.shape[found] if N is None else N
    if length <= 0:
        raise ValueError(f"{caller}: N={length}: N must be positive")
    wide = jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).bits >= 32
    dtype = x.dtype if wide else _numpy_dtypes.widest(jnp.float64)
    return _analytic(x, length=length, axis=found, dtype=dtype)


@partial(jax.jit, static_argnames=("length", "axis", "dtype"))
def _analytic(x, *, length, axis, dtype):
    spectrum = jnp.fft.fft(jnp.moveaxis(x.astype(dtype), axis, -1), length)
    frequency = jnp.arange(length)
    factors = jnp.where(frequency < (length + 1) // 2, one(dtype) * 2, jnp.zeros((), dtype))
    factors = factors.at[0].set(1)
    if length % 2 == 0:
        factors = factors.at[length // 2].set(1)
    factors = factors.astype(spectrum.dtype).reshape((1,) * (x.ndim - 1) + (length,))
    return jnp.moveaxis(jnp.fft.ifft(spectrum * factors), -1, axis)
