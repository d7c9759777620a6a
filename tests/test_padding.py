import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxconv
from jaxconv._core.dispatch import arguments
from jaxconv._core.geometry import extension
from jaxconv._core.partition import halos
from jaxconv._functional.padding import MODES, pad, unpad

NUMPY = {
    "zeros": "constant",
    "constant": "constant",
    "reflect": "reflect",
    "symmetric": "symmetric",
    "replicate": "edge",
    "circular": "wrap",
}
TORCH = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}
DRAWN = {
    "zeros": "001234000",
    "constant": "991234999",
    "reflect": "321234321",
    "symmetric": "211234432",
    "replicate": "111234444",
    "circular": "341234123",
}


def compiled(f, *args):
    """f(*args) under jit: one compilation, where eager calls have one an operation."""
    return jax.jit(f)(*args)


def fill(mode):
    return {"fill_value": 9} if mode == "constant" else {}


def window(x, widths, mode):
    """NumPy's extension of all of x, and the window cut out of it."""
    more = {"constant_values": 9} if mode == "constant" else {}
    y = np.pad(x, [(max(a, 0), max(b, 0)) for a, b in widths], mode=NUMPY[mode], **more)
    sizes = [n + a + b for n, (a, b) in zip(x.shape, widths, strict=True)]
    starts = [max(-a, 0) for a, _ in widths]
    return y[tuple(slice(s, s + n) for s, n in zip(starts, sizes, strict=True))]


