"""`jaxconv.compat.onnx` beside loops over integers, and its messages."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.compat import onnx
from jaxconv.compat.onnx import ConvInteger, QLinearConv

BYTES = ("uint8", "int8")


def drawn(rng, shape, dtype, *, ends=False):
    """Random integers of a dtype; with `ends` only the smallest and the largest."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = rng.choice([low, high], shape) if ends else rng.integers(low, high + 1, shape)
    return values.astype(dtype)


def by_loops(x, w, x_zero=0, w_zero=0, *, pads, strides, dilations, group=1):
    """The definition, in int64: a loop over output positions and over kernel entries."""
    x, w = x.astype(np.int64) - int(x_zero), w.astype(np.int64)
    w = w - np.asarray(w_zero, np.int64).reshape(-1, *(1,) * (w.ndim - 1))
    rank = w.ndim - 2
    before, after = pads[:rank], pads[rank:]
    x = np.pad(x, [(0, 0), (0, 0), *zip(before, after, strict=True)])
    sizes = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], w.shape[2:], strides, dilations, strict=True)
    ]
    inputs, outputs = w.shape[1], w.shape[0] // group
    y = np.zeros((x.shape[0], w.shape[0], *sizes), np.int64)
    for o, t in itertools.product(range(w.shape[0]), np.ndindex(*sizes)):
        first = o // outputs * inputs
        for k in np.ndindex(*w.shape[2:]):
            place = [p * s + q * d for p, s, q, d in zip(t, strides, k, dilations, strict=True)]
            entries = x[(slice(None), slice(first, first + inputs), *place)]
            y[(slice(None), o, *t)] += entries @ w[(o, slice(None), *k)]
    return y


def assert_same(y, expected, dtype="int32"):
    assert (y.dtype, y.shape) == (dtype, expected.shape)
    np.testing.assert_array_equal(np.asarray(y), expected)


@pytest.mark.parametrize("of_w", BYTES)
@pytest.mark.parametrize("of_x", BYTES)
def test_sums_of_the_largest_products(of_x, of_w):
    """300 channels under 2x3 kernels: beyond what one sum of float32 holds exactly."""
    rng = np.random.default_rng(0)
    x = drawn(rng, (2, 300, 5, 6), of_x, ends=True)
    w = drawn(rng, (3, 300, 2, 3), of_w, ends=True)
    x[0], w[0] = np.iinfo(of_x).min, np.iinfo(of_w).min  # all of one sign
    arguments = {"pads": [1, 0, 2, 1], "strides": [1, 2], "dilations": [2, 1]}
    x_zero, w_zero = np.iinfo(of_x).max, np.iinfo(of_w).max
    assert_same(ConvInteger(x, w, **arguments), by_loops(x, w, **arguments))
    expected = by_loops(x, w, x_zero, w_zero, **arguments)
    assert np.abs(expected).max() > 2**24
    assert_same(ConvInteger(x, w, x_zero, w_zero, **arguments), expected)


@pytest.mark.parametrize(
    ("x", "w", "arguments"),
    [
        ((2, 3, 9), (4, 3, 4), {"pads": [2, 0], "strides": [3], "dilations": [2]}),
        ((1, 6, 5, 4), (9, 2, 3, 2), {"group": 3, "pads": [0, 1, 2, 0], "strides": [2, 1]}),
        ((1, 600, 3, 3), (4, 300, 2, 2), {"group": 2}),
        ((1, 2, 4, 3, 5), (2, 2, 2, 1, 3), {"dilations": [2, 1, 1]}),
        ((0, 2, 4, 4), (3, 2, 3, 3), {}),
        ((1, 1, 40, 34), (1, 1, 35, 33), {}),  # more entries than one sum holds
    ],
    ids=str,
)
def test_geometry(x, w, arguments):
    rng = np.random.default_rng(1)
    x, w = drawn(rng, x, "uint8"), drawn(rng, w, "int8")
    zeros = drawn(rng, w.shape[:1], "int8")
    y = ConvInteger(x, w, np.uint8(7), zeros, **arguments)
    rank = w.ndim - 2
    defaults = {"pads": [0] * 2 * rank, "strides": [1] * rank, "dilations": [1] * rank}
    assert_same(y, by_loops(x, w, 7, zeros, **defaults | arguments))


