"""Plain `jit` over several devices: every call has one device's answer, wherever its arrays lie."""

import functools

import flax.linen
import jax
import jax.numpy as jnp
import mesh_fuzz
import numpy as np
import pytest
from covering import some
from flax import nnx
from jax import lax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from sharded_cases import CASES, P, collectives, mesh_of, value_and_gradients

import jaxconv
import jaxconv.compat.torch
import jaxconv.linen
import jaxconv.nnx
from jaxconv import parallel
from jaxconv._core.dispatch import primitive as trilinear
from jaxconv.compat.scipy import ndimage

MESH = mesh_of()
AUTO, EXPLICIT = AxisType.Auto, AxisType.Explicit


def numbers(*shape, seed=0):
    """Small whole numbers: their sums are exact in float32."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype("f4")


def put(array, *entries, mesh=MESH):
    return jax.device_put(array, NamedSharding(mesh, P(*entries)))


def compiled(function, *arrays):
    return jax.jit(function).lower(*arrays).compile().as_text()


@pytest.mark.parametrize("seed", some(range(60), *range(20)))
def test_random_convolutions_on_random_meshes(seed):
    """`python tests/mesh_fuzz.py` runs more of them."""
    assert mesh_fuzz.wrong(mesh_fuzz.draw(seed)) == ""


def test_the_fuzz_can_fail(monkeypatch):
    """Halos that arrive from the wrong side are seen."""
    right = lax.ppermute
    turned = lambda x, names, pairs: right(x, names, [(b, a) for a, b in pairs])
    monkeypatch.setattr(lax, "ppermute", turned)
    assert mesh_fuzz.wrong(mesh_fuzz.draw(8)).startswith("y")


# What XLA's own partitioner has wrong on jax 0.10.2 and 0.12.0, one of each kind: shapes and
# shardings of x and w, groups.
OUT = (None, None, None, "b")
KINDS = {
    # the value, times the size of the second axis
    "rows and outputs": ((1, 16, 16, 64), (3, 3, 64, 64), (None, "a"), OUT, 1),
    # the kernel's gradient, times the size of the idle axis
    "rows and an idle axis": ((2, 16, 6, 3), (3, 3, 3, 8), (None, "a"), (), 1),
    # both gradients
    "groups cut twice": ((1, 8, 8, 8), (1, 1, 4, 8), (None, None, None, "a"), OUT, 2),
}


@pytest.mark.cover("call kind")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 4), (4, 2)], ids=str)
@pytest.mark.parametrize("call", ["conv", "accelerate"])
def test_what_xla_has_wrong(kind, shape, call):
    x_shape, w_shape, x_spec, w_spec, groups = KINDS[kind]
    x, w = numbers(*x_shape), numbers(*w_shape, seed=1)
    mesh = mesh_of(shape=shape)

    def plain(x, w):
        dimensions = ("NHWC", "HWIO", "NHWC")
        how = {"dimension_numbers": dimensions, "feature_group_count": groups}
        return lax.conv_general_dilated(x, w, (2, 2), ((1, 1), (1, 1)), **how)

    def ours(x, w):
        return jaxconv.conv(x, w, stride=2, padding=1, groups=groups)

    y = numbers(*ours(x, w).shape, seed=2)

    def step(x, w):
        made, pull = jax.vjp(ours if call == "conv" else plain, x, w)
        return made, *pull(y)

    program = step if call == "conv" else jaxconv.accelerate(step)
    found = jax.jit(program)(put(x, *x_spec, mesh=mesh), put(w, *w_spec, mesh=mesh))
    for actual, want in zip(found, step(x, w), strict=True):
        np.testing.assert_array_equal(actual, want)


@pytest.mark.parametrize("entries", [(None, "a"), ("b", "a"), (None, None, None, "a")], ids=str)
def test_lax_on_explicit_axes(entries):
    """The type that lax's own rule gives; where it asks for one, the one that is given."""
    x, w = numbers(2, 16, 8, 4), numbers(3, 3, 4, 8, seed=1)
    mesh = mesh_of(EXPLICIT)
    out = P(None, "a", None, "b")

    def conv(x, w, out_sharding=None):
        dimensions = ("NHWC", "HWIO", "NHWC")
        how = {"dimension_numbers": dimensions, "out_sharding": out_sharding}
        return lax.conv_general_dilated(x, w, (1, 1), "SAME", **how)

    want = conv(x, w)
    with jax.set_mesh(mesh):
        placed = put(x, *entries, mesh=mesh), put(w, None, None, None, None, mesh=mesh)
        if "a" in entries[1:2]:
            made = jax.jit(jaxconv.accelerate(conv))(*placed)
            assert jax.typeof(made) == jax.typeof(jax.jit(conv)(*placed))
            np.testing.assert_array_equal(np.asarray(made), want)
        given = functools.partial(conv, out_sharding=out)
        made = jax.jit(jaxconv.accelerate(given))(*placed)
        assert jax.typeof(made).sharding.spec == out
        np.testing.assert_array_equal(np.asarray(made), want)
        assert [row.call for row in jaxconv.explain(given, *placed)] == ["lax"]


