"""Floating-point sums over integers of 8 and 16 bits in one pass, bit for bit SciPy's.

SciPy adds products of float64, each rounded, and truncates the sum; a sum of 2.9999999999999996
gives 2. A multiply-add would round once where SciPy rounds twice. Here each weight is divided into
a leading and a trailing part, whose products with integers of up to 17 bits are exact: their sum is
the rounded product, with or without multiply-adds. So all additions can be one loop over the image.

    w = w_1 + w_2, w_1 of 35 bits and w_2 of 18: round(p w) = round(p w_1 + p w_2)
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.dtypes import in_double_precision
from jaxconv.compat.scipy import _direct_sums, _numpy_dtypes

MOST_WEIGHTS = 128  # that are written out in one loop
_TRAILING = 18


def parts(weights: jax.Array | np.ndarray) -> np.ndarray:
    """Return (3, *weights.shape), in float32: two terms that add up to w_1, and w_2.

    Example:
        >>> float(parts(np.array(0.1)).astype(float).sum()) == 0.1
        True
    """
    exact = np.asarray(weights, np.float64)
    leading = (exact.view(np.int64) >> _TRAILING << _TRAILING).view(np.float64)
    first = leading.astype(np.float32)
    return np.stack([first, leading - first, exact - leading]).astype(np.float32)


def serves(x: Any, weights: Any, fill: Any, dtype: Any, divisor: int) -> bool:
    """Whether the sums are these: weights and a fill value that are known, and integers around."""
    return (
        # in a larger program XLA may change the order of the additions
        _numpy_dtypes.is_concrete(x)
        and jnp.issubdtype(x.dtype, jnp.integer)
        and x.dtype.itemsize <= 2
        and jnp.issubdtype(dtype, jnp.integer)
        and divisor == 1
        and weights.size <= MOST_WEIGHTS
        and _numpy_dtypes.is_concrete(weights)
        and jnp.issubdtype(weights.dtype, jnp.floating)
        and (fill is None or _fits(x.dtype, fill))
    )


def _fits(dtype: Any, fill: jax.Array) -> bool:
    if not (_numpy_dtypes.is_concrete(fill) and _numpy_dtypes.is_integral(fill.dtype)):
        return False
    limits = jnp.iinfo(dtype)
    return limits.min <= int(jax.device_get(fill)) <= limits.max


@partial(jax.jit, static_argnames=("axes", "pads", "boundary", "dtype", "parity"))
def correlate(
    x: jax.Array,
    weights: jax.Array,
    fill: jax.Array | None,
    *,
    axes: tuple[int, ...],
    pads: _direct_sums.Pairs,
    boundary: str,
    dtype: Any,
    parity: int,
) -> jax.Array:
    """Correlate x along `axes`, in SciPy's order of additions, and cast to an integer dtype.

    Args:
        x: integers of at most 16 bits.
        weights: what `parts` returns for the weights.
        fill: the value of a constant boundary, which x's dtype holds; None is zero.
        axes: the axes of x, in the order of the weights'.
        pads: (before, after) for each axis.
        boundary: as in `_direct_sums.correlate_padded`.
        dtype: of the result.
        parity: as `_summation_order.parity` returns it.
    """
    shape, count = x.shape, weights[0].size
    wide = _direct_sums.extend(x, pads, axes, boundary, fill)
    order = np.arange(count)
    if weights.ndim == 2 and not parity:
        order = np.roll(order, 1)  # without symmetry SciPy starts with the last entry
    offsets = np.stack(np.unravel_index(order, weights.shape[1:]), axis=-1)

    def window(wide, n):
        starts = [0] * len(shape)
        for axis, offset in zip(axes, offsets[n].tolist(), strict=True):
            starts[axis] = offset
        ends = [start + size for start, size in zip(starts, shape, strict=True)]
        return jax.lax.slice(wide, starts, ends).astype(jnp.int32)

    def sums(wide, first, second, trailing):
        leading = first.astype(jnp.float64) + second.astype(jnp.float64)
        trailing = trailing.astype(jnp.float64)

        def product(values, n):
            values = values.astype(jnp.float64)
            return values * leading[order[n]] + values * trailing[order[n]]

        if parity:
            middle = count // 2
            total = product(window(wide, middle), middle)
            for n in range(middle):
                pair = window(wide, n) + parity * window(wide, count - 1 - n)
                total = total + product(pair, n)
        else:
            total = jnp.zeros(shape, jnp.float64)
            for n in range(count):
                total = total + product(window(wide, n), n)
        return _numpy_dtypes.cast(total, dtype)

    return in_double_precision(sums)(wide, *(part.ravel() for part in weights))
