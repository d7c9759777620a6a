"""Layers know no mesh: where their inputs are sharded, they have one device's answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx
from jax.sharding import AxisType, NamedSharding
from sharded_cases import P, collectives, mesh_of

from jaxconv import linen, nnx

SIZE = {"input_size": (16, 8)}
# name -> Linen's sizes and arguments, and what NNX has to know too
LAYERS = {
    "Conv": ((6, (3, 3)), {"strides": 2, "feature_group_count": 2}, {}),
    "ConvTranspose": ((6, (4, 4)), {"strides": 2}, {}),
    "DepthwiseConv": (((3, 4),), {"features_multiplier": 2, "padding": "CIRCULAR"}, {}),
    "SeparableConv": ((6, (3, 3)), {"strides": (2, 1), "features_multiplier": 2}, {}),
    "ConvLocal": ((6, (3, 3)), {"padding": 1, "padding_mode": "reflect"}, SIZE),
    "ConvLocal in groups": ((6, (3, 3)), {"strides": 2, "feature_group_count": 2}, SIZE),
}
PLACES = {
    "batch": P("a"),
    "rows": P(None, "a"),
    "rows and columns": P(None, "a", "b"),
    "batch and rows": P("b", "a"),
    "batch and channels": P("a", None, None, "b"),
}
X = np.random.default_rng(0).integers(-3, 4, (4, 16, 8, 4)).astype("f4")


def whole(tree):
    """Small whole numbers in the place of parameters: their sums are exact in float32."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.integers(-3, 4, leaf.shape).astype("f4"), tree)


def in_linen(name):
    sizes, arguments, _ = LAYERS[name]
    layer = getattr(linen, name.split()[0])(*sizes, **arguments)
    return layer.apply, whole(jax.eval_shape(layer.init, jax.random.key(0), X))


def in_nnx(name):
    sizes, arguments, more = LAYERS[name]
    make = getattr(nnx, name.split()[0])
    layer = make(4, *sizes, **arguments, **more, rngs=flax_nnx.Rngs(0))
    graph, state = flax_nnx.split(layer)
    return lambda state, x: flax_nnx.merge(graph, state)(x), whole(state)


def stepped(apply):
    """Value, and the gradients of parameters and inputs for a cotangent of whole numbers."""

    def step(parameters, x):
        y, pull = jax.vjp(apply, parameters, x)
        cotangent = jnp.round(3 * jnp.sin(jnp.arange(y.size, dtype="f4"))).reshape(y.shape)
        return y, pull(cotangent + 0 * y)  # placed as y is

    return step


@pytest.mark.cover
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("face", [in_linen, in_nnx])
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_sharded_inputs(name, face, kind):
    apply, parameters = face(name)
    step = stepped(apply)
    want = jax.tree.leaves(jax.jit(step)(parameters, X))
    mesh = mesh_of(kind)
    with jax.set_mesh(mesh):
        placed = jax.device_put(parameters, NamedSharding(mesh, P()))
        for place, spec in PLACES.items():
            x = jax.device_put(X, NamedSharding(mesh, spec))
            found = jax.tree.leaves(jax.jit(step)(placed, x))
            for actual, right in zip(found, want, strict=True):
                np.testing.assert_array_equal(np.asarray(actual), right, err_msg=place)


@pytest.mark.cover
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_sharded_inputs_without_jit(name, kind):
    apply, parameters = in_linen(name)
    want = jax.jit(apply)(parameters, X)
    mesh = mesh_of(kind)
    with jax.set_mesh(mesh):
        x = jax.device_put(X, NamedSharding(mesh, PLACES["batch and rows"]))
        found = apply(jax.device_put(parameters, NamedSharding(mesh, P())), x)
        np.testing.assert_array_equal(np.asarray(found), want)


@pytest.mark.parametrize("name", ["ConvLocal", "ConvLocal in groups"])
def test_local_layers_send_halos_alone(name):
    """Every device multiplies its own windows, and keeps its part of the result."""
    apply, parameters = in_linen(name)
    mesh = mesh_of()
    placed = jax.device_put(parameters, NamedSharding(mesh, P()))
    for spec in (PLACES["batch"], PLACES["batch and rows"]):
        x = jax.device_put(X, NamedSharding(mesh, spec))
        program = jax.jit(apply).lower(placed, x).compile()
        assert set(collectives(program.as_text())) <= {"collective-permute"}
        assert program.output_shardings.spec == spec
