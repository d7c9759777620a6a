"""Every kind of public call under each of JAX's modes.

Promotion of ranks or dtypes and leaks of tracers show when a call is traced, and every call is;
transfers are watched in a third of each kind, drawn; modes that change how programs run are held to
the values without them, in a drawn call of every kind.
"""

import random

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from mode_calls import EVERY, KINDS, kind, made
from public_calls import MESH, P

import jaxconv
import jaxconv.learn

# optax mixes dtypes: its Adam and its simplex
OPTAX = {
    *("learn.fit_conv", "learn.fit_conv on a mesh"),
    *("learn.constraints.projected", "learn.constraints.simplex"),
}
# Eagerly these hand numbers of the host to operators, as any program of jnp's does that says x / 2:
# seeds, tolerances, rates, positions, literals of the function that is rewritten. Under jit they
# are the program's.
NUMBERS_OF_THE_HOST = {
    *("accelerate", "analysis.as_matrix", "analysis.influence"),
    "analysis.dense.is_shift_invariant",
    *(name for name in EVERY if name.startswith("learn.")),
}
# Kinds whose gradients are contractions of their own, and not those of what they call.
CORE = {"convolution", "transposed", "causal", "windows", "method"}
# Loops of many steps: minutes uncompiled, seconds to compile.
LONG = {
    *("analysis.influence", "learn.distance_to_optimum", "learn.fit_conv", "learn.solve_kernel"),
    *("learn.fit_conv on a mesh", "learn.solve_kernel on a mesh"),
}


def placed(name):
    """The function of a call, and its arrays on the devices where it runs."""
    function, arrays = made(name)
    on_mesh = name.startswith("parallel") or "mesh" in name
    place = jax.sharding.NamedSharding(MESH, P()) if on_mesh else None
    return function, jax.tree.map(lambda leaf: jax.device_put(leaf, place), arrays)


@pytest.mark.parametrize("name", EVERY)
def test_traced_where_promotion_and_leaks_raise(name):
    """With gradients, where a call is the core's own."""
    function, arrays = placed(name)

    def gradients(*arrays):
        floats = lambda *arrays: [
            leaf
            for leaf in jax.tree.leaves(function(*arrays))
            if jnp.issubdtype(leaf.dtype, jnp.inexact)
        ]
        value, pull = jax.vjp(floats, *arrays)
        return value, pull(value)

    traced = gradients if kind(name) in CORE else function
    with (
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("standard" if name in OPTAX else "strict"),
        jax.checking_leaks(),
    ):
        jax.jit(traced).lower(*arrays)  # methods are traced where programs are lowered


# They have sent indices and numbers before.
ALWAYS = {"compat.scipy.signal.correlation_lags", "unfold", "pad", "correlate, constant"}


def drawn_third():
    """Of every kind, and always those that have sent something before."""
    draw = random.Random(2)
    for names in KINDS.values():
        quick = [name for name in names if name not in LONG]
        third = draw.sample(quick, max(len(quick) // 3, min(len(quick), 3)))
        yield from (name for name in quick if name in third or name in ALWAYS)


def one_of_a_kind(name):
    return name if name in ALWAYS else kind(name)


@pytest.mark.cover(name=one_of_a_kind)
@pytest.mark.parametrize("name", [*drawn_third()])
def test_nothing_is_sent_unasked(name):
    """The guard raises where something is."""
    function, arrays = placed(name)
    if name in NUMBERS_OF_THE_HOST:
        function = jax.jit(function)
    with jax.numpy_dtype_promotion("standard"), jax.transfer_guard("disallow"):
        jax.block_until_ready(function(*arrays))


def nans(function, arrays):
    """After every operation; programs are looked at as a whole, which the other modes compare."""
    with jax.debug_nans(True):
        return function(*arrays)


def uncompiled(function, arrays):
    with jax.disable_jit():
        return function(*arrays)


def around_64_bits(function, arrays):
    with jax.enable_x64(True):
        return jax.jit(function)(*arrays)


def within_64_bits(function, arrays):
    """A part of a program of 32 bits."""
    return jax.jit(lambda *arrays: jax.enable_x64(True)(function)(*arrays))(*arrays)


MODES = {mode.__name__: mode for mode in (nans, uncompiled, around_64_bits, within_64_bits)}


def drawn():
    """A call of every kind for each mode."""
    draw = random.Random(0)
    for names in KINDS.values():
        for mode in MODES:
            name = draw.choice([name for name in names if name not in LONG])
            slow = name == "varying.fit"
            yield pytest.param(name, mode, marks=[pytest.mark.thorough] * slow)


@pytest.mark.cover(name=kind)
@pytest.mark.parametrize(("name", "mode"), [*drawn()])
def test_values_are_those_without_the_mode(name, mode):
    function, arrays = placed(name)
    with jax.numpy_dtype_promotion("standard"):
        found, want = MODES[mode](function, arrays), jax.jit(function)(*arrays)
    for array, other in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        assert array.dtype.kind == other.dtype.kind
        np.testing.assert_allclose(
            jax.device_get(array), jax.device_get(other), rtol=2e-5, atol=2e-5
        )


def test_every_kind_is_looked_at():
    assert sorted(name for names in KINDS.values() for name in names) == sorted(EVERY)
    assert all(KINDS.values())


# A setting that holds while a function is traced, and no longer where its program is lowered,
# transposed or partitioned.

X, W = np.ones((8, 6, 5, 2), np.float32), np.full((3, 3, 2, 4), 0.1, np.float32)


def summed_in_64_bits(x, w):
    with jax.enable_x64(True):
        wide = (jnp.asarray(array).astype(jnp.float64) for array in (x, w))
        return jaxconv.conv(*wide, padding=1).astype(jnp.float32)


@pytest.mark.parametrize(
    "spec",
    [P("a"), *(pytest.param(spec, marks=pytest.mark.thorough) for spec in (P(None, "a"), P()))],
    ids=str,
)
def test_64_bits_within_a_program_on_a_mesh(spec):
    mesh = jax.make_mesh((2,), ("a",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    x = jax.device_put(X, NamedSharding(mesh, spec))
    loss = lambda x, w: jnp.sum(jnp.square(summed_in_64_bits(x, w)))
    want = jax.grad(loss, (0, 1))(X, W)
    for found in (jax.jit(jax.grad(loss, (0, 1)))(x, W), jax.grad(loss, (0, 1))(x, W)):
        for gradient, other in zip(found, want, strict=True):
            np.testing.assert_allclose(gradient, other, rtol=1e-6)
    solved = jax.jit(lambda x: jaxconv.learn.solve_kernel(x, x[:, 1:-1, 1:-1], 3).kernel)
    assert solved(x[..., 0]).shape == (3, 3)


@pytest.mark.parametrize("gradient_of_jit", [False, True])
def test_64_bits_within_what_is_transposed(gradient_of_jit):
    inner = jax.jit(summed_in_64_bits) if gradient_of_jit else summed_in_64_bits
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(inner(x, W))))(X)
    np.testing.assert_allclose(gradient, jax.grad(lambda x: jnp.sum(inner(x, W)))(X), rtol=1e-6)


@pytest.mark.parametrize("call", [jaxconv.conv, jaxconv.accelerate(jaxconv.conv)])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_callers_precision(call, platform):
    def highest(x, w):
        with jax.default_matmul_precision("highest"):
            return call(x, w)

    for f, wanted in ((highest, True), (call, False)):
        text = jax.export.export(jax.jit(f), platforms=[platform])(X, W).mlir_module()
        assert ("HIGHEST" in text) == wanted
