"""`conv` and `conv_transpose` as people call them, over the one table of convolutions."""

import functools

import cases
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES

from jaxconv import conv, conv_transpose
from jaxconv._core.geometry.shapes import input_size
from jaxconv._core.methods import METHODS

HIGHEST = jax.lax.Precision.HIGHEST
SOME = [cases.by_name(name) for name in ("1d no batch", "2d everything", "3d grouped")]
PADDED = [cases.by_name(name) for name in ("2d uneven pads", "2d negative pads", "1d")]
NUMPY_MODES = {
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
    "symmetric": "symmetric",
}


def transpose_arguments(case):
    """The arguments under which conv_transpose returns x's own size."""
    spec, arguments = case.spec, dict(case.arguments)
    if arguments.get("padding") not in ("same", "same_lower"):
        smallest = map(
            input_size,
            *(spec.output_size, spec.kernel_size, spec.stride, spec.dilation),
            *zip(*spec.padding, strict=True),
        )
        arguments["output_padding"] = tuple(
            n - least for n, least in zip(spec.input_size, smallest, strict=True)
        )
    return arguments


def assert_close(actual, want, scale, tolerance=cases.TOLERANCE["float32"]):
    """Equal but for rounding on the scale of the summed terms' sizes."""
    worst = float(np.max(np.abs(cases.wide(actual) - want) - tolerance * scale, initial=-np.inf))
    assert worst <= 0, f"off by {worst} beyond the tolerance"


# --- values


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv_is_the_reference(case):
    x, w = case.operands("output")
    y = conv(x, w, precision=HIGHEST, **case.arguments)
    cases.assert_matches(y, "output", x, w, case.spec)


@pytest.mark.cover(case=cases.traits)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv_transpose_is_the_reference(case):
    y, w = case.operands("input")
    x = conv_transpose(y, w, precision=HIGHEST, **transpose_arguments(case))
    cases.assert_matches(x, "input", y, w, case.spec)


@pytest.mark.cover(case=cases.traits)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_three_ways_to_one_number(case):
    """T = <conv(x, w), y> = <x, conv_transpose(y, w)> = <w, the gradient of the first in w>."""
    arrays = case.arrays()
    x, w, y = arrays["x"], arrays["w"], arrays["y"]
    forward = functools.partial(conv, precision=HIGHEST, **case.arguments)
    output, pull = jax.vjp(forward, x, w)
    dx, dw = pull(jnp.asarray(y))
    back = conv_transpose(y, w, precision=HIGHEST, **transpose_arguments(case))
    np.testing.assert_array_equal(dx, back)  # the same contraction, hence the same bits
    terms = [inner(output, y), inner(x, back), inner(w, dw)]
    sizes = cases.expected("output", np.abs(cases.wide(x)), np.abs(cases.wide(w)), case.spec)
    assert np.ptp(terms) <= 2 * cases.TOLERANCE["float32"] * inner(sizes, np.abs(y))


def inner(a, b):
    return np.vdot(cases.wide(a), cases.wide(b))


@pytest.mark.parametrize("case", SOME, ids=str)
def test_flip_reverses_the_kernel_and_bias_is_added(case):
    arrays = case.arrays()
    x, w, y = arrays["x"], arrays["w"], arrays["y"]
    axes = tuple(range(case.spec.rank))
    b = cases.random(np.random.default_rng(1), w.shape[-1:], "float32")
    flipped = conv(x, w, b, flip=True, precision=HIGHEST, **case.arguments)
    want = cases.expected("output", x, np.flip(w, axes), case.spec) + b
    assert_close(flipped, want, 1 + np.abs(want) + case.spec.groups * np.abs(w).sum())
    b = cases.random(np.random.default_rng(2), x.shape[-1:], "float32")
    back = conv_transpose(
        *(y, w, b),
        flip=True,
        precision=HIGHEST,
        **transpose_arguments(case),
    )
    want = cases.expected("input", y, np.flip(w, axes), case.spec) + b
    assert_close(back, want, 1 + np.abs(want) + case.spec.groups * np.abs(w).sum())


