"""Complex least squares as a real one, of real and imaginary parts.

    y = x k   is   Re y = (Re x) (Re k) - (Im x) (Im k)   and   Im y = (Im x) (Re k) + (Re x) (Im k)

So complex images are two pairs of real ones, with twice the input channels: the kernel's real part
acts on the first of them, its imaginary part on the second. The two pairs are a leading axis.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.learn._pairs import Pairs

Weights = tuple[jax.Array, ...] | None


def as_real(pairs: Pairs, weights: Weights) -> tuple[Pairs, Weights]:
    """Return the real pairs (2, *batch, *space, 2 in) and (2, *batch, *space', out)."""
    groups = pairs.specs[0].groups
    *size, inner, out = pairs.kernel_shape
    real = Pairs(
        tuple(_inputs(x, groups) for x in pairs.xs),
        tuple(jnp.stack([y.real, y.imag]) for y in pairs.ys),
        pairs.specs,
        (*size, 2 * inner, out),
    )
    return real, None if weights is None else tuple(jnp.stack([w, w]) for w in weights)


def _inputs(x: jax.Array, groups: int) -> jax.Array:
    # (..., g * i) -> (..., g, i); the channels of a group stay together
    parts = x.reshape(*x.shape[:-1], groups, -1)
    first = jnp.concatenate([parts.real, -parts.imag], -1)
    second = jnp.concatenate([parts.imag, parts.real], -1)
    return jnp.stack([first, second]).reshape(2, *x.shape[:-1], -1)


def as_complex(kernel: jax.Array) -> jax.Array:
    """(*kernel, 2 i, out) -> (*kernel, i, out)."""
    real, imaginary = jnp.split(kernel, 2, axis=-2)
    return lax.complex(real, imaginary)


def as_complex_directions(directions: jax.Array, groups: int) -> jax.Array:
    """(d, *kernel, g * 2 i) -> (d, *kernel, g * i)."""
    parts = directions.reshape(*directions.shape[:-1], groups, 2, -1)
    found = lax.complex(parts[..., 0, :], parts[..., 1, :])
    return found.reshape(*directions.shape[:-1], -1)
