"""Errors of sharded convolutions, with whole messages."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from sharded_cases import P, mesh_of

from jaxconv import parallel

MESH = mesh_of()
X, W = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 8))

BAD = {
    "no mesh": (
        {"mesh": None},
        ValueError,
        "mesh is not given, and neither x nor w knows its own: give mesh=, or arrays that "
        "jax.device_put has put on one",
    ),
    "not a mesh": (
        {"mesh": 4},
        TypeError,
        "mesh=4 must be a jax.sharding.Mesh, not int",
    ),
    "layout not known": (
        {"x_spec": None},
        ValueError,
        "x is not on the mesh {'a': 4, 'b': 2}; give x_spec=, for instance PartitionSpec('a')",
    ),
    "not a spec": (
        {"x_spec": ("a",)},
        TypeError,
        "x_spec=('a',) must be a jax.sharding.PartitionSpec, not tuple",
    ),
    "axis not in the mesh": (
        {"x_spec": P(None, ("a", "rows"))},
        ValueError,
        "x_spec=P(None, ('a', 'rows')) names the mesh axis 'rows'; the mesh has 'a', 'b'",
    ),
    "too many entries": (
        {"w_spec": P(None, None, None, None, "a")},
        ValueError,
        "w_spec=P(None, None, None, None, 'a') has 5 entries for the 4 dimensions of w "
        "(w.shape=(3, 3, 4, 8))",
    ),
    "axis twice": (
        {"x_spec": P("a", "a")},
        ValueError,
        "x_spec=P('a', 'a') names the mesh axis 'a' twice",
    ),
    "channels not shared evenly": (
        {"x_spec": P(None, None, None, ("a", "b"))},
        ValueError,
        "x has 4 channels, which 8 devices (mesh axes ('a', 'b')) do not share evenly",
    ),
    "integers whose sums need more": (
        {"x": jnp.ones((2, 8, 8, 4), jnp.int8), "w": jnp.ones((3, 3, 4, 8), jnp.int8)},
        TypeError,
        "x and w are int8, and sums of products may need more bits; use "
        "preferred_element_type=jnp.int32 (or jnp.int8, in which they wrap around)",
    ),
    "groups not shared evenly": (
        {"w": jnp.ones((3, 3, 2, 8)), "groups": 2, "x_spec": P(None, None, None, ("a", "b"))},
        ValueError,
        "x has 4 channels, which 8 devices (mesh axes ('a', 'b')) do not share evenly",
    ),
    # errors on one device too have the same messages
    "one device's rule": ({"stride": 0}, ValueError, "stride=0 must be at least 1"),
    "padding mode": (
        {"padding_mode": "mirror"},
        ValueError,
        "padding_mode='mirror' must be one of 'zeros', 'reflect', 'symmetric', 'replicate', "
        "'circular'; 'mirror' is 'reflect' here",
    ),
    "bias": (
        {"b": jnp.ones(3)},
        ValueError,
        "b.shape=(3,) must be (8,), one a channel of the result",
    ),
    "method": ({"flip": 1}, TypeError, "flip=1 must be True or False"),
}


@pytest.mark.parametrize("name", BAD)
def test_says_what_is_wrong(name):
    change, error, message = BAD[name]
    with pytest.raises(error) as caught:
        parallel.conv(**{"x": X, "w": W, "mesh": MESH, "x_spec": P("a")} | change)
    assert str(caught.value) == f"parallel.conv: {message}"


def test_tracers_do_not_say_how_they_lie():
    x = jax.device_put(X, NamedSharding(MESH, P("b")))
    with pytest.raises(ValueError, match="is traced") as caught:
        jax.jit(lambda x: parallel.conv(x, W, mesh=MESH))(x)
    assert str(caught.value) == (
        "parallel.conv: x is traced, and jit does not say how it lies on a mesh with auto axes; "
        "give x_spec=, for instance PartitionSpec('a')"
    )


def test_inside_shard_map():
    def local(x):
        return parallel.conv(x, W, x_spec=P("b"))

    with pytest.raises(ValueError, match="inside shard_map") as caught:
        jax.shard_map(local, mesh=MESH, in_specs=P("b"), out_specs=P("b"))(X)
    assert str(caught.value) == (
        "parallel.conv: called inside shard_map over ('a', 'b'); call it outside, or jaxconv.conv "
        "on what each device has"
    )


def test_unreduced_sums():
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        spec = P(None, None, None, None, unreduced={"a"})
        with pytest.raises(ValueError, match="unreduced") as caught:
            parallel.conv(X, W, x_spec=spec)
    assert str(caught.value) == (
        "parallel.conv: x is an unreduced sum over ['a']; use jax.sharding.reshard to sum it"
    )


def test_the_other_functions_name_themselves_and_their_array():
    with pytest.raises(ValueError, match="y is not on the mesh") as caught:
        parallel.conv_transpose(X, jnp.ones((3, 3, 2, 4)), mesh=MESH)
    assert str(caught.value) == (
        "parallel.conv_transpose: y is not on the mesh {'a': 4, 'b': 2}; give y_spec=, for "
        "instance PartitionSpec('a')"
    )
    with pytest.raises(ValueError, match="mesh is not given") as caught:
        parallel.halo_bytes(X, W)
    assert str(caught.value) == (
        "halo_bytes: mesh is not given, and neither x nor w knows its own: give mesh=, or arrays "
        "that jax.device_put has put on one"
    )


def test_meshes_without_devices_compute_nothing():
    mesh = AbstractMesh((4, 2), ("a", "b"))
    for call, arguments in (
        ("conv", {"x": X, "w": W, "x_spec": P("b")}),
        ("conv_transpose", {"y": X, "w": jnp.ones((3, 3, 2, 4)), "y_spec": P("b")}),
    ):
        with pytest.raises(ValueError, match="is abstract") as caught:
            getattr(parallel, call)(**arguments, mesh=mesh)
        assert str(caught.value) == (
            f"parallel.{call}: mesh {{'a': 4, 'b': 2}} is abstract and has no devices to compute "
            "on; give a jax.sharding.Mesh, or trace the call: jax.eval_shape, or "
            "jax.jit(...).lower"
        )


def test_what_is_counted():
    how: Any = {"mesh": MESH, "x_spec": P(None, "a")}
    number: Any = 3
    counted = parallel.halo_bytes(np.ones((2, 8, 8, 4), np.float32), np.ones((5, 3, 4, 8)), **how)
    assert counted == parallel.halo_bytes(X, jnp.ones((5, 3, 4, 8)), **how) > 0
    with pytest.raises(TypeError) as caught:
        parallel.halo_bytes(X, number, **how)
    assert str(caught.value) == (
        "halo_bytes: w must be an array or a jax.ShapeDtypeStruct, not int"
    )
    with pytest.raises(TypeError) as caught:
        parallel.permuted_bytes(number)
    assert str(caught.value) == (
        "permuted_bytes: program must be the text of a compiled program, not int; use .as_text()"
    )
