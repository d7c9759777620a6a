"""What images are not: penalties on sharp images, any rank, for `restore.descend`.

Each is a mean over elements, so that it does not depend on the image's size. Differences reach over
the image's inside only: its ends cost nothing.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.scalars import check_count
from jaxconv.restore._blur import number
from jaxconv.restore._differences import gradient, lengths, smoothness_operator

__all__ = ["roughness", "total_variation"]


def roughness(x: jax.Array | np.ndarray, *, order: int = 1) -> jax.Array:
    """The mean square of an image's differences: small where it is smooth.

    `mean of x (L^order x)`, with `L x [t] = sum over axes of (2 x[t] - x[t - 1] - x[t + 1])`, where
    the neighbour of an end is the end itself

    Args:
        x: any shape, floating point.
        order: 1 for first differences, 2 for those of the differences, ...

    Returns:
        A scalar of x's dtype, 0 for a constant image.

    Raises:
        ValueError: `order` below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.restore import penalties
        >>> penalties.roughness(jnp.array([0.0, 0.0, 1.0, 1.0]))
        Array(0.25, dtype=float32)

    Source: A. N. Tikhonov and V. Y. Arsenin, "Solutions of Ill-Posed Problems", 1977.
    """
    x = as_array("roughness", "x", x)
    check_count("roughness", "order", order)
    return _roughness(x, order=order)


def total_variation(x: jax.Array | np.ndarray, *, smoothing: float = 1e-3) -> jax.Array:
    """The mean length of an image's gradient: edges cost no more than slopes of the same height.

    `mean over t of sqrt(sum over axes of (x[t + 1] - x[t])^2 + smoothing^2) - smoothing`

    Args:
        x: any shape, floating point.
        smoothing: what rounds the corner at 0, in x's units, above 0.

    Returns:
        A scalar of x's dtype, 0 for a constant image.

    Raises:
        ValueError: `smoothing` not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.restore import penalties
        >>> penalties.total_variation(jnp.array([0.0, 0.0, 1.0, 1.0]), smoothing=1e-6).round(3)
        Array(0.25, dtype=float32)

    Source: L. I. Rudin, S. Osher and E. Fatemi, "Nonlinear total variation based noise removal
    algorithms", Physica D 60, 1992, equation 2.2.
    """
    x = as_array("total_variation", "x", x)
    if smoothing <= 0:
        raise ValueError(f"total_variation: smoothing must be above 0, got {smoothing}")
    return _total_variation(x, number("total_variation", "smoothing", smoothing, x))


@functools.partial(jax.jit, static_argnames="order")
def _roughness(x: jax.Array, *, order: int) -> jax.Array:
    return jnp.mean(x * smoothness_operator(x, order))


@jax.jit
def _total_variation(x: jax.Array, smoothing: jax.Array) -> jax.Array:
    return jnp.mean(lengths(gradient(x), smoothing) - smoothing)
