"""The Gram matrix of an image's windows, from correlations of the image with itself.

The rows of the least squares matrix A are the windows of x. Its Gram matrix is

    (A^T A)[(k, i), (l, j)] = sum over n, t of x[n, t s + k d, i] x[n, t s + l d, j]

Two entries with the same l - k are sums of the same products, over different positions. So for
every shift l - k (up to its sign) the image is multiplied once by its shifted self, and these
products are summed under one mask a kernel position. A itself, which is as many times larger than
the image as the kernel has weights, is never computed. All sums are in float64, whatever
`jax_enable_x64` is: the Gram matrix squares the condition number, too much for float32.
"""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._functional.padding import pad


def embedded(x: jax.Array, spec: ConvSpec, padding_mode: str) -> tuple[jax.Array, ConvSpec]:
    """Return x with its margins, cut to the elements that windows read, and the remaining spec.

    Args:
        x: (*batch, *space, in).
        spec: the convolution's geometry.
        padding_mode: as in `jaxconv.conv`.

    Returns:
        (n, *read, in) and the spec of the same convolution on it, without padding.
    """
    axes = tuple(range(-spec.rank - 1, -1))
    x = pad(x, spec.padding, axes=axes, mode=padding_mode)
    reached = tuple(
        (m - 1) * s + extent(k, d)
        for m, s, k, d in zip(
            spec.output_size, spec.stride, spec.kernel_size, spec.dilation, strict=True
        )
    )
    x = x[..., *(slice(n) for n in reached), :]
    none = ((0, 0),) * spec.rank
    return (
        x.reshape(-1, *x.shape[-spec.rank - 1 :]),
        dataclasses.replace(spec, padding=none, input_size=reached),
    )


def window_sums(x: jax.Array, spec: ConvSpec, masks: list[Any] | None = None) -> jax.Array:
    """Sum every entry of the windows over all windows.

    Args:
        x: (n, *space, in), from `embedded`.
        spec: from `embedded`.
        masks: from `window_masks`; of all windows if None.

    Returns:
        (groups, prod(kernel_size) * in // groups), kernel-major, of x's dtype.
    """
    sums = _pick(jnp.sum(x, 0), masks or window_masks(spec, x.dtype))
    # (*kernel, g * i) -> (k, g, i) -> (g, k * i)
    sums = sums.reshape(math.prod(spec.kernel_size), spec.groups, -1)
    return jnp.swapaxes(sums, 0, 1).reshape(spec.groups, -1)


def gram(x: jax.Array, spec: ConvSpec, masks: list[Any] | None = None) -> jax.Array:
    """Sum the products of every two entries of a window over all windows.

    `(A^T A)[g, (k, i), (l, j)] = sum over n, t of x[n, t s + k d, g, i] x[n, t s + l d, g, j]`

    Args:
        x: (n, *space, in), from `embedded`.
        spec: from `embedded`.
        masks: as in `window_sums`.

    Returns:
        (groups, p, p) with p = prod(kernel_size) * in // groups, kernel-major, of x's dtype.
    """
    groups, size = spec.groups, math.prod(spec.kernel_size)
    channels = x.shape[-1] // groups
    x = x.reshape(*x.shape[:-1], groups, channels)
    masks = masks or window_masks(spec, x.dtype)
    shifts, where, turned = _shifts(spec)
    margin = [(k - 1) * d for k, d in zip(spec.kernel_size, spec.dilation, strict=True)]
    # padding is never summed: the masks are 0 there
    wide = lax.pad(
        x, jnp.zeros((), x.dtype), [(0, 0, 0), *((m, m, 0) for m in margin), (0, 0, 0), (0, 0, 0)]
    )

    def products(step: tuple[jax.Array, jax.Array]) -> jax.Array:
        start, i = step  # the shifted image's corner in `wide`, the unshifted image's channel
        zero = jnp.zeros((), start.dtype)
        shifted = lax.dynamic_slice(wide, (zero, *start, zero, zero), x.shape)
        one = lax.dynamic_slice_in_dim(x, i, 1, axis=-1)
        return _pick(jnp.sum(one * shifted, 0), masks)

    corners = np.repeat(shifts + np.array(margin, shifts.dtype), channels, axis=0)
    channel = np.tile(np.arange(channels, dtype=np.int32), len(shifts))
    found = lax.map(products, (jnp.asarray(corners), jnp.asarray(channel)))
    # (shift, i, *kernel, g, j) -> (shift, k, g, i, j)
    found = found.reshape(len(shifts), channels, size, groups, channels)
    found = jnp.moveaxis(found, 1, 3)
    # entry (k, l) if l - k is one of the shifts; else entry (l, k) with i and j exchanged
    first = np.where(turned, np.arange(size)[None, :], np.arange(size)[:, None])
    entries = found[where, first]  # (k, l, g, i, j)
    entries = jnp.where(turned[..., None, None, None], jnp.swapaxes(entries, -1, -2), entries)
    # (k, l, g, i, j) -> (g, k, i, l, j)
    entries = jnp.transpose(entries, (2, 0, 3, 1, 4))
    return entries.reshape(groups, size * channels, size * channels)


