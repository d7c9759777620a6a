"""Values and gradients on meshes: shard_map with checked axes, explicit axis types, auto."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv

P = PartitionSpec
CASE = cases.Case("sharded", (8, 7, 6, 4), (3, 2, 2, 8), {"groups": 2, "padding": 1, "stride": 2})


def apply(x, w):
    return jaxconv.conv(x, w, **CASE.arguments, precision="highest")


def loss(x, w):
    return (apply(x, w) ** 2).sum()


@pytest.fixture(scope="module")
def single():
    """Arrays on one device, the value there and both gradients."""
    arrays = CASE.arrays()
    x, w = jnp.asarray(arrays["x"]), jnp.asarray(arrays["w"])
    return x, w, apply(x, w), jax.grad(loss, (0, 1))(x, w)


def mesh_of(kind):
    return jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind, kind))


def assert_close(actual, want):
    np.testing.assert_allclose(actual, want, rtol=2e-5, atol=2e-5 * np.abs(want).max())


def test_shard_map_with_checked_axes(single):
    x, w, _, gradients = single
    mesh = mesh_of(AxisType.Auto)

    def local(x, w):
        return jax.lax.psum(loss(x, w), "data")

    mapped = jax.shard_map(
        jax.grad(local, (0, 1)),
        mesh=mesh,
        in_specs=(P("data"), P()),
        out_specs=(P("data"), P()),
        check_vma=True,
    )
    for actual, want in zip(jax.jit(mapped)(x, w), gradients, strict=True):
        assert_close(actual, want)


@pytest.mark.cover
@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto], ids=str)
@pytest.mark.parametrize("channels", [None, "model"])
def test_meshes_with_axis_types(single, kind, channels):
    x, w, value, gradients = single
    mesh = mesh_of(kind)
    with jax.set_mesh(mesh):
        x = jax.device_put(x, NamedSharding(mesh, P("data")))
        w = jax.device_put(w, NamedSharding(mesh, P(None, None, None, channels)))
        y = jax.jit(apply)(x, w)
        assert_close(y, value)
        assert y.sharding.is_equivalent_to(NamedSharding(mesh, P("data", None, None, channels)), 4)
        for actual, want, like in zip(
            jax.jit(jax.grad(loss, (0, 1)))(x, w), gradients, (x, w), strict=True
        ):
            assert_close(actual, want)
            if kind == AxisType.Explicit:
                assert jax.typeof(actual) == jax.typeof(like)
        # forward over reverse, and a vmapped axis
        tangents = jax.jit(lambda x, w: jax.jvp(jax.grad(loss, (0, 1)), (x, w), (x, w)))(x, w)[1]
        assert_close(tangents[0], 3 * np.asarray(gradients[0]))
        many = jax.jit(jax.vmap(loss, (0, None)))(jnp.stack([x, x]), w)
        assert_close(many, np.full(2, (np.asarray(value) ** 2).sum()))


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_batch_sharding_gathers_nothing(groups):
    """Under jit a batch-sharded layer stays where it is; w's gradient is summed, no more."""
    mesh = mesh_of(AxisType.Auto)
    x = jax.device_put(jnp.ones((8, 7, 6, 8)), NamedSharding(mesh, P("data")))
    w = jax.device_put(jnp.ones((3, 3, 8 // groups, 8)), NamedSharding(mesh, P()))

    def energy(x, w):
        return (jaxconv.conv(x, w, groups=groups) ** 2).sum()

    gathers = ("all-gather", "all-to-all", "collective-permute")
    text = jax.jit(jax.grad(energy)).lower(x, w).compile().as_text()
    assert not [name for name in (*gathers, "all-reduce") if name in text]
    text = jax.jit(jax.grad(energy, 1)).lower(x, w).compile().as_text()
    assert text.count(" all-reduce(") == 1
    assert not [name for name in gathers if name in text]


@pytest.mark.parametrize("shape", [(4, 2), (2, 4)])
def test_the_gradient_of_rows_on_a_mesh_with_an_idle_axis(shape):
    """XLA's own, of jax 0.10, is as many times too large as devices hold the same rows."""
    mesh = jax.make_mesh(shape, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))
    draw = np.random.default_rng(0)
    x = draw.standard_normal((2, 16, 6, 3), np.float32)
    w = draw.standard_normal((3, 3, 3, 8), np.float32)
    gradient = jax.grad(lambda w, x: (jaxconv.conv(x, w) ** 2).sum())
    placed = jax.device_put(x, NamedSharding(mesh, P(None, "data")))
    whole = jax.device_put(w, NamedSharding(mesh, P()))
    assert_close(jax.jit(gradient)(whole, placed), gradient(w, x))


@pytest.mark.cover
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular", "symmetric"])
@pytest.mark.parametrize("function", [jaxconv.conv, jaxconv.conv_transpose])
def test_sharded_space_stays_so(function, mode):
    """On explicit axes, along the dimensions that fall into equal parts."""
    mesh = mesh_of(AxisType.Explicit)
    array = np.random.default_rng(0).integers(-3, 4, (2, 8, 6, 3)).astype("f4")
    w = np.random.default_rng(1).integers(-3, 4, (3, 3, 3, 3)).astype("f4")
    want = function(array, w, padding=1, padding_mode=mode)
    with jax.set_mesh(mesh):
        placed = jax.device_put(array, NamedSharding(mesh, P(None, "data", "model")))
        found = function(placed, w, padding=1, padding_mode=mode)
        narrow = function(placed, w, padding=((0, 0), (1, 1)), padding_mode=mode)
    assert jax.typeof(found).sharding.spec == P(None, "data", "model", None)
    # 6 or 10 rows are no multiple of 4
    assert jax.typeof(narrow).sharding.spec == P(None, None, "model", None)
    np.testing.assert_array_equal(found, want)


def test_streams_on_explicit_meshes():
    mesh = mesh_of(AxisType.Explicit)
    x, w = jnp.arange(120.0).reshape(8, 5, 3), jnp.arange(24.0).reshape(2, 3, 4)
    want, state = jaxconv.causal_conv1d(x, w)
    with jax.set_mesh(mesh):
        y, last = jaxconv.causal_conv1d(jax.device_put(x, NamedSharding(mesh, P("data"))), w)
    assert jax.typeof(y).sharding.spec == P("data", None, None)
    assert_close(y, want)
    assert_close(last, state)


def test_windows_stay_on_their_mesh():
    """Of a batch-sharded image on explicit axes: as on one device, and still sharded."""
    x = np.random.default_rng(0).normal(size=(4, 6, 5, 3)).astype("float32")
    want = jaxconv.fold(jaxconv.unfold(x, (2, 3)), (6, 5), (2, 3))
    mesh = mesh_of(AxisType.Explicit)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(x, NamedSharding(mesh, P("data")))
        folded = jaxconv.fold(jaxconv.unfold(sharded, (2, 3)), (6, 5), (2, 3))
        assert jax.typeof(folded) == jax.typeof(sharded)
    assert_close(folded, want)