@pytest.mark.cover
@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("case", PADDED, ids=str)
def test_padding_modes_and_their_adjoints(case, mode):
    arguments = dict(case.arguments)
    if not any(map(any, case.spec.padding)):
        arguments["padding"] = 2
    arrays = case.arrays()
    x, w = arrays["x"], arrays["w"]
    spec = cases.normalise("conv", x.shape, w.shape, **arguments)
    pads = [(0, 0), *spec.padding, (0, 0)]
    wide = np.pad(x, [(max(a, 0), max(b, 0)) for a, b in pads], mode=NUMPY_MODES[mode])
    crop = tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(wide.shape, pads))  # noqa: B905
    padded = wide[crop]
    y = conv(x, w, padding_mode=mode, precision=HIGHEST, **arguments)
    unpadded = {name: value for name, value in arguments.items() if name != "padding"}
    plain = cases.normalise("conv", padded.shape, w.shape, **unpadded)
    cases.assert_matches(y, "output", padded, w, plain)
    dy = cases.random(np.random.default_rng(3), y.shape, "float32")
    back = conv_transpose(dy, w, padding_mode=mode, precision=HIGHEST, **arguments)
    assert back.shape == x.shape
    sizes = cases.expected("output", np.abs(padded), np.abs(w), plain)
    near = 2 * cases.TOLERANCE["float32"] * inner(sizes, np.abs(dy))
    assert abs(inner(y, dy) - inner(x, back)) <= near


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_every_method_by_name(method):
    case = cases.by_name("2d grouped")
    x, w = case.operands("output")
    loss = lambda x, w: conv(x, w, method=method, precision=HIGHEST, **case.arguments)
    y, pull = jax.vjp(loss, x, w)
    cases.assert_matches(y, "output", x, w, case.spec)
    dx, dw = pull(y)
    y = np.asarray(y)
    cases.assert_matches(dx, "input", y, w, case.spec)
    cases.assert_matches(dw, "kernel", x, y, case.spec)
    (equation,) = convolutions(loss, x, w)
    assert equation.params["method"] == method


# --- forms of the arguments


def convolutions(f, *args):
    """The convolutions in the program of f."""
    equations = jax.make_jaxpr(f)(*args).eqns
    return [equation for equation in equations if equation.primitive.name == "conv"]


X, W = np.zeros((2, 8, 9, 4), "float32"), np.zeros((3, 2, 2, 6), "float32")
SAME_PADS = ((1, 1), (0, 1))


@pytest.mark.parametrize(
    "forms",
    [
        [{}, {"padding": "valid"}, {"padding": (0, 0)}, {"dilation": np.ones(2, int)}],
        [{"padding": 1}, {"padding": np.int8(1)}, {"padding": [1, (1, 1)]}],
        [{"padding": (1, 2)}, {"padding": np.array([[1, 1], [2, 2]])}],
        [{"padding": "same"}, {"padding": SAME_PADS}],
        [{"padding": "same_lower"}, {"padding": ((1, 1), (1, 0))}],
        [{"padding": "full"}, {"padding": (2, 1)}],
        [{"padding": "causal"}, {"padding": ((2, 0), (1, 0))}],
        [{"padding": "full", "dilation": 2}, {"padding": (4, 2), "dilation": (2, 2)}],
        [{"stride": 2}, {"stride": np.int64(2)}, {"stride": [2, 2]}, {"stride": jnp.int32(2)}],
    ],
)
def test_forms_of_an_argument_mean_the_same(forms):
    specs = [
        convolutions(functools.partial(conv, groups=2, **form), X, W)[0].params["spec"]
        for form in forms
    ]
    assert len(set(specs)) == 1


@pytest.mark.parametrize(
    ("given_", "taken"),
    [
        (None, None),
        ("highest", HIGHEST),
        ("float32", HIGHEST),
        ("high", jax.lax.Precision.HIGH),
        ("tensorfloat32", jax.lax.Precision.HIGH),
        ("TF32_TF32_F32", jax.lax.Precision.HIGH),
        (jax.lax.DotAlgorithmPreset.BF16_BF16_F32, jax.lax.Precision.DEFAULT),
        ("BF16_BF16_F32_X3", HIGHEST),
        ("F32_F32_F32", HIGHEST),
        ("default", jax.lax.Precision.DEFAULT),
        (HIGHEST, HIGHEST),
        (("high", "highest"), (jax.lax.Precision.HIGH, HIGHEST)),
        ([None, HIGHEST], (jax.lax.Precision.DEFAULT, HIGHEST)),
    ],
)
def test_forms_of_precision(given_, taken):
    for function in (conv, conv_transpose):
        x = X if function is conv else np.zeros((2, 8, 9, 6), "float32")
        f = functools.partial(function, groups=2, precision=given_)
        assert convolutions(f, x, W)[0].params["precision"] == taken
    # and it is one that XLA takes
    f = jax.jit(functools.partial(conv, groups=2, precision=given_))
    assert f.lower(X, W).as_text()


