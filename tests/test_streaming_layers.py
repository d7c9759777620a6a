"""Layers that keep the state of a sequence, in Linen and NNX: the whole, pieces, Flax's layers."""

import itertools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx
from streaming_cases import integers

from jaxconv import causal_conv1d, linen, nnx

KEY = jax.random.key(0)
X = integers(2, 9, 4)
# (name, features, kernel_size), other arguments
LAYERS = {
    "causal": (("CausalConv1D", 6, 3), {}),
    "strided, dilated, grouped": (
        ("CausalConv1D", 6, (3,)),
        {"strides": 2, "kernel_dilation": 2, "feature_group_count": 2},
    ),
    "depthwise": (("CausalConv1D", 4, 4), {"feature_group_count": 4, "use_bias": False}),
    "transposed": (("CausalConvTranspose1D", 6, 5), {"strides": 2}),
    "transposed, grouped, as jaxconv": (
        ("CausalConvTranspose1D", 6, 3),
        {"strides": 2, "kernel_dilation": 2, "feature_group_count": 2, "transpose_kernel": True},
    ),
    "transposed, wide": (("CausalConvTranspose1D", 3, 2), {"strides": 4}),
}
PIECES = ([0, 1, 2, 5, 9], [0, 4, 4, 9], [*range(10)])


def whole_numbers(tree):
    """Parameters of small integers, so that comparisons can be exact."""
    leaves, structure = jax.tree.flatten(tree)
    found = [integers(*leaf.shape, seed=n).astype(leaf.dtype) for n, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, found)


def linen_layer(name, **more):
    (kind, features, size), arguments = LAYERS[name]
    return getattr(linen, kind)(features, size, **arguments, **more)


def linen_variables(name):
    shapes = jax.eval_shape(linen_layer(name).init, KEY, X)
    return whole_numbers(shapes)


def nnx_layer(name, **more):
    (kind, features, size), arguments = LAYERS[name]
    layer = getattr(nnx, kind)(4, features, size, **arguments, rngs=flax_nnx.Rngs(0), **more)
    flax_nnx.update(layer, whole_numbers(flax_nnx.state(layer, flax_nnx.Param)))
    return layer


def cut(ends):
    return [X[:, start:end] for start, end in itertools.pairwise(ends)]


@pytest.mark.cover
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("ends", PIECES, ids=str)
def test_linen_in_pieces(name, ends):
    whole = linen_layer(name).apply(linen_variables(name), X)
    layer = linen_layer(name, decode=True)
    start = {"cache": layer.init(KEY, X)["cache"]}
    run = jax.jit(lambda variables, x: layer.apply(variables, x, mutable=["cache"]))
    for _ in range(2):  # the first cache begins another sequence
        cache, outputs = start, []
        for piece in cut(ends):
            y, cache = run(linen_variables(name) | cache, piece)
            outputs.append(y)
        np.testing.assert_array_equal(jnp.concatenate(outputs, 1), whole)


@pytest.mark.cover
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("ends", PIECES, ids=str)
def test_nnx_in_pieces(name, ends):
    layer = nnx_layer(name)
    whole = layer(X)
    layer.decode = True
    run = flax_nnx.jit(lambda layer, x: layer(x))
    for _ in range(2):
        layer.init_cache(X.shape)
        outputs = [run(layer, piece) for piece in cut(ends)]
        np.testing.assert_array_equal(jnp.concatenate(outputs, 1), whole)
    np.testing.assert_array_equal(layer(X, decode=False), whole)


@pytest.mark.parametrize("name", [name for name in LAYERS if "grouped, as" not in name])
def test_parameters_and_outputs_are_those_of_flax(name):
    (kind, features, size), arguments = LAYERS[name]
    flax_kind, padding = ("ConvTranspose", "VALID") if "Trans" in kind else ("Conv", "CAUSAL")
    size = size if isinstance(size, tuple) else (size,)
    arguments = {key: (value,) if key == "strides" else value for key, value in arguments.items()}
    layer = getattr(flax.linen, flax_kind)(features, size, padding=padding, **arguments)
    assert jax.eval_shape(layer.init, KEY, X) == jax.eval_shape(linen_layer(name).init, KEY, X)
    variables = linen_variables(name)
    y = linen_layer(name).apply(variables, X)
    np.testing.assert_array_equal(y, layer.apply(variables, X)[:, : y.shape[1]])
    inputs = (4, features, size)
    theirs = getattr(flax_nnx, flax_kind)(
        *inputs, padding=padding, **arguments, rngs=flax_nnx.Rngs(0)
    )
    fresh = getattr(nnx, kind)(*inputs, **arguments, rngs=flax_nnx.Rngs(0))
    states = [flax_nnx.to_pure_dict(flax_nnx.state(layer)) for layer in (fresh, theirs)]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_both_have_the_same_answers():
    for name in LAYERS:
        layer, variables = nnx_layer(name), linen_variables(name)
        for part, value in variables["params"].items():
            getattr(layer, part)[...] = value
        np.testing.assert_array_equal(layer(X), linen_layer(name).apply(variables, X))


