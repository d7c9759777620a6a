"""`fftconvolve` and `oaconvolve`: convolution along some axes, broadcasting along the others."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.dtypes import as_array
from jaxconv.compat.scipy import _direct_sums, _numpy_dtypes, _spectra

Axes = int | Sequence[int] | None


def fftconvolve(
    in1: jax.Array | np.ndarray, in2: jax.Array | np.ndarray, mode: str = "full", axes: Axes = None
) -> jax.Array:
    """Convolve two arrays by multiplying their spectra.

    y[t] = sum over s of in1[s] in2[t - s]

    Real inputs use real FFTs; lengths are rounded up to 2^a 3^b 5^c. NaN or infinity in one element
    spreads to the whole result.

    Args:
        in1: any shape; integers and bool are converted to float64, half precision to float32.
        in2: as many dimensions; along axes that are not convolved the two are broadcast.
        mode: "full" (in1 + in2 - 1 elements per axis), "same" (in1's shape, centred on "full"),
            "valid" (without padding; one input must contain the other).
        axes: the axes to convolve along; all by default. Axes along which an input has one element
            are not transformed.

    Returns:
        y: floating-point or complex, of NumPy's common dtype. Empty inputs give an empty array.

    Raises:
        ValueError: ranks or shapes that do not fit each other, or invalid mode or axes.

    Example:
        >>> fftconvolve(jnp.array([1.0, 2.0]), jnp.array([1.0, 3.0, 1.0])).round()
        Array([1., 5., 7., 2.], dtype=float32)
    """
    return _convolve("fftconvolve", in1, in2, mode, axes, _spectra.whole)


def oaconvolve(
    in1: jax.Array | np.ndarray, in2: jax.Array | np.ndarray, mode: str = "full", axes: Axes = None
) -> jax.Array:
    """Convolve a long array with a short one block by block (overlap-add).

    y[t] = sum over s of in1[s] in2[t - s]

    An axis is divided into blocks if that needs fewer operations than one long FFT; otherwise this
    equals `fftconvolve`.

    Args:
        in1: as in `fftconvolve`.
        in2: as in `fftconvolve`.
        mode: as in `fftconvolve`.
        axes: as in `fftconvolve`.

    Returns:
        y: as in `fftconvolve`.

    Raises:
        ValueError: as `fftconvolve`.

    Example:
        >>> oaconvolve(jnp.ones(1000), jnp.array([1.0, -1.0, 1.0]))[:4].round()
        Array([1., 0., 1., 1.], dtype=float32)

    Source:
        Oppenheim and Schafer, "Discrete-Time Signal Processing", section 8.7.3.
    """
    return _convolve("oaconvolve", in1, in2, mode, axes, _spectra.overlap_add)


def _convolve(
    caller: str,
    in1: jax.Array | np.ndarray,
    in2: jax.Array | np.ndarray,
    mode: str,
    axes: Axes,
    plan: Callable[[int, int], _spectra.Blocks],
) -> jax.Array:
    a, b = as_array(caller, "in1", in1), as_array(caller, "in2", in2)
    if a.ndim != b.ndim:
        raise ValueError(
            f"{caller}: in1 and in2 should have the same dimensionality, got shapes {a.shape} and "
            f"{b.shape}"
        )
    if a.ndim == 0:
        dtype = _numpy_dtypes.common_dtype(a.dtype, b.dtype)
        return a.astype(dtype) * b.astype(dtype)
    if a.size == 0 or b.size == 0:
        return jnp.zeros((0,), _numpy_dtypes.widest(jnp.float64))
    transformed = _transformed_axes(caller, a.shape, b.shape, axes)
    _direct_sums.check_mode(caller, mode)
    if _direct_sums.swap_needed(caller, mode, a.shape, b.shape, transformed):
        a, b = b, a
    if transformed:
        dtype = _numpy_dtypes.common_dtype(_spectral_dtype(a.dtype), _spectral_dtype(b.dtype))
        blocks = tuple(plan(a.shape[axis], b.shape[axis]) for axis in transformed)
        y = _spectra.convolve_full(a.astype(dtype), b.astype(dtype), transformed, blocks)
    else:
        dtype = _numpy_dtypes.common_dtype(a.dtype, b.dtype)
        y = a.astype(dtype) * b.astype(dtype)
    if mode == "full":
        return y
    kept = list(a.shape) if mode == "same" else list(y.shape)
    if mode == "valid":
        for axis in transformed:
            kept[axis] = a.shape[axis] - b.shape[axis] + 1
    starts = [(n - m) // 2 for n, m in zip(y.shape, kept, strict=True)]
    return jax.lax.slice(y, starts, [s + m for s, m in zip(starts, kept, strict=True)])


def _transformed_axes(
    caller: str, first: tuple[int, ...], second: tuple[int, ...], axes: Any
) -> tuple[int, ...]:
    """Check axes and return, in order, those along which neither input has size 1."""
    rank = len(first)
    if axes is None:
        found = tuple(range(rank))
    else:
        try:
            listed = list(axes) if hasattr(axes, "__iter__") else [axes]
            found = tuple(operator.index(axis) for axis in listed)
        except TypeError:
            raise ValueError(
                f"{caller}: axes={axes!r}: axes must be a scalar or iterable of integers"
            ) from None
        if not found:
            raise ValueError(f"{caller}: when provided, axes cannot be empty")
        if any(not -rank <= axis < rank for axis in found):
            raise ValueError(
                f"{caller}: axes={axes!r}: axes exceeds dimensionality of input, which is {rank}"
            )
        found = tuple(axis % rank for axis in found)
        if len(set(found)) != len(found):
            raise ValueError(f"{caller}: axes={axes!r}: all axes must be unique")
    found = tuple(axis for axis in sorted(found) if first[axis] != 1 and second[axis] != 1)
    for axis in set(range(rank)) - set(found):
        if first[axis] != second[axis] and 1 not in (first[axis], second[axis]):
            raise ValueError(
                f"{caller}: incompatible shapes for in1 and in2: {first} and {second}; axis "
                f"{axis} is not convolved and does not broadcast"
            )
    return found


def _spectral_dtype(dtype: Any) -> Any:
    """Return the dtype to which SciPy's FFT converts its input."""
    if _numpy_dtypes.is_integral(dtype):
        return jnp.float64
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def operations(first: Sequence[int], second: Sequence[int], mode: str) -> tuple[float, float]:
    """Return the numbers of operations of the direct sum and of three FFTs."""
    kept = math.prod(length for _, length in _direct_sums.mode_windows(mode, first, second))
    direct = kept * min(math.prod(first), math.prod(second))
    full = math.prod(n + k - 1 for n, k in zip(first, second, strict=True))
    return direct, 3 * full * math.log2(max(full, 2))
