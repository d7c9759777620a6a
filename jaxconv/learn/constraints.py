"""Kernels that must be non-negative, sum to one, be symmetric or separable: projected descent.

A projection maps a kernel (*kernel) to the nearest one that satisfies a constraint. `projected`
makes an optax transformation of projections, for the end of a chain. After every step the kernel
satisfies the constraint, up to rounding.

Projections need no other parameters than the kernel. A parametrisation would: a softmax cannot
reach zero weights, and a product of factors has saddle points.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.messages import shown

__all__ = ["non_negative", "projected", "separable", "simplex", "sum_to_one", "symmetric"]

Projection = Callable[[jax.Array], jax.Array]


def projected(*projections: Projection, channels: bool = False) -> optax.GradientTransformation:
    """End an optimiser's chain with projections of the kernel.

    `kernel <- projection(kernel + update)`, one projection after another; the bias is left alone.

    The kernel satisfies several constraints at once if each projection preserves those before it:
    `simplex` preserves `symmetric`, but `non_negative` does not preserve `sum_to_one` (use
    `simplex`).

    Args:
        projections: each maps (*kernel) to the same shape.
        channels: whether the kernel is (*kernel, in // groups, out), of which each (*kernel) is
            projected separately.

    Returns:
        A transformation for `optax.chain(optax.adam(...), projected(...))`. Line searches
        (`optax.lbfgs`) ignore the projections: do not use them here.

    Raises:
        TypeError: a projection is not a function.
        ValueError: none is given; when used, params are missing, or a shape does not fit.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from jaxconv import corr2d, learn
        >>> from jaxconv.learn import constraints
        >>> x = jnp.ones((6, 8)).at[:, 2:6].set(0.0)
        >>> y = corr2d(x, jnp.array([[1.0, -1.0]]))
        >>> descent = optax.chain(optax.sgd(1e-2), constraints.projected(constraints.simplex))
        >>> print(learn.fit_kernel(x, y, (1, 2), optimizer=descent, steps=200).kernel.round(3))
        [[1. 0.]]

    Source: Parikh and Boyd, Proximal Algorithms, 2014, section 4.2 (projected gradient).
    """
    if not projections:
        raise ValueError("projected: give at least one projection, as in projected(non_negative)")
    for projection in projections:
        if not callable(projection):
            raise TypeError(
                f"projected: {shown(projection)} must be a function of a kernel, such as one of "
                "jaxconv.learn.constraints, as in projected(non_negative)"
            )

    def init(params: Any) -> optax.OptState:
        del params
        return optax.EmptyState()

    def project(kernel: jax.Array) -> jax.Array:
        if channels and kernel.ndim < 3:
            raise ValueError(
                "projected: channels=True is for kernels (*kernel, in // groups, out), got shape "
                f"{kernel.shape}; for planes leave it out"
            )
        for projection in projections:
            if channels:
                projection = jax.vmap(jax.vmap(projection, -1, -1), -1, -1)
            before, kernel = kernel.shape, projection(kernel)
            if kernel.shape != before:
                raise ValueError(
                    f"projected: a projection made shape {kernel.shape} of a kernel {before}"
                )
        return kernel

    def update(
        updates: Any, state: optax.OptState, params: Any = None
    ) -> tuple[Any, optax.OptState]:
        if params is None:
            raise ValueError("projected: optimizer.update needs params, the kernel to project")
        (step, bias_step), (kernel, _) = updates, params
        return (project(kernel + step) - kernel, bias_step), state

    return optax.GradientTransformation(init, update)


def non_negative(kernel: jax.Array) -> jax.Array:
    """Set negative weights to 0."""
    return optax.projections.projection_non_negative(as_array("non_negative", "kernel", kernel))


def sum_to_one(kernel: jax.Array) -> jax.Array:
    """Subtract the same amount from every weight, so that they sum to 1."""
    kernel = as_array("sum_to_one", "kernel", kernel)
    return kernel - (jnp.sum(kernel) - 1) / kernel.size


def simplex(kernel: jax.Array) -> jax.Array:
    """Return the nearest kernel whose weights are non-negative and sum to 1, as those of a blur."""
    return optax.projections.projection_simplex(as_array("simplex", "kernel", kernel))


def symmetric(kernel: jax.Array) -> jax.Array:
    """Average the kernel with its mirror image along every axis."""
    kernel = as_array("symmetric", "kernel", kernel)
    for axis in range(kernel.ndim):
        kernel = (kernel + jnp.flip(kernel, axis)) / 2
    return kernel


def separable(rank: int = 1) -> Projection:
    """Return the projection of (h, w) onto sums of `rank` products of a column and a row.

    Args:
        rank: number of terms of the sum, 1 or more.

    Raises:
        ValueError: rank is below 1; when used, the kernel is not (h, w).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import constraints
        >>> print(constraints.separable(1)(jnp.diag(jnp.array([3.0, 1.0]))).round().astype(int))
        [[3 0]
         [0 0]]

    Source: Eckart and Young, The approximation of one matrix by another of lower rank, 1936.
    """
    if not isinstance(rank, Integral) or rank < 1:
        raise ValueError(f"separable: rank={rank!r} must be an integer of 1 or more")

    def project(kernel: jax.Array) -> jax.Array:
        kernel = as_array("separable", "kernel", kernel)
        if kernel.ndim != 2:
            raise ValueError(
                f"separable: the kernel must be (h, w), got shape {kernel.shape}; with channels "
                "give projected(..., channels=True)"
            )
        columns, weights, rows = jnp.linalg.svd(kernel, full_matrices=False)
        return (columns[:, :rank] * weights[None, :rank]) @ rows[:rank]

    return project
