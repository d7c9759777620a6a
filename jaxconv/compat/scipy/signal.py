"""`scipy.signal`'s convolutions and finite filters: same signatures, values, dtypes and errors."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.dtypes import as_array, constant
from jaxconv.compat.scipy import _direct_sums, _numpy_dtypes
from jaxconv.compat.scipy._design import firwin, get_window, savgol_coeffs
from jaxconv.compat.scipy._fftconvolve import fftconvolve, oaconvolve, operations
from jaxconv.compat.scipy._line_filters import filtfilt, lfilter, savgol_filter
from jaxconv.compat.scipy._missing import missing
from jaxconv.compat.scipy._resampling import decimate, resample_poly, upfirdn
from jaxconv.compat.scipy._signal_2d import convolve2d, correlate2d, sepfir2d
from jaxconv.compat.scipy._wiener import hilbert, wiener

__all__ = [
    "choose_conv_method",
    "convolve",
    "convolve2d",
    "correlate",
    "correlate2d",
    "correlation_lags",
    "decimate",
    "fftconvolve",
    "filtfilt",
    "firwin",
    "get_window",
    "hilbert",
    "lfilter",
    "oaconvolve",
    "resample_poly",
    "savgol_coeffs",
    "savgol_filter",
    "sepfir2d",
    "upfirdn",
    "wiener",
]


def __getattr__(name: str):
    raise missing("signal", name, __all__)


def convolve(
    in1: jax.Array | np.ndarray,
    in2: jax.Array | np.ndarray,
    mode: str = "full",
    method: str = "auto",
) -> jax.Array:
    """Convolve two arrays of the same rank.

    y[t] = sum over s of in1[s] in2[t - s]

    Args:
        in1: any shape and dtype.
        in2: as many dimensions.
        mode: "full" (in1 + in2 - 1 elements per axis), "same" (in1's shape, centred on "full"),
            "valid" (without padding; one input must contain the other).
        method: "direct" or "auto" (direct sums), or "fft" (as `fftconvolve`; integer results are
            rounded: exact up to 2^53, or 2^24 without `jax_enable_x64`).

    Returns:
        y: of NumPy's common dtype; integers wrap around, bool gives the logical or of the products.

    Raises:
        ValueError: ranks or shapes that do not fit each other, invalid mode or method, or an empty
            input.

    Example:
        >>> convolve([1, 2], [1, 3, 1])
        Array([1, 5, 7, 2], dtype=int32)
    """
    a, b = _pair("convolve", in1, in2, "volume", "kernel")
    return _convolve("convolve", a, b, mode, method)


def correlate(
    in1: jax.Array | np.ndarray,
    in2: jax.Array | np.ndarray,
    mode: str = "full",
    method: str = "auto",
) -> jax.Array:
    """Cross-correlate two arrays of the same rank.

    y[l] = sum over s of in1[s + l] conj(in2[s])

    Args:
        in1: any shape and dtype.
        in2: as many dimensions.
        mode: as in `convolve`; `correlation_lags` gives the lag l of each element.
        method: as in `convolve`.

    Returns:
        y: as in `convolve`.

    Raises:
        ValueError: as `convolve`.

    Example:
        >>> correlate([1, 2, 3], [0, 1, 1], mode="same")
        Array([3, 5, 3], dtype=int32)
    """
    a, b = _pair("correlate", in1, in2, "in1", "in2")
    b = jnp.conj(jnp.flip(b)) if _numpy_dtypes.is_complex(b.dtype) else jnp.flip(b)
    return _convolve("correlate", a, b, mode, method)


def correlation_lags(in1_len: int, in2_len: int, mode: str = "full") -> jax.Array:
    """Return the lag of each element of a one-dimensional `correlate`.

    Args:
        in1_len: elements of the first input.
        in2_len: elements of the second input.
        mode: as in `correlate`.

    Returns:
        lags: integers, one for each element of the result of `correlate`.

    Raises:
        ValueError: unknown mode.

    Example:
        >>> correlation_lags(3, 2)
        Array([-1,  0,  1,  2], dtype=int32)
    """
    lags = np.arange(1 - in2_len, in1_len)
    match mode:
        case "full":
            pass
        case "same":
            start = lags.size // 2 - in1_len // 2
            lags = lags[start : start + in1_len]
        case "valid":
            lags = np.arange(min(in1_len - in2_len, 0), max(in1_len - in2_len, 0) + 1)
        case _:
            raise ValueError(
                f"correlation_lags: Mode {mode} is invalid; use 'full', 'same' or 'valid'"
            )
    return constant(lags)


def choose_conv_method(
    in1: jax.Array | np.ndarray,
    in2: jax.Array | np.ndarray,
    mode: str = "full",
    measure: bool = False,
) -> Any:
    """Return "direct" or "fft", the method that is expected to be faster in `convolve`.

    Unlike in SciPy, `convolve` with "auto" always uses direct sums: FFT has rounding errors on the
    scale of the whole array and spreads NaN. Where that is acceptable, use
    `convolve(a, b, method=choose_conv_method(a, b))`.

    "fft" if n k > 3 N log2 N and n k > 20000, for n elements in the result, k in the smaller input
    and N in the full convolution. "direct" for integers and bool, whose results must be exact. The
    choice depends on shapes and dtypes only, since values are unknown under `jit`.

    Args:
        in1: any shape and dtype.
        in2: as many dimensions.
        mode: as in `convolve`.
        measure: measure the time of both methods instead; not under `jit`.

    Returns:
        The method's name; with `measure` also a dictionary of seconds by method.

    Raises:
        ValueError: as `convolve`.

    Example:
        >>> choose_conv_method(jnp.ones(9), jnp.ones(3)), choose_conv_method(*jnp.ones((2, 999)))
        ('direct', 'fft')
    """
    a, b = _pair("choose_conv_method", in1, in2, "in1", "in2")
    _direct_sums.check_mode("choose_conv_method", mode)
    if measure:
        times = {
            method: _seconds(lambda method=method: convolve(a, b, mode, method))
            for method in ("fft", "direct")
        }
        return ("fft" if times["fft"] < times["direct"] else "direct"), times
    if _numpy_dtypes.is_integral(_numpy_dtypes.common_dtype(a.dtype, b.dtype)):
        return "direct"
    # On 2 cores of AVX-512 x86 (jax 0.10.2, float32, 2026-11) the two break even at ratios of 0.2
    # to 1.2, from 1000 elements to 512 x 512; 20000 operations take 70 microseconds either way.
    direct, fft = operations(a.shape, b.shape, mode)
    return "fft" if direct > max(fft, 20_000) else "direct"


def _pair(
    caller: str, in1: jax.Array | np.ndarray, in2: jax.Array | np.ndarray, first: str, second: str
) -> tuple[jax.Array, jax.Array]:
    a, b = as_array(caller, "in1", in1), as_array(caller, "in2", in2)
    if a.ndim != b.ndim:
        raise ValueError(
            f"{caller}: {first} and {second} should have the same dimensionality, got shapes "
            f"{a.shape} and {b.shape}"
        )
    return a, b


def _convolve(caller: str, a: jax.Array, b: jax.Array, mode: str, method: str) -> jax.Array:
    dtype = _numpy_dtypes.common_dtype(a.dtype, b.dtype)
    if a.ndim == 0:
        return a.astype(dtype) * b.astype(dtype)
    _direct_sums.check_mode(caller, mode)
    if method not in ("auto", "direct", "fft"):
        raise ValueError(
            f"{caller}: method={method!r}. Acceptable method flags are 'auto', 'direct', or 'fft'."
        )
    _direct_sums.check_not_empty(caller, in1=a, in2=b)
    if _direct_sums.swap_needed(caller, mode, a.shape, b.shape, range(a.ndim)):
        a, b = b, a
    if method != "fft":
        windows = _direct_sums.mode_windows(mode, a.shape, b.shape)
        return _direct_sums.convolve_window(a.astype(dtype), b.astype(dtype), windows)
    y = fftconvolve(a, b, mode)
    _warn_if_not_finite(y)
    return _numpy_dtypes.cast(jnp.round(y) if _numpy_dtypes.is_integral(dtype) else y, dtype)


def _warn_if_not_finite(y: jax.Array) -> None:
    """Warn, if values are known, that a NaN or infinity has spread."""
    if _numpy_dtypes.is_concrete(y) and not jnp.isfinite(y.ravel()[0]):
        warnings.warn(
            "Use of fft convolution on input with NAN or inf results in NAN or inf output. "
            "Consider using method='direct' instead.",
            category=RuntimeWarning,
            stacklevel=4,
        )


def _seconds(call: Callable[[], jax.Array]) -> float:
    """Return the shortest time of three runs, after one that compiles."""
    call().block_until_ready()
    found = []
    for _ in range(3):
        start = time.perf_counter()
        call().block_until_ready()
        found.append(time.perf_counter() - start)
    return min(found)