def window_mask(spec: ConvSpec, dimension: int, dtype: Any, count: int | None = None) -> np.ndarray:
    """Mark the positions that are the k-th element of a window: (kernel, space), 1 or 0.

    Args:
        spec: from `embedded`.
        dimension: number of the spatial dimension.
        dtype: of the result.
        count: use only this many windows, the first ones; all if None.
    """
    step, gap = spec.stride[dimension], spec.dilation[dimension]
    first = np.arange(spec.output_size[dimension] if count is None else count) * step
    mask = np.zeros((spec.kernel_size[dimension], spec.input_size[dimension]), dtype)
    for position in range(len(mask)):
        mask[position, position * gap + first] = 1
    return mask


def window_masks(spec: ConvSpec, dtype: Any) -> list[Any]:
    """`window_mask` of every dimension."""
    return [window_mask(spec, dimension, dtype) for dimension in range(spec.rank)]


def _pick(values: jax.Array, masks: list[Any]) -> jax.Array:
    """(*space, ...) -> (*kernel, ...): sums under the product of the dimensions' masks."""
    for axis in reversed(range(len(masks))):
        mask = masks[axis]
        # on a mesh a device's own mask is not known while tracing
        inside = np.flatnonzero(mask.all(0)) if isinstance(mask, np.ndarray) else []
        if len(inside) > 1 and len(inside) == 1 + np.ptp(inside):
            # elements that every position of the kernel sums are summed once for all of them
            before, middle, after = jnp.split(values, [inside[0], inside[-1] + 1], axis)
            values = jnp.concatenate([before, middle.sum(axis, keepdims=True), after], axis)
            mask = np.delete(mask, inside[1:], 1)
        picked = jnp.tensordot(values, jnp.asarray(mask), ((axis,), (1,)), precision="highest")
        values = jnp.moveaxis(picked, -1, axis)
    return values


def _shifts(spec: ConvSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The shifts between kernel positions, one of each pair of opposites.

    Returns:
        (shifts, rank) in elements of x; (k, l) the number of the shift from k to l or from l to k;
        (k, l) whether it is the one from l to k.
    """
    ranges = [range(1 - k, k) for k in spec.kernel_size]
    half = [shift for shift in itertools.product(*ranges) if shift >= (0,) * spec.rank]
    size = np.array(spec.kernel_size)
    number = np.full(2 * size - 1, -1)
    for n, shift in enumerate(half):
        number[tuple(shift + size - 1)] = n
    positions = np.array(list(np.ndindex(*spec.kernel_size))).reshape(-1, spec.rank)
    difference = positions[None, :] - positions[:, None]  # [k, l] = l - k
    there = number[tuple(np.moveaxis(difference + size - 1, -1, 0))]
    back = number[tuple(np.moveaxis(size - 1 - difference, -1, 0))]
    steps = np.array(half, np.int32).reshape(-1, spec.rank) * np.array(spec.dilation, np.int32)
    return steps, np.where(there < 0, back, there), there < 0
