"""The usual losses: functions `(prediction, target, weights=None) -> scalar`.

`fit_kernel` and `fit_conv` take any function of this signature; without weights, of the first two
arguments. The last two losses are robust to outliers. What has weight 0 is ignored, NaN included.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxconv._core.geometry.dtypes import as_array

__all__ = ["mean_absolute_error", "mean_huber_error", "mean_squared_error", "sum_squared_error"]


def sum_squared_error(
    prediction: jax.Array, target: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Sum the squared differences, the loss of the edge detection example.

    `sum over t of weights[t] (prediction[t] - target[t]) ** 2`

    Args:
        prediction: any shape, in the target's units.
        target: the same shape.
        weights: how much each difference counts, of the target's shape or of one that broadcasts to
            it; all count once if None.

    Returns:
        A scalar, in squared units of the target; proportional to the number of positions.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import losses
        >>> print(losses.sum_squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0])))
        5.0

    Source: Dive into Deep Learning, section 7.2.4 (Learning a Kernel).
    """
    difference, counted = _difference("sum_squared_error", prediction, target, weights)
    squares = jnp.square(difference)
    return jnp.sum(squares if counted is None else squares * counted)


def mean_squared_error(
    prediction: jax.Array, target: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Average the squared differences, so that one learning rate suits images of any size.

    `mean over t of e ** 2 where e = prediction[t] - target[t]`, with weights
    `sum(weights e ** 2) / sum(weights)`

    Args:
        prediction: any shape, in the target's units.
        target: the same shape.
        weights: how much each difference counts, of the target's shape or of one that broadcasts to
            it; all count once if None.

    Returns:
        A scalar, in squared units of the target.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import losses
        >>> print(losses.mean_squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0])))
        2.5
        >>> missing = jnp.array([0.0, jnp.nan])
        >>> print(losses.mean_squared_error(jnp.array([1.0, 2.0]), missing, jnp.isfinite(missing)))
        1.0

    Source: Dive into Deep Learning, section 3.1.1.2 (Loss Function).
    """
    difference, counted = _difference("mean_squared_error", prediction, target, weights)
    return _mean(jnp.square(difference), counted)


def mean_absolute_error(
    prediction: jax.Array, target: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
    """Average the absolute differences: the gradient of a pixel does not grow with its error.

    `mean over t of abs(prediction[t] - target[t])`, weighted as in `mean_squared_error`

    Args:
        prediction: any shape, in the target's units.
        target: the same shape.
        weights: how much each difference counts, of the target's shape or of one that broadcasts to
            it; all count once if None.

    Returns:
        A scalar, in units of the target. Its slope does not shrink near the minimum: use a
        learning rate that does.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import losses
        >>> print(losses.mean_absolute_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0])))
        1.5

    Source: Laplace, least absolute deviations, 1793.
    """
    difference, counted = _difference("mean_absolute_error", prediction, target, weights)
    return _mean(jnp.abs(difference), counted)


def mean_huber_error(
    prediction: jax.Array,
    target: jax.Array,
    weights: jax.Array | None = None,
    *,
    delta: float = 1.0,
) -> jax.Array:
    """Average Huber's loss: squared near the target, absolute beyond delta.

    `mean over t of e ** 2 / 2 where e = abs(prediction[t] - target[t]) <= delta, else
    delta (e - delta / 2)`, weighted as in `mean_squared_error`

    Args:
        prediction: any shape, in the target's units.
        target: the same shape.
        weights: how much each difference counts, of the target's shape or of one that broadcasts to
            it; all count once if None.
        delta: the error from which the loss is linear, in units of the target. To learn with
            another delta use `functools.partial(mean_huber_error, delta=...)`.

    Returns:
        A scalar, in squared units of the target.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import losses
        >>> print(losses.mean_huber_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0])))
        1.0

    Source: Huber, Robust Estimation of a Location Parameter, 1964.
    """
    difference, counted = _difference("mean_huber_error", prediction, target, weights)
    return _mean(optax.losses.huber_loss(difference, delta=delta), counted)


def _difference(
    caller: str, prediction: jax.Array, target: jax.Array, weights: Any
) -> tuple[jax.Array, jax.Array | None]:
    """The difference, 0 where its weight is 0; and the weights in its shape and dtype."""
    difference = as_array(caller, "prediction", prediction) - as_array(caller, "target", target)
    if weights is None:
        return difference, None
    counted = as_array(caller, "weights", weights).astype(difference.dtype)
    counted = jnp.broadcast_to(counted, difference.shape)
    # before any square or product, so that a derivative is 0 there too
    return jnp.where(counted > 0, difference, jnp.zeros_like(difference)), counted


def _mean(errors: jax.Array, weights: jax.Array | None) -> jax.Array:
    if weights is None:
        return jnp.mean(errors)
    total = jnp.sum(weights)
    # a crop may have no weight at all: its loss is 0
    return jnp.sum(errors * weights) / jnp.where(total > 0, total, jnp.ones_like(total))