EVEN = (
    *("batch", "1d causal", "1d several hops", "1d another order of axes", "2d both", "3d"),
    *("2d strided and dilated", "batch axes", "groups", "outputs of groups", "outputs of a group"),
    *("groups and outputs", "groups of w", "output channels", "reflect 2d", "circular 2d"),
)


@pytest.mark.cover(name=lambda name: next(case for case in CASES if case.name == name).traits)
@pytest.mark.parametrize("name", EVEN)
def test_halos_are_all_that_is_sent(name):
    """Forward the bytes of `halo_bytes`; each gradient once more, and sums."""
    case = next(case for case in CASES if case.name == name)
    x, w, b, y = case.arrays()
    x, w = put(x, *case.x_spec), put(w, *case.w_spec)
    conv = functools.partial(jaxconv.conv, **case.arguments)
    layout = {"mesh": MESH, "x_spec": case.x_spec, "w_spec": case.w_spec}
    paper = parallel.halo_bytes(x, w, **case.arguments, **layout)
    forward = compiled(conv, x, w, b)
    assert set(collectives(forward)) <= {"collective-permute"}
    assert parallel.permuted_bytes(forward) == paper
    y = jax.device_put(y, parallel.conv(x, w, b, **case.arguments, **layout).sharding)
    step = compiled(value_and_gradients(conv), x, w, b, y)
    # w's gradient is put together where the mesh has cut channels within groups
    gathers = {"all-gather"} if name in ("outputs of a group", "outputs of groups") else set()
    assert set(collectives(step)) <= {"collective-permute", "all-reduce"} | gathers
    assert parallel.permuted_bytes(step) == 3 * paper


def test_uneven_sizes_stay_sharded_inside_a_program():
    """Between layers whose sizes the mesh does not divide, no image is gathered."""

    def network(x, w):
        for _ in range(3):
            x = jaxconv.conv(x, w)
        return (x**2).sum()

    x, w = numbers(2, 32, 8, 4), numbers(3, 3, 4, 4)
    text = compiled(jax.grad(network, 1), put(x, None, "a"), w)
    assert set(collectives(text)) == {"collective-permute", "all-reduce"}


def test_cut_groups_leave_each_device_its_share():
    """Where the result is asked for so: the parts of a group add up, and each keeps its own."""
    shares = NamedSharding(MESH, P(None, None, "a"))
    conv = jax.jit(functools.partial(jaxconv.conv, groups=2), out_shardings=shares)
    x, w = put(numbers(2, 8, 8), None, None, "a"), put(numbers(3, 4, 12))
    assert collectives(conv.lower(x, w).compile().as_text()) == ["reduce-scatter"]


def test_the_plugin_serves_the_parts():
    pytest.importorskip("jaxconv_onednn")
    conv = functools.partial(jaxconv.conv, padding="same", method="onednn")
    x, w = put(numbers(2, 16, 16, 8), None, "a"), numbers(3, 3, 8, 8)
    text = compiled(lambda x, w: jax.vjp(conv, x, w)[1](conv(x, w)), x, w)
    for contraction in ("output", "input", "kernel"):
        assert f'custom_call_target="jaxconv_onednn_{contraction}"' in text


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_rounded_once(dtype):
    """Sums of several devices' parts are made in float32, as on one device."""
    x, w = (numbers(*shape).astype(jnp.dtype(dtype)) * 33 for shape in ((1, 16, 8), (3, 8, 4)))
    y = numbers(1, 16, 4, seed=3).astype(jnp.dtype(dtype))

    def step(x, w):
        made, pull = jax.vjp(functools.partial(jaxconv.conv, padding=1), x, w)
        return made, *pull(y)

    want = step(jnp.asarray(x), jnp.asarray(w))
    for entries in ((None, "a"), (None, None, "a"), (None, "b", "a")):
        for actual, right in zip(jax.jit(step)(put(x, *entries), w), want, strict=True):
            np.testing.assert_array_equal(actual, right)


