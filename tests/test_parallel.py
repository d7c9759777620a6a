"""Sharded convolutions equal those on one device: values, gradients, adjoints, transforms."""

import functools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from sharded_cases import CASES, P, case, mesh_of, value_and_gradients

import jaxconv
from jaxconv import parallel
from jaxconv._core.geometry import shapes
from jaxconv._core.methods import METHODS

MESH = mesh_of()
EXACT = ("1d stride drifts", "2d strided and dilated", "2d grouped everything", "3d")


def by_name(name):
    return next(case for case in CASES if case.name == name)


def layout_of(case, operand="x"):
    return {"mesh": MESH, f"{operand}_spec": case.x_spec, "w_spec": case.w_spec}


@pytest.mark.cover(case=lambda case: case.traits)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case):
    arrays = case.arrays()
    want = value_and_gradients(jaxconv.conv, **case.arguments)(*arrays)
    got = value_and_gradients(parallel.conv, **case.arguments, **layout_of(case))(*arrays)
    for actual, right in zip(got, want, strict=True):
        np.testing.assert_array_equal(actual, right)


@pytest.mark.parametrize("name", EXACT)
def test_bit_for_bit(name):
    """If no sum is over devices, every output is computed by the same sum on one device."""
    case = by_name(name)
    rng = np.random.default_rng(1)
    x, w = (jnp.asarray(cases.random(rng, shape, "float32")) for shape in (case.x, case.w))
    conv = functools.partial(parallel.conv, **case.arguments, method="taps", **layout_of(case))
    want = jaxconv.conv(x, w, **case.arguments, method="taps")
    np.testing.assert_array_equal(conv(x, w), want)


@pytest.fixture(scope="module")
def grouped():
    case = by_name("2d grouped everything")
    arrays = case.arrays()
    return case, arrays, value_and_gradients(jaxconv.conv, **case.arguments)(*arrays)


@pytest.mark.parametrize("method", METHODS)
def test_every_method(grouped, method):
    """Each method works on a device's part, also if it has loops."""
    case, arrays, want = grouped
    arguments = case.arguments | layout_of(case)
    got = value_and_gradients(parallel.conv, method=method, **arguments)(*arrays)
    for actual, right in zip(got, want, strict=True):
        np.testing.assert_allclose(actual, right, rtol=0, atol=1e-3 if method == "fft" else 0)


def test_the_plugin_serves_a_devices_part(grouped):
    pytest.importorskip("jaxconv_onednn")
    case, arrays, _ = grouped
    how = case.arguments | layout_of(case)
    text = value_and_gradients(parallel.conv, method="onednn", **how).lower(*arrays).as_text()
    for contraction in ("output", "input", "kernel"):
        assert f"@jaxconv_onednn_{contraction}(" in text


@pytest.mark.cover
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["channels to channels", "groups in parts", "1d several hops"])
def test_rounded_sums_are_within_tolerance(name, dtype):
    """Normal numbers and sums over devices agree to the table's tolerance."""
    case = by_name(name)
    rng = np.random.default_rng(1)
    x, w, y = (
        cases.random(rng, array.shape, "float32").astype(jnp.dtype(dtype))
        for array in (case.arrays()[n] for n in (0, 1, 3))
    )
    found = parallel.conv(x, w, **case.arguments, **layout_of(case))
    cases.assert_matches(found, "output", x, w, case.spec)
    found = parallel.conv_transpose(y, w, **adjoint_arguments(case), **layout_of(case, "y"))
    cases.assert_matches(found, "input", y, w, case.spec)


def adjoint_arguments(case):
    spec = case.spec
    smallest = (
        shapes.input_size(m, k, s, d, lo, hi)
        for m, k, s, d, (lo, hi) in zip(
            spec.output_size,
            spec.kernel_size,
            spec.stride,
            spec.dilation,
            spec.padding,
            strict=True,
        )
    )
    extra = tuple(n - m for n, m in zip(spec.input_size, smallest, strict=True))
    return case.arguments | {"padding": spec.padding, "output_padding": extra}


