"""Sums of fractions in SciPy's order, for results that are cut off to integers.

Where a sum should be 3 and comes out as 2.9999999999999996, the integer is 2. Which it is depends
on the order of the additions, so that is SciPy's here: entry by entry, or for lines of odd length
that read the same (or the negative) backwards, the middle first and then pair by pair.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.compat.scipy import _direct_sums
from jaxconv.compat.scipy._numpy_dtypes import is_concrete


def parity(weights: Any) -> int:
    """Return 1 for an even line of weights, -1 for an odd one, and 0 for anything else."""
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


def correlate_in_order(
    x: jax.Array,
    weights: jax.Array,
    pads: _direct_sums.Pairs,
    *,
    boundary: str,
    fill: jax.Array | None,
    parity: int,
) -> jax.Array:
    """Do what `correlate_padded` does, one addition after another."""
    rank = weights.ndim
    axes = tuple(range(x.ndim - rank, x.ndim))
    shape = x.shape
    x = _direct_sums.extend(x, pads, axes, boundary, fill)
    order = np.arange(weights.size)
    if rank == 1 and not parity:
        order = np.roll(order, 1)  # lines without a symmetry start with their last entry
    offsets = np.stack(np.unravel_index(order, weights.shape), axis=-1)
    offsets = np.pad(offsets, ((0, 0), (x.ndim - rank, 0)))
    factors = weights.ravel()[order]

    def window(n):
        return jax.lax.dynamic_slice(x, jnp.asarray(offsets)[n], shape)

    # A product is added a round later than it is made: in one round the two would become a fused
    # multiply-add, which rounds once where SciPy rounds twice.
    def step(n, carry):
        total, product = carry
        values = window(n)
        if parity:
            values = values + parity * window(weights.size - 1 - n)
        return total + product, values * factors[n]

    rounds, start = weights.size, jnp.zeros(shape, x.dtype)
    if parity:
        rounds = weights.size // 2
        start = window(rounds) * factors[rounds]
    total, product = jax.lax.fori_loop(0, rounds, step, (start, jnp.zeros(shape, x.dtype)))
    return total + product
