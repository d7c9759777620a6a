"""Learning from sharded images: the answer of one device, and no image is ever gathered."""

import functools
import re

import cases
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from sharded_cases import P, collectives, mesh_of

from jaxconv import conv, learn, parallel
from jaxconv.learn import _driver as driver
from jaxconv.learn import _solve as solve

MESH = mesh_of()
SGD = optax.sgd(1e-4)
RNG = np.random.default_rng(0)


def images(x_shape, w_shape, noise=0.0, **geometry):
    """An x with a mean, its y, and the kernel between them."""
    x, w = (jnp.asarray(cases.random(RNG, shape, "float32")) for shape in (x_shape, w_shape))
    x = x + 1
    y = np.asarray(conv(x, w, **geometry))
    return x, y + noise * cases.random(RNG, y.shape, "float32"), w


def on(mesh, spec, array):
    return jax.device_put(array, NamedSharding(mesh, spec))


@pytest.fixture
def compiled(monkeypatch):
    """The compiled program of every call, as text."""
    texts = []

    def call(function, *args, **kwargs):
        program = function.lower(*args, **kwargs).compile()
        texts.append(program.as_text())
        return program(*args)  # all that is given by name is static

    monkeypatch.setattr(driver, "compiled_once", lambda f, *args: call(jax.jit(f), *args))
    monkeypatch.setattr(solve, "_compiled", functools.partial(call, solve._compiled))
    return texts


def assert_fits_agree(got, want):
    """To the float32 tolerance, on the scale of the first loss and of the largest weight."""
    scale = np.abs(want.kernel).max()
    np.testing.assert_allclose(got.kernel, want.kernel, rtol=0, atol=2e-6 * scale)
    np.testing.assert_allclose(got.losses, want.losses, rtol=0, atol=2e-6 * want.losses[0])
    np.testing.assert_allclose(got.final_loss, want.final_loss, atol=2e-6 * want.losses[0])
    np.testing.assert_allclose(got.zero_loss, want.zero_loss, rtol=2e-6)


def assert_traffic(text, halo, sums):
    """Halos once, and so many sums over the devices that are more than one number."""
    found = collectives(text)
    assert set(found) <= {"collective-permute", "all-reduce"}, found
    assert parallel.permuted_bytes(text) == halo
    lines = [line for line in text.splitlines() if " all-reduce(" in line]
    made = [line.split(" all-reduce(")[0].split(" = ")[1] for line in lines]
    assert len([shape for shape in made if any(c.isdigit() for c in shape_sizes(shape))]) == sums


def shape_sizes(text):
    """`(f32[], f32[3,3])` -> `3,3`: what stands in brackets."""
    return "".join(part.split("]")[0] for part in text.split("[")[1:])


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        pytest.param(P(None, "a"), AxisType.Auto, marks=pytest.mark.thorough),
        (P("b", "a"), AxisType.Explicit),
        (P(None, "a", "b"), AxisType.Auto),
    ],
    ids=str,
)
def test_fit_kernel(compiled, spec, kind):
    """Rows; batch and rows; rows and columns. The mesh divides x, never y."""
    x, y, _ = images((2, 16, 12, 1), (3, 2, 1, 1))
    x, y = x[..., 0], y[..., 0]
    run = functools.partial(learn.fit_kernel, kernel_size=(3, 2), optimizer=SGD, steps=4, bias=True)
    want = run(x, y)
    mesh = mesh_of(kind)
    with jax.set_mesh(mesh):
        got = run(on(mesh, spec, x), on(mesh, P(), y))
    assert got.kernel.sharding.mesh.axis_types == mesh.axis_types
    assert_fits_agree(got, want)
    w = jax.ShapeDtypeStruct((3, 2, 1, 1), "float32")
    halo = parallel.halo_bytes(x[..., None], w, mesh=mesh, x_spec=spec)
    assert_traffic(compiled[-1], halo, 1)


