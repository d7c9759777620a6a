"""Every method, contraction and case beside the explicit loops of the reference."""

import dataclasses
import functools
import itertools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CONTRACTIONS, OPERANDS, Case, traits
from jax.extend.core import jaxprs_in_params, primitives

from jaxconv._core.dispatch.choose import refusal
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import METHODS
from jaxconv._core.methods import lax as own

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
    for contraction in offered.contractions
    if not offered.calls_library
]


# Those that serve alone in all contractions; the others have values and vmap of their own, and
# their derivatives are these methods'.
EVERYWHERE = ("lax", "loops", "taps", "fft")


# a method sees one batch axis, whatever there are
@pytest.mark.cover(case=lambda case: {trait for trait in traits(case) if "batch" not in trait})
@pytest.mark.as_shipped
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


@pytest.mark.cover("method case", "contraction case", "method contraction", case=traits)
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


@pytest.mark.cover
@pytest.mark.parametrize("dtype", [*cases.TOLERANCE, *cases.EXACT])
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
                dtype=cases.RESULT.get(dtype, dtype),
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


@pytest.mark.cover
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
        {"stride": (3, 6), "dilation": 2, "padding": ((-1, -1), (0, 3)), "groups": 3},
    ),
    cases.Case("gaps in a volume", (1, 5, 8, 6, 2), (1, 2, 2, 2, 3), {"stride": (2, 3, 2)}),
)


@pytest.mark.cover
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "int8"])
@pytest.mark.parametrize("case", APART, ids=str)
def test_windows_that_share_no_element(case, dtype):
    """They are one matrix product forward, and so is the gradient of x."""
    result = cases.RESULT.get(dtype, dtype)
    for contraction in ("output", "input"):
        assert METHODS["columns"].refuses(case.problem(contraction, dtype)) is None
        a, b = case.operands(contraction, dtype)
        numerics = {"dtype": result, "method": "columns", "precision": HIGHEST}
        f = functools.partial(contract, contraction, spec=case.spec, **numerics)
        cases.assert_matches(jit(f)(a, b), contraction, a, b, case.spec)


COVERED = (
    Case("plane", (2, 4, 3, 4), (7, 5, 2, 6), {"padding": [3, 2], "groups": 2}),
    Case("larger kernel", (1, 3, 16), (9, 1, 16), {"padding": [(4, 3)], "groups": 16}),
    Case("one output", (2, 2, 3, 2, 3), (2, 3, 2, 3, 2)),
)


@pytest.mark.cover
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "int8"])
@pytest.mark.parametrize("case", COVERED, ids=str)
def test_kernels_that_cover_the_whole_input(case, dtype):
    assert METHODS["covered"].refuses(case.problem(dtype=dtype)) is None
    for contraction, method in METHODS["covered"].contractions.items():
        a, b = case.operands(contraction, dtype)
        result_dtype = cases.RESULT.get(dtype, dtype)
        result = method(jnp.asarray(a), jnp.asarray(b), case.spec, dtype=jnp.dtype(result_dtype))
        assert result.dtype == result_dtype
        cases.assert_matches(result, contraction, a, b, case.spec)


WIDENED = (
    Case("plane", (2, 4, 5, 16), (3, 2, 16, 16), {"padding": 1}),
    Case("cut", (1, 6, 7, 16), (2, 3, 16, 17), {"padding": [(0, 1), (-1, 0)], "dilation": 2}),
    Case("volume", (1, 4, 3, 4, 16), (2, 2, 2, 16, 16), {"padding": 1, "stride": (2, 1, 1)}),
)


@pytest.mark.cover
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", WIDENED, ids=str)
def test_planes_with_a_column_more(case, dtype):
    method = METHODS["widened" if case.spec.rank == 2 else "slabs"]
    for contraction in ("output", "input"):
        a, b = case.operands(contraction, dtype)
        operands = jnp.asarray(a), jnp.asarray(b)
        numerics = {"spec": case.spec, "precision": HIGHEST, "dtype": jnp.dtype(dtype)}
        compute = functools.partial(method.contractions[contraction], **numerics)
        cases.assert_matches(compute(*operands), contraction, a, b, case.spec)
        sizes = str(jax.make_jaxpr(compute)(*operands))
        made = case.spec.output_size if contraction == "output" else case.spec.input_size
        assert f",{made[-1] + 1},{16 if contraction == 'input' else b.shape[-1]}]" in sizes


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"padding": 2}, None),
        ({"padding": [(3, 2)]}, "an output does not see all of x"),
        ({"padding": [(2, 3)]}, "an output does not see all of x"),
        ({"padding": 2, "stride": 2}, "a stride or dilation skips entries"),
    ],
)
def test_kernels_that_do_not_cover_the_input_are_refused(arguments, reason):
    problem = Case("", (1, 4, 1), (6, 1, 1), arguments).problem()
    assert METHODS["covered"].refuses(problem) == reason


def test_columns_of_windows_that_overlap_are_refused():
    case = Case("", (1, 9, 9, 1), (3, 3, 1, 1), {"stride": (2, 3)})
    for contraction in ("output", "input"):
        assert METHODS["columns"].refuses(case.problem(contraction)) == "windows overlap"


