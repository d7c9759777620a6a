"""`DepthwiseConv` and `SeparableConv` beside loops, grouped and dense layers, and Keras."""

import itertools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx
from flax_cases import HIGHEST, IMAGE, assert_same, outcomes

import jaxconv
from jaxconv import linen, nnx

KEY = jax.random.key(0)
SIGNAL = (2, 9, 4)
# inputs, kernel size and the arguments that all layers share
CASES = {
    "defaults": (IMAGE, (3, 3), {}),
    "multiplied": (IMAGE, (3, 3), {"features_multiplier": 3}),
    "strided": (IMAGE, (4, 3), {"strides": (2, 1), "padding": ((1, 2), (0, 1))}),
    "dilated": (IMAGE, (2, 3), {"kernel_dilation": (2, 1), "padding": "VALID"}),
    "input dilation": (IMAGE, (3, 2), {"input_dilation": (2, 1), "padding": 1}),
    "circular": (IMAGE, (3, 3), {"padding": "CIRCULAR", "features_multiplier": 2}),
    "symmetric": (IMAGE, (3, 3), {"padding": "same", "padding_mode": "symmetric"}),
    "causal": (SIGNAL, 3, {"padding": "CAUSAL", "features_multiplier": 2}),
    "one image": (IMAGE[1:], (3, 3), {"strides": None}),
    "volume": ((1, 4, 5, 4, 2), (2, 3, 1), {"strides": (1, 2, 1), "features_multiplier": 2}),
    "no bias": (IMAGE, (3, 3), {"use_bias": False}),
}
FLAX_LACKS = {"features_multiplier", "padding_mode"}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def random_like(tree):
    return jax.tree.map(lambda leaf: numbers(*leaf.shape, seed=leaf.size), tree)


def pure(layer):
    """An NNX layer as a function of its parameters, and random ones."""
    graph, state, rest = flax_nnx.split(layer, flax_nnx.Param, ...)

    def apply(parameters, x):
        new = jax.tree.map(lambda leaf: leaf, state)
        flax_nnx.replace_by_pure_dict(new, parameters)
        return flax_nnx.merge(graph, new, rest)(x)

    return apply, random_like(flax_nnx.to_pure_dict(state))


def both(name, case, features=5, **more):
    """(apply, parameters) of the layer in Linen and in NNX, and its inputs."""
    shape, kernel_size, arguments = CASES[case]
    arguments = {"precision": HIGHEST, **arguments, **more}
    sizes = (features,) if name == "SeparableConv" else ()
    layer = getattr(linen, name)(*sizes, kernel_size, **arguments)
    other = getattr(nnx, name)(shape[-1], *sizes, kernel_size, rngs=flax_nnx.Rngs(0), **arguments)
    x = numbers(*shape)
    shapes = jax.eval_shape(layer.init, KEY, x)["params"]
    apply, parameters = pure(other)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, parameters)
    return (lambda parameters, x: layer.apply({"params": parameters}, x), apply), parameters, x


def grouped(case):
    """Our `Conv` with one group a channel: for what Flax has, Flax's."""
    shape, kernel_size, arguments = CASES[case]
    multiplier = arguments.get("features_multiplier", 1)
    rest = {k: v for k, v in arguments.items() if k != "features_multiplier"}
    face = linen if FLAX_LACKS & set(rest) else flax.linen
    features, groups = shape[-1] * multiplier, shape[-1]
    layer = face.Conv(features, kernel_size, precision=HIGHEST, feature_group_count=groups, **rest)
    return lambda parameters, x: layer.apply({"params": parameters}, x)


@pytest.mark.parametrize("case", CASES)
def test_depthwise_is_a_layer_with_a_group_a_channel(case):
    ours, parameters, x = both("DepthwiseConv", case)
    first, second, want = outcomes((*ours, grouped(case)), parameters, x)
    assert_same(first, want)
    assert_same(second, want)


@pytest.mark.parametrize("case", CASES)
def test_separable_is_a_dense_layer_with_the_product_of_its_kernels(case):
    """sum over j of depthwise[k, 0, c m + j] pointwise[c m + j, o]: a kernel of `jaxconv.conv`."""
    ours, parameters, x = both("SeparableConv", case)
    shape, kernel_size, arguments = CASES[case]
    rest = {k: v for k, v in arguments.items() if k != "features_multiplier"}
    dense = linen.Conv(5, kernel_size, precision=HIGHEST, **rest)

    def product(parameters, x):
        depthwise, pointwise = parameters["depthwise"]["kernel"], parameters["pointwise"]["kernel"]
        # (*kernel, 1, channels m) -> (*kernel, channels, m); (1, ..., channels m, out) likewise
        depthwise = depthwise.reshape(*depthwise.shape[:-2], shape[-1], -1)
        pointwise = pointwise.reshape(shape[-1], -1, 5)
        kernel = jnp.einsum("...cm,cmo->...co", depthwise, pointwise, precision=HIGHEST)
        bias = {"bias": parameters["pointwise"]["bias"]} if rest.get("use_bias", True) else {}
        return dense.apply({"params": {"kernel": kernel, **bias}}, x)

    first, second, want = outcomes((*ours, product), parameters, x)
    assert_same(first, want)
    assert_same(second, want)


