"""Every kind of public call under each of JAX's modes: the values without it, or the same program.

What a mode only forbids (promotion of ranks or dtypes, leaks of tracers) is held to the program's
text, of value and gradients: what is the same text has the same values, and is not compiled.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mode_calls import EVERY, made
from public_calls import MESH, P

pytestmark = pytest.mark.usefixtures("quick_compilation")


@functools.lru_cache(maxsize=1)
class Call:
    """A call with its arrays on the devices where it runs, and what it returns without a mode."""

    def __init__(self, name):
        self.function, arrays = made(name)
        on_mesh = name.startswith("parallel") or "mesh" in name
        place = jax.sharding.NamedSharding(MESH, P()) if on_mesh else None
        self.arrays = jax.tree.map(lambda leaf: jax.device_put(leaf, place), arrays)
        with jax.numpy_dtype_promotion("standard"):
            self.text = self.lowered().as_text()
            self.value = leaves(jax.jit(self.function)(*self.arrays))

    def lowered(self):
        """Value and gradients, traced anew."""

        def run(*arrays):
            floats = lambda *arrays: [
                leaf
                for leaf in jax.tree.leaves(self.function(*arrays))
                if jnp.issubdtype(leaf.dtype, jnp.inexact)
            ]
            value, pull = jax.vjp(floats, *arrays)
            return self.function(*arrays), pull(value) if value and arrays else ()

        return jax.jit(run).lower(*self.arrays)


def leaves(result):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result)]


def same_program(mode):
    def check(call):
        with mode():
            assert call.lowered().as_text() == call.text

    return check


def same_value(mode):
    def check(call):
        with mode():
            found = jax.block_until_ready(call.function(*call.arrays))
        compare(leaves(found), call.value)

    return check


def within_64_bits(call):
    """The mode around the program, and around a part of it."""
    inside = lambda *arrays: jax.enable_x64(True)(call.function)(*arrays)
    with jax.enable_x64(True):
        call.lowered()
        outside = jax.jit(call.function)(*call.arrays)
    for found in (outside, jax.jit(inside)(*call.arrays)):
        compare(leaves(found), call.value, dtypes=False)


def compare(found, wanted, *, dtypes=True):
    for array, want in zip(found, wanted, strict=True):
        assert array.dtype == want.dtype or not dtypes
        np.testing.assert_allclose(array, want, rtol=2e-5, atol=2e-5)


MODES = {
    "rank promotion": same_program(lambda: jax.numpy_rank_promotion("raise")),
    "dtype promotion": same_program(lambda: jax.numpy_dtype_promotion("strict")),
    "leaks": same_program(jax.checking_leaks),
    "nans": same_value(lambda: jax.debug_nans(True)),
    "uncompiled": same_value(jax.disable_jit),
    "transfers": same_value(lambda: jax.transfer_guard("disallow")),
    "64 bits": within_64_bits,
}
# optax mixes dtypes, and learning is its
MIXES_DTYPES = {name for name in EVERY if "learn" in name}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (name, mode)
        for name in EVERY
        for mode in MODES
        if mode != "dtype promotion" or name not in MIXES_DTYPES
    ],
)
def test_the_same_under(name, mode):
    with jax.numpy_dtype_promotion("standard"):
        MODES[mode](Call(name))
