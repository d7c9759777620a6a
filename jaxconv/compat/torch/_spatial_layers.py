"""Torch layers without parameters that change the shape: pooling, resizing, padding, flattening.

Each function takes the torch module and returns a function of a channels-last array.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._functional import padding

Function = Callable[[jax.Array], jax.Array]


def per_dimension(value: Any, rank: int) -> tuple[Any, ...]:
    """Return a tuple with one value for each dimension, from one value or a sequence."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def max_pool(module: Any, rank: int) -> Function:
    """`MaxPool`: the maximum of each window, without padded elements."""
    kernel, stride, pad, dilation = _window(module, rank, module.dilation)

    def apply(x: jax.Array) -> jax.Array:
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        after = _padding_after(x.shape[-rank - 1 : -1], spans, stride, pad, ceil=module.ceil_mode)
        pairs = [(p, p + a) for p, a in zip(pad, after, strict=True)]
        least = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
        return _reduce_windows(x, lax.max, least, kernel, stride, pairs, dilation)

    return apply


def mean_pool(module: Any, rank: int) -> Function:
    """`AvgPool`: the mean of each window, with padded elements if count_include_pad is set."""
    kernel, stride, pad, dilation = _window(module, rank, 1)
    divisor = getattr(module, "divisor_override", None)

    def apply(x: jax.Array) -> jax.Array:
        size = x.shape[-rank - 1 : -1]
        after = _padding_after(size, kernel, stride, pad, ceil=module.ceil_mode)
        pairs = [(p, p + a) for p, a in zip(pad, after, strict=True)]
        total = _reduce_windows(x, lax.add, 0, kernel, stride, pairs, dilation)
        if divisor:
            return total / divisor
        # (*space',): number of elements in each window
        counts = np.ones((), np.float32)
        for n, k, s, p, a in zip(size, kernel, stride, pad, after, strict=True):
            inside = np.ones(n + 2 * p, np.float32)
            if not module.count_include_pad:
                inside[:p] = inside[n + p :] = 0
            padded = np.pad(inside, (0, a))
            starts = range(0, n + 2 * p + a - k + 1, s)
            counts = np.multiply.outer(counts, [padded[i : i + k].sum() for i in starts])
        return total / jnp.asarray(counts[..., None], total.dtype)

    return apply


def adaptive_pool(module: Any, rank: int, reduce: Callable[..., jax.Array]) -> Function:
    """`AdaptiveAvgPool`, `AdaptiveMaxPool`: a given number of windows, which may overlap."""
    target = per_dimension(module.output_size, rank)

    def apply(x: jax.Array) -> jax.Array:
        for axis, count in zip(range(x.ndim - rank - 1, x.ndim - 1), target, strict=True):
            size = x.shape[axis]
            count = size if count is None else count
            ends = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
            parts = [
                reduce(lax.slice_in_dim(x, lo, hi, axis=axis), axis=axis, keepdims=True)
                for lo, hi in ends
            ]
            x = jnp.concatenate(parts, axis)
        return x

    return apply


def resize(module: Any, rank: int | None) -> Function:
    """`Upsample`: nearest, linear or cubic, one dimension after another."""
    weights = {
        "nearest": _nearest,
        "nearest-exact": functools.partial(_nearest, exact=True),
        "bicubic": functools.partial(_interpolated, cubic=True, corners=bool(module.align_corners)),
    }.get(module.mode, functools.partial(_interpolated, corners=bool(module.align_corners)))

    def apply(x: jax.Array) -> jax.Array:
        dimensions = rank or x.ndim - 2
        axes = range(x.ndim - dimensions - 1, x.ndim - 1)
        sizes = per_dimension(module.size, dimensions)
        factors = per_dimension(module.scale_factor, dimensions)
        for axis, size, factor in zip(axes, sizes, factors, strict=True):
            old = x.shape[axis]
            new = math.floor(old * factor) if size is None else size
            scale = old / new
            if factor is not None and not module.recompute_scale_factor:
                scale = 1 / factor
            matrix = weights(old, new, scale)
            if isinstance(matrix, list):
                x = jnp.take(x, np.asarray(matrix), axis)
                continue
            # (new, old) times x's axis
            y = jnp.tensordot(
                jnp.asarray(matrix, x.dtype), x, ((1,), (axis,)), precision=lax.Precision.HIGHEST
            )
            x = jnp.moveaxis(y, 0, axis)
        return x

    return apply


def padded(module: Any, rank: int, mode: str) -> Function:
    """`ZeroPad`, `ConstantPad`, `ReflectionPad`, `ReplicationPad`, `CircularPad`."""
    numbers = per_dimension(module.padding, 2 * rank)
    # torch's numbers start with the last dimension
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))[::-1]

    def apply(x: jax.Array) -> jax.Array:
        axes = tuple(range(x.ndim - rank - 1, x.ndim - 1))
        fill = {"fill_value": module.value} if mode == "constant" else {}
        return padding.pad(x, pairs, axes=axes, mode=mode, **fill)

    return apply


