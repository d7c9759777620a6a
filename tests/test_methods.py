"""Every method, contraction and case beside the explicit loops of the reference."""

import functools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CONTRACTIONS, OPERANDS

from jaxconv.methods import CALLS_OUT, METHODS, REFUSES
from jaxconv.spec import ConvSpec
from jaxconv.trilinear import contract

# results are compared, not times: most of the suite's time here would be LLVM's
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
HIGHEST = jax.lax.Precision.HIGHEST
LEAVES_OUT = {"y": "output", "x": "input", "w": "kernel"}


def assert_matches(method, result, contraction, a, b, spec):
    """Hold a method to what it promises: spectra round on the scale of whole arrays."""
    compare = cases.assert_matches_in_norm if method == "fft" else cases.assert_matches
    compare(result, contraction, a, b, spec)


# those that call out of XLA may not be installed: tests/test_onednn.py has them
OFFERED = [
    (name, contraction)
    for name, offered in METHODS.items()
    for contraction in offered
    if name not in CALLS_OUT
]


# Those that serve alone in all contractions; the others have values and vmap of their own, and
# their derivatives are these methods'.
EVERYWHERE = ("lax", "loops", "taps", "fft")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_methods_of_some_problems_match_the_reference(case):
    """Values, and vmap over both operands, of each method and contraction: one program."""
    others = [(m, c) for m, c in OFFERED if m not in EVERYWHERE]
    arrays = case.arrays()

    @jit
    def everything(arrays):
        found = []
        for method, contraction in others:
            a, b = (arrays[name] for name in OPERANDS[contraction])
            numerics = {"dtype": "float32", "method": method, "precision": HIGHEST}
            f = functools.partial(contract, contraction, spec=case.spec, **numerics)
            found.append((f(a, b), jax.vmap(f)(jnp.stack([a, -a]), jnp.stack([b, 2 * b]))))
        return found

    for (_, contraction), (value, mapped) in zip(others, everything(arrays), strict=True):
        a, b = (arrays[name] for name in OPERANDS[contraction])
        cases.assert_matches(value, contraction, a, b, case.spec)
        cases.assert_matches(mapped[0], contraction, a, b, case.spec)
        cases.assert_matches(mapped[1], contraction, -a, 2 * b, case.spec)


@pytest.mark.parametrize(("method", "contraction"), [(m, c) for m, c in OFFERED if m in EVERYWHERE])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_the_reference_under_every_transform(case, method, contraction):
    """Value, jvp, vjp, vmap over both operands, second order under remat and scan: one program."""
    spec, (a, b) = case.spec, case.operands(contraction)
    (third,) = {"x", "w", "y"} - set(OPERANDS[contraction])
    c = case.arrays()[third]

    def f(a, b):
        return contract(contraction, a, b, spec, dtype="float32", method=method, precision=HIGHEST)

    def form(a, b):
        return jnp.sum(f(a, b) * c)

    @jit
    def everything(a, b, c):
        value, vjp = jax.vjp(f, a, b)
        tangent = jax.jvp(f, (a, b), (a, b))[1]
        mapped = jax.vmap(f)(jnp.stack([a, -a]), jnp.stack([b, 2 * b]))

        def step(total, scale):
            # the gradient in a of a form linear in b: its derivative along b is itself
            gradient = jax.grad(jax.checkpoint(form))
            return total, jax.jvp(lambda b: gradient(a, b), (b,), (scale * b,))[1]

        second = jax.lax.scan(step, 0.0, jnp.array([1.0, 3.0]))[1]
        return value, vjp(c), tangent, mapped, second

    value, (da, db), tangent, mapped, second = everything(a, b, c)
    name_a, name_b = OPERANDS[contraction]
    compare = functools.partial(assert_matches, method)
    arrays = {name_a: a, name_b: b, third: c}
    compare(value, contraction, a, b, spec)
    compare(tangent, contraction, a, 2 * b, spec)
    compare(mapped[0], contraction, a, b, spec)
    compare(mapped[1], contraction, -a, 2 * b, spec)
    for gradient, left_out in ((da, name_a), (db, name_b), (second[0], name_a)):
        other = LEAVES_OUT[left_out]
        compare(gradient, other, *(arrays[n] for n in OPERANDS[other]), spec)
    np.testing.assert_allclose(second[1], 3 * second[0], rtol=1e-5, atol=1e-5)


DTYPE_CASES = [cases.by_name(name) for name in ("1d", "2d everything", "2d depthwise")]
RESULT = {"bool": "int32", "int8": "int32"}


@pytest.mark.parametrize("dtype", [*cases.TOLERANCE, "bool", "int8", "uint8", "int16", "int32"])
@pytest.mark.parametrize("case", DTYPE_CASES, ids=str)
def test_every_dtype(case, dtype):
    """Values of each method and contraction: one program a dtype."""

    @jit
    def everything(arrays):
        return [
            contract(
                contraction,
                *(arrays[name] for name in OPERANDS[contraction]),
                case.spec,
                dtype=RESULT.get(dtype, dtype),
                method=method,
                precision=HIGHEST,
            )
            for method, contraction in OFFERED
        ]

    with jax.enable_x64(True):
        arrays = case.arrays(dtype)
        for (method, contraction), result in zip(OFFERED, everything(arrays), strict=True):
            a, b = (arrays[name] for name in OPERANDS[contraction])
            assert_matches(method, result, contraction, a, b, case.spec)


@pytest.mark.parametrize(("method", "contraction"), OFFERED)
def test_mixed_operands_sum_in_the_wider_dtype(method, contraction):
    """What a gradient under mixed precision asks of a method: bfloat16 beside float32."""
    case = cases.by_name("2d grouped")
    a, b = case.operands(contraction)
    a = a.astype(jnp.bfloat16)
    result = contract(contraction, a, b, case.spec, dtype="float32", method=method)
    assert_matches(method, result, contraction, a, b, case.spec)


