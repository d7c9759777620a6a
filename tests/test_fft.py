"""What is the FFT method's own: how it cuts, what it refuses, how it rounds."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from scipy.fft import next_fast_len

import jaxconv
from jaxconv._core.dispatch.choose import select
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import fast_length
from jaxconv._core.geometry.spec import normalise
from jaxconv._core.methods import fft
from jaxconv._core.methods.fft_plan import Line, Plan, Planes, cost, halves, plan


def test_fast_lengths_are_scipys():
    for n in (*range(1, 3000, 7), 44101, 10**6 + 3):
        assert fast_length(n) == next_fast_len(n, real=True)


@pytest.mark.parametrize(
    ("line", "circle"),
    [
        (Line(8, 0, 0, 3), 8),
        (Line(28, 15, 15, 31), 43),  # zeros before and after are the same zeros
        (Line(8, 2, 0, 3), 10),
        (Line(8, -1, 3, 3), 10),
        (Line(2, 6, 6, 3), 12),  # outputs beyond the array need places of their own
        (Line(2, 5, 5, 10), 10),
    ],
)
def test_the_circle_is_as_small_as_it_can_be(line, circle):
    assert line.circle == circle


def test_long_inputs_are_cut_and_short_ones_are_not():
    one = Planes(1, 1, 1)
    assert plan((Line(64, 0, 0, 31),) * 2, one, real=True).whole
    long = (Line(2048, 15, 15, 31),) * 2
    cut = plan(long, one, real=True)
    assert min(cut.counts) > 4
    whole = Plan((2160, 2160), (2048, 2048), (1, 1))
    assert cost(cut, one, real=True) < cost(whole, one, real=True)
    # two axes of three
    mixed = plan((Line(4, 1, 1, 3), *long), one, real=True)
    assert mixed.counts[0] == 1 < min(mixed.counts[1:])


SPECS = (
    ((1, 21, 1), (4, 1, 1), {"padding": "same"}),
    ((2, 17, 14, 2), (3, 4, 2, 3), {"padding": ((1, 2), (0, -1)), "stride": (2, 1)}),
    ((3, 12, 11, 4), (3, 2, 1, 4), {"padding": 2, "groups": 4, "dilation": (1, 2)}),
    ((1, 6, 9, 8, 10), (2, 3, 3, 10, 2), {"padding": 1}),
)


@pytest.mark.cover("contraction dtype")
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("contraction", cases.CONTRACTIONS)
@pytest.mark.parametrize(("x", "w", "arguments"), SPECS, ids=["1d", "2d", "depthwise", "3d"])
def test_blocks_make_the_same_sums(x, w, arguments, contraction, dtype, monkeypatch):
    """Short steps cut every axis, in even and odd numbers of blocks."""
    case = cases.Case("blocks", x, w, arguments)
    a, b = case.operands(contraction, dtype)

    def cut(lines, planes, *, real):
        del planes
        halved, half = halves(lines) if real else (None, 0)
        outputs = [half if axis == halved else line.outputs for axis, line in enumerate(lines)]
        steps = tuple(min(3 + axis, m) for axis, m in enumerate(outputs))
        counts = tuple(-(-m // s) for m, s in zip(outputs, steps, strict=True))
        assert max(counts) > 1
        lengths = tuple(
            fast_length(line.circle if c == 1 and axis != halved else s + line.kernel - 1)
            for axis, (line, s, c) in enumerate(zip(lines, steps, counts, strict=True))
        )
        return Plan(lengths, steps, counts, halved, half)

    monkeypatch.setattr(fft, "plan", cut)
    f = jax.jit(lambda a, b: fft.METHOD.contractions[contraction](a, b, case.spec, dtype=a.dtype))
    cases.assert_matches_in_norm(f(a, b), contraction, a, b, case.spec)


LONG, TAPS = 20_000, 33


def test_a_long_line_is_cut_by_itself():
    """No forced plan: through the primitive, in float64, beside lax."""
    assert not plan((Line(LONG, 16, 16, TAPS),), Planes(3, 3, 1), real=True).whole
    spec = normalise("conv", (3, LONG, 1), (TAPS, 1, 1), padding="same")
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(3, LONG, 1)) for name in "xy"} | {
        "w": rng.normal(size=(TAPS, 1, 1))
    }
    with jax.enable_x64(True):
        for contraction, names in cases.OPERANDS.items():
            operands = [arrays[name] for name in names]
            got, wanted = (
                contract(contraction, *operands, spec, dtype="float64", method=method)
                for method in ("fft", "lax")
            )
            np.testing.assert_allclose(got, wanted, atol=1e-11)


def test_the_comparison_in_norm_can_fail():
    case = cases.by_name("2d")
    a, b = case.operands("output")
    right = cases.expected("output", a, b, case.spec)
    cases.assert_matches_in_norm(right.astype("float32"), "output", a, b, case.spec)
    wrong = right.astype("float32")
    wrong[0, 0, 0, 0] += 1e-3
    with pytest.raises(AssertionError, match="float32 output is off by"):
        cases.assert_matches_in_norm(wrong, "output", a, b, case.spec)


def test_integers_go_to_lax_with_the_reason():
    spec = normalise("conv", (1, 8, 1), (3, 1, 1))
    for dtype in ("int32", "uint8", "bool"):
        problem = Problem("output", spec, 1, 1, 1, dtype, "cpu")
        assert select(problem, "fft") == ("lax", "FFT never serves integers")
    problem = Problem("output", spec, 1, 1, 1, "bfloat16", "cpu")
    assert select(problem, "fft") == ("fft", "asked for")
    x, w = jnp.full((8, 1), 2**30), jnp.full((3, 1, 1), 2)
    f = jax.jit(lambda x, w: jaxconv.conv(x, w, method="fft"))
    assert "fft" not in f.lower(x, w).as_text()
    assert "fft" in f.lower(x.astype(float), w.astype(float)).as_text()
    rows = jaxconv.explain(f, x, w, platform="cpu")
    assert [(row.method, row.reason) for row in rows] == [("lax", "FFT never serves integers")]
    np.testing.assert_array_equal(f(x, w), np.full((6, 1), np.int32(-(2**31))))


def test_nan_spreads_over_its_plane_and_no_further():
    x = np.ones((2, 16, 2), np.float32)
    x[0, 3, 1] = np.nan
    y = jaxconv.conv(x, jnp.ones((3, 1, 2)), groups=2, method="fft")
    np.testing.assert_array_equal(np.isnan(y).all(1), [[False, True], [False, False]])
    assert np.isfinite(y[1]).all()
    assert np.isfinite(y[0, :, 0]).all()


def test_errors_are_on_the_scale_of_the_largest_element():
    """The bound that the docstring gives, where it is far above what an output itself sees."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=500) * 1e6, rng.normal(size=500)])[:, None]
    w = rng.normal(size=(21, 1, 1))
    spec = normalise("conv", x.shape, w.shape)
    x, w = x.astype("float32"), w.astype("float32")
    y = contract("output", x, w, spec, dtype="float32", method="fft")
    cases.assert_matches_in_norm(y, "output", x, w, spec)
    with pytest.raises(AssertionError, match="float32 output is off by"):
        cases.assert_matches(y, "output", x, w, spec)


def test_one_device_each_under_shard_map():
    """Loops over blocks carry arrays that vary over the mesh; the gradient comes along."""
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    x, w = jnp.ones((4, LONG, 1)), jnp.arange(float(TAPS))[:, None, None] / TAPS

    def loss(x, w):
        return jnp.sum(jaxconv.conv(x, w, method="fft") ** 2)

    def each(x, w):
        return jax.lax.psum(loss(x, w), "d")

    shared = jax.jit(jax.shard_map(each, mesh=mesh, in_specs=(P("d"), P()), out_specs=P()))
    wanted, gradient = jax.jit(jax.value_and_grad(loss, 1))(x, w)
    np.testing.assert_allclose(shared(x, w), wanted, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(shared, 1)(x, w), gradient, rtol=1e-4)