def test_default_matmul_precision_is_read_where_the_call_is_made():
    """As lax reads it: where a program is lowered or partitioned the context is another."""
    assert convolutions(conv, X[..., :2], W)[0].params["precision"] is None
    with jax.default_matmul_precision("highest"):
        assert convolutions(conv, X[..., :2], W)[0].params["precision"] == HIGHEST


@pytest.mark.parametrize("batch", [(), (0,), (1,), (2, 3), (2, 0, 3), (1, 2, 1, 2)])
def test_any_number_of_batch_axes(batch):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(*batch, 5, 4, 2)), rng.normal(size=(2, 2, 2, 3))
    x, w = x.astype("float32"), w.astype("float32")
    y = conv(x, w, precision=HIGHEST)
    assert y.shape == (*batch, 4, 3, 3)
    cases.assert_matches(y, "output", x, w, cases.normalise("conv", x.shape, w.shape))
    back = conv_transpose(y, w, precision=HIGHEST)
    assert back.shape == x.shape
    dw = jax.grad(lambda w: conv(x, w).sum())(w)
    assert dw.shape == w.shape
    if 0 in batch:
        assert not dw.any()


def test_numpy_and_nested_lists_are_arrays_too():
    x, w = [[1.0], [2.0], [4.0]], [[[1.0]], [[-1.0]]]
    assert conv(x, w)[:, 0].tolist() == [-1, -2]
    assert conv(np.float32(x), np.float32(w), np.float32([3]))[:, 0].tolist() == [2, 1]


# --- dtypes


@pytest.mark.parametrize(
    ("operands", "preferred", "result"),
    [
        ("float32", None, "float32"),
        ("float32", "bfloat16", "bfloat16"),
        ("float32", "float64", "float64"),
        ("float32", "complex64", "complex64"),
        ("bfloat16", None, "bfloat16"),
        ("bfloat16", "float32", "float32"),
        ("float16", "float32", "float32"),
        ("float16", None, "float16"),
        ("complex64", None, "complex64"),
        ("float64", "float32", "float32"),
        ("int8", "int8", "int8"),
        ("int8", "int32", "int32"),
        ("int8", "float32", "float32"),
        ("int16", "float16", "float16"),
        ("uint8", "uint32", "uint32"),
        ("uint8", "int32", "int32"),  # signed sums of unsigned operands, as in quantised networks
        ("uint8", "float32", "float32"),
        ("bool", "int32", "int32"),
        ("bool", "uint8", "uint8"),
        ("bool", "float32", "float32"),
        ("int32", int, "int64"),
        ("float32", float, "float64"),
    ],
)
def test_dtypes_of_results(operands, preferred, result):
    case = cases.by_name("1d")
    with jax.enable_x64(True):
        for contraction, function in (("output", conv), ("input", conv_transpose)):
            a, b = case.operands(contraction, operands)
            got = function(a, b, preferred_element_type=preferred, precision=HIGHEST)
            assert got.dtype == result
            cases.assert_matches(got, contraction, a, b, case.spec)


def test_int8_sums_that_int8_cannot_hold():
    x, w = np.full((4, 2), 100, "int8"), np.full((2, 2, 1), 100, "int8")
    assert conv(x, w, preferred_element_type="int32")[:, 0].tolist() == [40000] * 3
    x, w = x.astype("uint8") * 2, w.astype("uint8") * 2
    assert conv(x, w, preferred_element_type="int32")[:, 0].tolist() == [160000] * 3


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_mixed_precision_gradients_have_the_parameters_dtype(half):
    """Half-precision operands, float32 result, bias and cotangent; each gradient rounded once."""
    case = cases.by_name("2d grouped")
    x, w = case.operands("output", half)
    b = np.ones(w.shape[-1:], "float32")
    dy = case.arrays()["y"]

    @jax.jit
    def run(x, w, b):
        f = functools.partial(conv, preferred_element_type="float32", **case.arguments)
        y, pull = jax.vjp(f, x, w, b)
        return y, pull(dy)

    y, (dx, dw, db) = run(x, w, b)
    assert [a.dtype for a in (y, dx, dw, db)] == ["float32", half, half, "float32"]
    # float32 sums of half products are exact to float32: nothing is rounded to half before the end
    cases.assert_matches(y - b, "output", x, w, case.spec, tolerance=4e-6)
    for got, contraction, operands in ((dx, "input", (dy, w)), (dw, "kernel", (x, dy))):
        operands = [cases.wide(operand) for operand in operands]
        want = cases.expected(contraction, *operands, case.spec)
        scale = cases.expected(contraction, *map(np.abs, operands), case.spec)
        # half a unit in the last place of the half type, and what float32 sums are off by
        assert_close(got, want, scale + float(jnp.finfo(half).eps) / 2 / 4e-6 * np.abs(want), 4e-6)
    np.testing.assert_allclose(db, np.asarray(dy).sum((0, 1, 2)), rtol=1e-5, atol=1e-5)