def test_prefill_of_ragged_rows_and_packed_segments():
    layer = nnx_layer("causal", decode=True)
    kernel, bias = layer.kernel[...], layer.bias[...]
    layer.init_cache(X.shape)
    layer(X, lengths=np.array([2, 5]))
    y = layer(X[:, :1])
    want, state = causal_conv1d(X, kernel, bias, lengths=np.array([2, 5]))
    np.testing.assert_array_equal(y, causal_conv1d(X[:, :1], kernel, bias, state=state)[0])
    ids = np.tile(np.arange(9) // 4, (2, 1))
    want, _ = causal_conv1d(X, kernel, bias, segment_ids=ids)
    np.testing.assert_array_equal(layer(X, segment_ids=ids, decode=False), want)
    variables = {"params": {"kernel": kernel, "bias": bias}}
    found = linen_layer("causal").apply(variables, X, segment_ids=ids)
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_the_cache_has_the_dtype_of_the_computation(dtype):
    layer = linen_layer("causal", decode=True, dtype=dtype)
    variables = jax.eval_shape(layer.init, KEY, X)
    dtype = dtype or "float32"
    assert variables["cache"]["cached_inputs"].dtype == dtype
    layer = nnx_layer("causal", decode=True, dtype=dtype)
    layer.init_cache(X.shape)
    assert layer.cached_inputs.dtype == dtype
    assert layer(X).dtype == layer.cached_inputs.dtype


def test_numerics_reach_the_function():
    arguments = {"method": "loops", "precision": "highest", "preferred_element_type": "float32"}
    for name in ("causal", "transposed"):
        more = {"dtype": "bfloat16", **arguments}
        text = str(jax.make_jaxpr(nnx_layer(name, **more))(X))
        assert all(part in text for part in ("method=loops", "HIGHEST", "f32[2,"))
        layer = linen_layer(name, mask=np.zeros(np.shape(nnx_layer(name).kernel[...])))
        variables = linen_variables(name)
        y = layer.apply(variables, X)
        np.testing.assert_array_equal(y, np.broadcast_to(variables["params"]["bias"], y.shape))


def test_attributes_of_a_whole_model():
    model = flax_nnx.Sequential(nnx_layer("causal"), jnp.tanh)
    model.set_attributes(decode=True)
    model.layers[0].init_cache(X.shape)
    assert jax.tree.map(
        jnp.shape, flax_nnx.to_pure_dict(flax_nnx.state(model, flax_nnx.Cache))
    ) == {"layers": {0: {"cached_inputs": (2, 2, 4)}}}
    assert model(X[:, :1]).shape == (2, 1, 6)


MISTAKES = {
    "CausalConv1D: kernel_size=(3, 3) has 2 entries for 1 spatial dimension; give one integer": (
        lambda: nnx.CausalConv1D(4, 6, (3, 3), rngs=flax_nnx.Rngs(0))
    ),
    "CausalConv1D: strides=0 must be at least 1": (
        lambda: linen.CausalConv1D(6, 3, strides=0).init(KEY, X)
    ),
    "CausalConvTranspose1D: inputs.shape=(4,) must be (*batch, time, channels)": (
        lambda: linen.CausalConvTranspose1D(6, 3).init(KEY, X[0, 0])
    ),
    "CausalConv1D: inputs.shape=(2, 9, 8) must have 4 channels (feature_group_count=1)": (
        lambda: nnx_layer("causal")(np.ones((2, 9, 8), "float32"))
    ),
    "CausalConv1D: decode=True needs a cache; make it: layer.init_cache((2, 9, 4), jnp.float32)": (
        lambda: nnx_layer("causal")(X, decode=True)
    ),
    "CausalConv1D: the cache is of shape (2, 2, 4) and float32, but inputs.shape=(1, 9, 4) in "
    'float32 need (1, 2, 4); to begin a sequence, take the "cache" that layer.init makes for such '
    "inputs": (
        lambda: linen_layer("causal", decode=True).apply(
            linen_layer("causal", decode=True).init(KEY, X), X[:1], mutable=["cache"]
        )
    ),
    "CausalConvTranspose1D: the cache is of shape (2, 2, 4) and bfloat16, but inputs.shape="
    "(2, 9, 4) in float32 need (2, 2, 4); to begin a sequence, layer.init_cache((2, 9, 4), "
    "jnp.float32)": lambda: cached_in_half()(X),
}


def cached_in_half():
    layer = nnx_layer("transposed", decode=True)
    layer.init_cache(X.shape, jnp.bfloat16)
    return layer


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_told(message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        MISTAKES[message]()
    assert str(error.value) == message
