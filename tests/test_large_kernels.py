"""Direct sums of large kernels: blocks, strips and pieces, what sees NaN, what a batch changes."""

import cases
import jax
import numpy as np
import pytest
from cases import OPERANDS, Case

from jaxconv._core.dispatch.choose import EXPORTED, select
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.methods import METHODS, fused_sums, shifts
from jaxconv.bench import float64_answers

pytestmark = pytest.mark.as_shipped
BOTH = [("taps", "output"), ("taps", "input"), *(("shifts", c) for c in cases.CONTRACTIONS)]
LARGE = (
    Case("strips", (1, 70, 40, 1), (9, 9, 1, 1), {"padding": "same"}),
    Case("ragged", (2, 53, 31, 4), (13, 11, 2, 6), {"padding": ((5, 7), (0, 9)), "groups": 2}),
    Case("wide", (1, 30, 90, 1), (3, 40, 1, 1), {"padding": "full"}),
)
LINES = (
    Case("line", (2, 500, 1), (101, 1, 1), {"padding": "same"}),
    Case("dilated line", (1, 700, 1), (30, 1, 1), {"padding": "same", "dilation": 3}),
    Case("strided line", (1, 900, 1), (40, 1, 1), {"padding": "same", "stride": 2}),
    Case("longer than a piece", (1, 400, 1), (150, 1, 1), {"padding": "full"}),
)


def program(method, contraction, spec, optimised=False):
    numerics = {"dtype": "float32", "method": method, "precision": jax.lax.Precision.HIGHEST}
    # most of the time would be LLVM's
    options = {} if optimised else {"xla_backend_optimization_level": 0}
    # a new function each: a trace kept from other constants would hide them
    return jax.jit(
        lambda a, b: contract(contraction, a, b, spec, **numerics), compiler_options=options
    )


def assert_exact(result, contraction, a, b, spec):
    """Within 2e-6 of the sum of magnitudes, by NumPy in float64: the loops take too long here."""
    scale = float64_answers.contract(contraction, np.abs(a), np.abs(b), spec)
    error = np.abs(np.asarray(result) - float64_answers.contract(contraction, a, b, spec))
    assert (error <= cases.TOLERANCE["float32"] * scale).all(), error.max()


@pytest.fixture
def small(monkeypatch):
    """Blocks, strips and pieces of a size that small arrays have several of."""
    monkeypatch.setattr(fused_sums, "BLOCK", 600)
    monkeypatch.setattr(fused_sums, "SEGMENT", 64)
    monkeypatch.setattr(shifts, "COLUMNS", 200)
    monkeypatch.setattr(shifts, "SUMMED", 100)


@pytest.mark.cover("method contraction")
@pytest.mark.parametrize(("method", "contraction"), BOTH)
@pytest.mark.parametrize("case", LARGE, ids=str)
@pytest.mark.usefixtures("small")
def test_blocks_and_strips_are_put_together(case, method, contraction):
    a, b = case.operands(contraction)
    result = program(method, contraction, case.spec)(a, b)
    assert_exact(result, contraction, a, b, case.spec)


@pytest.mark.cover
@pytest.mark.parametrize("contraction", ["output", "input"])
@pytest.mark.parametrize("case", LINES, ids=str)
@pytest.mark.usefixtures("small")
def test_pieces_of_long_lines_are_put_together(case, contraction):
    a, b = case.operands(contraction)
    result = program("taps", contraction, case.spec)(a, b)
    assert_exact(result, contraction, a, b, case.spec)