@pytest.mark.parametrize(
    ("spec", "geometry"),
    [
        (P("b"), {"groups": 2}),
        pytest.param(P(None, "a", "b"), {"padding": 1}, marks=pytest.mark.thorough),
        (P("b", "a"), {"stride": 2, "padding": 2, "dilation": 2, "padding_mode": "reflect"}),
    ],
    ids=str,
)
def test_layers(compiled, spec, geometry):
    """fit_conv within rounding, solve_kernel to the last bit but one; y lies on one device."""
    groups = geometry.get("groups", 1)
    x, y, w = images((2, 16, 12, 4), (3, 3, 4 // groups, 6), 0.1, **geometry)
    sharded = on(MESH, spec, x)
    run = functools.partial(learn.fit_conv, kernel_size=3, steps=3, bias=True, **geometry)
    assert_fits_agree(run(sharded, y), run(x, y))
    halo = parallel.halo_bytes(x, w, **geometry, mesh=MESH, x_spec=spec)
    assert_traffic(compiled[0], halo, 1)
    exact = functools.partial(
        learn.solve_kernel, kernel_size=3, channels=True, bias=True, **geometry
    )
    want, got = exact(x, y), exact(sharded, y)
    for name in ("kernel", "bias", "residual", "rank", "condition", "std_error", "energies"):
        actual, right = getattr(got, name), getattr(want, name)
        np.testing.assert_allclose(actual, right, rtol=2e-7, atol=1e-7, err_msg=name)
    # means (two where x's is taken off), the normal matrix, the refinement, what is left
    centred = geometry.get("padding_mode") == "reflect" or "padding" not in geometry
    assert_traffic(compiled[3], halo, 5 if centred else 4)


def test_sizes_that_the_mesh_does_not_divide():
    """Shared out where x_spec says so, under jit too, batch and all; derivatives as well."""
    x, y, _ = images((3, 15, 11, 2), (2, 3, 2, 2), 0.1)
    how = {"mesh": MESH, "x_spec": P("b", "a")}

    @functools.partial(jax.jit, static_argnames="sharded")
    def found(x, y, sharded):
        given = how if sharded else {}
        descent = learn.fit_conv(x, y, (2, 3), steps=2, **given)
        exact = functools.partial(
            learn.solve_kernel, kernel_size=(2, 3), channels=True, bias=True, **given
        )
        slopes = jax.grad(lambda x, y: jnp.sum(exact(x, y).kernel ** 3), (0, 1))(x, y)
        planes = learn.fit_kernel(x[..., 0], y[..., 0], (2, 3), optimizer=SGD, steps=2, **given)
        return descent.kernel, exact(x, y).kernel, slopes, planes.kernel

    text = found.lower(x, y, sharded=True).compile().as_text()
    assert not {"all-to-all", "reduce-scatter"} & set(collectives(text))
    for got, want in zip(
        jax.tree.leaves(found(x, y, sharded=True)),
        jax.tree.leaves(found(x, y, sharded=False)),
        strict=True,
    ):
        np.testing.assert_allclose(got, want, rtol=0, atol=4e-6 * np.abs(want).max())


def test_predictions_are_sharded():
    x = np.arange(48, dtype="float32").reshape(8, 6)
    got = learn.predict(on(MESH, P("a"), x), x[:2, :1], 0.5, mesh=MESH)
    np.testing.assert_array_equal(got, learn.predict(x, x[:2, :1], 0.5))


def test_a_sharded_y_is_enough(compiled):
    """x comes whole, and is put where y is."""
    x, y, _ = images((1, 16, 8, 1), (3, 3, 1, 1), padding=1)
    run = functools.partial(learn.fit_conv, kernel_size=3, padding=1, steps=2)
    assert_fits_agree(run(x, on(MESH, P(None, "a"), y)), run(x, y))
    w = jax.ShapeDtypeStruct((3, 3, 1, 1), "float32")
    halo = parallel.halo_bytes(x, w, padding=1, mesh=MESH, x_spec=P(None, "a"))
    assert_traffic(compiled[0], halo, 1)


def refusals():
    x, y, _ = images((2, 8, 8, 4), (3, 3, 4, 4), padding=1)
    rows, explicit = on(MESH, P(None, "a"), x), mesh_of(AxisType.Explicit)
    fit_conv = functools.partial(learn.fit_conv, kernel_size=3, padding=1)
    yield (
        lambda: fit_conv(on(MESH, P(None, None, None, "a"), x), y),
        "fit_conv: x's channels are sharded over ('a',), but every device learns the whole kernel; "
        "use jax.sharding.reshard, or x_spec=, to replicate them",
    )
    yield (
        lambda: fit_conv([rows, rows], [y, y]),
        "fit_conv: x is a list of 2 images, and a mesh is for one; stack images of one size into a "
        "batch, which may be sharded",
    )
    yield (
        lambda: fit_conv(rows, y, crop=4),
        "fit_conv: crop=4 is for images on one device, but these are sharded; leave it out: a "
        "device uses its own part of the images",
    )
    yield (
        lambda: jax.jit(lambda x: fit_conv(x, y, mesh=explicit, x_spec=P("a")))(x),
        "fit_conv: x is traced on a mesh with explicit axes; call fit_conv outside jit, or on a "
        "mesh with auto axes",
    )
    yield (
        lambda: learn.solve_kernel(x, y, 3, padding=1, channels=True, mesh=MESH),
        "solve_kernel: x is not on the mesh {'a': 4, 'b': 2}; give x_spec=, for instance "
        "PartitionSpec('a')",
    )
    yield (
        lambda: learn.fit_kernel(x[..., 0], x[..., 1:, 1:, 0], 2, x_spec=P("a")),
        "fit_kernel: mesh is not given, and neither x nor y knows its own: give mesh=, or arrays "
        "that jax.device_put has put on one",
    )


@pytest.mark.parametrize(("call", "message"), list(refusals()))
def test_refused_before_anything_is_traced(call, message):
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}(\n|$)"):
        call()


def test_a_mesh_of_one_part_is_no_mesh(compiled):
    """Of images that every device has, nothing is sent."""
    x, y, _ = images((1, 8, 8, 1), (3, 3, 1, 1), padding=1)
    learn.fit_conv(on(MESH, P(), x), on(MESH, P(), y), 3, padding=1, steps=2)
    assert collectives(compiled[0]) == []


def test_a_mesh_needs_no_devices():
    x = jax.ShapeDtypeStruct((1, 512, 8, 1), "float32")
    many = AbstractMesh((64,), ("rows",), axis_types=(AxisType.Auto,))
    run = functools.partial(
        learn.fit_conv, kernel_size=3, padding=1, steps=2, mesh=many, x_spec=P(None, "rows")
    )
    assert jax.eval_shape(run, x, x).kernel.shape == (3, 3, 1, 1)
