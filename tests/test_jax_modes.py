"""Every kind of call under JAX's own modes, at symbolic sizes, in Taylor mode, from any reader."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import checkify, jet

import jaxconv
import jaxconv.compat.lax
import jaxconv.compat.torch
import jaxconv.linen
import jaxconv.nnx
from jaxconv import learn
from jaxconv.compat.scipy import ndimage, signal
from jaxconv.methods import METHODS

pytestmark = pytest.mark.usefixtures("quick_compilation")


def numbers(*shape):
    """Small whole numbers: their sums are exact whatever the order."""
    return (np.arange(np.prod(shape)) * 7 % 5 - 2).reshape(shape).astype(np.float32)


X, W, B = numbers(2, 8, 8, 4), numbers(3, 3, 4, 8), numbers(8)
PLANE, K = numbers(9, 8), numbers(3, 3)
UP = numbers(3, 3, 2, 4)


def linen_layer(layer):
    variables = layer.init(jax.random.key(0), X)
    return lambda x: layer.apply(jax.tree.map(jnp.ones_like, variables), x)


def nnx_layer(x):
    layer = jaxconv.nnx.Conv(4, 3, (3, 3), rngs=nnx.Rngs(0))
    layer.kernel[...], layer.bias[...] = numbers(3, 3, 4, 3), numbers(3)
    return layer(x)


def plain_lax(x):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, W, (1, 1), "SAME", dimension_numbers=dimensions)


# name -> (function of one array, the array); a new call is one line
CALLS = {
    "conv": (lambda x: jaxconv.conv(x, W, B, stride=2, padding=1), X),
    "conv reflect": (lambda x: jaxconv.conv(x, W, B, padding=1, padding_mode="reflect"), X),
    "conv grouped": (lambda x: jaxconv.conv(x, numbers(3, 3, 2, 8), B, groups=2), X),
    "conv_transpose": (lambda x: jaxconv.conv_transpose(x, UP, numbers(2), stride=2), X),
    "causal_conv1d": (lambda x: jaxconv.causal_conv1d(x[0], W[0], B)[0], X),
    "correlate": (lambda x: jaxconv.correlate(x, K, mode="same", boundary="symmetric"), PLANE),
    "convolve": (lambda x: jaxconv.convolve(x, K, mode="full", boundary="constant"), PLANE),
    "unfold": (lambda x: jaxconv.unfold(x, (3, 3), padding=1), X),
    "pad": (lambda x: jaxconv.padding.pad(x, [(1, 2), (0, 1)], mode="circular"), PLANE),
    "linen": (linen_layer(jaxconv.linen.Conv(3, (3, 3), padding="SAME")), X),
    "linen up": (linen_layer(jaxconv.linen.ConvTranspose(3, (3, 3), 2)), X),
    "nnx": (nnx_layer, X),
    "accelerate": (lambda x: jaxconv.accelerate(plain_lax)(x), X),
    "torch": (lambda x: jaxconv.compat.torch.conv2d(x, numbers(3, 8, 3, 3), numbers(3)), X),
    "signal": (lambda x: signal.convolve(x, K, mode="same"), PLANE),
    "ndimage": (lambda x: ndimage.correlate(x, K, mode="mirror"), PLANE),
    "learn": (lambda x: learn.fit_kernel(x, x[:, 1:], (1, 2), steps=2).kernel, PLANE),
    **{
        f"method {name}": (lambda x, name=name: jaxconv.conv(x, W, B, padding=1, method=name), X)
        for name in METHODS
        if name != "fft"
    },
}


MODES = {
    "rank promotion": lambda: jax.numpy_rank_promotion("raise"),
    "debug_nans": lambda: jax.debug_nans(True),
    "checking_leaks": jax.checking_leaks,
    "disable_jit": jax.disable_jit,
    "x64": lambda: jax.enable_x64(True),
    "transfer_guard": lambda: jax.transfer_guard("disallow"),
}
# optax mixes ranks, and a run of steps hands numbers to the device
NOT_OURS = {("learn", "rank promotion"), ("learn", "transfer_guard")}


@functools.cache
def usual(name):
    function, x = CALLS[name]
    return jax.device_get(jax.jit(function)(x))


@pytest.mark.parametrize(
    ("name", "mode"), [pair for pair in itertools.product(CALLS, MODES) if pair not in NOT_OURS]
)
def test_values_are_those_without_the_mode(name, mode):
    """Under jit; under `disable_jit` as it runs."""
    function, x = CALLS[name]
    want, placed = usual(name), jnp.asarray(x)
    with MODES[mode]():
        found = jax.jit(function)(placed)
    np.testing.assert_array_equal(jax.device_get(found), want)


SYMBOLIC = ("conv", "conv reflect", "conv grouped", "conv_transpose", "linen", "linen up", "nnx")


@pytest.mark.parametrize("name", SYMBOLIC)
def test_symbolic_sizes_export(name):
    """One program for every batch, height and width; called at two."""
    function, _ = CALLS[name]
    shape = jax.export.symbolic_shape("b, h, w, 4", constraints=["h >= 6", "w >= 6"])
    exported = jax.export.export(jax.jit(function))(jax.ShapeDtypeStruct(shape, "float32"))
    for sizes in ((2, 8, 8, 4), (3, 11, 7, 4)):
        x = numbers(*sizes)
        np.testing.assert_array_equal(exported.call(x), jax.jit(function)(x))


def test_symbolic_time_and_strings():
    (length,) = jax.export.symbolic_shape("t", constraints=["t >= 4"])
    causal = jax.jit(lambda x: jaxconv.causal_conv1d(x, W[0])[0])
    same = jax.jit(lambda x: jaxconv.conv(x, W[0], stride=2, padding="same"))
    for function in (causal, same):
        x = jax.ShapeDtypeStruct((1, length, 4), "float32")
        exported = jax.export.export(function)(x)
        for n in (5, 12):
            x = numbers(1, n, 4)
            np.testing.assert_array_equal(exported.call(x), function(x))


def test_taylor_mode():
    """The Taylor coefficients of a product of polynomials are sums of products."""

    def function(t):
        return jaxconv.conv(X + t * X, W * (1 + t)).sum() / X.size

    value, (first, second) = jet.jet(function, (0.0,), ((1.0, 0.0),))
    whole = float(function(0.0))
    np.testing.assert_allclose((value, first, second), (whole, 2 * whole, 2 * whole), rtol=1e-5)


@pytest.mark.parametrize("name", ["conv", "conv_transpose", "correlate", "linen", "nnx", "torch"])
def test_checkify_sees_what_is_made(name):
    function, x = CALLS[name]
    checked = checkify.checkify(jax.jit(function), errors=checkify.float_checks)
    error, found = checked(jnp.asarray(x))
    assert error.get() is None
    np.testing.assert_array_equal(found, usual(name))
    error, _ = checked(jnp.full_like(x, np.nan))
    assert "nan generated" in error.get()


@pytest.mark.parametrize("dtype", [">f4", ">i2", ">f8"])
def test_any_byte_order_by_value(dtype):
    """Files of astronomers come in the other order."""
    plane, native = PLANE.astype(dtype), PLANE.astype(dtype[1:])
    k = K.astype(dtype)
    found, want = jaxconv.corr2d(plane, k), jaxconv.corr2d(native, K.astype(dtype[1:]))
    assert found.dtype == want.dtype
    np.testing.assert_array_equal(found, want)
    x = jaxconv.conv(X.astype(dtype), W.astype(dtype))
    np.testing.assert_array_equal(x, jaxconv.conv(X.astype(dtype[1:]), W.astype(dtype[1:])))


def test_masked_arrays_are_told_from_others():
    masked = np.ma.masked_less(PLANE, 0)
    with pytest.raises(TypeError, match=r"corr2d: x .*\.filled\("):
        jaxconv.corr2d(masked, K)


def test_numbers_that_no_array_of_jax_holds_name_the_caller():
    with pytest.raises((TypeError, ValueError, OverflowError), match=r"corr2d: x "):
        jaxconv.corr2d([[2**40, 1], [1, 1]], np.ones((1, 1), np.int32))
