"""`jaxconv.compat.lax.conv_general_dilated` compared with lax: values, gradients, types, errors."""

import functools
import inspect

import cases
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from hypothesis import given, settings
from jax import lax
from lax_calls import GRID, NCHW, NHWC, W, X

from jaxconv.compat.lax import conv_general_dilated


def _operands(x, w, dtype="float32"):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(cases.random(rng, shape, dtype)) for shape in (x, w))


def primitives_of(function, *args):
    """The operations of a call: the contraction of each `conv`, or lax's operation."""
    found = []
    for equation in jax.make_jaxpr(function)(*args).eqns:
        if equation.primitive.name == "conv":
            found.append(equation.params["contraction"])
        elif equation.primitive.name == "conv_general_dilated":
            found.append("lax")
    return found


def assert_close(actual, want, call=""):
    assert (actual.shape, actual.dtype) == (want.shape, want.dtype), call
    wide = np.promote_types(want.dtype, np.float32) if want.dtype != jnp.bfloat16 else np.float32
    actual, want = np.asarray(actual, wide), np.asarray(want, wide)
    atol = 2e-5 * np.abs(want).max(initial=1e-3)
    np.testing.assert_allclose(actual, want, rtol=2e-5, atol=atol, err_msg=call)


def error_of(function, *args, **arguments):
    """Type and message of the error that a call must raise."""
    try:
        function(*args, **arguments)
    except Exception as error:
        return type(error), str(error)
    raise AssertionError("no error")


def value_and_gradients(function, cotangent, x, w):
    value, pullback = jax.vjp(function, x, w)
    return value, pullback(cotangent.astype(value.dtype))


def compare(x, w, **arguments):
    """Value and both gradients, each side compiled once."""
    ours = functools.partial(conv_general_dilated, **arguments)
    theirs = functools.partial(lax.conv_general_dilated, **arguments)
    shape = jax.eval_shape(theirs, x, w).shape
    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=shape))
    actual, want = (
        jax.jit(functools.partial(value_and_gradients, f))(cotangent, x, w) for f in (ours, theirs)
    )
    jax.tree.map(assert_close, actual, want)


@pytest.mark.parametrize("name", GRID)
def test_values_and_gradients_are_those_of_lax(name):
    contraction, x_shape, w_shape, arguments = GRID[name]
    x, w = _operands(x_shape, w_shape)
    arguments = {"window_strides": (1,) * (x.ndim - 2), **arguments}
    compare(x, w, **arguments)
    call = functools.partial(conv_general_dilated, **arguments)
    assert primitives_of(call, x, w) == [contraction]


@st.composite
def calls(draw):
    """Any call of lax in one or two dimensions whose result is not empty."""
    rank = draw(st.integers(1, 2))
    small = st.integers(1, 3)

    def each(strategy):
        return tuple(draw(strategy) for _ in range(rank))

    groups, batch_groups = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)]))
    size, kernel, spread, dilation = each(st.integers(1, 6)), each(small), each(small), each(small)
    extents = [
        ((n - 1) * a + 1, (k - 1) * b + 1)
        for n, k, a, b in zip(size, kernel, spread, dilation, strict=True)
    ]
    padding = []
    for n, k in extents:
        lo = draw(st.integers(-min(2, n - 1), 3))
        padding.append((lo, draw(st.integers(max(k - n - lo, -min(2, n - 1)), k + 3))))
    features, outs = draw(small), draw(small)
    permute = st.permutations(range(rank + 2)).map(tuple)
    numbers = lax.ConvDimensionNumbers(draw(permute), draw(permute), draw(permute))

    def laid_out(shape, places):
        return tuple(shape[places.index(axis)] for axis in range(rank + 2))

    lhs = laid_out((draw(small) * batch_groups, features * groups, *size), numbers.lhs_spec)
    rhs = laid_out((outs * groups * batch_groups, features, *kernel), numbers.rhs_spec)
    return (
        lhs,
        rhs,
        {
            "window_strides": each(small),
            "padding": tuple(padding),
            "lhs_dilation": spread,
            "rhs_dilation": dilation,
            "dimension_numbers": numbers,
            "feature_group_count": groups,
            "batch_group_count": batch_groups,
        },
    )