def test_a_bias_in_the_operands_dtype_is_added_in_the_results():
    x, w = jnp.ones((3, 1), "bfloat16"), jnp.ones((1, 1, 1), "bfloat16")
    b = jnp.full(1, 1 / 3, "bfloat16")
    y = conv(x, w, b, preferred_element_type="float32")
    assert y.dtype == "float32"
    np.testing.assert_array_equal(y[0], 1 + np.float32(b))


def test_promotion_settings_of_the_caller_change_nothing():
    x, w = jnp.ones((4, 1), "bfloat16"), jnp.ones((2, 1, 1), "bfloat16")
    for mode in ("standard", "strict"):
        with jax.numpy_dtype_promotion(mode):
            assert conv(x, w, preferred_element_type="float32").dtype == "float32"


def test_weak_types_stay_outside():
    """A weakly typed operand gives a strongly typed result, so that no second trace follows."""
    x = jnp.broadcast_to(jnp.asarray(2.0), (4, 1))
    assert jax.typeof(x).weak_type
    w = jnp.ones((2, 1, 1))
    for f in (conv, conv_transpose):
        assert not jax.typeof(f(x, w)).weak_type
        assert not jax.typeof(jax.jit(f)(x, w)).weak_type
    assert jax.grad(lambda x: conv(x, w).sum())(x).dtype == "float32"


# --- transforms of the public function


def test_jit_vmap_grad_of_the_whole_call():
    case = cases.by_name("2d uneven pads")
    rng = np.random.default_rng(0)
    xs = cases.random(rng, (3, *case.x), "float32")
    w, b = cases.random(rng, case.w, "float32"), cases.random(rng, case.w[-1:], "float32")
    f = functools.partial(conv, padding_mode="replicate", flip=True, **case.arguments)
    one = [f(x, w, b) for x in xs]
    mapped = jax.jit(jax.vmap(f, (0, None, None)))(xs, w, b)
    np.testing.assert_allclose(mapped, np.stack(one), rtol=1e-5, atol=1e-5)

    def loss(w, b):
        return (jax.vmap(f, (0, None, None))(xs, w, b) ** 2).sum()

    dw, db = jax.jit(jax.grad(loss, (0, 1)))(w, b)
    rows = [jax.grad(lambda w, b, x=x: (f(x, w, b) ** 2).sum(), (0, 1))(w, b) for x in xs]
    np.testing.assert_allclose(dw, sum(row[0] for row in rows), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(db, sum(row[1] for row in rows), rtol=1e-4, atol=1e-3)


def test_a_kernel_for_every_example():
    """vmap over kernels and biases as well: an ensemble."""
    rng = np.random.default_rng(0)
    x, w, b = (cases.random(rng, shape, "float32") for shape in ((3, 7, 4), (3, 3, 2, 6), (3, 6)))
    f = functools.partial(conv, groups=2, padding="same", precision=HIGHEST)
    mapped = jax.vmap(f)(x, w, b)
    for n in range(3):
        np.testing.assert_allclose(mapped[n], f(x[n], w[n], b[n]), rtol=1e-5, atol=1e-5)


def test_one_trace_for_many_calls():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(x, w, b):
        return jax.grad(lambda w: conv(x, w, b, padding="same").sum())(w)

    w = jnp.ones((3, 2, 2))
    for n in range(3):
        w = step(jnp.full((2, 5, 2), float(n)), w, np.ones(2, "float32"))


def test_a_second_eager_call_compiles_nothing(caplog):
    x, w = np.ones((3, 11, 2), "float32"), np.ones((5, 2, 3), "float32")
    b = np.ones(3, "float32")

    def compiled():
        with caplog.at_level("WARNING"), jax.log_compiles():
            caplog.clear()
            jax.block_until_ready(conv(x, w, b, stride=2, padding="same"))
        return [record for record in caplog.records if "Compiling" in record.getMessage()]

    assert compiled()  # the log would show it
    assert not compiled()


def test_the_comparison_can_fail():
    with pytest.raises(AssertionError, match="off by"):
        assert_close(np.float32([1.0]), np.array([1.0001]), np.array([1.0]))