def test_bfloat16_sums_are_rounded_once():
    """256 ones and 256 parts of 1/256: a bfloat16 running sum would lose the small ones."""
    x = np.concatenate([np.ones(256), np.full(256, 1 / 256)]).astype(jnp.bfloat16)[:, None]
    w = np.ones((512, 1, 1)).astype(jnp.bfloat16)
    spec = cases.normalise("conv", x.shape, w.shape)
    for method in ("lax", "loops"):
        result = contract("output", x, w, spec, dtype="bfloat16", method=method)
        assert float(result[0, 0]) == float(jnp.bfloat16(257.0))


def test_integers_wrap_as_numpy_does():
    x, w = np.full((4, 1), 100, np.int8), np.full((2, 1, 1), 2, np.int8)
    spec = cases.normalise("conv", x.shape, w.shape)
    for method in ("lax", "loops"):
        result = contract("output", x, w, spec, dtype="int8", method=method)
        np.testing.assert_array_equal(result[:, 0], np.full(3, np.int64(400).astype(np.int8)))


LARGE = (
    cases.Case("rows together", (1, 22, 20, 1), (15, 7, 1, 1), {"padding": 2}),
    cases.Case("rows left over", (2, 29, 17, 2), (13, 9, 1, 2), {"dilation": (2, 1), "groups": 2}),
    cases.Case("two looped", (1, 9, 12, 30, 1), (5, 11, 25, 1, 1), {"stride": (1, 1, 2)}),
    cases.Case("channels too", (1, 80, 3), (70, 3, 2)),
)


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_kernels_that_are_looped_over(case):
    """More taps than one fused sum has: loops over rows of the kernel, some of them at once."""
    for contraction in ("output", "input"):
        a, b = case.operands(contraction)
        f = functools.partial(contract, contraction, spec=case.spec, dtype="float32", method="taps")
        cases.assert_matches(jit(f)(a, b), contraction, a, b, case.spec)


APART = (
    cases.Case(
        "dilated, grouped, cut",
        (2, 9, 16, 6),
        (2, 3, 2, 9),
        {"stride": (3, 6), "dilation": 2, "padding": ((1, -1), (0, 3)), "groups": 3},
    ),
    cases.Case("gaps in a volume", (1, 5, 8, 6, 2), (1, 2, 2, 2, 3), {"stride": (2, 3, 2)}),
)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "int8"])
@pytest.mark.parametrize("case", APART, ids=str)
def test_windows_that_share_no_element(case, dtype):
    """They are one matrix product forward, and so is the gradient of x."""
    result = RESULT.get(dtype, dtype)
    for contraction in ("output", "input"):
        assert not REFUSES["columns"](contraction, case.spec, jnp.dtype(result))
        a, b = case.operands(contraction, dtype)
        numerics = {"dtype": result, "method": "columns", "precision": HIGHEST}
        f = functools.partial(contract, contraction, spec=case.spec, **numerics)
        cases.assert_matches(jit(f)(a, b), contraction, a, b, case.spec)


def test_columns_of_windows_that_overlap_are_refused():
    spec = ConvSpec((2, 3), (1, 1), ((0, 0), (0, 0)), 1, (9, 9), (3, 3))
    for contraction in ("output", "input"):
        assert REFUSES["columns"](contraction, spec, jnp.dtype("float32")) == "windows overlap"


CUT = (
    cases.Case("cut and padded", (2, 9, 6), (3, 3, 4), {"padding": ((-2, 2),), "groups": 2}),
    cases.Case("cut by much", (1, 5, 7, 3), (2, 2, 3, 3), {"padding": ((-4, 6), (5, -6))}),
    cases.Case("cut away", (2, 2, 3), (2, 3, 2), {"padding": ((-3, 5),)}),
    cases.Case("cut when spread", (1, 3, 4), (2, 4, 4), {"padding": ((7, -2),), "stride": 3}),
)


@pytest.mark.parametrize("case", CUT, ids=str)
def test_where_xla_would_read_beyond_the_array(case):
    """It does where padding is negative on one side and positive on the other."""
    for method, contraction in OFFERED:
        a, b = case.operands(contraction)
        f = functools.partial(contract, contraction, spec=case.spec, dtype="float32", method=method)
        assert_matches(method, jit(f)(a, b), contraction, a, b, case.spec)


@pytest.mark.parametrize("method", ["lax", "slabs"])
def test_what_xla_would_abort_the_process_on(method):
    """A dilated image below a larger kernel, two entries by stride two along another dimension."""
    lead = (1,) if method == "slabs" else ()
    x, w = (2, *(3 for _ in lead), 2, 6, 2), (*(2 for _ in lead), 3, 2, 2, 3)
    case = cases.Case("", x, w, {"stride": (*lead, 1, 2), "padding": (*lead, 1, 1)})
    y, w = case.operands("input")
    f = functools.partial(contract, "input", spec=case.spec, dtype="float32", method=method)
    cases.assert_matches(jit(f)(y, w), "input", y, w, case.spec)


def test_the_comparison_can_fail():
    """One flipped kernel must not pass for the right answer."""
    case = cases.by_name("2d")
    x, w = case.operands("output")
    wrong = contract("output", x, w[::-1], case.spec, dtype="float32")
    with pytest.raises(AssertionError, match="float32 output is off by"):
        cases.assert_matches(wrong, "output", x, w, case.spec)


def test_contractions_are_listed_once():
    assert set(CONTRACTIONS) == set(METHODS["lax"]) == set(METHODS["loops"])
