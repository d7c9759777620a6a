"""Extensions of a line beyond its ends that are no mode of `jaxconv.pad`: `upfirdn`'s.

| mode | before the first element | after the last |
|---|---|---|
| line | a straight line through the first and the last element, at both ends | |
| smooth | a straight line through the first two | through the last two |
| antisymmetric | -x mirrored, with the edge repeated | the same |
| antireflect | x turned about its first element by 180 degrees | about its last |
"""

import jax
import jax.numpy as jnp
import numpy as np

MODES = ("smooth", "antisymmetric", "antireflect", "line")


def extend_line(x: jax.Array, before: int, after: int, mode: str) -> jax.Array:
    """Extend the last axis of x, by any width.

    Args:
        x: (..., n), floating-point.
        before: number of elements before the first.
        after: number of elements after the last.
        mode: one of `MODES`.

    Returns:
        (..., before + n + after)

    Example:
        >>> extend_line(jnp.array([1.0, 2.0, 4.0]), 2, 2, "smooth")
        Array([-1.,  0.,  1.,  2.,  4.,  6.,  8.], dtype=float32)
    """
    n = x.shape[-1]
    p = np.arange(-before, n + after)
    if mode == "antisymmetric":
        turn, place = np.divmod(p, n)
        odd = turn % 2 == 1
        return _at(x, np.where(odd, n - 1 - place, place)) * _numbers(np.where(odd, -1, 1), x)
    first, last = x[..., :1], x[..., -1:]
    if mode == "antireflect":
        if n == 1:
            return jnp.broadcast_to(first, (*x.shape[:-1], p.size))
        turn, place = np.divmod(p, n - 1)
        odd = turn % 2 == 1
        mirrored = first + last - _at(x, n - 1 - place)
        inner = jnp.where(_numbers(odd, x) == 1, mirrored, _at(x, place))
        return inner + _numbers(turn, x) * (last - first)
    left = right = (last - first) / max(n - 1, 1)
    if mode == "smooth":
        left, right = (x[..., 1:2] - first, last - x[..., -2:-1]) if n > 1 else (0 * first,) * 2
    out = _numbers(np.minimum(p, 0), x) * left + _numbers(np.maximum(p - n + 1, 0), x) * right
    return _at(x, np.clip(p, 0, n - 1)) + out


def _at(x: jax.Array, place: np.ndarray) -> jax.Array:
    return jnp.take(x, jnp.asarray(place), axis=-1)


def _numbers(values: np.ndarray, x: jax.Array) -> jax.Array:
    return jnp.asarray(values.reshape((1,) * (x.ndim - 1) + (-1,)), x.dtype)