def _alike(x, w):
    """Kernels whose first axis lies as x's does, which `jax.vmap` asks for on explicit axes."""
    return w + 0 * x.sum((1, 2, 3))[:, None, None, None, None]


CALLS = {
    "conv": lambda x: jaxconv.conv(x, numbers(3, 3, 4, 8), padding="same", padding_mode="reflect"),
    "conv_transpose": lambda x: jaxconv.conv_transpose(x, numbers(4, 4, 3, 4), stride=2, padding=1),
    "circular": lambda x: jaxconv.conv(x, numbers(5, 5, 4, 2), padding=2, padding_mode="circular"),
    "depthwise": lambda x: jaxconv.conv(x, numbers(3, 3, 1, 8), stride=2, padding=1, groups=4),
    "correlate": lambda x: jaxconv.correlate(
        x, numbers(3, 3), mode="same", boundary="symmetric", axes=(1, 2)
    ),
    "convolve": lambda x: jaxconv.convolve(
        x, numbers(4, 3), mode="full", boundary="constant", fill_value=2, axes=(1, 2)
    ),
    "causal": lambda x: jaxconv.causal_conv1d(x[:, :, 0], numbers(3, 1, 4))[0],
    "torch": lambda x: jaxconv.compat.torch.conv2d(jnp.moveaxis(x, -1, 1), numbers(8, 4, 3, 3)),
    "ndimage": lambda x: ndimage.correlate(x[..., 0], numbers(1, 3, 3), mode="wrap"),
    "vmap over kernels": lambda x: jax.vmap(jaxconv.conv, (None, 0))(x, numbers(3, 3, 3, 4, 2)),
    "vmap over both": lambda x: jax.vmap(jaxconv.conv)(x, _alike(x, numbers(2, 3, 3, 4, 2))),
}


@pytest.mark.cover
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [AUTO, EXPLICIT], ids=str)
def test_every_call(call, kind):
    """Rows of x on one axis and columns or batch on the other; value and gradient."""
    function, x = CALLS[call], numbers(2, 16, 8, 4)

    def step(x):
        y, pull = jax.vjp(function, x)
        return y, pull(y)[0]

    want = step(x)
    mesh = mesh_of(kind)
    with jax.set_mesh(mesh):
        for entries in ((None, "a"), ("b", "a")):
            for actual, right in zip(jax.jit(step)(put(x, *entries, mesh=mesh)), want, strict=True):
                np.testing.assert_array_equal(np.asarray(actual), right)


@pytest.mark.cover
@pytest.mark.parametrize("kind", [AUTO, EXPLICIT], ids=str)
@pytest.mark.parametrize("eager", [False, True], ids=["jit", "eager"])
def test_layers(kind, eager):
    """Flax layers under rows that are sharded, and their gradients."""
    x = numbers(2, 16, 8, 4)
    mesh = mesh_of(kind)
    linen = jaxconv.linen.Conv(8, (3, 3), strides=2, padding="SAME", feature_group_count=2)
    up = jaxconv.linen.ConvTranspose(3, (4, 4), strides=2, padding="SAME")
    network = flax.linen.Sequential([linen, up])
    variables = jax.tree.map(jnp.round, network.init(jax.random.key(0), x))
    variables = jax.tree.map(lambda a: jnp.ones_like(a) if a.ndim > 1 else a, variables)
    layer = jaxconv.nnx.Conv(4, 6, (3, 3), padding="CIRCULAR", rngs=nnx.Rngs(0))
    layer.kernel[...] = numbers(3, 3, 4, 6)

    def step(variables, x):
        return jax.value_and_grad(lambda v: (network.apply(v, x)[..., 0] * x[..., 0]).sum())(
            variables
        ), layer(x)

    want = step(variables, x)
    with jax.set_mesh(mesh):
        run = step if eager else jax.jit(step)
        placed = jax.device_put(variables, NamedSharding(mesh, P()))
        found = run(placed, put(x, None, "a", mesh=mesh))
    for actual, right in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(np.asarray(actual), right)


