"""Sums in SciPy's order of additions, for floating-point sums that are truncated to integers.

A sum that rounds to 2.9999999999999996 instead of 3 is truncated to 2, and this depends on the
order of the additions. SciPy adds entry by entry; for weights of odd length that are symmetric or
antisymmetric it starts in the middle and adds pairs.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim

from jaxconv.compat.scipy import _direct_sums
from jaxconv.compat.scipy._numpy_dtypes import is_concrete

_CACHED_BYTES = 2**16


def parity(weights: Any) -> int:
    """Return 1 for symmetric 1-D weights of odd length, -1 for antisymmetric ones, otherwise 0."""
    if weights.ndim != 1 or weights.size % 2 == 0 or not is_concrete(weights):
        return 0
    line = np.asarray(weights, np.float64)
    close = np.finfo(np.float64).eps
    for sign in (1, -1):
        half = line.size // 2
        pairs = line[half + 1 :] - sign * line[:half][::-1]
        if np.all(np.abs(pairs) <= close):
            return sign
    return 0


@partial(jax.jit, static_argnames=("pads", "boundary", "parity"))
def correlate_in_order(
    x: jax.Array,
    weights: jax.Array,
    pads: _direct_sums.Pairs,
    *,
    boundary: str,
    fill: jax.Array | None,
    parity: int,
) -> jax.Array:
    """Compute `correlate_padded` with SciPy's order of additions."""
    rank = weights.ndim
    axes = tuple(range(x.ndim - rank, x.ndim))
    shape = x.shape
    x = _direct_sums.extend(x, pads, axes, boundary, fill)
    order = np.arange(weights.size)
    if rank == 1 and not parity:
        order = np.roll(order, 1)  # without symmetry SciPy starts with the last entry
    offsets = np.stack(np.unravel_index(order, weights.shape), axis=-1)
    offsets = np.pad(offsets, ((0, 0), (x.ndim - rank, 0)))
    factors = weights.ravel()[order]

    def window(n):
        return jax.lax.dynamic_slice(x, jnp.asarray(offsets)[n], shape)

    # Each product is added in the next iteration: in the same one XLA would fuse both into a
    # multiply-add, which rounds once where SciPy rounds twice.
    def step(n, carry):
        total, product = carry
        values = window(n)
        if parity:
            values = values + parity * window(weights.size - 1 - n)
        return total + product, values * factors[n]

    count, start = weights.size, jnp.zeros(shape, x.dtype)
    if parity:
        count = weights.size // 2
        start = window(count) * factors[count]
    total, product = jax.lax.fori_loop(0, count, step, (start, jnp.zeros(shape, x.dtype)))
    return total + product


def by_rows(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, sums: Any, rank: int
) -> jax.Array:
    """Compute function(x), which filters x's last axis, some rows at a time where that is faster.

    A loop over the weights passes over all that it is given, which takes a quarter to a half of the
    time if it stays in a core's cache (2 cores with AVX2, 2026-11). Over several devices XLA would
    gather the rows.

    Args:
        function: of rows in the dtype of x.
        x: (*batch, n).
        sums: the dtype in which the function computes.
        rank: of the weights; by rows if it is 1.
    """
    known = not any(map(is_symbolic_dim, x.shape))
    if rank > 1 or not known or jax.default_backend() != "cpu" or jax.device_count() > 1:
        return function(x)
    rows = max(1, _CACHED_BYTES // (x.shape[-1] * jnp.dtype(sums).itemsize))
    if math.prod(x.shape[:-1]) <= rows:
        return function(x)
    return jax.lax.map(function, x.reshape(-1, x.shape[-1]), batch_size=rows).reshape(x.shape)
