"""Weighted sums over windows of images, rounded and saturated as OpenCV's `saturate_cast` does.

| source | weights and result | summed in |
|---|---|---|
| floats | any | the result's dtype |
| integers | sums that float32 holds exactly | float32 |
| uint8 | other fractions | float32 |
| uint8 | integers with larger sums | float64 |
| 16 and 32 bits | traced or with other fractions, result floating | float32 |
| 16 and 32 bits | all others | float64 |

Sums are exact in float32 if weights and sums are multiples of one power of two, and below 2^24 of
it. float64 is used where JAX has 32 bits, too.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.division import rounded_mean
from jaxconv._core.geometry.dtypes import constant, in_double_precision
from jaxconv._core.geometry.extension import EXTENSIONS, check_sizes, source_index
from jaxconv._core.geometry.shapes import below
from jaxconv._core.geometry.spec import ConvSpec

# 2-D kernels that are applied one after another: one, or a row and a column
Passes = Sequence[Any]
_FLOAT32_BITS = 24
_FINEST = 24  # finer fractions than 2^-24 are not looked at
# Entries of a kernel up to which sums of integers are terms of one loop, with what is before and
# after them: about half of the time of a convolution between these (1024 x 1024, uint8: 3x3, 5x5
# and 9x9 `GaussianBlur`, 3x3 `blur` and `Sobel`, 5x5 `filter2D`; 81 entries took 2.5 times as long;
# 2 cores of an AMD EPYC with AVX2, jax 0.10.2, 2026-11-30). Two passes of exact sums are one kernel
# if it has so few.
_FEW = 25


def weighted_sum(
    caller: str,
    x: jax.Array,
    terms: Sequence[Passes],
    *,
    mode: str,
    dtype: np.dtype,
    anchor: tuple[int, int] | None = None,
    delta: Any = 0.0,
    divisor: int = 1,
) -> jax.Array:
    """Correlate an image with kernels, add the results, and cast to a dtype.

    y = cast(total / divisor + delta), total the sum over terms of x correlated with each of their
    kernels in turn

    Args:
        caller: the public function's name, for messages.
        x: (H, W) or (H, W, channels).
        terms: each one or more 2-D kernels: arrays of JAX's, or of NumPy's in float64.
        mode: a mode of `jaxconv.pad`.
        dtype: the result's; integers are rounded half to even, and saturated.
        anchor: (row, column) of the kernels' elements that lie on the output's pixel, along axes
            where a kernel is longer than 1; None is the middle, size // 2.
        delta: a number, which may be traced.
        divisor: of sums without delta; means of integers are exact before they are rounded.

    Returns:
        (H, W), or (H, W, channels) for 2 or more channels.
    """
    if x.ndim == 3 and x.shape[-1] == 1:
        x = x[..., 0]
    sums, exact = _sum_dtype(x.dtype, terms, delta, dtype)
    on_cpu = jax.default_backend() == "cpu"  # elsewhere nothing was measured
    few = _FEW if on_cpu and jnp.issubdtype(x.dtype, jnp.integer) else 0
    if exact:
        terms = [_joined(passes, few) for passes in terms]
    pads = tuple(tuple(_pads(k.shape, anchor) for k in passes) for passes in terms)
    for pair in (pair for passes in pads for pair in passes):
        kept = {axis: p for axis, p in enumerate(pair) if not _is_repeated(x.shape[axis], p, mode)}
        check_sizes(caller, x.shape[:2], kept, mode=mode, argument="borderType")
    wide = sums != jax.dtypes.canonicalize_dtype(sums)
    arrays = jax.tree.map(lambda k: _parts(k, sums, wide), [*terms])
    if not isinstance(delta, Tracer) and delta == 0:
        added = None
    else:
        added = _parts(delta if isinstance(delta, Tracer) else np.float64(delta), sums, wide)
    return _apply(
        *(x, arrays, added),
        pads=pads,
        mode=mode,
        dtype=dtype,
        divisor=divisor,
        sums=sums,
        wide=wide,
        few=few,
    )


def _pads(size: tuple[int, ...], anchor: tuple[int, int] | None) -> tuple[tuple[int, int], ...]:
    """(before, after) by axis."""
    found = []
    for axis, n in enumerate(size):
        before = n // 2 if anchor is None or n == 1 else anchor[axis]
        found.append((before, n - 1 - before))
    return tuple(found)


def _parts(k: Any, sums: np.dtype, wide: bool) -> tuple[jax.Array, ...]:
    """A kernel in the dtype of the sums; for float64 among 32 bits as two numbers of float32."""
    if isinstance(k, jax.Array):
        return (k if wide else k.astype(sums),)
    if not wide:
        return (constant(k, sums),)
    high = np.asarray(k, np.float32)
    return constant(high), constant(np.asarray(k - high, np.float32))


def _joined(passes: Passes, most: int) -> Passes:
    """Return a row and a column as one kernel, if that has at most so many entries."""
    if len(passes) != 2 or not all(isinstance(k, np.ndarray) for k in passes):
        return passes
    first, second = passes
    crossed = (first.shape[0], second.shape[1]) == (1, 1)
    return [first * second] if crossed and first.size * second.size <= most else passes


@partial(jax.jit, static_argnames=("pads", "mode", "dtype", "divisor", "sums", "wide", "few"))
def _apply(x, arrays, added, *, pads, mode, dtype, divisor, sums, wide, few):
    def run(x, arrays, added):
        x = (x if x.ndim == 2 else jnp.moveaxis(x, -1, 0)).astype(sums)  # (*channels, H, W)
        results = []
        for passes, widths in zip(arrays, pads, strict=True):
            y = x
            for k, pair in zip(passes, widths, strict=True):
                y = _correlate(y, _whole(k, sums), pair, mode, few)
            results.append(y)
        total = sum(results[1:], start=results[0])
        if divisor != 1 and jnp.issubdtype(dtype, jnp.integer):
            total = rounded_mean(total, divisor)
        elif divisor != 1:
            total = total / jnp.asarray(divisor, sums)
        if added is not None:
            total = total + _whole(added, sums)
        total = _saturated(total, dtype)
        return total if total.ndim == 2 else jnp.moveaxis(total, 0, -1)

    return (in_double_precision(run) if wide else run)(x, arrays, added)


def _whole(parts: Sequence[jax.Array], dtype: Any) -> jax.Array:
    first, *others = (part.astype(dtype) for part in parts)
    return sum(others, start=first)


def _correlate(x: jax.Array, k: jax.Array, pads: Any, mode: str, few: int) -> jax.Array:
    """Correlate the last two axes of x with k, in one loop if it has few entries."""
    pads = list(pads)
    for n, pair in enumerate(pads):
        axis = x.ndim - 2 + n
        if _is_repeated(x.shape[axis], pair, mode):
            position = np.arange(-pair[0], x.shape[axis] + pair[1])
            x = jnp.take(x, constant(source_index(position, x.shape[axis], mode)), axis=axis)
            pads[n] = (0, 0)
    spec = ConvSpec((1, 1), (1, 1), tuple(pads), 1, x.shape[-2:], k.shape)
    numerics = {"dtype": x.dtype, "precision": jax.lax.Precision.HIGHEST}
    numerics["method"] = "taps" if k.size <= few else "auto"
    # one channel in, one channel out
    return contract("output", x[..., None], k[..., None, None], spec, mode=mode, **numerics)[..., 0]


def _is_repeated(size: Any, pair: tuple[int, int], mode: str) -> bool:
    """Whether an axis is so short that its extension is extended again."""
    return mode in EXTENSIONS and any(
        below(size, EXTENSIONS[mode].least(width)) for width in pair if width > 0
    )


def _saturated(y: jax.Array, dtype: np.dtype) -> jax.Array:
    if not jnp.issubdtype(dtype, jnp.integer):
        return y.astype(dtype)
    ends = jnp.iinfo(dtype)
    low, high = jnp.asarray(ends.min, y.dtype), jnp.asarray(ends.max, y.dtype)
    return jnp.clip(jnp.round(y), low, high).astype(dtype)


def _sum_dtype(source, terms: Sequence[Passes], delta: Any, dtype) -> tuple[np.dtype, bool]:
    """Return the dtype to sum in, by this module's table, and whether float32 holds all sums."""
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    if not jnp.issubdtype(source, jnp.integer) or dtype == double:
        return dtype, False
    ends = jnp.iinfo(source)
    # sums are multiples of 2^-finest
    finest, largest = _size(delta)
    for passes in terms:
        steps, sums = zip(*map(_size, passes), strict=True)
        finest = max(finest, sum(steps))
        largest += max(-ends.min, ends.max) * math.prod(sums)
    if largest * 2.0**finest <= 2.0**_FLOAT32_BITS:
        return single, True
    fractions = finest > _FINEST
    if (ends.bits == 8 and finest > 0) or (fractions and not jnp.issubdtype(dtype, jnp.integer)):
        return single, False
    return double, False


def _size(weights: Any) -> tuple[float, float]:
    """Return s and the sum of magnitudes, for weights that are multiples of 2^-s.

    s is infinite if it is above `_FINEST`, or the weights are traced floats.
    """
    dtype = getattr(weights, "dtype", np.dtype(float))
    if isinstance(weights, jax.Array):
        unknown = isinstance(weights, Tracer) or not weights.is_fully_addressable
        if unknown and not jnp.issubdtype(dtype, jnp.inexact):
            largest = 1 if dtype == jnp.bool_ else max(-jnp.iinfo(dtype).min, jnp.iinfo(dtype).max)
            return 0, float(largest) * weights.size
        if unknown:
            return math.inf, math.inf
        weights = jax.device_get(weights)
    values = np.abs(np.asarray(weights, np.float64))
    total = float(values.sum())
    for step in range(_FINEST + 1):
        scaled = np.ldexp(values, step)
        if (scaled == np.floor(scaled)).all():
            return step, total
    return math.inf, total
