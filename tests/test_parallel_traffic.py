"""Compiled programs communicate halos and one sum, with as many bytes as computed."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from sharded_cases import (
    CASES,
    P,
    case,
    collectives,
    mesh_of,
    value_and_gradients,
)

from jaxconv import parallel

MESH = mesh_of()
EVEN = (
    *("1d causal", "1d several hops", "1d another order of axes", "2d both", "3d", "groups"),
    *("output channels", "reflect 2d", "circular 2d"),
)


def compiled(function, *arrays):
    return function.lower(*arrays).compile().as_text()


def sharded(case):
    """Return the call, its arrays on the mesh, and a cotangent sharded as the result."""
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
    assert parallel.permuted_bytes(text) == 2 * bytes_each_way
    sums = [kind for kind in found if kind != "collective-permute"]
    # with w's outputs sharded, x's gradient is a second sum
    assert sums == ["all-reduce"] * (2 if case.w_spec != P() else 1)
    forward = compiled(jax.jit(call), *arrays[:3])
    assert set(collectives(forward)) == {"collective-permute"}
    assert parallel.permuted_bytes(forward) == bytes_each_way


@pytest.mark.parametrize("name", ["batch", "batch axes", "groups of w"])
def test_batch_and_groups_are_free(name):
    """Forward nothing is communicated; a step sums w's gradient, and x's where w is sharded."""
    case = next(case for case in CASES if case.name == name)
    call, arrays = sharded(case)
    assert collectives(compiled(jax.jit(call), *arrays[:3])) == []
    assert collectives(compiled(value_and_gradients(call), *arrays)) == ["all-reduce"]


def test_batch_sharded_groups_do_not_gather_the_batch():
    """1 < groups < channels, which XLA's partitioner gathers (openxla/xla#47945)."""
    grouped = case("grouped", (8, 6, 5, 8), (3, 3, 4, 8), P("a"), groups=2, padding=1)
    call, arrays = sharded(grouped)
    assert collectives(compiled(value_and_gradients(call), *arrays)) == ["all-reduce"]


def test_channels_are_summed_once():
    """Sharded input channels cost a sum of y; onto sharded outputs, each device gets its part."""
    arrays = jnp.ones((2, 8, 8)), jnp.ones((3, 8, 8))
    call = functools.partial(parallel.conv, mesh=MESH, x_spec=P(None, None, "a"))
    placed = [jax.device_put(a, NamedSharding(MESH, P(None, None, "a"))) for a in arrays]
    scattered = jax.jit(functools.partial(call, w_spec=P(None, None, "a")))
    # w's input channels must be where x's are: w, which is small, is moved
    assert collectives(compiled(scattered, *placed))[-1] == "reduce-scatter"
    assert collectives(compiled(jax.jit(call), *arrays)) == ["all-reduce"]


@pytest.mark.parametrize(
    ("name", "forward", "spec"),
    [
        # the parts of a group are summed over its devices, and each keeps its part
        ("groups cut in two", ["reduce-scatter"], P("b", None, "a")),
        # one sum of y's size: a device has parts of several groups
        ("groups cut unevenly, whole", ["all-reduce"], P(None, None)),
        # every device has the group that its outputs are computed from
        ("outputs of groups", [], P("b", None, "a")),
        ("groups and outputs", [], P(None, None, ("b", "a"))),
    ],
)
def test_groups_that_are_cut_apart_are_summed_and_not_gathered(name, forward, spec):
    case = next(case for case in CASES if case.name == name)
    call, arrays = sharded(case)
    assert collectives(compiled(jax.jit(call), *arrays[:3])) == forward
    y = call(*arrays[:3])
    assert y.sharding.is_equivalent_to(NamedSharding(MESH, spec), y.ndim)
    # a sum over few devices costs less than one over all: here pairs of devices
    if forward == ["reduce-scatter"]:
        text = compiled(jax.jit(call), *arrays[:3])
        assert "replica_groups={{0,2},{4,6},{1,3},{5,7}}" in text


def test_halos_of_what_a_device_reads():
    """A device that reads one of two groups receives the halo of that group only."""
    name = "outputs of a group"
    case = next(case for case in CASES if case.name == name)
    call, arrays = sharded(case)
    paper = parallel.halo_bytes(
        *arrays[:2], **case.arguments, mesh=MESH, x_spec=case.x_spec, w_spec=case.w_spec
    )
    # 2 parts, 4 copies of each, a row each way, 4 of 8 channels of 4 bytes
    assert paper == 4 * 2 * 1 * 4 * 4
    assert parallel.permuted_bytes(compiled(jax.jit(call), *arrays[:3])) == paper


def test_drifting_windows_send_little_more():
    """If the stride does not divide a block each hop sends the largest number of rows needed."""
    sent = {}
    for name in ("1d stride drifts", "1d cut", "1d uneven", "2d grouped everything"):
        drifting = next(case for case in CASES if case.name == name)
        layout = {"mesh": MESH, "x_spec": drifting.x_spec}
        arrays = drifting.arrays()[:2]
        call = jax.jit(functools.partial(parallel.conv, **drifting.arguments, **layout))
        needed = parallel.halo_bytes(*arrays, **drifting.arguments, **layout)
        sent[name] = parallel.permuted_bytes(compiled(call, *arrays)), needed
    assert sent == {
        "1d stride drifts": (192, 144),
        "1d cut": (208, 160),
        "1d uneven": (192, 192),
        "2d grouped everything": (1728, 1152),
    }


def test_uneven_sizes_stay_sharded_inside_a_program():
    """Between two layers nothing is gathered, unlike at the end of a program."""

    def network(x, w):
        for _ in range(2):
            x = parallel.conv(x, w, mesh=MESH, x_spec=P(None, "a"))
        return (x**2).sum()

    x = jax.device_put(jnp.ones((2, 32, 8, 4)), NamedSharding(MESH, P(None, "a")))
    found = collectives(compiled(jax.jit(network), x, jnp.ones((3, 3, 4, 4))))
    assert set(found) == {"collective-permute", "all-reduce"}
