"""Images on a circle: ends that fade out or close, and what smoothness costs at a frequency."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.shapes import fast_length


def closed(y: jax.Array, k: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
    """Continue y after its ends so that it closes to a circle, by a straight line along each axis.

    Returns:
        y with elements more at each axis' end, at least as many as k has less one, and its shape.
    """
    lengths = circle(y, k)
    for axis, (n, m) in enumerate(zip(y.shape, lengths, strict=True)):
        if m == n:
            continue
        share = _shares(y, axis, m - n)
        first, last = (jax.lax.slice_in_dim(y, at, at + 1, axis=axis) for at in (0, n - 1))
        y = jnp.concatenate([y, last + share * (first - last)], axis)
    return y, lengths


def reflected(y: jax.Array, k: jax.Array) -> jax.Array:
    """Continue y over the elements of `closed` by its reflections, which fade into each other."""
    for axis, (n, m) in enumerate(zip(y.shape, circle(y, k), strict=True)):
        if m == n:
            continue
        share = _shares(y, axis, m - n)
        beyond = np.arange(1, m - n + 1)  # elements away from the last one
        last, first = (
            jnp.take(y, np.clip(at, 0, n - 1), axis=axis) for at in (n - 1 - beyond, beyond[::-1])
        )
        y = jnp.concatenate([y, last + share * (first - last)], axis)
    return y


def circle(y: jax.Array, k: jax.Array) -> tuple[int, ...]:
    """The shape of `closed`."""
    return tuple(fast_length(n + a - 1) for n, a in zip(y.shape, k.shape, strict=True))


def _shares(y: jax.Array, axis: int, count: int) -> jax.Array:
    """How much of the first element is in each of those after the last, along an axis."""
    shape = [1] * y.ndim
    shape[axis] = count
    return jnp.asarray(np.arange(1, count + 1) / (count + 1), y.dtype).reshape(shape)


def penalty(lengths: tuple[int, ...], order: int, dtype: jnp.dtype) -> jax.Array:
    """R at the frequencies of `transform`."""
    total = np.zeros(())
    for axis, m in enumerate(lengths):
        count = m // 2 + 1 if axis == len(lengths) - 1 else m
        along = 2 - 2 * np.cos(2 * np.pi * np.arange(count) / m)
        shape = [1] * len(lengths)
        shape[axis] = count
        total = total + along.reshape(shape)
    return jnp.asarray(total**order, dtype)


def tapered(y: jax.Array) -> jax.Array:
    """The image less its mean, fading out at its ends, at the same power: its ends do not jump."""
    window = jnp.ones((), y.dtype)
    for axis, n in enumerate(y.shape):
        shape = [1] * y.ndim
        shape[axis] = n
        along = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2  # Hann's
        along = along / np.sqrt(np.mean(along**2))
        window = window * jnp.asarray(along, y.dtype).reshape(shape)
    return (y - jnp.sum(window * y) / jnp.sum(window)) * window
