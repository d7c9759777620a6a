"""The usual losses: functions `(prediction, target) -> scalar`.

`fit_kernel` and `fit_conv` take any function of this signature. The last two losses are robust to
outliers.
"""

import jax
import jax.numpy as jnp
import optax

from jaxconv._core.geometry.dtypes import as_array

__all__ = ["mean_absolute_error", "mean_huber_error", "mean_squared_error", "sum_squared_error"]


def sum_squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Sum the squared differences, the loss of the edge detection example.

    `sum over t of (prediction[t] - target[t]) ** 2`

    Args:
        prediction: any shape, in the target's units.
        target: the same shape.

    Returns:
        A scalar, in squared units of the target; proportional to the number of positions.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import losses
        >>> print(losses.sum_squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0])))
        5.0

    Source: Dive into Deep Learning, section 7.2.4 (Learning a Kernel).
    """
    return jnp.sum(jnp.square(_difference("sum_squared_error", prediction, target)))


def mean_squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Average the squared differences, so that one learning rate suits images of any size.

    `mean over t of (prediction[t] - target[t]) ** 2`

    Args:
        prediction: any shape, in the target's units.
        target: the same shape.

    Returns:
        A scalar, in squared units of the target.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import losses
        >>> print(losses.mean_squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0])))
        2.5

    Source: Dive into Deep Learning, section 3.1.1.2 (Loss Function).
    """
    return jnp.mean(jnp.square(_difference("mean_squared_error", prediction, target)))


def mean_absolute_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Average the absolute differences: the gradient of a pixel does not grow with its error.

    `mean over t of abs(prediction[t] - target[t])`

    Args:
        prediction: any shape, in the target's units.
        target: the same shape.

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
    return jnp.mean(jnp.abs(_difference("mean_absolute_error", prediction, target)))


def mean_huber_error(prediction: jax.Array, target: jax.Array, *, delta: float = 1.0) -> jax.Array:
    """Average Huber's loss: squared near the target, absolute beyond delta.

    `mean over t of e ** 2 / 2 where e = abs(prediction[t] - target[t]) <= delta, else
    delta (e - delta / 2)`

    Args:
        prediction: any shape, in the target's units.
        target: the same shape.
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
    caller = "mean_huber_error"
    prediction = as_array(caller, "prediction", prediction)
    target = as_array(caller, "target", target)
    return jnp.mean(optax.losses.huber_loss(prediction, target, delta=delta))


def _difference(caller: str, prediction: jax.Array, target: jax.Array) -> jax.Array:
    return as_array(caller, "prediction", prediction) - as_array(caller, "target", target)
