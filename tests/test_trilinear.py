"""The primitive: derivatives of any order, vmap over anything, one program for every platform."""

import functools
import itertools
import subprocess
import sys

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES, CONTRACTIONS, OPERANDS
from covering import some
from jax.test_util import check_grads

import jaxconv
from jaxconv._core.dispatch.primitive import contract

HIGHEST = jax.lax.Precision.HIGHEST
SOME = [
    cases.by_name(name)
    for name in ("1d no batch", "2d everything", "2d depthwise", "2d two batch axes", "3d grouped")
]
# derivatives and mapped axes of one contraction lead to the others
ONE = some(CONTRACTIONS, "output")


def bilinear(case, contraction, method="auto"):
    return functools.partial(
        contract,
        contraction,
        spec=case.spec,
        dtype="float32",
        method=method,
        precision=HIGHEST,
    )


@pytest.mark.cover(case=cases.traits)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_three_contractions_are_one_form(case):
    """T(x, w, y) is the same number whichever array is left out."""
    arrays = case.arrays()
    terms = []
    for contraction in CONTRACTIONS:
        first, second = OPERANDS[contraction]
        (left_out,) = {"x", "w", "y"} - {first, second}
        result = bilinear(case, contraction)(arrays[first], arrays[second])
        terms.append(np.vdot(cases.wide(result), cases.wide(arrays[left_out])))
    scale = 1e-5 * (1 + max(map(abs, terms))) + 1e-6 * np.prod(case.y)
    assert np.ptp(terms) <= scale


