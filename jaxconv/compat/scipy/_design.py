"""`signal`'s windows and coefficients of filters, computed by SciPy from known numbers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxconv._core.geometry.dtypes import constant
from jaxconv.compat.scipy import _numpy_dtypes

Window = str | float | tuple[Any, ...]


def get_window(window: Window, Nx: int, fftbins: bool = True) -> jax.Array:
    """Return a window by name: SciPy's own, computed on the host.

    Args:
        window: a name, a tuple of a name and its parameters, or beta of a Kaiser window.
        Nx: number of elements.
        fftbins: whether the window is periodic, as for FFT, or symmetric, as for filters.

    Returns:
        window: (Nx,), float64, or float32 unless `jax_enable_x64` is on.

    Raises:
        TypeError: an argument is traced.
        ValueError: as in SciPy.

    Example:
        >>> get_window("hann", 4)
        Array([0. , 0.5, 1. , 0.5], dtype=float32)
    """
    _check_known("get_window", window=window, Nx=Nx, fftbins=fftbins)
    return constant(_scipy("get_window")(window, Nx, fftbins))


def firwin(
    numtaps: int,
    cutoff: float | Sequence[float],
    *,
    width: float | None = None,
    window: Window = "hamming",
    pass_zero: bool | str = True,
    scale: bool = True,
    fs: float | None = None,
) -> jax.Array:
    """Design a filter of finite length by the window method: SciPy's own, on the host.

    Args:
        numtaps: number of coefficients.
        cutoff: cutoff frequencies, in units of `fs`, increasing, between 0 and fs / 2.
        width: width of the transition, from which a Kaiser window is made.
        window: as in `get_window`.
        pass_zero: whether frequency 0 passes; or "bandpass", "lowpass", "highpass", "bandstop".
        scale: whether the middle of the first passband passes unchanged.
        fs: sampling frequency; 2 by default.

    Returns:
        h: (numtaps,), float64, or float32 unless `jax_enable_x64` is on.

    Raises:
        TypeError: an argument is traced.
        ValueError: as in SciPy.

    Example:
        >>> (1000 * firwin(3, 0.5)).round()
        Array([ 46., 908.,  46.], dtype=float32)
    """
    numbers = {"width": width, "window": window, "scale": scale, "fs": fs, "pass_zero": pass_zero}
    _check_known("firwin", numtaps=numtaps, cutoff=cutoff, **numbers)
    return constant(_scipy("firwin")(numtaps, _on_host(cutoff), **numbers))


def savgol_coeffs(
    window_length: int,
    polyorder: int,
    deriv: int = 0,
    delta: float = 1.0,
    pos: int | None = None,
    use: str = "conv",
) -> jax.Array:
    """Return a Savitzky-Golay filter: SciPy's own, computed on the host.

    Args:
        window_length: number of coefficients.
        polyorder: order of the polynomial that is fitted in each window.
        deriv: order of the derivative.
        delta: spacing of the samples.
        pos: place in the window where the polynomial is evaluated; by default its middle.
        use: "conv" (coefficients for a convolution) or "dot" (in the samples' order).

    Returns:
        coefficients: (window_length,), float64, or float32 unless `jax_enable_x64` is on.

    Raises:
        TypeError: an argument is traced.
        ValueError: as in SciPy.

    Example:
        >>> (35 * savgol_coeffs(5, 2)).round()
        Array([-3., 12., 17., 12., -3.], dtype=float32)

    Source:
        Savitzky and Golay (1964), "Smoothing and differentiation of data by simplified least
        squares procedures".
    """
    return constant(
        savgol_numbers("savgol_coeffs", window_length, polyorder, deriv, delta, pos, use)
    )


def savgol_numbers(
    caller: str, length: Any, order: Any, deriv: Any, delta: Any, pos: Any, use: str
) -> np.ndarray:
    """Return SciPy's coefficients in float64, for any caller."""
    numbers = {"deriv": deriv, "delta": delta, "pos": pos, "use": use}
    _check_known(caller, window_length=length, polyorder=order, **numbers)
    return np.asarray(_scipy("savgol_coeffs")(length, order, **numbers))


def firwin_numbers(count: int, cutoff: float, window: Any) -> np.ndarray:
    """Return `firwin`'s coefficients in float64."""
    return np.asarray(_scipy("firwin")(count, cutoff, window=window))


def _scipy(name: str) -> Any:
    return getattr(importlib.import_module("scipy.signal"), name)


def _on_host(value: Any) -> Any:
    return np.asarray(value) if hasattr(value, "shape") else value


def _check_known(caller: str, **arguments: Any) -> None:
    """Check that no argument is traced.

    Raises:
        TypeError: one is.
    """
    for name, value in arguments.items():
        if not all(map(_numpy_dtypes.is_concrete, jax.tree.leaves(value))):
            raise TypeError(
                f"{caller}: {name} is traced here, and filters are designed on the host from known "
                f"numbers; design the filter outside of jit and hand it over"
            )
