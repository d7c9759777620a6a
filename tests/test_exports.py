"""Every public function of arrays lowers for cpu, cuda and tpu in one program, here on a CPU."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import public_calls
import public_names
import pytest
from mode_calls import sort
from public_calls import CALLS, MESH, P
from public_names import ON_THE_HOST, OTHER_ROOMS

import jaxconv

PLATFORMS = ("cpu", "cuda", "tpu")
# Those whose exported programs are called, too: the rest are made of these.
CALLED = {name for name in CALLS if "." not in name or name.startswith("parallel.")}


def leaves(result):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result)]


def is_float(array):
    return jnp.issubdtype(array.dtype, jnp.inexact)


@pytest.mark.cover(name=sort)
@pytest.mark.parametrize("name", CALLS)
def test_value_and_gradient_export(name):
    f, *arrays = CALLS[name]() if callable(CALLS[name]) else CALLS[name]

    def program(*arrays):
        floats = lambda *arrays: [y for y in jax.tree.leaves(f(*arrays)) if is_float(y)]
        value, pull = jax.vjp(floats, *arrays)
        return f(*arrays), pull(value) if value and arrays else ()

    with jax.numpy_dtype_promotion("standard" if "learn" in name else "strict"):
        program = jax.jit(program)
        exported = jax.export.export(program, platforms=PLATFORMS)(*arrays)
        assert exported.platforms == PLATFORMS
        if name not in CALLED:
            return
        if name.startswith("parallel"):  # a program for eight devices is called on eight
            whole = jax.sharding.NamedSharding(MESH, P())
            arrays = [jax.device_put(array, whole) for array in arrays]
        for actual, want in zip(
            leaves(jax.jit(exported.call)(*arrays)), leaves(program(*arrays)), strict=True
        ):
            np.testing.assert_allclose(actual, want, rtol=1e-5, atol=1e-5)


def test_every_public_function_is_here():
    called = {name.partition(" ")[0] for name in CALLS}
    assert public_names.public() == called | ON_THE_HOST
    assert not set(CALLS) & ON_THE_HOST


def test_every_room_is_looked_at():
    looked = {name.split(".")[1] for name in public_names.MODULES if "." in name}
    assert public_names.rooms() == looked | OTHER_ROOMS
    assert not looked & OTHER_ROOMS


def test_a_new_function_is_missed(monkeypatch):
    """The reflection sees what is added to the `__all__` of a module."""
    before = public_names.public()
    new = lambda x: x
    for module in (public_calls.dense, jaxconv):
        monkeypatch.setattr(module, "new", new, raising=False)
        monkeypatch.setattr(module, "__all__", [*module.__all__, "new"])
    assert inspect.isfunction(new)
    assert public_names.public() - before == {"new", "analysis.dense.new"}