@settings(max_examples=6, derandomize=True, deadline=None, database=None)
@given(st.lists(calls(), min_size=10, max_size=10))
def test_random_calls(drawn):
    """Sixty calls, ten in a program."""
    operands = [_operands(lhs, rhs) for lhs, rhs, _ in drawn]

    @jax.jit
    def both(operands):
        return [
            [f(x, w, **arguments) for f in (conv_general_dilated, lax.conv_general_dilated)]
            for (x, w), (_, _, arguments) in zip(operands, drawn, strict=True)
        ]

    for call, (actual, want) in zip(drawn, both(operands), strict=True):
        assert_close(actual, want, str(call))


@pytest.mark.parametrize(
    ("dtype", "preferred"),
    [
        ("float16", None),
        ("bfloat16", "float32"),
        ("float64", None),
        ("complex64", None),
        ("int8", None),
        ("int8", "int32"),
        ("uint8", "uint32"),
        ("float32", "float64"),
    ],
)
def test_result_types(dtype, preferred):
    with jax.enable_x64():
        x, w = _operands(X, W, dtype)
        arguments = {
            "window_strides": (1, 2),
            "padding": "SAME",
            "dimension_numbers": NHWC,
            "preferred_element_type": preferred,
        }
        actual = conv_general_dilated(x, w, **arguments)
        want = lax.conv_general_dilated(x, w, **arguments)
        if dtype == "float16":  # lax rounds on the way, this core once at the end
            exact = lax.conv_general_dilated(
                x.astype("float32"), w.astype("float32"), **arguments
            ).astype(dtype)
            assert actual.dtype == want.dtype
            np.testing.assert_array_max_ulp(np.asarray(actual), np.asarray(exact), 1)
        else:
            assert_close(actual, want)
        assert primitives_of(functools.partial(conv_general_dilated, **arguments), x, w) == [
            "output"
        ]


def test_gradients_have_the_operands_type():
    x, w = _operands(X, W, "bfloat16")
    numerics = {"dimension_numbers": NHWC, "preferred_element_type": "float32"}
    compare(x, w, window_strides=(1, 1), padding="VALID", **numerics)


def test_a_type_that_the_core_has_not_stays_with_lax():
    x, w = _operands(X, W)
    x, w = x.astype(jnp.float8_e4m3fn), w.astype(jnp.float8_e4m3fn)
    call = functools.partial(
        conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC
    )
    assert primitives_of(call, x, w) == ["lax"]


def test_a_stride_of_zero_is_refused_when_lax_refuses_it():
    x, w = jnp.ones((1, 2, 5)), jnp.ones((2, 2, 3))
    refused = pytest.raises(ValueError, match="positive stride for 0-th window dimension")
    with np.errstate(divide="ignore"), refused:
        conv_general_dilated(x, w, (0,), "SAME")


def test_numpy_and_weakly_typed_operands():
    x, w = np.ones((1, 2, 5)), np.ones((3, 2, 3))  # float64, which JAX takes as float32 here
    assert_close(
        conv_general_dilated(x, w, (1,), "SAME"), lax.conv_general_dilated(x, w, (1,), "SAME")
    )
    weak = jnp.full((1, 2, 5), 1.0), jnp.full((3, 2, 3), 2.0)
    assert weak[0].weak_type
    ours = conv_general_dilated(*weak, (1,), "SAME")
    assert ours.weak_type == lax.conv_general_dilated(*weak, (1,), "SAME").weak_type


def test_transforms():
    x, w = _operands((3, *X), W)
    arguments = {"window_strides": (2, 1), "padding": "SAME", "dimension_numbers": NHWC}

    def of(call):
        def loss(x, w):
            return (call(x, w, **arguments) ** 3).sum()

        per_example = jax.vmap(jax.grad(loss, 1), (0, None))
        second = jax.jvp(jax.grad(loss, (0, 1)), (x[0], w), (x[1], w))[1]
        both = jax.vmap(functools.partial(call, **arguments))(x, jnp.stack([w, 2 * w, w]))
        many_kernels = jax.vmap(loss, (None, 0))(x[0], jnp.stack([w, w]))
        return per_example(x, w), second, both, many_kernels

    faces = (conv_general_dilated, lax.conv_general_dilated)
    ours, theirs = (jax.jit(functools.partial(of, face))() for face in faces)
    jax.tree.map(assert_close, ours, theirs)


