"""The state of learning and one step of it: pure functions over a dataclass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv import parallel
from jaxconv._core.geometry.dtypes import as_array
from jaxconv._functional.planes import correlate
from jaxconv.learn.losses import sum_squared_error

Loss = Callable[..., jax.Array]  # of a prediction, a target and, where given, weights


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LearnState:
    """The values that change from step to step; a pytree.

    Attributes:
        kernel: (h, w), after the steps so far.
        bias: scalar, or None where none is learned.
        optimizer_state: the optimiser's own state for `(kernel, bias)`.
    """

    kernel: jax.Array
    bias: jax.Array | None
    optimizer_state: Any


def predict(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    mesh: Mesh | AbstractMesh | None = None,
    x_spec: PartitionSpec | None = None,
) -> jax.Array:
    """Correlate every plane of x with one kernel and add the bias.

    `y[..., i, j] = bias + sum over a, b of x[..., i + a, j + b] * kernel[a, b]`

    Args:
        x: planes (*batch, H, W).
        kernel: (h, w).
        bias: scalar, or None for none.
        mesh: for sharded planes, as in `jaxconv.parallel.conv`.
        x_spec: likewise; give one of the two, or both.

    Returns:
        Planes (*batch, H - h + 1, W - w + 1).

    Raises:
        TypeError, ValueError: as `jaxconv.correlate` or `jaxconv.parallel.conv`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import learn
        >>> print(learn.predict(jnp.array([[0.0, 1.0, 1.0]]), jnp.array([[-1.0, 1.0]]), 0.5))
        [[1.5 0.5]]

    Source: Dive into Deep Learning, section 7.2.2 (Convolutional Layers).
    """
    if mesh is None and x_spec is None:
        y = correlate(x, kernel, axes=(-2, -1))
    else:
        # one channel in, one channel out
        one = x[..., None], kernel[..., None, None]
        y = parallel.conv(*one, precision="highest", mesh=mesh, x_spec=x_spec)[..., 0]
    return y if bias is None else y + bias


def init(
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    optimizer: optax.GradientTransformation,
) -> LearnState:
    """Return the state before the first step.

    Args:
        kernel: (h, w), where learning starts.
        bias: scalar, or None to learn none.
        optimizer: any optax gradient transformation.

    Returns:
        The state that `step` takes; vmap over kernels for many starts at once.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from jaxconv import learn
        >>> state = learn.init(jnp.zeros((1, 2)), optimizer=optax.sgd(3e-2))
        >>> state.kernel.shape, state.bias
        ((1, 2), None)
    """
    kernel = as_array("init", "kernel", kernel)
    bias = None if bias is None else as_array("init", "bias", bias).astype(kernel.dtype)
    parameters: Any = (kernel, bias)
    return LearnState(kernel=kernel, bias=bias, optimizer_state=optimizer.init(parameters))


def step(
    state: LearnState,
    x: jax.Array,
    y: jax.Array,
    *,
    optimizer: optax.GradientTransformation,
    loss: Loss = sum_squared_error,
    mesh: Mesh | AbstractMesh | None = None,
    x_spec: PartitionSpec | None = None,
) -> tuple[LearnState, jax.Array]:
    """Take one step of the optimiser down the loss.

    `kernel, bias <- optimizer(gradient of loss(predict(x, kernel, bias), y))`

    Args:
        state: from `init` or from the step before.
        x: planes (*batch, H, W).
        y: planes (*batch, H - h + 1, W - w + 1).
        optimizer: the one that `init` was given. Optimisers that search along a line
            (`optax.lbfgs`) get the value, the gradient and the function.
        loss: `(prediction, target) -> scalar`.
        mesh: as in `predict`.
        x_spec: as in `predict`.

    Returns:
        The next state, and the loss before the update.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from jaxconv import learn
        >>> x, y = jnp.array([[0.0, 1.0, 1.0]]), jnp.array([[1.0, 0.0]])
        >>> sgd = optax.sgd(0.25)
        >>> state = learn.init(jnp.zeros((1, 2)), optimizer=sgd)
        >>> state, loss = learn.step(state, x, y, optimizer=sgd)
        >>> print(loss, state.kernel)
        1.0 [[0.  0.5]]

    Source: Dive into Deep Learning, section 7.2.4 (Learning a Kernel).
    """
    x, y = as_array("step", "x", x), as_array("step", "y", y)

    def value(parameters: Any) -> jax.Array:
        return loss(predict(x, *parameters, mesh=mesh, x_spec=x_spec), y)

    return descend(state, value, optimizer=optimizer)


def descend(
    state: LearnState,
    value: Callable[[Any], jax.Array],
    *,
    optimizer: optax.GradientTransformation,
) -> tuple[LearnState, jax.Array]:
    """Take one step down any function of `(kernel, bias)`; also return its value before."""
    parameters: Any = (state.kernel, state.bias)  # any pytree, as optax sees it
    before, gradient = jax.value_and_grad(value)(parameters)
    updates, optimizer_state = optax.with_extra_args_support(optimizer).update(
        gradient,
        state.optimizer_state,
        parameters,
        value=before,
        grad=gradient,
        value_fn=value,
    )
    after: Any = optax.apply_updates(parameters, updates)
    kernel, bias = after
    return LearnState(kernel=kernel, bias=bias, optimizer_state=optimizer_state), before