def pixel_shuffle(module: Any, rank: int) -> Function:
    """`PixelShuffle`: r * r channels become r rows and r columns of pixels."""
    r = module.upscale_factor

    def apply(x: jax.Array) -> jax.Array:
        *batch, height, width, channels = x.shape
        n = len(batch)
        blocks = x.reshape(*batch, height, width, channels // r**2, r, r)
        # (*batch, height, r, width, r, channels)
        pixels = blocks.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2)
        return pixels.reshape(*batch, height * r, width * r, channels // r**2)

    return apply


def pixel_unshuffle(module: Any, rank: int) -> Function:
    """`PixelUnshuffle`: r rows and r columns of pixels become r * r channels."""
    r = module.downscale_factor

    def apply(x: jax.Array) -> jax.Array:
        *batch, height, width, channels = x.shape
        n = len(batch)
        blocks = x.reshape(*batch, height // r, r, width // r, r, channels)
        # (*batch, height, width, channels, r, r)
        pixels = blocks.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3)
        return pixels.reshape(*batch, height // r, width // r, channels * r**2)

    return apply


def flatten(x: jax.Array) -> jax.Array:
    """(batch, *space, channels) -> (batch, channels * space): in torch's order."""
    return jnp.moveaxis(x, -1, 1).reshape(len(x), -1)


def flatten_space(x: jax.Array) -> jax.Array:
    """(batch, *space, channels) -> (batch, space, channels)."""
    return x.reshape(len(x), -1, x.shape[-1])


def unflatten(shape: Sequence[int]) -> Function:
    """(batch, channels * space) -> (batch, *space, channels)."""
    return lambda x: jnp.moveaxis(x.reshape(len(x), *shape), 1, -1)


def _window(module: Any, rank: int, dilation: Any) -> tuple[tuple[int, ...], ...]:
    numbers = module.kernel_size, module.stride, module.padding, dilation
    kernel, stride, pad, dilation = (per_dimension(n, rank) for n in numbers)
    return kernel, stride, pad, dilation


def _padding_after(
    size: Sequence[int],
    spans: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    *,
    ceil: bool,
) -> list[int]:
    """Return the elements to add after the padding for the last window of ceil_mode."""
    missing = []
    for n, k, s, p in zip(size, spans, stride, pad, strict=True):
        windows = (n + 2 * p - k + (s - 1 if ceil else 0)) // s + 1
        if ceil and (windows - 1) * s >= n + p:  # a window must not start in the padding after
            windows -= 1
        missing.append(max((windows - 1) * s + k - n - 2 * p, 0))
    return missing


def _reduce_windows(
    x: jax.Array,
    operation: Callable[..., Any],
    start: Any,
    kernel: Sequence[int],
    stride: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> jax.Array:
    batch = x.ndim - len(kernel) - 1

    def all_axes(values: Sequence[Any], other: Any) -> tuple[Any, ...]:
        return ((other,) * batch) + tuple(values) + (other,)

    return lax.reduce_window(
        x,
        np.asarray(start, x.dtype),
        operation,
        all_axes(kernel, 1),
        all_axes(stride, 1),
        all_axes(pairs, (0, 0)),
        window_dilation=all_axes(dilation, 1),
    )


def _nearest(old: int, new: int, scale: float, exact: bool = False) -> list[int]:
    shift = 0.5 if exact else 0.0
    return [
        min(math.floor(np.float32((i + shift) * np.float32(scale))), old - 1) for i in range(new)
    ]


def _interpolated(
    old: int, new: int, scale: float, *, corners: bool, cubic: bool = False
) -> np.ndarray:
    """(new, old): the weight of each old element in each new element."""
    position = np.arange(new)
    if corners:
        position = position * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        position = (position + 0.5) * scale - 0.5
        position = position if cubic else np.maximum(position, 0)
    first = np.floor(position).astype(int)
    fraction = position - first
    if cubic:
        near = {offset: _cubic(fraction - offset) for offset in (-1, 0, 1, 2)}
    else:
        near = {0: 1 - fraction, 1: fraction}
    matrix = np.zeros((new, old))
    for offset, weight in near.items():
        np.add.at(matrix, (np.arange(new), np.clip(first + offset, 0, old - 1)), weight)
    return matrix


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic kernel with a = -3/4, as in torch."""
    a, t = -0.75, np.abs(distance)
    inner = ((a + 2) * t - (a + 3)) * t * t + 1
    outer = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, inner, np.where(t < 2, outer, 0))