@pytest.mark.cover(name=lambda case: (by_name(case) if isinstance(case, str) else case).traits)
@pytest.mark.parametrize(
    "name",
    [
        *("1d several hops", "1d uneven", "2d grouped everything", "groups of w", "reflect 2d"),
        *("input channels of w", "channels to channels", "circular hops", "groups in parts"),
        *("groups cut in two", "groups cut, other order", "groups cut, halo", "outputs of a group"),
        *("groups cut unevenly", "groups and outputs", "groups and inputs"),
        case("groups cut, few inputs", (2, 8, 2), (3, 1, 8), P(None, None, "a"), groups=2),
        case("inputs uneven", (8, 3), (3, 1, 12), P(None, "b"), P(None, "a"), groups=3, stride=2),
    ],
    ids=str,
)
def test_transposed(name):
    """Values and gradients of conv_transpose, whose arrays are conv's with x and y swapped."""
    case = by_name(name) if isinstance(name, str) else name
    x, w, _, y = case.arrays()
    b = jnp.arange(float(x.shape[-1]))
    arguments = adjoint_arguments(case)
    layout = layout_of(case, "y")
    want = value_and_gradients(jaxconv.conv_transpose, **arguments)(y, w, b, x)
    got = value_and_gradients(parallel.conv_transpose, **arguments, **layout)(y, w, b, x)
    for actual, right in zip(got, want, strict=True):
        np.testing.assert_array_equal(actual, right)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "complex64", "bfloat16"])
def test_dtypes(dtype):
    case = by_name("2d both")
    x, w, _, y = (array.astype(dtype) for array in case.arrays())
    arguments = {**case.arguments, "preferred_element_type": dtype}
    for call, arrays, name in (("conv", (x, w), "x"), ("conv_transpose", (y, w), "y")):
        sharded = getattr(parallel, call)(*arrays, **arguments, **layout_of(case, name))
        assert sharded.dtype == dtype
        np.testing.assert_array_equal(sharded, getattr(jaxconv, call)(*arrays, **arguments))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_layouts_are_read_from_the_arrays(kind):
    """Eagerly on any mesh, and under jit on explicit axes, nothing but the arrays is given."""
    case = by_name("output channels")
    mesh = mesh_of(kind)
    x, w, b, cotangent = case.arrays()
    want = value_and_gradients(jaxconv.conv, **case.arguments)(x, w, b, cotangent)
    x, w = (
        jax.device_put(array, NamedSharding(mesh, spec))
        for array, spec in ((x, case.x_spec), (w, case.w_spec))
    )
    y = parallel.conv(x, w, b, **case.arguments)
    np.testing.assert_array_equal(y, want[0])
    assert y.sharding.is_equivalent_to(NamedSharding(mesh, P(None, "b", "a")), 3)
    if kind == AxisType.Explicit:
        cotangent = jax.device_put(cotangent, y.sharding)
        got = value_and_gradients(parallel.conv, **case.arguments)(x, w, b, cotangent)
        for actual, right in zip(got, want, strict=True):
            np.testing.assert_array_equal(actual, right)
        assert got[1].sharding.spec == P(None, "b", None)
        # along a dimension that the mesh does not divide the result is not sharded
        odd = parallel.conv(x, w, padding=((0, 1),))
        assert odd.sharding.spec == P(None, None, "a")
        np.testing.assert_array_equal(odd, jaxconv.conv(*case.arrays()[:2], padding=((0, 1),)))


@pytest.mark.parametrize(
    "name", ["groups cut in two", "groups cut unevenly, whole", "outputs of a group"]
)
def test_cut_groups_on_explicit_axes(name):
    case, mesh = by_name(name), mesh_of(AxisType.Explicit)
    arrays = case.arrays()
    want = value_and_gradients(jaxconv.conv, **case.arguments)(*arrays)
    x, w = (
        jax.device_put(array, NamedSharding(mesh, spec))
        for array, spec in zip(arrays, (case.x_spec, case.w_spec), strict=False)
    )
    y = parallel.conv(x, w, **case.arguments)
    cotangent = jax.device_put(arrays[3], y.sharding)
    got = value_and_gradients(parallel.conv, **case.arguments)(x, w, arrays[2], cotangent)
    for actual, right in zip(got, want, strict=True):
        np.testing.assert_array_equal(actual, right)


