"""How far a prediction is from its target: functions `(prediction, target) -> scalar`.

Any function of this signature is a loss for `fit_kernel`; these two are the usual ones.
"""

import jax
import jax.numpy as jnp


def sum_squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Sum the squared differences, the loss of the edge detection example.

    `sum over t of (prediction[t] - target[t]) ** 2`

    Args:
        prediction: any shape, in the target's units.
        target: the same shape.

    Returns:
        A scalar, in squared units of the target; it grows with the number of positions.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import losses
        >>> print(losses.sum_squared_error(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0])))
        5.0

    Source: Dive into Deep Learning, section 7.2.4 (Learning a Kernel).
    """
    return jnp.sum(jnp.square(prediction - target))


def mean_squared_error(prediction: jax.Array, target: jax.Array) -> jax.Array:
    """Average the squared differences, so that one learning rate serves images of any size.

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
    return jnp.mean(jnp.square(prediction - target))