def test_arrays_of_two_meshes_in_one_program():
    x, w = numbers(2, 16, 8, 4), numbers(3, 3, 4, 8)
    rows = put(x, None, "a", mesh=mesh_of(shape=(2, 4)))
    outputs = put(w, None, None, None, "b", mesh=mesh_of(shape=(4, 2)))
    np.testing.assert_array_equal(jax.jit(jaxconv.conv)(rows, outputs), jaxconv.conv(x, w))


def test_devices_in_another_order():
    x, w = numbers(2, 16, 8, 4), numbers(3, 3, 4, 8)
    devices = np.array(jax.devices())[[5, 2, 7, 0, 1, 6, 3, 4]].reshape(4, 2)
    mesh = Mesh(devices, ("a", "b"), axis_types=(AUTO, AUTO))
    found = jax.jit(jaxconv.conv)(
        put(x, None, "a", mesh=mesh), put(w, None, None, None, "b", mesh=mesh)
    )
    np.testing.assert_array_equal(found, jaxconv.conv(x, w))


@pytest.mark.parametrize("groups", [1, 2])
def test_meshes_of_which_shard_map_has_some_axes(groups):
    """XLA partitions over the others, and gets nothing that it has wrong."""
    mesh = mesh_of(shape=(4, 2))
    x, w = numbers(4, 16, 6, 4), numbers(3, 3, 4 // groups, 8)
    conv = functools.partial(jaxconv.conv, stride=2, padding=1, groups=groups)

    def step(x, w):
        y, pull = jax.vjp(conv, x, w)
        return y, *pull(y)

    def local(x, w):
        x = lax.with_sharding_constraint(x, P(None, "b"))
        y, into_x, into_w = step(x, lax.with_sharding_constraint(w, P(None, None, None, "b")))
        return y, into_x, lax.psum(into_w, "a")

    with jax.set_mesh(mesh):
        specs = {"in_specs": (P("a"), P()), "out_specs": (P("a"), P("a"), P())}
        mapped = jax.shard_map(local, mesh=mesh, axis_names={"a"}, check_vma=False, **specs)
        found = jax.jit(mapped)(x, w)
    for actual, want in zip(found, step(x, w), strict=True):
        np.testing.assert_array_equal(actual, want)


@pytest.mark.parametrize("seed", [5, 17, 18, 31])
def test_where_xla_alone_partitions(seed, monkeypatch):
    """As on TPUs, whose compiler calls no rules of ours: it gets nothing that it has wrong."""
    monkeypatch.setattr(trilinear, "NOT_PARTITIONED_HERE", {"cpu"})
    assert mesh_fuzz.wrong(mesh_fuzz.draw(seed)) == ""


@pytest.mark.parametrize("groups", [1, 2])
def test_exports_for_several_devices(groups):
    x, w = numbers(2, 16, 6, 4), numbers(3, 3, 4 // groups, 8)
    conv = functools.partial(jaxconv.conv, padding=1, groups=groups)

    def step(x, w):
        y, pull = jax.vjp(conv, x, w)
        return y, *pull(y)

    placed = put(x, None, "a"), put(w, None, None, None, "b")
    exported = jax.export.export(jax.jit(step))(*placed)
    found = jax.jit(exported.call)(*placed)
    for actual, want in zip(found, step(x, w), strict=True):
        np.testing.assert_array_equal(actual, want)


def test_abstract_meshes_still_lower():
    mesh = AbstractMesh((64,), ("a",), axis_types=(AxisType.Auto,))
    x = jax.ShapeDtypeStruct((1, 128, 6, 2), "float32", sharding=NamedSharding(mesh, P(None, "a")))
    w = jax.ShapeDtypeStruct((5, 3, 2, 4), "float32", sharding=NamedSharding(mesh, P()))
    conv = jax.jit(functools.partial(jaxconv.conv, padding="same"))
    for platform, partitions in (("cuda", True), ("tpu", False)):
        lowered = conv.trace(x, w).lower(lowering_platforms=(platform,))
        assert ("CustomSPMDPartitioning" in lowered.as_text()) == partitions