@pytest.mark.cover("method contraction")
@pytest.mark.parametrize(("method", "contraction"), BOTH)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.usefixtures("small")
def test_what_is_not_finite_reaches_what_sees_it(method, contraction, bad):
    """At an edge and inside; what does not see it is bit for bit as before.

    An entry of w that is not finite times the zeros around y is left open: the loops have no zeros
    there, and what pads y has.
    """
    case = Case("", (2, 37, 29, 2), (9, 8, 1, 2), {"padding": ((4, 4), (0, 7)), "groups": 2})
    run = program(method, contraction, case.spec)
    loops = program("loops", contraction, case.spec)
    arrays = case.operands(contraction)
    before = np.asarray(run(*arrays))
    for which in (0,) if contraction == "input" else (0, 1):
        for place in (0, arrays[which].size // 2 + 3, arrays[which].size - 1):
            changed = [array.copy() for array in arrays]
            changed[which].flat[place] = bad
            result, expected = np.asarray(run(*changed)), np.asarray(loops(*changed))
            same = np.isfinite(expected)
            np.testing.assert_array_equal(np.isfinite(result), same)
            np.testing.assert_array_equal(result[same], before[same])


def test_zeros_and_signs_are_kept():
    """Nothing is taken away: sums of what is not negative are not, and zeros see only zeros."""
    case = Case("", (1, 80, 60, 1), (31, 24, 1, 1), {"padding": "same"})
    x, w = (np.abs(array) for array in case.operands("output"))
    x[:, :30] = 0
    for method in ("taps", "shifts"):
        y = np.asarray(program(method, "output", case.spec)(x, w))
        assert y.min() >= 0
        # "same" pads 15 rows before: output row t sees rows t - 15 to t + 15
        assert (y[:, :15] == 0).all()
        assert (y[:, 15:] > 0).all()


@pytest.mark.cover
@pytest.mark.parametrize(("method", "contraction"), [m for m in BOTH if m[1] != "kernel"])
@pytest.mark.usefixtures("small")
def test_an_image_does_not_depend_on_its_batch(method, contraction):
    case = Case("", (5, 33, 27, 2), (9, 10, 1, 2), {"padding": "same", "groups": 2})
    a, b = case.operands(contraction)
    run = program(method, contraction, case.spec, optimised=True)
    together = np.asarray(run(a, b))
    for part in (slice(2), slice(3, 4)):
        np.testing.assert_array_equal(np.asarray(run(a[part], b)), together[part])


def test_a_line_does_not_depend_on_its_batch():
    case = Case("", (4, 20000, 1), (70, 1, 1), {"padding": "causal"})
    a, b = case.operands("output")
    run = program("taps", "output", case.spec, optimised=True)
    together = np.asarray(run(a, b))
    np.testing.assert_array_equal(np.asarray(run(a[2:3], b)), together[2:3])
    future = a.copy()
    future[:, 9000:] *= 1e6
    np.testing.assert_array_equal(np.asarray(run(future, b))[:, :9000], together[:, :9000])


def test_long_sums_are_accurate():
    """One sign throughout: where rounding does not cancel."""
    case = Case("", (1, 60, 1100, 1), (12, 10, 1, 1), {"padding": "same"})
    for method, contraction in BOTH:
        a, b = (np.abs(array) for array in case.operands(contraction))
        result = program(method, contraction, case.spec)(a, b)
        assert_exact(result, contraction, a, b, case.spec)


def test_shifts_say_what_they_are_not_for():
    plane = ((1, 9, 9, 1), (3, 3, 1, 1))
    expected = [
        (((1, 9, 1), (3, 1, 1)), {}, "float32", "shifts are of planes"),
        (plane, {"stride": 2}, "float32", "strides and dilations spread the rows"),
        (plane, {"dilation": 2}, "float32", "strides and dilations spread the rows"),
        (((1, 9, 200, 1), (3, 150, 1, 1)), {}, "float32", "the kernel's rows are too long"),
        (plane, {}, "int32", "XLA's matrix products of integers are slow"),
        (plane, {}, "bfloat16", None),
    ]
    for shapes, arguments, dtype, reason in expected:
        problem = Case("", *shapes, arguments).problem(dtype=dtype)
        assert METHODS["shifts"].refuses(problem) == reason


@pytest.mark.parametrize("entries", [11, 31, 47, 64])
def test_large_kernels_of_planes_never_fall_to_lax(entries):
    case = Case("", (1, 512, 512, 1), (entries, entries, 1, 1), {"padding": "same"})
    for contraction in OPERANDS:
        problem = Problem(contraction, case.spec, 1, 1, 1, "float32", "cpu")
        assert select(problem, ffi_unavailable_reason=EXPORTED).method != "lax"
    assert set(METHODS["shifts"].contractions) == set(OPERANDS)