@pytest.mark.parametrize("types", [(AxisType.Auto, AxisType.Explicit), (AxisType.Explicit,) * 2])
def test_uneven_sizes_on_axes_of_both_types(types):
    case = by_name("2d grouped everything")
    x, w, b, _ = case.arrays()
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=types)
    call = functools.partial(parallel.conv, **case.arguments, mesh=mesh, x_spec=case.x_spec)
    np.testing.assert_array_equal(jax.jit(call)(x, w, b), jaxconv.conv(x, w, b, **case.arguments))


@pytest.mark.cover
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("spec", [P("a"), P(None, "a"), P(None, None, "a")], ids=str)
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_empty_batches(kind, spec, mode):
    """As on one device y is empty, and the gradients of w and b are zero."""
    mesh, w, b = mesh_of(kind), jnp.ones((3, 4, 8)), jnp.arange(8.0)
    for batch in ((0,), (2, 0)):
        x, entries = jnp.zeros((*batch, 8, 4)), P(*[None] * (len(batch) - 1), *spec)
        how = {"padding": 1, "padding_mode": mode}
        for call, name in (("conv", "x"), ("conv_transpose", "y")):
            kernel = w if call == "conv" else w.transpose(0, 2, 1)
            sharded = functools.partial(
                getattr(parallel, call), **how, mesh=mesh, **{f"{name}_spec": entries}
            )
            want, _ = jax.vjp(functools.partial(getattr(jaxconv, call), **how), x, kernel, b)
            alone = sharded(x, kernel)
            assert np.asarray(alone).shape == want.shape  # JAX does not read every empty array
            found, pull = jax.vjp(sharded, x, kernel, b)
            np.testing.assert_array_equal(found, want)
            zeros = pull(jnp.zeros_like(found))
            for gradient, array in zip(zeros, (x, kernel, b), strict=True):
                np.testing.assert_array_equal(gradient, jnp.zeros_like(array))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_images_of_no_size_give_what_lies_around_them(kind):
    x, w, b = jnp.zeros((1, 0, 4)), jnp.ones((3, 4, 8)), jnp.arange(8.0)
    found = parallel.conv(x, w, b, padding=4, mesh=mesh_of(kind), x_spec=P(None, "a"))
    np.testing.assert_array_equal(found, jaxconv.conv(x, w, b, padding=4))
    assert found.shape == (1, 6, 8)


def test_transforms():
    """jit, vmap (one more batch axis), scan, and derivatives of derivatives."""
    case = by_name("2d both")
    x, w = case.arrays()[0], case.arrays()[1][..., :3]
    sharded = functools.partial(parallel.conv, **case.arguments, **layout_of(case))
    single = functools.partial(jaxconv.conv, **case.arguments)

    def results(conv):
        def loss(x, w):
            final, _ = jax.lax.scan(lambda x, _: (jnp.tanh(conv(x, w)), None), x, None, length=3)
            return (final * x).sum()

        many = jax.vmap(conv, (0, None))(jnp.stack([x, 2 * x]), w)
        kernels = jax.vmap(conv, (None, 0))(x, jnp.stack([w, -w]))
        tangents = jax.jvp(jax.grad(loss, (0, 1)), (x / 9, w / 9), (x, w))
        return many, kernels, tangents

    got, want = (jax.jit(functools.partial(results, conv))() for conv in (sharded, single))
    for actual, right in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(actual, right, rtol=0, atol=2e-5 * np.abs(right).max())


def test_abstract_meshes_compile_for_devices_that_are_not_here():
    """A mesh without devices works for tracing, shapes and layouts, here with 64 devices."""
    mesh = AbstractMesh((64,), ("rows",))
    x = jax.ShapeDtypeStruct((1, 128, 6, 2), "float32")
    w = jax.ShapeDtypeStruct((5, 3, 2, 4), "float32")
    conv = functools.partial(parallel.conv, padding="same", mesh=mesh, x_spec=P(None, "rows"))
    assert jax.eval_shape(conv, x, w).shape == (1, 128, 6, 4)


def test_the_table_can_fail(monkeypatch):
    """A halo from the wrong side is detected."""
    right = jax.lax.ppermute
    monkeypatch.setattr(
        jax.lax, "ppermute", lambda x, names, pairs: right(x, names, [(b, a) for a, b in pairs])
    )
    broken = case("2d both", (2, 8, 6, 3), (3, 3, 3, 4), P(None, "b", "a"), padding=(2, 1))
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        test_values_and_gradients(broken)
