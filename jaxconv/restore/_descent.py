"""Restoration by any optax optimiser, under any penalty: `descend`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.scalars import check_count
from jaxconv._core.programs import compiled_once
from jaxconv.restore._blur import images, make_blur


class Descended(NamedTuple):
    """A restored image, and the way there.

    Attributes:
        image: of y's shape.
        losses: (steps,), before each step.
    """

    image: jax.Array
    losses: jax.Array


def mean_squared_error(made: jax.Array, y: jax.Array) -> jax.Array:
    """The loss that noise of one strength everywhere asks for."""
    return jnp.mean(jnp.square(made - y))


def descend(
    y: jax.Array | np.ndarray,
    k: jax.Array | np.ndarray,
    *,
    optimizer: Any,
    penalty: Callable[[jax.Array], jax.Array] | None = None,
    loss: Callable[[jax.Array, jax.Array], jax.Array] = mean_squared_error,
    steps: int = 100,
    boundary: str = "unknown",
    flip: bool = False,
    method: str = "auto",
) -> Descended:
    """Undo a blur by gradient descent on an error and a penalty of your own.

    `x <- x + optimizer's update for the gradient of loss(correlate(x, k), y) + penalty(x)`, from y
    on, in one compiled loop

    Args:
        y: the blurred image, any rank, float32 or float64.
        k: the blur, of y's rank and dtype, no larger than y: as `jaxconv.learn` finds it and
            `jaxconv.correlate` takes it.
        optimizer: an optax gradient transformation.
        penalty: from the image, of y's shape and more beyond its ends if they are unknown, to a
            scalar, such as those of `restore.penalties`.
        loss: from the blurred image that is made, and y, to a scalar.
        steps: the number of steps.
        boundary: as in `restore.tikhonov`.
        flip: whether the blur is the convolution with k, rather than the correlation.
        method: as in `restore.tikhonov`.

    Returns:
        `Descended`, aligned as in `restore.wiener`.

    Raises:
        TypeError: y or k is not floating point, or their dtypes differ.
        ValueError: different ranks, a k larger than y, `steps` below 1, or an unknown boundary or
            method.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import correlate, restore
        >>> import optax
        >>> from jaxconv.restore import penalties
        >>> x = jnp.zeros(32).at[8:16].set(1.0)
        >>> k = jnp.array([0.25, 0.5, 0.25])
        >>> y = correlate(x, k, mode="same", boundary="replicate")
        >>> edges = lambda x: 1e-3 * penalties.total_variation(x)
        >>> found = restore.descend(y, k, optimizer=optax.adam(0.05), penalty=edges, steps=300)
        >>> found.image[6:10].round(1)
        Array([0., 0., 1., 1.], dtype=float32)

    Source: L. I. Rudin, S. Osher and E. Fatemi, "Nonlinear total variation based noise removal
    algorithms", Physica D 60, 1992, for the penalty of the example.
    """
    y, k = images("descend", y=y, k=k)
    check_count("descend", "steps", steps)

    def run(y: jax.Array, k: jax.Array) -> Descended:
        blur = make_blur("descend", y.shape, k, boundary=boundary, flip=flip, method=method)

        def cost(x: jax.Array) -> jax.Array:
            error = loss(blur.forward(x), y)
            return error if penalty is None else error + penalty(x)

        def step(state: tuple[jax.Array, Any], _: None):
            x, inner = state
            error, slope = jax.value_and_grad(cost)(x)
            update, inner = optimizer.update(slope, inner, x)
            return (x + update, inner), error

        x = blur.grow(y)
        (x, _), losses = jax.lax.scan(step, (x, optimizer.init(x)), length=steps)
        return Descended(blur.crop(x), losses)

    return compiled_once(run, y, k)