@pytest.mark.parametrize(
    ("auto_pad", "pads"),
    [("SAME_UPPER", [1, 0, 2, 1]), ("SAME_LOWER", [2, 1, 1, 0]), ("VALID", [0, 0, 0, 0])],
)
def test_auto_pad(auto_pad, pads):
    rng = np.random.default_rng(2)
    x, w = drawn(rng, (1, 2, 6, 6), "int8"), drawn(rng, (2, 2, 4, 3), "int8")
    given = {"strides": [1, 2], "dilations": [1, 1]}
    y = ConvInteger(x, w, np.int8(-3), auto_pad=auto_pad, kernel_shape=[4, 3], **given)
    assert_same(y, by_loops(x, w, -3, pads=pads, **given))


def test_transforms():
    """Traced zero points, `vmap` over images and over kernels, and programs of any batch."""
    rng = np.random.default_rng(3)
    x, w = drawn(rng, (3, 2, 4, 5, 5), "uint8"), drawn(rng, (3, 2, 4, 3, 3), "int8")
    x_zero, w_zero = drawn(rng, (3,), "uint8"), drawn(rng, (3, 2), "int8")
    plain = {"pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1]}
    each = zip(x, w, x_zero, w_zero, strict=True)
    expected = np.stack([by_loops(*arrays, **plain) for arrays in each])
    assert_same(jax.jit(jax.vmap(ConvInteger))(x, w, x_zero, w_zero), expected)
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, *x.shape[2:]), "uint8")
    program = jax.export.export(jax.jit(lambda x: ConvInteger(x, w[0])))(shape)
    assert_same(program.call(x[0]), by_loops(x[0], w[0], **plain))


def quantized(sums, scale, zero, dtype):
    """Round half to even, then add the zero point: QuantizeLinear's order."""
    ends = np.iinfo(dtype)
    return np.clip(np.round(sums * scale) + int(zero), ends.min, ends.max).astype(dtype)


@pytest.mark.parametrize("of_y", BYTES)
def test_quantized(of_y):
    rng = np.random.default_rng(4)
    x, w = drawn(rng, (2, 3, 6, 5), "uint8"), drawn(rng, (4, 3, 3, 3), "int8")
    w_scale = np.array([2**-7, 2**-8, 2**-6, 2**-2], "float32")  # the last saturates
    w_zero, bias = drawn(rng, (4,), "int8"), rng.integers(-9000, 9000, 4).astype("int32")
    geometry = {"pads": [1] * 4, "strides": [2, 1]}
    y_zero = np.array(3, of_y)
    y = QLinearConv(
        *(x, np.float32(0.5), np.uint8(120), w, w_scale, w_zero, np.float32(4), y_zero, bias),
        **geometry,
    )
    sums = by_loops(x, w, 120, w_zero, dilations=[1, 1], **geometry) + bias.reshape(-1, 1, 1)
    expected = quantized(sums, w_scale.reshape(-1, 1, 1) / 8, y_zero, of_y)
    assert len(np.unique(expected)) > 30
    assert {np.iinfo(of_y).min, np.iinfo(of_y).max} <= set(np.unique(expected[:, -1]))
    assert_same(y, expected, of_y)


def test_halves_are_rounded_before_the_zero_point_is_added():
    x = np.arange(8, dtype="uint8").reshape(1, 1, 8)
    w, half = np.ones((1, 1, 1), "int8"), np.float32(0.5)
    y = QLinearConv(x, half, np.uint8(0), w, np.float32(1), np.int8(0), np.float32(1), np.uint8(1))
    assert y.ravel().tolist() == [1, 1, 2, 3, 3, 3, 4, 5]


