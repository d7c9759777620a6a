"""Windows of an array as columns, and back: `unfold` (im2col) and its adjoint `fold` (col2im)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.dtypes import as_array, zero
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.spec import ConvSpec, Padding, normalise, per_dimension


def unfold(
    x: jax.Array | np.ndarray,
    kernel_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Return every window of x as a row of numbers (im2col).

    cols[n, t, (k, c)] = x[n, t stride + k dilation - lo, c], zero outside x

    so that `unfold(x, size) @ w.reshape(-1, out)` is `conv(x, w)`.

    Args:
        x: (*batch, *space, channels), of any dtype.
        kernel_size: one integer a spatial dimension: (3,) for sequences, (3, 3) for images.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`.

    Returns:
        cols: (*batch, *space', prod(kernel_size) * channels), kernel-major.

    Raises:
        TypeError: an argument that must be an integer is not.
        ValueError: a window does not fit.

    Example:
        >>> unfold(jnp.arange(4)[:, None], (2,))
        Array([[0, 1],
               [1, 2],
               [2, 3]], dtype=int32)

    Source:
        Chellapilla, Puri and Simard (2006), "High Performance Convolutional Neural Networks for
        Document Processing", section 3.
    """
    x = as_array("unfold", "x", x)
    kernel = _kernel_size("unfold", kernel_size)
    _check_array("unfold", "x", x.shape, kernel)
    w_shape = (*kernel, x.shape[-1], 1)
    spec = normalise("unfold", x.shape, w_shape, stride=stride, padding=padding, dilation=dilation)
    return _unfolded(x, spec)


def fold(
    cols: jax.Array | np.ndarray,
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
) -> jax.Array:
    """Add every row of numbers to the window it belongs to (col2im): the adjoint of `unfold`.

    x[n, s, c] = sum of cols[n, t, (k, c)] over t stride + k dilation - lo = s

    Overlapping windows add up: fold(unfold(x)) is x times the number of windows that see each
    element.

    Args:
        cols: (*batch, *space', prod(kernel_size) * channels), as `unfold` returns it; any dtype
            but bool.
        output_size: spatial shape of the result; with a stride, several have the same number of
            windows.
        kernel_size: as in `unfold`.
        stride: as in `unfold`.
        padding: as in `unfold`.
        dilation: as in `unfold`.

    Returns:
        x: (*batch, *output_size, channels), in cols's dtype; integers wrap around.

    Raises:
        TypeError: cols is bool, or an argument that must be an integer is not.
        ValueError: the shape of cols is not that of `unfold` for an array of that size.

    Example:
        >>> fold(jnp.array([[0, 1], [1, 2], [2, 3]]), (4,), (2,))[:, 0]
        Array([0, 2, 4, 3], dtype=int32)

    It is `torch.nn.functional.fold` with channels last.
    """
    cols = as_array("fold", "cols", cols)
    if cols.dtype == jnp.bool_:
        raise TypeError("fold: cols is bool, which has no sums; cast it: cols.astype(jnp.int32)")
    kernel = _kernel_size("fold", kernel_size)
    size = per_dimension("fold", "output_size", output_size, len(kernel), minimum=1)
    _check_array("fold", "cols", cols.shape, kernel)
    if cols.shape[-1] % math.prod(kernel):
        raise ValueError(
            f"fold: the last axis of cols (cols.shape={cols.shape}) must be a multiple of "
            f"prod(kernel_size)={math.prod(kernel)}"
        )
    channels = cols.shape[-1] // math.prod(kernel)
    spec = normalise(
        "fold",
        (*size, channels),
        (*kernel, channels, 1),
        stride=stride,
        padding=padding,
        dilation=dilation,
        x_name="result",
    )
    first = cols.ndim - spec.rank - 1
    if cols.shape[first:-1] != spec.output_size:
        raise ValueError(
            f"fold: cols has {cols.shape[first:-1]} windows, but an array of output_size={size} "
            f"has {spec.output_size} (kernel_size={kernel}, stride={spec.stride}, "
            f"padding={spec.padding}, dilation={spec.dilation})"
        )
    return _folded(cols, spec)