def assert_same(ours, theirs):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def integers(*shape, seed=0):
    """Small integers in float32, so that sums are exact and comparisons can be too."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float32)


@pytest.mark.parametrize("mode", MODES)
def test_pictures(mode):
    y = pad(jnp.array([1, 2, 3, 4]), [(2, 3)], mode=mode, **fill(mode))
    assert "".join(map(str, y.tolist())) == DRAWN[mode]


WIDTHS = [  # for shape (2, 5, 4)
    [(0, 0), (1, 2), (3, 0)],
    [(1, 1), (4, 4), (0, 3)],  # the widest that reflect takes
    [(0, 0), (0, 0), (0, 0)],
    [(0, -1), (-2, 3), (-1, -2)],
    [(0, 0), (-4, 4), (3, -3)],
]


@pytest.mark.cover
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("mode", MODES)
def test_numpy_agrees(mode, widths):
    x = np.arange(40, dtype=np.int32).reshape(2, 5, 4)
    y = compiled(lambda x: pad(x, widths, mode=mode, **fill(mode)), x)
    assert_same(y, window(x, widths, mode))


@pytest.mark.parametrize("mode", ["symmetric", "circular", "replicate", "zeros"])
def test_a_margin_as_wide_as_the_input(mode):
    x = integers(3)
    assert_same(pad(x, [(3, 3)], mode=mode), window(x, [(3, 3)], mode))


@pytest.mark.parametrize("mode", TORCH)
def test_torch_agrees_with_gradients(mode, torch):
    x, dy = integers(2, 3, 5, 4), integers(2, 3, 8, 8, seed=1)
    widths = [(2, 1), (3, 1)]

    def ours(x, dy):
        y, vjp = jax.vjp(lambda x: pad(x, widths, axes=(2, 3), mode=mode), x)
        return y, vjp(dy)[0], unpad(dy, widths, axes=(2, 3), mode=mode)

    y, dx, folded = compiled(ours, x, dy)
    xt = torch.tensor(x, requires_grad=True)
    yt = torch.nn.functional.pad(xt, (3, 1, 2, 1), mode=TORCH[mode])
    yt.backward(torch.tensor(dy))
    assert_same(y, yt.detach().numpy())
    assert_same(dx, xt.grad.numpy())
    assert_same(folded, xt.grad.numpy())


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])  # torch crops first if circular
@pytest.mark.parametrize("width", [(-1, 2), (4, -1), (-2, -1), (-4, 4), (-5, 3)])
def test_torch_crops_alike(mode, width, torch):
    x = integers(1, 5)
    yt = torch.nn.functional.pad(torch.tensor(x), width, mode=TORCH[mode])
    assert_same(pad(x, [width], axes=(1,), mode=mode), yt.numpy())


def test_a_margin_reads_what_is_cropped_at_the_other_end():
    x = jnp.array([1, 2, 3, 4])
    assert pad(x, [(-1, 2)], mode="circular").tolist() == [2, 3, 4, 1, 2]
    assert pad(x, [(-5, 2)], mode="circular").tolist() == [2]
    assert pad(x, [(-5, 2)], mode="zeros").tolist() == [0]
    assert unpad(jnp.array([7]), [(-5, 2)], mode="circular").tolist() == [0, 7, 0, 0]
    assert unpad(jnp.array([7]), [(-5, 2)], mode="zeros").tolist() == [0, 0, 0, 0]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.data())
def test_unpad_is_the_adjoint(data):
    mode = data.draw(st.sampled_from(MODES))
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    widths = []
    for n in shape:
        most = {"reflect": n - 1, "symmetric": n, "circular": n}.get(mode, n + 1)
        before = data.draw(st.integers(-n, most))
        after = data.draw(st.integers(max(-n, 1 - n - before), most))
        widths.append((before, after))
    x = integers(*shape)
    dy = integers(*(n + a + b for n, (a, b) in zip(shape, widths, strict=True)), seed=2)

    def both(x, dy):
        y, vjp = jax.vjp(lambda x: pad(x, widths, mode=mode, **fill(mode)), x)
        return y, vjp(dy)[0], unpad(dy, widths, mode=mode)

    y, dx, folded = compiled(both, x, dy)
    assert_same(y, window(x, widths, mode))
    assert_same(folded, dx)
    linear = window(x, widths, "zeros" if mode == "constant" else mode)
    assert np.vdot(linear, dy) == np.vdot(x, folded)


@pytest.mark.parametrize("mode", MODES)
def test_transposes_of_each_other(mode):
    widths = [(2, 1), (-1, 2)]
    x, dy = integers(3, 4), integers(6, 5)
    forward = lambda x: pad(x, widths, mode=mode)
    backward = lambda y: unpad(y, widths, mode=mode)
    folded, transposed, padded, transposed_twice = compiled(
        lambda x, dy: (
            *(backward(dy), jax.linear_transpose(forward, x)(dy)[0]),
            *(forward(x), jax.linear_transpose(backward, dy)(x)[0]),
        ),
        *(x, dy),
    )
    assert_same(folded, transposed)
    assert_same(padded, transposed_twice)


@pytest.mark.parametrize("mode", MODES)
def test_unpad_conjugates_nothing(mode):
    y = integers(6) + 1j * integers(6, seed=1)
    f = lambda y: unpad(y, [(2, 1)], mode=mode)
    whole, real, imaginary = compiled(lambda y: (f(y), f(y.real), f(y.imag)), y)
    assert_same(whole, jax.lax.complex(real, imaginary))


@pytest.mark.parametrize("mode", MODES)
def test_transforms(mode):
    x, widths = jnp.asarray(integers(3, 4, 5)), [(1, 2), (2, -1)]
    f = lambda x: pad(x, widths, axes=(-2, -1), mode=mode)
    g = lambda y: unpad(y, widths, axes=(-2, -1), mode=mode)
    y = f(x)  # eager
    y_jit, y_vmap, dy, x_vmap, x_all = compiled(
        lambda x: (f(x), jax.vmap(f, 1, 1)(x), jax.jvp(f, (x,), (2 * x,))[1], jax.vmap(g)(y), g(y)),
        x,
    )
    assert_same(y_jit, y)
    assert_same(y_vmap, f(x.swapaxes(0, 1)).swapaxes(0, 1))
    assert_same(dy, 2 * y)
    assert_same(x_vmap, x_all)


@pytest.mark.parametrize("mode", MODES)
def test_sharded_batches(mode):
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Explicit,))
    spec = PartitionSpec("batch")
    x = jax.device_put(integers(2, 4), NamedSharding(mesh, spec))

    def there_and_back(x):
        y = pad(x, [(2, 1)], axes=(1,), mode=mode)
        return unpad(y, [(2, 1)], axes=(1,), mode=mode)

    explicit = compiled(there_and_back, x)
    assert jax.typeof(explicit).sharding.spec == PartitionSpec("batch", None)
    # check_vma: the arrays that pad makes must vary as x does
    mapped = compiled(jax.shard_map(there_and_back, mesh=mesh, in_specs=spec, out_specs=spec), x)
    assert_same(mapped, explicit)


@pytest.mark.cover
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "bfloat16", "float16", "complex64"])
@pytest.mark.parametrize("mode", MODES)
def test_dtypes_are_kept(mode, dtype):
    x = jnp.array([1, 0, 1, 1], dtype)
    more = {"fill_value": 1} if mode == "constant" else {}
    y = compiled(lambda x: pad(x, [(2, 1)], mode=mode, **more), x)
    assert y.dtype == dtype
    at = {"constant_values": 1} if mode == "constant" else {}
    np.testing.assert_array_equal(y, np.pad(np.asarray(x), (2, 1), mode=NUMPY[mode], **at))
    if dtype != "bool":
        folded = compiled(lambda y: unpad(y, [(2, 1)], mode=mode), y)
        assert folded.dtype == dtype


@pytest.mark.parametrize("mode", MODES)
def test_empty_axes_that_are_not_padded(mode):
    x = jnp.zeros((0, 3))
    y = pad(x, [(0, 0), (1, 2)], mode=mode)
    assert y.shape == (0, 6)
    assert unpad(y, [(1, 2)], axes=(1,), mode=mode).shape == (0, 3)


def test_an_empty_axis_can_be_filled():
    assert pad(jnp.zeros(0), [(1, 2)]).shape == (3,)
    assert unpad(jnp.ones(3), [(1, 2)]).shape == (0,)
    assert pad(jnp.zeros(0), [(0, 0)], mode="reflect").shape == (0,)


def test_widths_of_zero_change_nothing():
    x = jnp.ones((2, 3))
    assert pad(x, [(0, 0)], axes=(0,), mode="reflect") is x
    assert unpad(x, [(0, 0)], axes=(0,), mode="reflect") is x
    assert pad(x, [], axes=()) is x
    assert pad(jnp.float32(3), []).shape == ()


def test_widths_may_be_an_array_and_axes_in_any_order():
    x = integers(3, 4)
    widths = np.array([[1, 0], [0, 2]])
    assert_same(pad(x, widths, axes=(-1, 0)), np.pad(x, [(0, 2), (1, 0)]))


def test_the_fill_value_may_be_traced():
    f = lambda x, v: pad(x, [(1, 2)], mode="constant", fill_value=v)
    assert_same(
        f(jnp.asarray(integers(2)), jnp.float32(np.inf)),
        np.array([np.inf, *integers(2), np.inf, np.inf], np.float32),
    )
    dx, dfill = jax.grad(lambda *args: (f(*args) ** 2).sum(), (0, 1))(
        jnp.array([3, 4], "float32"), 5.0
    )
    assert_same(dx, np.array([6, 8], np.float32))
    assert dfill == 30
    assert jax.grad(lambda v: f(jnp.ones(2), v).sum())(5.0) == 3
    for value in (np.inf, np.nan, np.float64(0.1)):
        y = pad(jnp.ones(1, "float32"), [(1, 0)], mode="constant", fill_value=value)
        assert_same(y, np.array([value, 1], np.float32))


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("mode", ["reflect", "symmetric", "replicate", "circular"])
def test_indices_repeat_as_numpys_pads_do(size, mode):
    """Beyond the widths that `pad` allows, as SciPy's filters need them."""
    before, after = 3 * size + 1, 4 * size
    wanted = np.pad(np.arange(size), (before, after), mode=NUMPY[mode])
    found = extension.source_index(np.arange(-before, size + after), size, mode)
    np.testing.assert_array_equal(found, wanted)