def test_precision_in_force_is_kept():
    x, w = _operands(X, W)

    def call(x, w):
        return conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)

    with jax.default_matmul_precision("highest"):
        equation, *_ = jax.make_jaxpr(call)(x, w).eqns
    assert equation.params["precision"] == (lax.Precision.HIGHEST,) * 2


def test_signature():
    ours, theirs = map(inspect.signature, (conv_general_dilated, lax.conv_general_dilated))
    assert [(p.name, p.default, p.kind) for p in ours.parameters.values()] == [
        (p.name, p.default, p.kind) for p in theirs.parameters.values()
    ]


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "arguments"),
    [
        (X, W, {"dimension_numbers": NCHW}),
        (X, W, {"padding": "FULL", "dimension_numbers": NHWC}),
        (X, W, {"padding": (1, 1), "dimension_numbers": NHWC}),
        (X, W, {"lhs_dilation": (2, 2), "dimension_numbers": NHWC}),
        (X, W, {"lhs_dilation": (0, 2), "padding": ((0, 0),) * 2, "dimension_numbers": NHWC}),
        (X, W, {"window_strides": (0, 1), "dimension_numbers": NHWC}),
        (X, W, {"window_strides": (1,), "dimension_numbers": NHWC}),
        (X, W, {"feature_group_count": 3, "dimension_numbers": NHWC}),
        (X, W, {"feature_group_count": 0, "dimension_numbers": NHWC}),
        (X, W, {"batch_group_count": 3, "dimension_numbers": NHWC}),
        (X, W, {"feature_group_count": 2, "batch_group_count": 2, "dimension_numbers": NHWC}),
        (X, W, {"dimension_numbers": ("NHWC", "HWIO")}),
        (X, W, {"dimension_numbers": ("NHWC", "HWIO", "NHWX")}),
        (X, W[1:], {}),
        (X, W, {"precision": "sharp", "dimension_numbers": NHWC}),
        (X, W, {"preferred_element_type": "int8", "dimension_numbers": NHWC}),
    ],
    ids=str,
)
def test_mistakes_are_lax_errors(x_shape, w_shape, arguments):
    x, w = _operands(x_shape, w_shape)
    arguments = {"window_strides": (1, 1), "padding": "SAME", **arguments}
    theirs = error_of(lax.conv_general_dilated, x, w, **arguments)
    assert error_of(conv_general_dilated, x, w, **arguments) == theirs


def test_mixed_types_are_lax_error():
    x, w = _operands(X, W)
    call = (x, w.astype("float16"), (1, 1), "SAME")
    theirs = error_of(lax.conv_general_dilated, *call, dimension_numbers=NHWC)
    assert error_of(conv_general_dilated, *call, dimension_numbers=NHWC) == theirs


ARGUMENTS = {"strides": (2, 1), "padding": "CIRCULAR", "feature_group_count": 2}


def test_linen_takes_it():
    x, _ = _operands(X, W)
    theirs = linen.Conv(6, (3, 2), **ARGUMENTS)
    ours = linen.Conv(6, (3, 2), conv_general_dilated=conv_general_dilated, **ARGUMENTS)
    variables = theirs.init(jax.random.key(0), x)
    jax.tree.map(np.testing.assert_array_equal, variables, ours.init(jax.random.key(0), x))
    assert_close(ours.apply(variables, x), theirs.apply(variables, x))
    assert primitives_of(ours.apply, variables, x) == ["output"]


def test_nnx_takes_it():
    x, _ = _operands(X, W)
    theirs = nnx.Conv(4, 6, (3, 2), rngs=nnx.Rngs(0), **ARGUMENTS)
    ours = nnx.Conv(
        4, 6, (3, 2), rngs=nnx.Rngs(0), conv_general_dilated=conv_general_dilated, **ARGUMENTS
    )
    assert_close(ours(x), theirs(x))
    assert primitives_of(ours, x) == ["output"]
