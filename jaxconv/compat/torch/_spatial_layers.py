"""Layers of torch without parameters that change the size: pools, resampling, padding, shapes.

Each maker takes the torch module and returns a function of a channels-last array.
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


def each(value: Any, rank: int) -> tuple[Any, ...]:
    """One number, or one a dimension, as one a dimension."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank


def max_pool(module: Any, rank: int) -> Function:
    """`MaxPool`: the largest of each window; beyond the edge there is nothing."""
    kernel, stride, pad, dilation = _window(module, rank, module.dilation)

    def apply(x: jax.Array) -> jax.Array:
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        after = _after(x.shape[-rank - 1 : -1], spans, stride, pad, ceil=module.ceil_mode)
        pairs = [(p, p + a) for p, a in zip(pad, after, strict=True)]
        least = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min
        return _reduced(x, lax.max, least, kernel, stride, pairs, dilation)

    return apply


def mean_pool(module: Any, rank: int) -> Function:
    """`AvgPool`: the mean of each window, of what is padded too if it counts."""
    kernel, stride, pad, dilation = _window(module, rank, 1)
    divisor = getattr(module, "divisor_override", None)

    def apply(x: jax.Array) -> jax.Array:
        size = x.shape[-rank - 1 : -1]
        after = _after(size, kernel, stride, pad, ceil=module.ceil_mode)
        pairs = [(p, p + a) for p, a in zip(pad, after, strict=True)]
        total = _reduced(x, lax.add, 0, kernel, stride, pairs, dilation)
        if divisor:
            return total / divisor
        # (*space',): how many elements each window has
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
    """`AdaptiveAvgPool`, `AdaptiveMaxPool`: as many windows as asked for, which may overlap."""
    target = each(module.output_size, rank)

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
    """`Upsample`: nearest, linear and cubic, one dimension after another."""
    weights = {
        "nearest": _nearest,
        "nearest-exact": functools.partial(_nearest, exact=True),
        "bicubic": functools.partial(_interpolated, cubic=True, corners=bool(module.align_corners)),
    }.get(module.mode, functools.partial(_interpolated, corners=bool(module.align_corners)))

    def apply(x: jax.Array) -> jax.Array:
        dimensions = rank or x.ndim - 2
        axes = range(x.ndim - dimensions - 1, x.ndim - 1)
        sizes = each(module.size, dimensions)
        factors = each(module.scale_factor, dimensions)
        for axis, size, factor in zip(axes, sizes, factors, strict=True):
            have = x.shape[axis]
            want = math.floor(have * factor) if size is None else size
            scale = have / want
            if factor is not None and not module.recompute_scale_factor:
                scale = 1 / factor
            matrix = weights(have, want, scale)
            if isinstance(matrix, list):
                x = jnp.take(x, np.asarray(matrix), axis)
                continue
            # (want, have) and x's axis
            y = jnp.tensordot(
                jnp.asarray(matrix, x.dtype), x, ((1,), (axis,)), precision=lax.Precision.HIGHEST
            )
            x = jnp.moveaxis(y, 0, axis)
        return x

    return apply


def padded(module: Any, rank: int, mode: str) -> Function:
    """`ZeroPad`, `ConstantPad`, `ReflectionPad`, `ReplicationPad`, `CircularPad`."""
    numbers = each(module.padding, 2 * rank)
    # torch begins with the last dimension
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))[::-1]

    def apply(x: jax.Array) -> jax.Array:
        axes = tuple(range(x.ndim - rank - 1, x.ndim - 1))
        fill = {"fill_value": module.value} if mode == "constant" else {}
        return padding.pad(x, pairs, axes=axes, mode=mode, **fill)

    return apply


def flatten(x: jax.Array) -> jax.Array:
    """(batch, *space, channels) -> (batch, channels * space): channels first, as torch has them."""
    return jnp.moveaxis(x, -1, 1).reshape(len(x), -1)


def flatten_space(x: jax.Array) -> jax.Array:
    """(batch, *space, channels) -> (batch, space, channels)."""
    return x.reshape(len(x), -1, x.shape[-1])


def unflatten(shape: Sequence[int]) -> Function:
    """(batch, channels * space) -> (batch, *space, channels)."""
    return lambda x: jnp.moveaxis(x.reshape(len(x), *shape), 1, -1)


def _window(module: Any, rank: int, dilation: Any) -> tuple[tuple[int, ...], ...]:
    numbers = module.kernel_size, module.stride, module.padding, dilation
    kernel, stride, pad, dilation = (each(n, rank) for n in numbers)
    return kernel, stride, pad, dilation


def _after(
    size: Sequence[int],
    spans: Sequence[int],
    stride: Sequence[int],
    pad: Sequence[int],
    *,
    ceil: bool,
) -> list[int]:
    """How much more there must be after the padding for the last window, which ceil_mode adds."""
    more = []
    for n, k, s, p in zip(size, spans, stride, pad, strict=True):
        windows = (n + 2 * p - k + (s - 1 if ceil else 0)) // s + 1
        if (
            ceil and (windows - 1) * s >= n + p
        ):  # a window must begin inside, or in the padding before
            windows -= 1
        more.append(max((windows - 1) * s + k - n - 2 * p, 0))
    return more


def _reduced(
    x: jax.Array,
    operation: Callable[..., Any],
    start: Any,
    kernel: Sequence[int],
    stride: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> jax.Array:
    batch = x.ndim - len(kernel) - 1

    def around(values: Sequence[Any], other: Any) -> tuple[Any, ...]:
        return ((other,) * batch) + tuple(values) + (other,)

    return lax.reduce_window(
        x,
        np.asarray(start, x.dtype),
        operation,
        around(kernel, 1),
        around(stride, 1),
        around(pairs, (0, 0)),
        window_dilation=around(dilation, 1),
    )


def _nearest(have: int, want: int, scale: float, exact: bool = False) -> list[int]:
    shift = 0.5 if exact else 0.0
    return [
        min(math.floor(np.float32((i + shift) * np.float32(scale))), have - 1) for i in range(want)
    ]


def _interpolated(
    have: int, want: int, scale: float, *, corners: bool, cubic: bool = False
) -> np.ndarray:
    """(want, have): what each result takes of each element."""
    at = np.arange(want)
    if corners:
        at = at * ((have - 1) / (want - 1) if want > 1 else 0.0)
    else:
        at = (at + 0.5) * scale - 0.5
        at = at if cubic else np.maximum(at, 0)
    first = np.floor(at).astype(int)
    part = at - first
    if cubic:
        near = {offset: _cubic(part - offset) for offset in (-1, 0, 1, 2)}
    else:
        near = {0: 1 - part, 1: part}
    matrix = np.zeros((want, have))
    for offset, weight in near.items():
        np.add.at(matrix, (np.arange(want), np.clip(first + offset, 0, have - 1)), weight)
    return matrix


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys's kernel with a = -3/4, torch's."""
    a, t = -0.75, np.abs(distance)
    inner = ((a + 2) * t - (a + 3)) * t * t + 1
    outer = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, inner, np.where(t < 2, outer, 0))
