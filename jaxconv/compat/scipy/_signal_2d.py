"""`signal.convolve2d`, `signal.correlate2d` and `signal.sepfir2d`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array
from jaxconv.compat.scipy import _direct_sums, _numpy_dtypes

_BOUNDARIES = {
    "fill": "constant",
    "pad": "constant",
    "wrap": "wrap",
    "circular": "wrap",
    "symm": "symmetric",
    "symmetric": "symmetric",
}


def convolve2d(
    in1: jax.Array | np.ndarray,
    in2: jax.Array | np.ndarray,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: ArrayLike = 0,
) -> jax.Array:
    """Convolve two 2-D arrays, the first padded.

    y[t] = sum over s of in1[t - s] in2[s]

    Args:
        in1: (H, W) of any dtype.
        in2: (h, w) of any dtype.
        mode: "full" (H + h - 1, W + w - 1), "same" (H, W; centred on "full"), "valid" (without
            padding; one input must contain the other).
        boundary: padding of in1, of any width: "fill" (`fillvalue`), "wrap" (in1 repeated) or
            "symm" (in1 mirrored, with its edge repeated).
        fillvalue: a number that the result's dtype can represent.

    Returns:
        y: of NumPy's common dtype; integers stay integers and wrap around.

    Raises:
        ValueError: an input is not 2-D or empty, or invalid mode, boundary or fillvalue.

    Example:
        >>> convolve2d([[1, 2, 3]], [[1, 1, 1]], mode="same", boundary="wrap")
        Array([[6, 6, 6]], dtype=int32)
    """
    caller = "convolve2d"
    a, b, fill, _ = _check(caller, in1, in2, mode, boundary, fillvalue)
    windows = _direct_sums.mode_windows(mode, a.shape, b.shape)
    pads = _direct_sums.window_pads(windows, a.shape, b.shape)
    return _correlate(a, jnp.flip(b), pads, boundary=_BOUNDARIES[boundary], fill=fill)


def correlate2d(
    in1: jax.Array | np.ndarray,
    in2: jax.Array | np.ndarray,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: ArrayLike = 0,
) -> jax.Array:
    """Cross-correlate two 2-D arrays, the first padded.

    y[t] = sum over s of in1[t + s - lo] conj(in2[s]), lo = k - 1, (k - 1) // 2 and 0 for "full",
    "same" and "valid"

    As in SciPy, for even kernels "same" starts one element later than in `signal.correlate`, and
    the result is not conjugated if "valid" exchanges the inputs.

    Args:
        in1: (H, W) of any dtype.
        in2: (h, w) of any dtype.
        mode: as in `convolve2d`.
        boundary: as in `convolve2d`.
        fillvalue: as in `convolve2d`.

    Returns:
        y: as in `convolve2d`.

    Raises:
        ValueError: as `convolve2d`.

    Example:
        >>> correlate2d([[1, 2, 4]], [[1, -1]], mode="valid")
        Array([[-1, -2]], dtype=int32)
    """
    caller = "correlate2d"
    a, b, fill, swapped = _check(caller, in1, in2, mode, boundary, fillvalue)
    pads = []
    for k in b.shape:
        match mode:
            case "full":
                pads.append((k - 1, k - 1))
            case "same":
                pads.append(((k - 1) // 2, k // 2))
            case _:
                pads.append((0, 0))
    b = jnp.conj(b) if _numpy_dtypes.is_complex(b.dtype) else b
    y = _correlate(a, b, tuple(pads), boundary=_BOUNDARIES[boundary], fill=fill)
    return jnp.flip(y) if swapped else y


def sepfir2d(
    input: jax.Array | np.ndarray, hrow: jax.Array | np.ndarray, hcol: jax.Array | np.ndarray
) -> jax.Array:
    """Filter a 2-D array with one 1-D filter along its rows and one along its columns.

    y[i, j] = sum over a, b of input[i + h - a, j + w - b] hcol[a] hrow[b], h and w half the
    lengths, rounded down; the input is padded by mirroring, with its edge repeated.

    Args:
        input: (H, W).
        hrow: (2 w + 1,), applied along the rows.
        hcol: (2 h + 1,), applied along the columns.

    Returns:
        y: (H, W), in the common floating-point dtype of the input and float32.

    Raises:
        TypeError: a complex filter for a real input.
        ValueError: the input is not 2-D, or a filter is not 1-D or has even length.

    Example:
        >>> sepfir2d(jnp.eye(3), [0.5, 1.0, 0.5], [1.0])
        Array([[1.5, 0.5, 0. ],
               [0.5, 1. , 0.5],
               [0. , 0.5, 1.5]], dtype=float32)
    """
    caller = "sepfir2d"
    x = as_array(caller, "input", input)
    if x.ndim != 2:
        depth = "object too deep" if x.ndim > 2 else "object of too small depth"
        raise ValueError(f"{caller}: input.shape={x.shape}: {depth}, it must be 2-D")
    _direct_sums.check_not_empty(caller, input=x)
    dtype = _numpy_dtypes.common_dtype(x.dtype, jnp.float32)
    lines = []
    for name, line in (("hrow", hrow), ("hcol", hcol)):
        line = as_array(caller, name, line)
        if line.ndim != 1:
            depth = "object too deep" if line.ndim > 1 else "object of too small depth"
            raise ValueError(f"{caller}: {name}.shape={line.shape}: {depth}, it must be 1-D")
        if line.size % 2 == 0:
            raise ValueError(
                f"{caller}: {name} has {line.size} elements; hrow and hcol must be odd length"
            )
        if _numpy_dtypes.is_complex(line.dtype) and not _numpy_dtypes.is_complex(dtype):
            raise TypeError(f"{caller}: {name} is complex but input is {x.dtype}; cast input")
        lines.append(line.astype(dtype))
    return _separable(x.astype(dtype), *lines)


@jax.jit
def _separable(x: jax.Array, hrow: jax.Array, hcol: jax.Array) -> jax.Array:
    for line in (hrow, hcol):
        half = line.size // 2
        # filter along the last axis, then exchange the axes
        x = _direct_sums.correlate_padded(
            x, jnp.flip(line), ((half, half),), boundary="symmetric"
        ).T
    return x


_correlate = jax.jit(_direct_sums.correlate_padded, static_argnames=("pads", "boundary"))


def _check(
    caller: str,
    in1: jax.Array | np.ndarray,
    in2: jax.Array | np.ndarray,
    mode: str,
    boundary: str,
    fillvalue: Any,
) -> tuple[jax.Array, jax.Array, jax.Array | None, bool]:
    """Check arguments; return image, kernel, fill value, and whether the inputs were exchanged."""
    a, b = as_array(caller, "in1", in1), as_array(caller, "in2", in2)
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(
            f"{caller} inputs must both be 2-D arrays, got shapes {a.shape} and {b.shape}"
        )
    _direct_sums.check_mode(caller, mode)
    if boundary not in _BOUNDARIES:
        raise ValueError(
            f"{caller}: boundary={boundary!r}. Acceptable boundary flags are 'fill', 'circular' "
            "(or 'wrap'), and 'symmetric' (or 'symm')."
        )
    _direct_sums.check_not_empty(caller, in1=a, in2=b)
    dtype = _numpy_dtypes.common_dtype(a.dtype, b.dtype)
    fill = _numpy_dtypes.check_scalar(caller, "fillvalue", fillvalue)
    if _numpy_dtypes.is_complex(fill.dtype) and not _numpy_dtypes.is_complex(dtype):
        raise ValueError(
            f"{caller}: could not cast `fillvalue` directly to the output type {dtype}: it is "
            "complex"
        )
    # padding with zeros, the usual case, is cheaper
    is_zero = _numpy_dtypes.is_concrete(fill) and not fill
    swapped = _direct_sums.swap_needed(caller, mode, a.shape, b.shape, (0, 1))
    if swapped:
        a, b = b, a
    fill = None if is_zero else _numpy_dtypes.cast(fill, dtype)
    return a.astype(dtype), b.astype(dtype), fill, swapped
