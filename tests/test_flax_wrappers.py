"""Flax's `WeightNorm` and `SpectralNorm` around our layers: values and gradients by hand."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx
from flax_cases import assert_same

from jaxconv import linen, nnx

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(2, 7, 8, 4)).astype("float32")
LINEN = {
    "Conv": linen.Conv(6, (3, 3), feature_group_count=2),
    "ConvTranspose": linen.ConvTranspose(6, (3, 3), strides=2),
    "transposed kernel": linen.ConvTranspose(6, (3, 3), strides=2, transpose_kernel=True),
    "DepthwiseConv": linen.DepthwiseConv((3, 3), features_multiplier=2),
    "SeparableConv": linen.SeparableConv(6, (3, 3)),
    "ConvLocal": linen.ConvLocal(6, (3, 3), strides=2),
    "Conv2D": linen.Conv2D((2, 3)),
}


def in_nnx(name):
    rngs = flax_nnx.Rngs(0)
    return {
        "Conv": lambda: nnx.Conv(4, 6, (3, 3), feature_group_count=2, rngs=rngs),
        "ConvTranspose": lambda: nnx.ConvTranspose(4, 6, (3, 3), 2, rngs=rngs),
        "transposed kernel": lambda: nnx.ConvTranspose(
            4, 6, (3, 3), 2, transpose_kernel=True, rngs=rngs
        ),
        "DepthwiseConv": lambda: nnx.DepthwiseConv(4, (3, 3), features_multiplier=2, rngs=rngs),
        "SeparableConv": lambda: nnx.SeparableConv(4, 6, (3, 3), rngs=rngs),
        "ConvLocal": lambda: nnx.ConvLocal(4, 6, (3, 3), 2, input_size=(7, 8), rngs=rngs),
        "Conv2D": lambda: nnx.Conv2D((2, 3), rngs=rngs),
    }[name]()


def inputs(name):
    return X[0, ..., 0] if name == "Conv2D" else X


def random_like(tree):
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), tree)


def is_kernel(path):
    return path[-1].key == "kernel"


def weight_norm(kernel, scale):
    """Every output's kernel by its length, times a number of its own."""
    flat = kernel.reshape(-1, kernel.shape[-1])
    return kernel / jnp.sqrt((flat**2).sum(0)) * scale


def spectral_norm(kernel, u):
    """The kernel by its largest singular value, after one step of power iteration from u."""
    flat = kernel.reshape(-1, kernel.shape[-1])
    left = jax.lax.stop_gradient(flat @ u)
    left = left / jnp.linalg.norm(left)
    right = jax.lax.stop_gradient(left @ flat)
    right = right / jnp.linalg.norm(right)
    return kernel / (left @ flat @ right), right


def gradients(loss, *arguments):
    return jax.jit(jax.value_and_grad(loss, tuple(range(len(arguments)))))(*arguments)


@pytest.mark.parametrize("name", LINEN)
def test_weight_norm_in_linen(name):
    layer, x = LINEN[name], inputs(name)
    wrapped = flax.linen.WeightNorm(layer)
    shapes = jax.eval_shape(wrapped.init, KEY, x)["params"]
    parameters = random_like(shapes)

    def ours(parameters):
        return jnp.sum(jnp.sin(wrapped.apply({"params": parameters}, x)))

    def by_hand(parameters):
        def scaled(path, leaf):
            if not is_kernel(path):
                return leaf
            key = "/".join(["layer_instance", *(part.key for part in path), "scale"])
            scales = [v for k, v in parameters["WeightNorm_0"].items() if k == key]
            return weight_norm(leaf, scales[0])

        parameters = {"WeightNorm_0": parameters, **parameters}
        normed = jax.tree_util.tree_map_with_path(scaled, parameters["layer_instance"])
        return jnp.sum(jnp.sin(layer.apply({"params": normed}, x)))

    kernels = 2 if name == "SeparableConv" else 1
    assert len(shapes) == 1 + kernels  # the layer, and a scale for each kernel
    assert_same(gradients(ours, parameters), gradients(by_hand, parameters))