def test_depthwise_beside_loops():
    (ours, _), parameters, x = both("DepthwiseConv", "multiplied")
    kernel, bias = parameters["kernel"], parameters["bias"]
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    want = np.zeros((*x.shape[:3], 12), "float32")
    for row, column, c, j in itertools.product(range(7), range(8), range(4), range(3)):
        window = padded[:, row : row + 3, column : column + 3, c]
        products = window * kernel[:, :, 0, 3 * c + j]
        want[:, row, column, 3 * c + j] = products.sum((1, 2)) + bias[3 * c + j]
    assert_same(ours(parameters, x), want)


def test_separable_beside_loops():
    (ours, _), parameters, x = both("SeparableConv", "strided")
    depthwise, pointwise = (parameters[name]["kernel"] for name in ("depthwise", "pointwise"))
    padded = np.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)])
    want = np.zeros((2, 4, 7, 5), "float32")
    for row, column in itertools.product(range(4), range(7)):
        window = padded[:, 2 * row : 2 * row + 4, column : column + 3]
        each = (window * depthwise[:, :, 0]).sum((1, 2))  # (batch, channels)
        want[:, row, column] = each @ pointwise[0, 0] + parameters["pointwise"]["bias"]
    assert_same(ours(parameters, x), want)


@pytest.fixture
def keras(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    keras = pytest.importorskip("keras", reason="keras is not installed")
    with jax.numpy_dtype_promotion("standard"), jax.default_matmul_precision("highest"):
        yield keras


def weights(layer, shape):
    """Of a layer of Keras, random ones."""
    layer.build(shape)
    for variable in layer.weights:
        variable.assign(numbers(*variable.shape, seed=variable.shape[-1]))
    return [variable.value for variable in layer.weights]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_beside_keras(keras, stride, padding):
    """Its depthwise kernels are (*kernel, channels, m): the same numbers in the same order."""
    x = numbers(*IMAGE)
    options = {"strides": stride, "padding": padding}
    theirs = keras.layers.DepthwiseConv2D((3, 4), depth_multiplier=2, **options)
    kernel, bias = weights(theirs, x.shape)
    ours = linen.DepthwiseConv((3, 4), features_multiplier=2, precision=HIGHEST, **options)
    parameters = {"kernel": kernel.reshape(3, 4, 1, 8), "bias": bias}
    assert_same(ours.apply({"params": parameters}, x), theirs(x))

    theirs = keras.layers.SeparableConv2D(5, (3, 4), depth_multiplier=2, **options)
    depthwise, pointwise, bias = weights(theirs, x.shape)
    ours = linen.SeparableConv(5, (3, 4), features_multiplier=2, precision=HIGHEST, **options)
    parameters = {
        "depthwise": {"kernel": depthwise.reshape(3, 4, 1, 8)},
        "pointwise": {"kernel": pointwise, "bias": bias},
    }
    assert_same(ours.apply({"params": parameters}, x), theirs(x))


def test_kernels_begin_on_the_scale_of_their_windows():
    """Variance 1 / (products in a sum), of thousands of numbers."""
    layer = nnx.SeparableConv(500, 600, (5, 4), features_multiplier=2, rngs=flax_nnx.Rngs(0))
    for kernel, products in ((layer.depthwise.kernel, 20), (layer.pointwise.kernel, 1000)):
        assert abs(float(kernel.var()) * products - 1) < 0.05
    assert not np.array_equal(
        layer.depthwise.kernel[0, 0, 0, :600], layer.pointwise.kernel[0, 0, 0]
    )


def test_mask_and_metadata():
    mask = (np.arange(36).reshape(3, 3, 1, 4) % 3 > 0).astype("float32")
    for name in ("defaults", "no bias"):
        ours, parameters, x = both("DepthwiseConv", name, mask=mask)
        masked = {**parameters, "kernel": parameters["kernel"] * mask}
        for apply in ours:
            assert_same(apply(parameters, x), grouped(name)(masked, x))
    metadata = {"kernel_metadata": {"role": "filter"}, "bias_metadata": {"role": "offset"}}
    layer = nnx.SeparableConv(4, 3, (3, 3), rngs=flax_nnx.Rngs(0), **metadata)
    assert layer.depthwise.kernel.role == layer.pointwise.kernel.role == "filter"
    assert layer.pointwise.bias.role == "offset"
    assert nnx.DepthwiseConv(4, 3, rngs=flax_nnx.Rngs(0), **metadata).bias.role == "offset"


@pytest.mark.parametrize("name", ["DepthwiseConv", "SeparableConv"])
def test_method_and_dtypes_reach_the_convolutions(name):
    more = {"method": "loops", "dtype": jnp.bfloat16, "preferred_element_type": jnp.float32}
    ours, parameters, x = both(name, "strided", **more)
    for apply in ours:
        assert jax.eval_shape(apply, parameters, x).dtype == jnp.float32
        text = str(jax.make_jaxpr(apply)(parameters, x))
        assert text.count("method=loops") == (1 if name == "DepthwiseConv" else 2)
        assert "bf16" in text


@pytest.mark.parametrize("name", ["DepthwiseConv", "SeparableConv"])
def test_split_merge_and_jit(name):
    sizes = (4,) if name == "DepthwiseConv" else (4, 3)
    options = {"strides": [2, 1], "padding": [(1, 0), (2, 1)], "precision": HIGHEST}
    layer = getattr(nnx, name)(*sizes, [3, 2], **options, rngs=flax_nnx.Rngs(0))
    x = numbers(*IMAGE)
    graph, state = flax_nnx.split(layer)
    assert hash(graph) == hash(flax_nnx.graphdef(layer))
    assert_same(flax_nnx.merge(graph, state)(x), layer(x))
    assert_same(flax_nnx.jit(lambda layer, x: layer(x))(layer, x), layer(x))


MISTAKES = [
    (
        lambda face: face("DepthwiseConv", (3, 3), features_multiplier=0),
        "DepthwiseConv: features_multiplier=0 must be at least 1",
    ),
    (
        lambda face: face("SeparableConv", 8, (3, 3), features_multiplier=0),
        "SeparableConv: features_multiplier=0 must be at least 1",
    ),
    (
        lambda face: face("SeparableConv", 0, (3, 3)),
        "SeparableConv: 0 channels out must be at least 1",
    ),
    (
        lambda face: face("SeparableConv", 8, (3, 3), strides=(1, 2, 3)),
        "SeparableConv: strides=(1, 2, 3) has 3 entries for 2 spatial dimensions; give one "
        "integer, or 2",
    ),
    (
        lambda face: face("SeparableConv", 8, (3, 0)),
        "SeparableConv: kernel_size=(3, 0) must be at least 1 in every dimension",
    ),
    (
        lambda face: face("SeparableConv", 8, 3),
        "SeparableConv: kernel_size=3 is ambiguous for inputs.shape=(2, 7, 8, 4); give "
        "kernel_size=(3, 3), or (3,) for a one-dimensional kernel",
    ),
    (
        lambda face: face("DepthwiseConv", (3, 3), mask=np.ones((3, 3))),
        "DepthwiseConv: mask.shape=(3, 3) must be the kernel's shape (3, 3, 1, 4)",
    ),
    (
        lambda face: face("DepthwiseConv", (3, 3), padding="CIRCULAR", padding_mode="reflect"),
        "DepthwiseConv: padding='CIRCULAR' and padding_mode='reflect' are different modes; give "
        "only one, or padding='same' with padding_mode='reflect'",
    ),
]


def in_linen(name, *sizes, **arguments):
    layer = getattr(linen, name)(*sizes, **arguments)
    jax.eval_shape(layer.init, KEY, numbers(*IMAGE))


def in_nnx(name, *sizes, **arguments):
    getattr(nnx, name)(4, *sizes, rngs=flax_nnx.Rngs(0), **arguments)(numbers(*IMAGE))


@pytest.mark.parametrize("face", [in_linen, in_nnx])
@pytest.mark.parametrize(("call", "message"), MISTAKES, ids=lambda value: None)
def test_mistakes_are_told(face, call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        call(face)
    assert str(error.value) == message


def test_no_channels_and_no_integer():
    with pytest.raises(ValueError, match=r"^DepthwiseConv: 0 channels in must be at least 1$"):
        nnx.DepthwiseConv(0, 3, rngs=flax_nnx.Rngs(0))
    with pytest.raises(TypeError) as error:
        nnx.DepthwiseConv(4, 3, features_multiplier=1.5, rngs=flax_nnx.Rngs(0))
    message = "DepthwiseConv: features_multiplier=1.5 must be an integer, not float"
    assert str(error.value) == message


def test_the_state_of_a_grouped_layer_of_flax_loads():
    theirs = flax_nnx.Conv(4, 8, (3, 3), feature_group_count=4, rngs=flax_nnx.Rngs(1))
    ours = nnx.DepthwiseConv(4, (3, 3), features_multiplier=2, rngs=flax_nnx.Rngs(0))
    flax_nnx.update(ours, flax_nnx.state(theirs))
    x = numbers(*IMAGE)
    assert_same(ours(x), theirs(x))
    want = jaxconv.conv(x, ours.kernel[...], ours.bias[...], padding="same", groups=4)
    assert_same(ours(x), want)
