"""What docs/layers.md says to those who come from Equinox, Keras and Haiku."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax_cases import HIGHEST, assert_same

import jaxconv
from jaxconv import linen

KEY = jax.random.key(0)


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(autouse=True)
def others_promotion_and_our_precision():
    with jax.numpy_dtype_promotion("standard"), jax.default_matmul_precision("highest"):
        yield


def assert_accelerated(apply, parameters, x):
    """The one line: the same values and gradients, and no convolution of lax is left."""

    def step(apply):
        loss = lambda parameters, x: jnp.sum(jnp.sin(apply(parameters, x)))
        return jax.value_and_grad(loss, (0, 1))

    fast = jaxconv.accelerate(apply)
    assert_same(jax.jit(fast)(parameters, x), jax.jit(apply)(parameters, x))
    want = jax.jit(step(apply))(parameters, x)
    for found in (step(fast), jaxconv.accelerate(step(apply))):
        assert_same(jax.jit(found)(parameters, x), want)
        text = str(jax.make_jaxpr(found)(parameters, x))
        assert "conv_general_dilated[" not in text
        assert " conv[" in text


def kind(name):
    """Without its rank."""
    return re.sub(r"\dD?", "", name)


EQUINOX = {
    "1d": (eqx.nn.Conv1d, (3, 9), (4, 3), {"stride": 2, "padding": "SAME"}),
    "2d": (eqx.nn.Conv2d, (4, 7, 8), (6, (3, 2)), {"groups": 2, "dilation": (1, 2), "padding": 1}),
    "3d": (eqx.nn.Conv3d, (2, 4, 5, 4), (3, 2), {"padding": ((1, 0), (0, 1), (1, 1))}),
    "reflect": (eqx.nn.Conv2d, (4, 7, 8), (3, 3), {"padding": 1, "padding_mode": "REFLECT"}),
    "replicate": (eqx.nn.Conv2d, (4, 7, 8), (3, 3), {"padding": 1, "padding_mode": "REPLICATE"}),
    "circular": (eqx.nn.Conv2d, (4, 7, 8), (3, 3), {"padding": 1, "padding_mode": "CIRCULAR"}),
    "transposed": (
        eqx.nn.ConvTranspose2d,
        (4, 5, 6),
        (3, (4, 3)),
        {"stride": 2, "padding": 1, "output_padding": (0, 1)},
    ),
    "transposed groups": (
        eqx.nn.ConvTranspose1d,
        (4, 6),
        (6, 3),
        {"stride": 3, "groups": 2, "output_padding": 2, "dilation": 2},
    ),
    "transposed circular": (
        eqx.nn.ConvTranspose1d,
        (4, 6),
        (2, 3),
        {"padding": "SAME", "padding_mode": "CIRCULAR"},
    ),
}


@pytest.mark.cover(name=kind)
@pytest.mark.parametrize("name", EQUINOX)
def test_equinox_by_one_line(name):
    make, shape, sizes, arguments = EQUINOX[name]
    parameters, static = eqx.partition(make(shape[0], *sizes, **arguments, key=KEY), eqx.is_array)
    apply = lambda parameters, x: jax.vmap(eqx.combine(parameters, static))(x)
    assert_accelerated(apply, parameters, numbers(2, *shape))


@pytest.mark.parametrize("name", ["1d", "2d", "3d", "reflect", "replicate", "circular"])
def test_weights_of_equinox_turn_into_a_kernel(name):
    make, shape, sizes, arguments = EQUINOX[name]
    theirs, x = make(shape[0], *sizes, **arguments, key=KEY), numbers(*shape)
    kernel, bias = jnp.moveaxis(theirs.weight, (0, 1), (-1, -2)), theirs.bias.ravel()
    renamed = {"stride": "strides", "dilation": "kernel_dilation", "groups": "feature_group_count"}
    rest = {renamed.get(k, k): v for k, v in arguments.items()}
    if "padding_mode" in rest:
        rest["padding_mode"] = rest["padding_mode"].lower()
    size = sizes[1] if np.ndim(sizes[1]) else (sizes[1],) * (len(shape) - 1)
    ours = linen.Conv(sizes[0], size, precision=HIGHEST, **rest)
    y = ours.apply({"params": {"kernel": kernel, "bias": bias}}, jnp.moveaxis(x, 0, -1))
    assert_same(jnp.moveaxis(y, -1, 0), theirs(x))


@pytest.mark.parametrize("name", ["transposed", "transposed groups"])
def test_transposed_weights_of_equinox_turn_into_a_kernel(name):
    make, shape, sizes, arguments = EQUINOX[name]
    theirs, x = make(shape[0], *sizes, **arguments, key=KEY), numbers(*shape)
    kernel, bias = jnp.moveaxis(theirs.weight, (0, 1), (-1, -2)), theirs.bias.ravel()
    renamed = {"stride": "strides", "dilation": "kernel_dilation", "groups": "feature_group_count"}
    rest = {"padding": 0} | {renamed.get(k, k): v for k, v in arguments.items()}
    ours = linen.ConvTranspose(
        sizes[0], sizes[1], precision=HIGHEST, use_consistent_padding=True, **rest
    )
    y = ours.apply({"params": {"kernel": kernel, "bias": bias}}, jnp.moveaxis(x, 0, -1))
    assert_same(jnp.moveaxis(y, -1, 0), theirs(x))


@pytest.fixture
def keras(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return pytest.importorskip("keras", reason="keras is not installed")


KERAS = {
    "Conv1D": ((9, 3), (4, 3), {"padding": "causal", "dilation_rate": 2}),
    "Conv2D": ((7, 8, 4), (6, 3), {"strides": 2, "groups": 2, "padding": "same"}),
    "Conv3D": ((4, 5, 4, 2), (3, 2), {}),
    "DepthwiseConv2D": ((7, 8, 4), (3,), {"depth_multiplier": 2, "padding": "same"}),
    "SeparableConv2D": ((7, 8, 4), (5, 3), {"strides": 2}),
    "Conv1DTranspose": ((6, 3), (4, 3), {"strides": 2, "padding": "same"}),
    "Conv2DTranspose": ((5, 6, 4), (3, 4), {"strides": 2, "padding": "same"}),
    "Conv3DTranspose": ((3, 4, 3, 2), (3, 2), {"strides": 2}),
}


def built(keras, name):
    shape, sizes, arguments = KERAS[name]
    layer = getattr(keras.layers, name)(*sizes, **arguments)
    layer.build((2, *shape))
    for seed, variable in enumerate(layer.weights):
        variable.assign(numbers(*variable.shape, seed=seed + 1))
    return layer, numbers(2, *shape)


@pytest.mark.cover(name=kind)
@pytest.mark.parametrize("name", KERAS)
def test_keras_by_one_line(keras, name):
    layer, x = built(keras, name)
    parameters = [variable.value for variable in layer.trainable_variables]
    apply = lambda parameters, x: layer.stateless_call(parameters, [], x)[0]
    assert_accelerated(apply, parameters, x)
    assert_same(jax.jit(jaxconv.accelerate(layer))(x), layer(x))


@pytest.mark.parametrize("name", [n for n in KERAS if "Depthwise" not in n and "Sep" not in n])
def test_weights_of_keras_are_kernels(keras, name):
    """Of transposed layers those with transpose_kernel; test_separable_layers.py has the others."""
    theirs, x = built(keras, name)
    _, sizes, arguments = KERAS[name]
    renamed = {"dilation_rate": "kernel_dilation", "groups": "feature_group_count"}
    rest = {"padding": "valid"} | {renamed.get(k, k): v for k, v in arguments.items()}
    face = linen.Conv
    if "Transpose" in name:
        face, rest = linen.ConvTranspose, {**rest, "transpose_kernel": True}
    ours = face(sizes[0], (sizes[1],) * (x.ndim - 2), precision=HIGHEST, **rest)
    kernel, bias = (variable.value for variable in theirs.weights)
    assert_same(ours.apply({"params": {"kernel": kernel, "bias": bias}}, x), theirs(x))


HAIKU = {
    "Conv1D": ((9, 3), (4, 3), {"padding": "VALID", "rate": 2}),
    "Conv2D": ((7, 8, 4), (6, 3), {"stride": 2, "feature_group_count": 2}),
    "DepthwiseConv2D": ((7, 8, 4), (2, 3), {}),
    "Conv1DTranspose": ((6, 3), (4, 3), {"stride": 2}),
    "Conv2DTranspose": ((5, 6, 4), (3, 4), {"stride": 2, "padding": "VALID"}),
}


@pytest.mark.cover(name=kind)
@pytest.mark.parametrize("name", HAIKU)
def test_haiku_by_one_line(name):
    hk = pytest.importorskip("haiku", reason="dm-haiku is not installed")
    shape, sizes, arguments = HAIKU[name]
    call = lambda x: getattr(hk, name)(*sizes, **arguments)(x)
    model, x = hk.without_apply_rng(hk.transform(call)), numbers(2, *shape)
    parameters = model.init(KEY, x)
    assert_accelerated(model.apply, parameters, x)

    renamed = {"stride": "strides", "rate": "kernel_dilation"}
    rest = {renamed.get(k, k): v for k, v in arguments.items()}
    size = (sizes[1],) * (len(shape) - 1)
    ((kernel, bias),) = ((layer["w"], layer["b"]) for layer in parameters.values())
    if "Transpose" in name:
        kernel = kernel.swapaxes(-1, -2)
        ours = linen.ConvTranspose(sizes[0], size, precision=HIGHEST, **rest)
    elif "Depthwise" in name:
        ours = linen.DepthwiseConv(size, features_multiplier=sizes[0], precision=HIGHEST, **rest)
    else:
        ours = linen.Conv(sizes[0], size, precision=HIGHEST, **rest)
    y = ours.apply({"params": {"kernel": kernel, "bias": bias}}, x)
    assert_same(y, model.apply(parameters, x))
