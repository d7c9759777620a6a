"""Differences of neighbours along every axis, none over the ends, and what is made of them."""

import jax
import jax.numpy as jnp


def smoothness_operator(x: jax.Array, order: int) -> jax.Array:
    """`L^order x`: half of the gradient of `roughness` times the number of elements."""
    for _ in range(order):
        x = -divergence(gradient(x))
    return x


def gradient(x: jax.Array) -> list[jax.Array]:
    """Differences to the next element along each axis, x's shape, 0 at the end."""
    return [
        jnp.diff(x, axis=axis, append=jax.lax.slice_in_dim(x, x.shape[axis] - 1, None, axis=axis))
        for axis in range(x.ndim)
    ]


def lengths(parts: list[jax.Array], smoothing: jax.typing.ArrayLike) -> jax.Array:
    """`sqrt(sum of squares + smoothing^2)`."""
    return jnp.sqrt(sum((part * part for part in parts[1:]), parts[0] * parts[0]) + smoothing**2)


def divergence(parts: list[jax.Array]) -> jax.Array:
    """Minus the adjoint of `gradient`: `sum over axes of d[t] - d[t - 1]`, with 0 before the first.

    Args:
        parts: for each axis an array of x's shape, 0 at the axis' end.
    """
    total = jnp.zeros_like(parts[0])
    for axis, part in enumerate(parts):
        total += part - jnp.roll(part, 1, axis)  # what comes round is the 0 at the end
    return total