def test_a_new_mode_is_one_entry(monkeypatch):
    """`pad`, its adjoint, convolutions and what meshes and tiles read follow from its E(p)."""
    first = extension.Mode(
        lambda n: (0, 0), lambda n: (0, 0), "at least 1 element", lambda width: 1
    )
    monkeypatch.setitem(extension.EXTENSIONS, "first", first)
    modes = (*extension.MODES, "first")
    monkeypatch.setattr(extension, "MODES", modes)
    monkeypatch.setattr(arguments, "PADDING_MODES", modes)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 3)), jnp.float32)
    extended = jnp.concatenate([jnp.stack([x[0]] * 2), x, jnp.stack([x[0]] * 3)])
    np.testing.assert_array_equal(pad(x, [(2, 3)], axes=(0,), mode="first"), extended)
    y = jnp.asarray(np.random.default_rng(1).normal(size=(12, 3)), jnp.float32)
    folded = unpad(y, [(2, 3)], axes=(0,), mode="first")
    np.testing.assert_allclose(jnp.vdot(extended, y), jnp.vdot(x, folded), rtol=1e-5)
    w = jnp.asarray(np.random.default_rng(2).normal(size=(6, 3, 2)), jnp.float32)
    found = jaxconv.conv(x, w, padding=((2, 3),), padding_mode="first")
    np.testing.assert_allclose(found, jaxconv.conv(extended, w), rtol=1e-5, atol=1e-5)
    read = halos.sources(halos.Line(8, 2, 3, 1, 1, 1, 1, "first"))
    assert read.tolist() == [[0, 0, 1, 2, 3, 4], [3, 4, 5, 6, 7, 0]]
