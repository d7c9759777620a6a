"""`ndimage` filters with given weights: `correlate`, `convolve`, and both along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array
from jaxconv.compat.scipy import _numpy_dtypes
from jaxconv.compat.scipy._ndimage_common import (
    check_axes,
    check_axis,
    check_cval,
    correlate_axes,
    integers,
    output_dtype,
    per_axis,
)


def correlate(
    input: jax.Array | np.ndarray,
    weights: jax.Array | np.ndarray,
    output: Any = None,
    mode: str = "reflect",
    cval: ArrayLike = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> jax.Array:
    """Correlate an array with weights.

    y[t] = sum over a of input[t + a - size // 2 - origin] conj(weights[a])

    Args:
        input: any shape and dtype.
        weights: an array with one axis for each of `axes`; if these are fewer than the input's, in
            the order of the input's axes.
        output: a dtype or its name; by default the input's, or complex if input or weights are.
        mode: padding of the input: "reflect", "mirror", "nearest", "wrap", "constant",
            "grid-mirror", "grid-wrap", "grid-constant"; shown in `jaxconv.compat.scipy.ndimage`.
        cval: the value of "constant" padding.
        origin: shift of the weights' centre, from -(size // 2) to (size - 1) // 2; one integer or
            one for each axis.
        axes: the axes to filter along; all by default.

    Returns:
        y: the input's shape.

    Raises:
        RuntimeError: unknown mode, wrong rank of the weights, or a sequence of the wrong length.
        TypeError: `output` is an array, or an axis or origin is not an integer.
        ValueError: invalid axes, origin or cval.

    Example:
        >>> correlate(jnp.array([1, 2, 3]), [1, 2, 3])
        Array([ 9, 14, 17], dtype=int32)
    """
    caller = "correlate"
    return _filter(caller, input, weights, output, mode, cval, origin, axes, flip=False)


def convolve(
    input: jax.Array | np.ndarray,
    weights: jax.Array | np.ndarray,
    output: Any = None,
    mode: str = "reflect",
    cval: ArrayLike = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> jax.Array:
    """Convolve an array with weights.

    y[t] = sum over a of input[t - a + size // 2 + origin] weights[a]

    Args:
        input: as in `correlate`.
        weights: as in `correlate`; not conjugated.
        output: as in `correlate`.
        mode: as in `correlate`.
        cval: as in `correlate`.
        origin: as in `correlate`, in the opposite direction.
        axes: as in `correlate`.

    Returns:
        y: the input's shape.

    Raises:
        RuntimeError: as `correlate`.
        TypeError: as `correlate`.
        ValueError: as `correlate`.

    Example:
        >>> convolve(jnp.array([1, 2, 3]), [1, 2, 3])
        Array([ 7, 10, 15], dtype=int32)
    """
    caller = "convolve"
    return _filter(caller, input, weights, output, mode, cval, origin, axes, flip=True)


def correlate1d(
    input: jax.Array | np.ndarray,
    weights: jax.Array | np.ndarray,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: ArrayLike = 0.0,
    origin: int = 0,
) -> jax.Array:
    """Correlate an array with weights along one axis.

    y[t] = sum over a of input[t + a - size // 2 - origin] conj(weights[a])

    Args:
        input: any shape and dtype.
        weights: a 1-D array.
        axis: the axis to filter along.
        output: as in `correlate`.
        mode: as in `correlate`.
        cval: as in `correlate`.
        origin: as in `correlate`.

    Returns:
        y: the input's shape.

    Raises:
        RuntimeError: unknown mode, or weights that are not 1-D.
        TypeError: `output` is an array, or axis or origin is not an integer.
        ValueError: invalid axis, origin or cval.

    Example:
        >>> correlate1d(jnp.array([2, 8, 0, 4, 1, 9, 9, 0]), [1, 3])
        Array([ 8, 26,  8, 12,  7, 28, 36,  9], dtype=int32)
    """
    return _filter1d("correlate1d", input, weights, axis, output, mode, cval, origin, flip=False)


def convolve1d(
    input: jax.Array | np.ndarray,
    weights: jax.Array | np.ndarray,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: ArrayLike = 0.0,
    origin: int = 0,
) -> jax.Array:
    """Convolve an array with weights along one axis.

    y[t] = sum over a of input[t - a + size // 2 + origin] weights[a]

    Args:
        input: as in `correlate1d`.
        weights: as in `correlate1d`; not conjugated.
        axis: as in `correlate1d`.
        output: as in `correlate1d`.
        mode: as in `correlate1d`.
        cval: as in `correlate1d`.
        origin: as in `correlate1d`, in the opposite direction.

    Returns:
        y: the input's shape.

    Raises:
        RuntimeError: as `correlate1d`.
        TypeError: as `correlate1d`.
        ValueError: as `correlate1d`.

    Example:
        >>> convolve1d(jnp.array([2, 8, 0, 4, 1, 9, 9, 0]), [1, 3])
        Array([14, 24,  4, 13, 12, 36, 27,  0], dtype=int32)
    """
    return _filter1d("convolve1d", input, weights, axis, output, mode, cval, origin, flip=True)


def _filter(
    caller: str,
    input: jax.Array | np.ndarray,
    weights: jax.Array | np.ndarray,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
    axes: Any,
    *,
    flip: bool,
) -> jax.Array:
    x, w = as_array(caller, "input", input), as_array(caller, "weights", weights)
    named = check_axes(caller, axes, x.ndim)
    origins = integers(caller, "origin", per_axis(caller, "origin", origin, len(named)))
    if w.ndim != len(named) or 0 in w.shape:
        raise RuntimeError(
            f"{caller}: weights.ndim ({w.ndim}) must match len(axes) ({len(named)}), and no axis "
            f"may be empty; weights.shape={w.shape}"
        )
    # SciPy sorts the axes of the weights if they are fewer than the input's, but not otherwise
    filtered = tuple(range(x.ndim))
    if len(named) < x.ndim:
        filtered = tuple(sorted(named))
        origins = [origins[named.index(axis)] for axis in filtered]
    return _apply_weights(caller, x, w, filtered, origins, output, mode, cval, flip=flip)


def _filter1d(
    caller: str,
    input: jax.Array | np.ndarray,
    weights: jax.Array | np.ndarray,
    axis: Any,
    output: Any,
    mode: Any,
    cval: Any,
    origin: Any,
    *,
    flip: bool,
) -> jax.Array:
    x, w = as_array(caller, "input", input), as_array(caller, "weights", weights)
    check_cval(caller, x, cval)
    if w.ndim != 1 or w.size < 1:
        raise RuntimeError(f"{caller}: no filter weights given: weights.shape={w.shape}")
    found = check_axis(caller, axis, x.ndim)
    origins = integers(caller, "origin", [origin])
    return _apply_weights(caller, x, w, (found,), origins, output, mode, cval, flip=flip)


def _apply_weights(caller, x, w, axes, origins, output, mode, cval, *, flip: bool) -> jax.Array:
    if flip:
        w = jnp.flip(w)
        # for an even size, flipping moves the centre to the other side of the middle
        origins = [-origin - (1 - size % 2) for origin, size in zip(origins, w.shape, strict=True)]
    elif _numpy_dtypes.is_complex(w.dtype):
        w = jnp.conj(w)
    dtype = output_dtype(caller, output, x, w)
    return correlate_axes(
        caller, x, w, axes=axes, origins=origins, mode=mode, cval=cval, dtype=dtype
    )
