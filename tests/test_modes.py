"""Every kind of public call under each of JAX's modes.

What a mode only forbids (promotion of ranks or dtypes, leaks of tracers, transfers) is tried with
every call; what changes how programs run, with a drawn call of every kind, by its values.
"""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mode_calls import EVERY, KINDS, made
from public_calls import MESH, P

pytestmark = pytest.mark.usefixtures("quick_compilation")

# optax mixes dtypes and ranks, and learning is its
OPTAX = {name for name in EVERY if name.startswith("learn")}
# Eagerly these calculate with numbers of the host (positions, boundaries, filters, literals of the
# function that is rewritten), as jnp's own operators do; jitted they are constants of the program.
NUMBERS_OF_THE_HOST = ("accelerate", "compat.scipy", "dense", "influence", "learn", "matrix")
# Loops of many steps, one operation after another.
MINUTES_UNCOMPILED = {
    *("influence.influence", "learn.distance_to_optimum", "learn.fit_conv", "learn.solve_kernel"),
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
    """Value and gradients; values alone of what learns."""
    function, arrays = placed(name)

    def gradients(*arrays):
        floats = lambda *arrays: [
            leaf
            for leaf in jax.tree.leaves(function(*arrays))
            if jnp.issubdtype(leaf.dtype, jnp.inexact)
        ]
        value, pull = jax.vjp(floats, *arrays)
        return value, pull(value)

    by_optax = name in OPTAX
    traced = function if by_optax or not arrays else gradients
    dtypes, ranks = ("standard", "allow") if by_optax else ("strict", "raise")
    with (
        jax.numpy_rank_promotion(ranks),
        jax.numpy_dtype_promotion(dtypes),
        jax.checking_leaks(),
    ):
        jax.make_jaxpr(traced)(*arrays)


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_sent_unasked(name):
    function, arrays = placed(name)
    if name.startswith(NUMBERS_OF_THE_HOST) and name != "compat.scipy.signal.correlation_lags":
        function = jax.jit(function)
    with jax.numpy_dtype_promotion("standard"), jax.transfer_guard("disallow"):
        jax.block_until_ready(function(*arrays))


def nans(function, arrays):
    with jax.debug_nans(True):
        return jax.jit(function)(*arrays)


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
            quick = [name for name in names if name not in MINUTES_UNCOMPILED]
            yield draw.choice(quick if mode == "uncompiled" else names), mode


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
