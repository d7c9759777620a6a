"""Division of an array by one number.

XLA multiplies by 1 / number instead, which rounds twice: 40950 / 16380 becomes 2.5000002, and
41 / 41 in float32 a little less than 1 (`findings/jax_divide_by_scalar.sh`). Wherever quotients are
rounded to integers, or their fractions dropped, that is another result.
"""

import jax
import jax.numpy as jnp
from jax import lax


def divided(x: jax.Array, by: jax.Array) -> jax.Array:
    """Return x / by, each quotient rounded once, as IEEE 754 has it."""
    return x / lax.optimization_barrier(jnp.broadcast_to(by, x.shape))


def rounded_mean(sums: jax.Array, count: int) -> jax.Array:
    """Return sums / count as integers, with halves rounded to even.

    Args:
        sums: integers as floats, all of them and their multiples by two exact.
        count: a positive integer.
    """
    n = jnp.asarray(count, sums.dtype)
    near = jnp.round(sums / n)  # it may be the neighbour of what is right
    twice = 2 * (sums - near * n)
    odd = near != 2 * jnp.floor(near / 2)
    up = (twice > n) | ((twice == n) & odd)
    down = (twice < -n) | ((twice == -n) & odd)
    return near + (up.astype(sums.dtype) - down.astype(sums.dtype))