X, W = jnp.zeros((1, 4, 6, 6), "uint8"), jnp.zeros((6, 2, 3, 3), "int8")
SCALE, ZERO = np.float32(1), np.int8(0)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            TypeError,
            "ConvInteger: x is float32 but must be uint8 or int8",
            lambda: ConvInteger(jnp.zeros((1, 4, 6, 6)), W, group=2),
        ),
        (
            ValueError,
            "ConvInteger: w.shape=(6, 2) must be (M, C // group, *kernel), 3 dimensions or more",
            lambda: ConvInteger(X, W[..., 0, 0]),
        ),
        (
            ValueError,
            "ConvInteger: x.shape=(4, 6, 6) must be (N, C, *space), 4 dimensions as w has "
            "(w.shape=(6, 2, 3, 3))",
            lambda: ConvInteger(X[0], W),
        ),
        (
            ValueError,
            "ConvInteger: x has 4 channels, w expects 2 (w.shape=(6, 2, 3, 3), group=1); "
            "x.shape=(1, 4, 6, 6)",
            lambda: ConvInteger(X, W),
        ),
        (
            ValueError,
            "ConvInteger: x has 6 channels, w expects 4 (w.shape=(6, 2, 3, 3), group=2); "
            "x.shape=(1, 6, 6, 4) looks channels-last: use jnp.moveaxis(x, -1, 1)",
            lambda: ConvInteger(jnp.moveaxis(X, 1, -1), W, group=2),
        ),
        (
            ValueError,
            "ConvInteger: group=4 does not divide the 6 output channels of w "
            "(w.shape=(6, 2, 3, 3))",
            lambda: ConvInteger(X, W, group=4),
        ),
        (
            ValueError,
            "ConvInteger: pads=[1, 1] has 2 integers and must have 4 (those before, then those "
            "after)",
            lambda: ConvInteger(X, W, group=2, pads=[1, 1]),
        ),
        (
            ValueError,
            "ConvInteger: strides=2 must be a list of 2 integers",
            lambda: ConvInteger(X, W, group=2, strides=2),
        ),
        (
            ValueError,
            "ConvInteger: strides=[0, 1] must be at least 1 in every dimension",
            lambda: ConvInteger(X, W, group=2, strides=[0, 1]),
        ),
        (
            ValueError,
            "ConvInteger: auto_pad='SAME' must be one of 'NOTSET', 'SAME_UPPER', 'SAME_LOWER', "
            "'VALID'",
            lambda: ConvInteger(X, W, group=2, auto_pad="SAME"),
        ),
        (
            ValueError,
            "ConvInteger: pads=[1, 1, 1, 1] and auto_pad='VALID' cannot be given together",
            lambda: ConvInteger(X, W, group=2, auto_pad="VALID", pads=[1] * 4),
        ),
        (
            ValueError,
            "ConvInteger: kernel_shape=[5, 5] must be that of w, (3, 3) (w.shape=(6, 2, 3, 3))",
            lambda: ConvInteger(X, W, group=2, kernel_shape=[5, 5]),
        ),
        (
            ValueError,
            "ConvInteger: the kernel spans (9, 3) elements (w.shape=(6, 2, 3, 3), dilations=(4, "
            "1)), but the padded x has (6, 6) (x.shape=(1, 4, 6, 6), padding=((0, 0), (0, 0))); "
            "use a smaller kernel or larger pads",
            lambda: ConvInteger(X, W, group=2, dilations=[4, 1]),
        ),
        (
            TypeError,
            "ConvInteger: x_zero_point is int8 but belongs to an array of uint8; their dtypes must "
            "be equal",
            lambda: ConvInteger(X, W, np.int8(3), group=2),
        ),
        (
            ValueError,
            "ConvInteger: x_zero_point=-1 must be from 0 to 255, since it belongs to an array of "
            "uint8",
            lambda: ConvInteger(X, W, -1, group=2),
        ),
        (
            ValueError,
            "ConvInteger: x_zero_point must be one number, got shape (4,)",
            lambda: ConvInteger(X, W, np.zeros(4, "uint8"), group=2),
        ),
        (
            ValueError,
            "ConvInteger: w_zero_point must be one number or (6,), one an output channel, got "
            "shape (2,)",
            lambda: ConvInteger(X, W, None, np.zeros(2, "int8"), group=2),
        ),
        (
            TypeError,
            "QLinearConv: w_scale is int32 but must be float32",
            lambda: QLinearConv(X, SCALE, 0, W, 1, ZERO, SCALE, ZERO, group=2),
        ),
        (
            TypeError,
            "QLinearConv: y_zero_point is int32 but must be uint8 or int8",
            lambda: QLinearConv(X, SCALE, 0, W, SCALE, ZERO, SCALE, 0, group=2),
        ),
        (
            TypeError,
            "QLinearConv: B is float32 but must be int32, in units of x_scale w_scale",
            lambda: QLinearConv(
                *(X, SCALE, 0, W, SCALE, ZERO, SCALE, ZERO, np.zeros(6, "float32")), group=2
            ),
        ),
        (
            ValueError,
            "QLinearConv: B must be (6,), one an output channel, got shape (4,)",
            lambda: QLinearConv(
                *(X, SCALE, 0, W, SCALE, ZERO, SCALE, ZERO, np.zeros(4, "int32")), group=2
            ),
        ),
        (
            AttributeError,
            "module 'jaxconv.compat.onnx' has no attribute 'Conv'; ONNX's Conv and ConvTranspose "
            "of floats are jaxconv.compat.torch's conv1d to conv3d and conv_transpose1d to "
            "conv_transpose3d. There are here: ConvInteger, QLinearConv",
            lambda: onnx.Conv,
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_messages(error, message, call):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


def test_names():
    assert dir(onnx) == ["ConvInteger", "QLinearConv"]