CUT = (
    cases.Case("cut and padded", (2, 9, 6), (3, 3, 4), {"padding": ((-2, 2),), "groups": 2}),
    cases.Case("cut by much", (1, 5, 7, 3), (2, 2, 3, 3), {"padding": ((-4, 6), (5, -6))}),
    cases.Case("cut away", (2, 2, 3), (2, 3, 2), {"padding": ((-3, 5),)}),
    cases.Case("cut when spread", (1, 3, 4), (2, 4, 4), {"padding": ((7, -2),), "stride": 3}),
)


def convolutions(function, *shapes):
    """The parameters of every convolution that XLA gets of a function, which is not run."""

    def within(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive is primitives.conv_general_dilated_p:
                yield equation.params
            for inner in jaxprs_in_params(equation.params):
                yield from within(inner)

    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return [*within(jax.make_jaxpr(function)(*arrays).jaxpr)]


@pytest.mark.parametrize("case", CUT, ids=str)
def test_cut_arrays_in_sums_of_our_own(case):
    for method, contraction in itertools.product(("loops", "taps", "fft"), CONTRACTIONS):
        a, b = case.operands(contraction)
        f = functools.partial(contract, contraction, spec=case.spec, dtype="float32", method=method)
        assert_matches(method, jit(f)(a, b), contraction, a, b, case.spec)


@pytest.mark.parametrize("case", CUT, ids=str)
def test_xla_gets_no_negative_padding(case):
    """Read in the program: it is not run."""
    seen = 0
    for method, contraction in OFFERED:
        shapes = [
            jax.ShapeDtypeStruct(getattr(case, name), "float32") for name in OPERANDS[contraction]
        ]
        numerics = {"dtype": "float32", "platform": "tpu"}  # problems as they are, not reduced
        if refusal(Problem.of(contraction, *shapes, case.spec, **numerics), method):
            continue
        f = functools.partial(
            METHODS[method].contractions[contraction], spec=case.spec, dtype=jnp.dtype("float32")
        )
        for params in convolutions(f, *(shape.shape for shape in shapes)):
            seen += 1
            assert min(map(min, params["padding"])) >= 0, (method, contraction, params)
    assert seen >= 3


def padded(a, lo, hi, spread):
    """A line with its elements so far apart, and margins of zeros, in plain loops."""
    length = max(len(a) - 1, 0) * spread + min(len(a), 1)
    spaced = {n * spread: value for n, value in enumerate(a)}
    return [spaced.get(n - lo, 0) for n in range(length + lo + hi)]


@pytest.mark.parametrize("spread", [1, 3])
def test_what_is_cut_off_first_is_what_padding_takes_away(spread):
    for n, lo, hi in itertools.product((0, 1, 4), (-5, -3, -1, 0, 2), (-6, -1, 2, 3)):
        a = jnp.arange(1, n + 1)[None, :, None]
        kept, [left] = own.cut(a, [(lo, hi)], (spread,))
        assert padded(kept.ravel(), *left, spread) == padded(a.ravel(), lo, hi, spread)


# of x, kernel and stride along two dimensions
GRID = [
    ConvSpec(stride, (1, 1), ((1, 1), (1, 1)), 1, size, kernel)
    for stride, size, kernel in itertools.product(
        itertools.product((1, 2), repeat=2),
        itertools.product((2, 5), repeat=2),
        itertools.product((2, 3), repeat=2),
    )
]


@pytest.mark.parametrize("method", ["lax", "slabs"])
def test_which_arrays_are_spread_before_xla_gets_them(method):
    """Read in the program: it is not run. Some are, and some XLA spreads itself."""
    lead = (1,) if method == "slabs" else ()
    ways = set()
    for plane in GRID:
        fields = ("stride", "dilation", "input_size", "kernel_size")
        volume = {name: lead + getattr(plane, name) for name in fields}
        pads = ((0, 0),) * len(lead) + plane.padding
        spec = dataclasses.replace(plane, padding=pads, **volume)
        f = functools.partial(
            METHODS[method].contractions["input"], spec=spec, dtype=jnp.dtype("float32")
        )
        found = convolutions(f, (1, *spec.output_size, 3), (*spec.kernel_size, 2, 3))
        first = own.dilates_first(plane)
        wanted = (1, 1) if first else plane.stride
        assert found
        assert {params["lhs_dilation"] for params in found} == {wanted}
        ways.add(first)
    assert ways == {True, False}


@pytest.mark.parametrize("name", ["2d same strided", "2d remainder", "2d grouped", "3d"])
def test_what_is_spread_first_comes_to_the_same(monkeypatch, name):
    monkeypatch.setattr(own, "dilates_first", lambda spec: True)
    case = cases.by_name(name)
    y, w = case.operands("input")
    f = functools.partial(
        METHODS["lax"].contractions["input"], spec=case.spec, dtype=jnp.dtype("float32")
    )
    assert all(set(params["lhs_dilation"]) == {1} for params in convolutions(f, y.shape, w.shape))
    cases.assert_matches(jit(f)(y, w), "input", y, w, case.spec)
