"""A training step and an inference of a network in Flax, as users of linen and of NNX write them.

    loss = mean((network(x) - target)^2),   parameter -= RATE * gradient

Every function takes the network's state first. A training step returns the loss, the gradients and
the new state, an inference the output.
"""

from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxconv.bench.networks.in_flax import LinenNetwork

RATE = 1e-3


def loss(y: jax.Array, target: jax.Array) -> jax.Array:
    """Mean square of the differences, in the target's dtype."""
    return jnp.mean(jnp.square(y.astype(target.dtype) - target))


def linen_training(network: LinenNetwork) -> Callable[..., Any]:
    """Return `(variables, x, target) -> (loss, gradients, variables)`."""

    def step(variables: Any, x: jax.Array, target: jax.Array) -> Any:
        def of(params: Any) -> Any:
            y, changed = network.apply({**variables, "params": params}, x, mutable=["batch_stats"])
            return loss(y, target), changed

        params = variables["params"]
        (value, changed), gradients = jax.value_and_grad(of, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, gradients)
        return value, gradients, {"params": params, **changed}

    return step


def nnx_training(graph: nnx.GraphDef) -> Callable[..., Any]:
    """Return `(state, x, target) -> (loss, gradients, state)`."""

    def step(state: Any, x: jax.Array, target: jax.Array) -> Any:
        network: Any = nnx.merge(graph, state)
        value, gradients = nnx.value_and_grad(lambda network: loss(network(x), target))(network)
        params = nnx.state(network, nnx.Param)
        nnx.update(network, jax.tree.map(lambda p, g: p - RATE * g, params, gradients))
        return value, gradients, nnx.state(network)

    return step


def linen_inference(network: LinenNetwork) -> Callable[..., Any]:
    """Return `(variables, x) -> y`."""
    return lambda variables, x: network.apply(variables, x)


def nnx_inference(graph: nnx.GraphDef) -> Callable[..., Any]:
    """Return `(state, x) -> y`."""

    def run(state: Any, x: jax.Array) -> Any:
        network: Any = nnx.merge(graph, state)
        return network(x)

    return run


def values(result: Any) -> dict[str, np.ndarray]:
    """Return a result's arrays by name: "y", or "loss" and gradients such as "conv1/kernel"."""
    if not isinstance(result, tuple):
        return {"y": np.asarray(result)}
    value, gradients, _ = result
    if isinstance(gradients, nnx.State):
        gradients = nnx.to_pure_dict(gradients)["layers"]
    flat: dict[str, Any] = flax.traverse_util.flatten_dict(gradients, sep="/")
    return {"loss": np.asarray(value)} | {name: np.asarray(g) for name, g in flat.items()}