@pytest.mark.parametrize("name", LINEN)
def test_spectral_norm_in_linen(name):
    layer, x = LINEN[name], inputs(name)
    wrapped = flax.linen.SpectralNorm(layer)
    variables = jax.eval_shape(lambda key, x: wrapped.init(key, x, update_stats=False), KEY, x)
    variables = random_like(variables)

    def ours(parameters):
        y, after = wrapped.apply(
            {**variables, "params": parameters}, x, update_stats=True, mutable=["batch_stats"]
        )
        return jnp.sum(jnp.sin(y)), after["batch_stats"]

    def by_hand(parameters):
        after = {}

        def normed(path, leaf):
            if leaf.ndim < 2:  # Flax's rule, which takes the biases of ConvLocal too
                return leaf
            key = "/".join(["layer_instance", *(part.key for part in path), "u"])
            kernel, right = spectral_norm(leaf, variables["batch_stats"][key][0])
            after[key] = right[None]
            return kernel

        new = jax.tree_util.tree_map_with_path(normed, parameters["layer_instance"])
        return jnp.sum(jnp.sin(layer.apply({"params": new}, x))), after

    with jax.default_matmul_precision("highest"):
        (value, after), slopes = jax.jit(jax.value_and_grad(ours, has_aux=True))(
            variables["params"]
        )
        (want, stats), right = jax.jit(jax.value_and_grad(by_hand, has_aux=True))(
            variables["params"]
        )
    assert_same((value, slopes), (want, right))
    assert_same({key: value for key, value in after.items() if key in stats}, stats)
    assert len(after) == 2 * len(stats) == (4 if name in ("SeparableConv", "ConvLocal") else 2)


def normed_copy(layer, change):
    """The layer with its kernels changed, by their paths."""
    copy = flax_nnx.clone(layer)
    for path, parameter in flax_nnx.to_flat_state(flax_nnx.state(copy, flax_nnx.Param)):
        if path[-1] == "kernel":
            parameter[...] = change(path, parameter[...])
    return copy


@pytest.mark.cover
@pytest.mark.parametrize("name", LINEN)
@pytest.mark.parametrize("jitted", [False, True])
def test_weight_norm_in_nnx(name, jitted):
    layer, x = in_nnx(name), inputs(name)
    wrapped = flax_nnx.WeightNorm(layer, rngs=flax_nnx.Rngs(1))
    rng = np.random.default_rng(2)
    wrapped.scales = flax_nnx.data(
        {k: rng.normal(size=v.shape).astype("float32") for k, v in wrapped.scales.items()}
    )
    want = normed_copy(layer, lambda path, kernel: weight_norm(kernel, wrapped.scales[path]))
    assert len(wrapped.scales) == (2 if name == "SeparableConv" else 1)
    call = flax_nnx.jit(lambda wrapped, x: wrapped(x)) if jitted else lambda wrapped, x: wrapped(x)
    assert_same(call(wrapped, x), want(x))


@pytest.mark.cover
@pytest.mark.parametrize("name", LINEN)
@pytest.mark.parametrize("jitted", [False, True])
def test_spectral_norm_in_nnx(name, jitted):
    layer, x = in_nnx(name), inputs(name)
    wrapped = flax_nnx.SpectralNorm(layer, rngs=flax_nnx.Rngs(1))
    starts = {path: value[...] for path, value in wrapped.batch_stats.items() if path[-1] == "u"}
    with jax.default_matmul_precision("highest"):
        want = normed_copy(
            layer, lambda path, kernel: spectral_norm(kernel, starts[(*path, "u")][0])[0]
        )
        call = lambda wrapped, x: wrapped(x)
        assert_same((flax_nnx.jit(call) if jitted else call)(wrapped, x), want(x))
    changed = [
        np.abs(wrapped.batch_stats[path][...] - u).max()
        for path, u in starts.items()
        if path[-2] == "kernel"  # the biases of ConvLocal are normed too: zeros stay zeros
    ]
    assert len(changed) == (2 if name == "SeparableConv" else 1)
    assert min(changed) > 1e-3
