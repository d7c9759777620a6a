"""LeNet as pure functions, on one device or on a mesh, for the examples with meshes.

Images are sharded over the mesh axes "data" (the batch) and "rows" (their height). The first dense
layer, with nine tenths of the weights, is sharded over "rows", as its input features are, and so is
its momentum; all other parameters are on every device.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _digits import BATCH, batches
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxconv
from jaxconv import parallel
from jaxconv.learn import program_digest

P = PartitionSpec
IMAGES = P("data", "rows")  # (batch, height, width, channels)
OPTIMIZER = optax.sgd(0.05, momentum=0.9)
SIZES = {
    "conv1": (5, 5, 1, 6),
    "conv2": (5, 5, 6, 16),
    "dense1": (256, 120),
    "dense2": (120, 84),
    "dense3": (84, 10),
}


def initial(seed: int = 0) -> Any:
    """Return random parameters, their momentum, and the number of steps."""
    rng = np.random.default_rng(seed)
    params = {
        name: {
            "kernel": jnp.asarray(rng.normal(size=shape) / np.prod(shape[:-1]) ** 0.5, jnp.float32),
            "bias": jnp.zeros(shape[-1:], jnp.float32),
        }
        for name, shape in SIZES.items()
    }
    return {"params": params, "momentum": OPTIMIZER.init(params), "steps": jnp.int32(0)}


def logits(params: Any, x: jax.Array, conv: Callable[..., jax.Array]) -> jax.Array:
    """(batch, 16, 16, 1) -> (batch, 10)."""
    for name in ("conv1", "conv2"):
        layer = params[name]
        x = jnp.tanh(conv(x, layer["kernel"], layer["bias"], padding=2))
        n, height, width, channels = x.shape
        # (n, h, w, c) -> (n, h / 2, 2, w / 2, 2, c): the average of 2 x 2
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    x = x.reshape(len(x), -1)  # (batch, 4, 4, 16) -> (batch, 256)
    for name in ("dense1", "dense2"):
        x = jnp.tanh(x @ params[name]["kernel"] + params[name]["bias"])
    return x @ params["dense3"]["kernel"] + params["dense3"]["bias"]


def step_on(mesh: Mesh | None) -> Callable[..., tuple[Any, jax.Array]]:
    """Return a training step: `(state, images, labels, order) -> (state, loss)`."""
    if mesh is None:
        conv, shard = jaxconv.conv, lambda array, spec: array
    else:
        conv = partial(parallel.conv, mesh=mesh, x_spec=IMAGES)
        shard = lambda array, spec: jax.lax.with_sharding_constraint(
            array, NamedSharding(mesh, spec)
        )

    def loss_of(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        scores = logits(params, x, conv)
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

    def step(state: Any, images: jax.Array, labels: jax.Array, order: jax.Array) -> Any:
        batch = order[state["steps"]]
        x, y = shard(images[batch], IMAGES), shard(labels[batch], P("data"))
        loss, gradient = jax.value_and_grad(loss_of)(state["params"], x, y)
        updates, momentum = OPTIMIZER.update(gradient, state["momentum"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return {"params": params, "momentum": momentum, "steps": state["steps"] + 1}, loss

    return step


def shardings(state: Any, mesh: Mesh) -> Any:
    """Return the sharding of every array of a state."""

    def of(path: Any, leaf: jax.Array) -> NamedSharding:
        sharded = "dense1" in jax.tree_util.keystr(path) and leaf.ndim == 2
        return NamedSharding(mesh, P("rows") if sharded else P())

    return jax.tree_util.tree_map_with_path(of, state)


def put(array: Any, sharding: NamedSharding) -> jax.Array:
    """Shard an array that every process has; `jax.device_put` would compare it between "
    "processes."""
    return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])


def training(mesh: Mesh | None, x: np.ndarray, y: np.ndarray, epochs: int) -> dict[str, Any]:
    """Return the arguments of `jaxconv.learn.run_segments` for a training run on the mesh."""
    order = batches(len(x), epochs).reshape(-1, BATCH).astype(np.int32)
    state, data = initial(), (x, y, order)
    program = program_digest(step_on(None), state, *data)
    if mesh is not None:
        state = jax.tree.map(put, state, shardings(state, mesh))
        data = tuple(put(array, NamedSharding(mesh, P())) for array in data)
    else:
        data = tuple(map(jnp.asarray, data))
    return {"step": step_on(mesh), "state": state, "data": data, "program": program}


def accuracy(params: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of digits that are recognised, on one device."""
    found = logits(jax.tree.map(np.asarray, params), jnp.asarray(x), jaxconv.conv)
    return float((np.asarray(found).argmax(axis=1) == y).mean())