# Compiled as a whole: eagerly, the indices would be sent to the device at every call.
@partial(jax.jit, static_argnums=1, inline=True)
def _unfolded(x: jax.Array, spec: ConvSpec) -> jax.Array:
    first = x.ndim - spec.rank - 1  # axis of the first spatial dimension
    pads = [(0, 0, 0)] * first + [(lo, hi, 0) for lo, hi in spec.padding] + [(0, 0, 0)]
    x = lax.pad(x, zero(x.dtype), pads)
    for d, indices in enumerate(_window_indices(spec)):
        # (..., size, ...) -> (..., outputs, ..., kernel): the kernel axes gather at the end
        x = jnp.moveaxis(jnp.take(x, indices, axis=first + d), first + d + 1, -1)
    # (*batch, *space', channels, *kernel) -> (*batch, *space', *kernel, channels)
    x = jnp.moveaxis(x, first + spec.rank, -1)
    return x.reshape(*x.shape[: first + spec.rank], math.prod(x.shape[first + spec.rank :]))


@partial(jax.jit, static_argnums=1, inline=True)
def _folded(cols: jax.Array, spec: ConvSpec) -> jax.Array:
    first, size, kernel = cols.ndim - spec.rank - 1, spec.input_size, spec.kernel_size
    x = cols.reshape(*cols.shape[:-1], *kernel, cols.shape[-1] // math.prod(kernel))
    x = jnp.moveaxis(x, -1, first + spec.rank)
    for d, indices in reversed(list(enumerate(_window_indices(spec)))):
        # the last kernel axis returns beside its outputs: (..., outputs, kernel, ...)
        x = jnp.moveaxis(x, -1, first + d + 1)
        lo, hi = spec.padding[d]
        before = (slice(None),) * (first + d)
        # zeros placed as x is, on whatever mesh: all outputs cut off, the whole length put before
        one = lax.index_in_dim(x, 0, first + d + 1, keepdims=False)
        cut = (size[d] + lo + hi, -one.shape[first + d], 0)
        zeros = lax.pad(
            one, zero(x.dtype), [cut if a == first + d else (0, 0, 0) for a in range(one.ndim)]
        )
        x = zeros.at[(*before, indices)].add(x)
    crop = [(0, 0, 0)] * first + [(-lo, -hi, 0) for lo, hi in spec.padding] + [(0, 0, 0)]
    return lax.pad(x, zero(x.dtype), crop)


def _window_indices(spec: ConvSpec) -> list[jax.Array]:
    """For each dimension, (outputs, kernel): where in the padded input each entry lies."""
    return [
        jnp.arange(m)[:, None] * s + jnp.arange(k)[None, :] * d
        for m, k, s, d in zip(
            spec.output_size, spec.kernel_size, spec.stride, spec.dilation, strict=True
        )
    ]


def _kernel_size(caller: str, kernel_size: Sequence[int]) -> tuple[int, ...]:
    # there may be any number of batch axes, so that one integer does not give the rank
    rank = len(kernel_size) if isinstance(kernel_size, Sequence) else np.size(kernel_size)
    if np.ndim(kernel_size) != 1 or isinstance(kernel_size, str) or rank < 1:
        raise ValueError(
            f"{caller}: kernel_size={shown(kernel_size)} must be a sequence, one integer a spatial "
            "dimension: (3,) for sequences, (3, 3) for images"
        )
    return per_dimension(caller, "kernel_size", kernel_size, rank, minimum=1)


def _check_array(caller: str, name: str, shape: tuple[int, ...], kernel: tuple[int, ...]) -> None:
    if len(shape) < len(kernel) + 1:
        plural = "s" if len(kernel) > 1 else ""
        raise ValueError(
            f"{caller}: {name}.shape={shape} must be (*batch, *space, channels) with "
            f"{len(kernel)} spatial dimension{plural} for kernel_size={kernel}"
        )
    if shape[-1] < 1:
        raise ValueError(f"{caller}: {name}.shape={shape} has no channels")