@pytest.mark.cover
@pytest.mark.parametrize("contraction", CONTRACTIONS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_first_derivatives(case, contraction):
    """A bilinear function's differences are exact at any step, so eps = 1 leaves only rounding."""
    a, b = case.operands(contraction)
    check_grads(
        bilinear(case, contraction),
        (a, b),
        order=1,
        modes=("fwd", "rev"),
        eps=1.0,
        atol=5e-3,
        rtol=5e-3,
    )


@pytest.mark.parametrize("contraction", ONE)
def test_third_derivatives(contraction):
    case = cases.by_name("2d everything")
    with jax.enable_x64(True):
        a, b = case.operands(contraction, "float64")
        f = functools.partial(contract, contraction, spec=case.spec, dtype="float64")
        check_grads(f, (a, b), order=3, modes=("fwd", "rev"), eps=1e-4, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["complex64"])
@pytest.mark.parametrize("contraction", CONTRACTIONS)
def test_complex_derivatives(contraction, dtype):
    case = cases.by_name("2d grouped")
    a, b = case.operands(contraction, dtype)
    f = functools.partial(contract, contraction, spec=case.spec, dtype=dtype, precision=HIGHEST)
    check_grads(f, (a, b), order=1, modes=("fwd", "rev"), eps=1.0, atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize(
    ("contraction", "other"), [("output", "w"), ("output", "x"), ("kernel", "x")]
)
def test_derivatives_are_contractions(contraction, other):
    """No derivative leaves the primitive: the gradient's program is `conv` and nothing like it."""
    case = cases.by_name("2d everything")
    a, b = case.operands(contraction)
    argument = OPERANDS[contraction].index(other)
    f = bilinear(case, contraction)
    gradient = jax.grad(lambda a, b: f(a, b).sum(), argument)
    hessian_vector = jax.make_jaxpr(lambda a, b: jax.jvp(gradient, (a, b), (a, b)))(a, b)
    names = {equation.primitive.name for equation in hessian_vector.eqns}
    assert "conv" in names
    assert not names & {"conv_general_dilated", "dot_general", "gather", "scatter-add"}


AXES = [(0, None), (-1, None), (None, 1), (None, -1), (0, 0), (1, 2)]


@pytest.mark.cover
@pytest.mark.parametrize("contraction", CONTRACTIONS)
@pytest.mark.parametrize("case", SOME, ids=str)
def test_vmap_over_either_operand_and_both(case, contraction):
    f = bilinear(case, contraction)
    for seed, axes in enumerate(AXES):
        a, b = stacked(case, contraction, axes, 3, seed)
        result = jax.jit(jax.vmap(f, axes))(a, b)
        for n in range(3):
            one = [
                array if axis is None else np.take(array, n, axis)
                for array, axis in zip((a, b), axes, strict=True)
            ]
            cases.assert_matches(result[n], contraction, *one, case.spec)


@pytest.mark.parametrize("contraction", ONE)
def test_vmap_nests_and_differentiates(contraction):
    """Every pair of index classes meets: two vmaps, and the gradient through them."""
    case = cases.by_name("2d grouped")
    f = bilinear(case, contraction)
    choices = [(0, None), (None, 0), (0, 0)]
    for inner, outer in itertools.product(choices, choices):
        mapped = [(i is not None) + (o is not None) for i, o in zip(inner, outer, strict=True)]
        a, b = (
            np.stack([array * n + n for n in range(1, 1 + 2**times)]).reshape(
                (2,) * times + array.shape
            )
            for times, array in zip(mapped, case.operands(contraction), strict=True)
        )
        nested = jax.jit(jax.vmap(jax.vmap(f, inner), outer))
        want = np.array(
            [
                [
                    f(pick(a, inner[0], outer[0], i, o), pick(b, inner[1], outer[1], i, o))
                    for i in (0, 1)
                ]
                for o in (0, 1)
            ]
        )
        np.testing.assert_allclose(nested(a, b), want, rtol=2e-5, atol=2e-4)
        # <nested(a, b), c> is linear in each operand, so both gradients give the value back
        c = np.random.default_rng(0).normal(size=want.shape).astype("float32")
        da, db = jax.jit(lambda a, b, c: jax.vjp(nested, a, b)[1](c))(a, b, c)
        value = np.vdot(want, c)
        np.testing.assert_allclose(np.vdot(da, a), value, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(np.vdot(db, b), value, rtol=1e-4, atol=1e-2)


def pick(array, inner, outer, i, o):
    """What the vmapped function sees of an operand at inner index i and outer index o."""
    array = array if outer is None else array[o]
    return array if inner is None else array[i]


def test_vmap_of_nothing():
    case = cases.by_name("2d grouped")
    x, w = case.operands("output")
    f = bilinear(case, "output")
    assert jax.vmap(f, (0, None))(np.zeros((0, *x.shape), "float32"), w).shape == (0, *case.y)
    assert jax.vmap(f, (None, 0))(x, np.zeros((0, *w.shape), "float32")).shape == (0, *case.y)
    both = jax.vmap(f)(np.zeros((0, *x.shape), "float32"), np.zeros((0, *w.shape), "float32"))
    assert both.shape == (0, *case.y)


@pytest.mark.parametrize("method", ["auto", "lax", "loops", "taps"])
def test_gradients_of_every_method(method):
    case = cases.by_name("2d everything")
    x, w = case.operands("output")
    y = case.arrays()["y"]

    def loss(x, w):
        return jnp.vdot(bilinear(case, "output", method)(x, w), y)

    dx, dw = jax.jit(jax.grad(loss, (0, 1)))(x, w)
    cases.assert_matches(dx, "input", y, w, case.spec)
    cases.assert_matches(dw, "kernel", x, y, case.spec)


def test_under_remat_scan_cond_and_while():
    case = cases.by_name("2d same even")
    arrays = case.arrays()
    x, w = arrays["x"], arrays["w"]
    f = bilinear(case, "output")
    want = jax.grad(lambda w: (f(x, w) ** 2).sum())(w)

    def scanned(w):
        def step(total, x):
            return total + (jax.checkpoint(f)(x, w) ** 2).sum(), None

        return jax.lax.scan(step, 0.0, x[None])[0]

    def branched(w):
        y = jax.lax.cond(jnp.array(True), f, lambda x, w: 0 * f(x, w), x, w)
        return (y**2).sum()

    for loss in (scanned, branched):
        np.testing.assert_allclose(jax.jit(jax.grad(loss))(w), want, rtol=1e-4, atol=1e-4)
    body = jax.jit(lambda n: jax.lax.fori_loop(0, n, lambda _, y: y + f(x, w), jnp.zeros(case.y)))
    np.testing.assert_allclose(body(2), 2 * f(x, w), rtol=1e-5)


def test_integer_results_have_no_tangent():
    case = cases.by_name("1d")
    x, w = case.operands("output", "int32")
    f = functools.partial(contract, "output", spec=case.spec, dtype="int32")
    zeros = [np.zeros(array.shape, jax.dtypes.float0) for array in (x, w)]
    value, tangent = jax.jvp(f, (x, w), tuple(zeros))
    assert tangent.dtype == jax.dtypes.float0
    np.testing.assert_array_equal(value, cases.expected("output", x, w, case.spec))


@pytest.mark.cover(case=lambda case: {case.spec.rank, case.spec.groups > 1})
@pytest.mark.parametrize("case", SOME, ids=str)
def test_exports_for_every_platform(case):
    """One program for cpu, cuda and tpu, made of StableHLO only, that runs here."""

    def loss(x, w):
        return (bilinear(case, "output")(x, w) ** 2).sum()

    x, w = case.operands("output")
    f = jax.jit(jax.value_and_grad(loss, (0, 1)))
    exported = jax.export.export(f, platforms=["cpu", "cuda", "tpu"])(x, w)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert "custom_call" not in exported.mlir_module()
    value, gradients = exported.call(x, w)
    want, want_gradients = f(x, w)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    for g, expected in zip(gradients, want_gradients, strict=True):
        # other methods there than here: each rounds on the scale of what it adds up
        scale = abs(expected).max()
        np.testing.assert_allclose(g / scale, expected / scale, rtol=0, atol=1e-6)


def test_compiles_once_a_shape():
    traces = 0
    case = cases.by_name("2d")

    @jax.jit
    def f(x, w):
        nonlocal traces
        traces += 1
        return bilinear(case, "output")(x, w)

    for seed in range(3):
        arrays = case.arrays(seed=seed)
        f(arrays["x"], arrays["w"])
    assert traces == 1


def stacked(case, contraction, axes, size, seed):
    """The case's operands with a mapped axis of `size` where `axes` says."""
    rng = np.random.default_rng(seed)
    shapes = {"x": case.x, "w": case.w, "y": case.y}
    arrays = []
    for name, axis in zip(OPERANDS[contraction], axes, strict=True):
        shape = list(shapes[name])
        if axis is not None:
            shape.insert(axis % (len(shape) + 1), size)
        arrays.append(rng.normal(size=shape).astype("float32"))
    return arrays


def test_with_jit_switched_off():
    case = cases.by_name("2d")
    x, w = case.operands("output")

    def loss(x, w):
        return (bilinear(case, "output")(x, w) ** 2).sum()

    want = jax.grad(loss, (0, 1))(x, w)
    with jax.disable_jit():
        gradients = jax.grad(loss, (0, 1))(x, w)
    for g, expected in zip(gradients, want, strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-5, atol=1e-5)


def test_double_precision_inside_a_program_of_single_precision_stays_double():
    """The primitive is lowered after the part of the program with 64-bit types is left."""
    x = np.array([1.0, 1e-9], np.float32)

    @jax.jit
    def difference(x):
        with jax.enable_x64(True):
            wide = x.astype(jnp.float64)[:, None]
            y = jaxconv.conv(wide, jnp.ones((2, 1, 1), jnp.float64)) - 1.0
            return y.astype(jnp.float32)

    np.testing.assert_allclose(difference(x), [[1e-9]], rtol=1e-6)  # float32 would say 0


ANY_BATCH = """
import jax, jax.numpy as jnp, numpy as np, jaxconv

def f(x, w):
    y, pull = jax.vjp(lambda x, w: jaxconv.conv(x, w, stride=2, padding=1), x, w)
    return y, *pull(y)

w = jnp.asarray(np.random.default_rng(0).standard_normal((3, 3, 3, 4)), jnp.float32)
sizes = jax.export.symbolic_shape("b, 9, 8, 3")
exported = jax.export.export(jax.jit(f))(
    jax.ShapeDtypeStruct(sizes, w.dtype), jax.ShapeDtypeStruct(w.shape, w.dtype)
)
for batch in (1, 3):
    x = jnp.asarray(np.random.default_rng(batch).standard_normal((batch, 9, 8, 3)), jnp.float32)
    for found, wanted in zip(exported.call(x, w), f(x, w), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    print(batch)
"""


def test_exports_for_a_batch_of_any_size():
    # in a process without this suite's checks of types: such a size is no int
    done = subprocess.run([sys.executable, "-c", ANY_BATCH], capture_output=True, text=True)
    assert (done.stdout.split(), done.returncode) == (["1", "3"], 0), done.stderr
