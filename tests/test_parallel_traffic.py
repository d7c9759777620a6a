"""Compiled programs communicate halos and one sum, nothing else, and as much as is worked out."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from sharded_cases import (
    CASES,
    P,
    case,
    collectives,
    mesh_of,
    permuted_bytes,
    value_and_gradients,
)

import jaxconv
from jaxconv import parallel

MESH = mesh_of()
EVEN = (
    *("1d causal", "1d several hops", "1d another order of axes", "2d both", "3d", "groups"),
    *("batch axes", "output channels", "reflect 2d", "circular 2d"),
)


def compiled(function, *arrays):
    return function.lower(*arrays).compile().as_text()


def sharded(case):
    """The call, and the arrays on their mesh with the cotangent as the call lays its result out."""
    call = functools.partial(
        parallel.conv, **case.arguments, mesh=MESH, x_spec=case.x_spec, w_spec=case.w_spec
    )
    x, w, b, y = case.arrays()
    x = jax.device_put(x, NamedSharding(MESH, case.x_spec))
    w = jax.device_put(w, NamedSharding(MESH, case.w_spec))
    y = jax.device_put(y, call(x, w, b).sharding)
    return call, (x, w, b, y)


@pytest.mark.parametrize("name", EVEN)
def test_a_step_permutes_halos_and_sums_once(name):
    """Forward the halo, in x's gradient the halo back; w's and b's gradients are one reduction."""
    case = next(case for case in CASES if case.name == name)
    call, arrays = sharded(case)
    text = compiled(value_and_gradients(call), *arrays)
    bytes_each_way = parallel.halo_bytes(
        *arrays[:2], **case.arguments, mesh=MESH, x_spec=case.x_spec, w_spec=case.w_spec
    )
    found = collectives(text)
    assert permuted_bytes(text) == 2 * bytes_each_way
    sums = [kind for kind in found if kind != "collective-permute"]
    # with w's outputs sharded, x's gradient is a second sum
    assert sums == ["all-reduce"] * (2 if case.w_spec != P() else 1)
    forward = compiled(jax.jit(call), *arrays[:3])
    assert set(collectives(forward)) == {"collective-permute"}
    assert permuted_bytes(forward) == bytes_each_way
