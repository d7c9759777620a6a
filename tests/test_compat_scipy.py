"""`jaxconv.compat.scipy` compared with SciPy on a grid of arguments, and under JAX's transforms.

Values here are float32 (SciPy's own tests, in float64, run in test_scipy_suite.py).
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage as their_ndimage
import scipy.signal as their_signal
from jax.test_util import check_grads

from jaxconv.compat.scipy import ndimage, signal
from jaxconv.compat.scipy._spectra import overlap_add, whole

MODES = ("full", "same", "valid")
BOUNDARIES = ("reflect", "mirror", "nearest", "wrap", "constant")
N_ARRAY = ("convolve", "correlate", "fftconvolve", "oaconvolve")
PLANES = ("convolve2d", "correlate2d")


def random(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, 9, shape).astype(dtype)
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape) if dtype == "complex64" else x).astype(dtype)


def assert_same(actual, wanted, tolerance=2e-6):
    """Compare shapes, kinds of dtype, and values relative to the largest."""
    assert isinstance(actual, jax.Array)
    assert actual.shape == wanted.shape
    assert actual.dtype.kind == wanted.dtype.kind
    if wanted.dtype.kind in "iu":
        np.testing.assert_array_equal(actual, wanted)
    else:
        scale = np.abs(wanted).max() * tolerance
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=scale)


@pytest.mark.cover
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", N_ARRAY)
@pytest.mark.parametrize(
    ("dtype", "shapes"),
    [
        ("float32", ((3, 4), (7, 8))),
        ("complex64", ((7, 9), (4, 3))),
        ("int32", ((7, 9), (4, 3))),
    ],
)
def test_arrays(name, mode, dtype, shapes):
    a, b = (random(shape, dtype, seed) for seed, shape in enumerate(shapes))
    assert_same(getattr(signal, name)(a, b, mode), getattr(their_signal, name)(a, b, mode))


@pytest.mark.cover
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize(
    ("dtype", "shapes"),
    [
        ("float32", ((5, 4), (2, 3))),
        ("float32", ((3, 2), (8, 9))),
        ("complex64", ((5, 4), (4, 4))),
        ("int16", ((5, 4), (3, 2))),
    ],
)
def test_planes(name, mode, dtype, shapes):
    """The kernel of the second case is several times as large as the image."""
    a, b = (random(shape, dtype, seed) for seed, shape in enumerate(shapes))
    for boundary in ("fill", "wrap", "symm") if dtype == "float32" else ("symm",):
        wanted = getattr(their_signal, name)(a, b, mode, boundary, 3)
        assert_same(getattr(signal, name)(a, b, mode, boundary, 3), wanted)


def test_long_convolutions_overlap():
    x, k = random((3, 700), "float32"), random((3, 9), "float32", 1)
    assert overlap_add(700, 9).first[0] > 1
    for mode in MODES:
        for first, second in ((x, k), (k, x)):
            wanted = their_signal.oaconvolve(first, second, mode, axes=1)
            assert_same(signal.oaconvolve(first, second, mode, axes=1), wanted)


def test_axes_that_are_not_convolved_broadcast():
    a, b = random((2, 7, 1), "float32"), random((2, 3, 4), "float32", 1)
    for mode in MODES:
        wanted = their_signal.fftconvolve(a, b, mode, axes=1)
        assert_same(signal.fftconvolve(a, b, mode, axes=1), wanted)


@pytest.mark.parametrize("first", ["int8", "uint8", "int32", "float16", "float32", "complex64"])
@pytest.mark.parametrize("second", ["int32", "float32"])
def test_dtypes_are_numpys_at_32_bits(first, second):
    a, b = jnp.ones((3,), first), jnp.ones((2,), second)
    narrow = {"int64": "int32", "float64": "float32", "complex128": "complex64"}
    wanted = str(np.result_type(first, second))
    for method in ("direct", "fft"):
        assert signal.convolve(a, b, method=method).dtype == narrow.get(wanted, wanted)


def test_integers_stay_exact_and_wrap_around():
    a = np.full(100_000, 2**15, np.int32)
    b = np.full(3, 2**15 + 1, np.int32)
    assert signal.choose_conv_method(a, a) == "direct"
    np.testing.assert_array_equal(signal.convolve(a, b), np.convolve(a, b))
    small = np.array([100, 100], np.int8)
    np.testing.assert_array_equal(signal.convolve(small, small), np.convolve(small, small))


def test_bools_are_ored():
    a, b = np.array([[True, False, False]]), np.array([[True, True]])
    for method in ("direct", "fft"):
        result = signal.convolve(a, b, method=method)
        np.testing.assert_array_equal(result, [[True, True, False, False]])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sizes", [(5, 3), (4, 4), (3, 6)])
def test_lags(mode, sizes):
    np.testing.assert_array_equal(
        signal.correlation_lags(*sizes, mode), their_signal.correlation_lags(*sizes, mode)
    )


def test_sepfir2d():
    x = random((6, 7), "float32")
    lines = np.array([1, 2, 4], np.float32), np.array([1, -2, 3, 4, 5], np.float32)
    assert_same(signal.sepfir2d(x, *lines), their_signal.sepfir2d(x, *lines))


def test_measuring_times_both_methods():
    method, times = signal.choose_conv_method(np.ones(9), np.ones(3), measure=True)
    assert set(times) == {"fft", "direct"}
    assert times[method] == min(times.values())


def test_a_spreading_nan_is_announced():
    x, k = np.array([1.0, 1.0, np.nan, 1.0], np.float32), np.ones(2, np.float32)
    with pytest.warns(RuntimeWarning, match="Use of fft convolution on input with NAN"):
        assert jnp.isnan(signal.convolve(x, k, method="fft")).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spread = jnp.isnan(signal.convolve(x, k, method="direct"))
    np.testing.assert_array_equal(spread, [False, False, True, True, False])


FILTERS = {
    "correlate": lambda m, x, **k: m.correlate(x, np.array([[1, 2], [3, 4], [5, -6]]), **k),
    "convolve": lambda m, x, **k: m.convolve(x, np.ones((2, 13)), origin=(0, 2), **k),
    "correlate1d": lambda m, x, **k: m.correlate1d(x, [1, 2, 3, 4], axis=0, origin=-1, **k),
    "convolve1d": lambda m, x, **k: m.convolve1d(x, [1, 2, 3, 4], origin=1, **k),
    "gaussian_filter": lambda m, x, **k: m.gaussian_filter(x, (0.8, 1.2), order=(0, 2), **k),
    "gaussian_filter1d": lambda m, x, **k: m.gaussian_filter1d(x, 1.5, axis=0, order=1, **k),
    "uniform_filter": lambda m, x, **k: m.uniform_filter(x, (4, 3), origin=(-1, 1), **k),
    "uniform_filter1d": lambda m, x, **k: m.uniform_filter1d(x, 3, axis=0, **k),
    "sobel": lambda m, x, **k: m.sobel(x, axis=0, **k),
    "prewitt": lambda m, x, **k: m.prewitt(x, **k),
    "laplace": lambda m, x, **k: m.laplace(x, **k),
}


@pytest.mark.cover
@pytest.mark.parametrize("mode", BOUNDARIES)
@pytest.mark.parametrize("name", FILTERS)
def test_filters(name, mode):
    x = random((5, 4), "float32")
    call = FILTERS[name]
    wanted = call(their_ndimage, x, mode=mode, cval=1.5)
    assert_same(call(ndimage, x, mode=mode, cval=1.5), wanted, tolerance=4e-6)


@pytest.mark.cover
@pytest.mark.parametrize("dtype", ["uint8", "int16", "complex64"])
@pytest.mark.parametrize("name", ["correlate", "convolve1d", "uniform_filter", "sobel", "laplace"])
def test_filters_of_other_numbers(name, dtype):
    x = random((5, 4), dtype) * (20 if dtype == "uint8" else 1)
    call = FILTERS[name]
    assert_same(call(ndimage, x), call(their_ndimage, x), tolerance=4e-6)


def test_filters_along_some_axes():
    x, w = random((3, 4, 5), "float32"), random((3, 3), "float32", 1)
    for axes in ((0, 2), (2, 0), (-2, -1)):
        arguments = {"axes": axes, "origin": (0, 1)}
        wanted = their_ndimage.correlate(x, w, **arguments)
        assert_same(ndimage.correlate(x, w, **arguments), wanted)


def test_output_is_a_dtype():
    x = np.array([1.6, 2.7, -3.9], np.float32)
    for dtype in (np.int32, "uint8", np.dtype("int8"), jnp.int16):
        wanted = their_ndimage.correlate1d(x, [1], output=np.dtype(dtype))
        got = ndimage.correlate1d(x, [1], output=dtype)
        assert got.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(got, wanted)
    with pytest.warns(UserWarning, match="promoting specified output dtype to complex"):
        assert ndimage.correlate1d(x, [1j], output=np.float32).dtype == jnp.complex64


@pytest.mark.parametrize(("first", "second"), [(700, 9), (9, 700), (50, 30), (8, 8), (100, 1)])
def test_blocks_hold_their_convolution(first, second):
    blocks = overlap_add(first, second)
    for size, (count, step) in ((first, blocks.first), (second, blocks.second)):
        assert count * step >= size
    assert blocks.first[1] + blocks.second[1] - 1 <= blocks.length
    assert whole(first, second).length >= first + second - 1


CALLS = {
    **{name: getattr(signal, name) for name in (*N_ARRAY, *PLANES)},
    "fft": lambda a, b: signal.convolve(a, b, method="fft"),
    "wrapped": lambda a, b: signal.convolve2d(a, b, boundary="wrap"),
    "separable": lambda a, b: signal.sepfir2d(a, b[0], [1.0, -2.0, 3.0, 4.0, 5.0]),
    "correlate nd": lambda a, b: ndimage.correlate(a, b, mode="mirror"),
    "convolve1d": lambda a, b: ndimage.convolve1d(a, b[0], mode="wrap"),
}


@pytest.mark.parametrize("name", CALLS)
def test_transforms(name):
    call = CALLS[name]
    a, b = random((5, 6), "float32"), random((3, 3), "float32", 1)
    plain = call(a, b)
    np.testing.assert_allclose(jax.jit(call)(a, b), plain, atol=2e-5)
    stack = jnp.stack([a, 2 * a])
    mapped = jax.vmap(call, in_axes=(0, None))(stack, b)
    np.testing.assert_allclose(mapped, jnp.stack([plain, 2 * plain]), atol=5e-5)
    check_grads(call, (a, b), order=1, modes=["fwd", "rev"], eps=1.0, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: ndimage.gaussian_filter(x, 1.0),
        ndimage.sobel,
        ndimage.laplace,
        lambda x: ndimage.uniform_filter(x, 3),
    ],
    ids=["gaussian", "sobel", "laplace", "uniform"],
)
def test_filters_transform(call):
    x = random((5, 4), "float32")
    np.testing.assert_allclose(jax.jit(call)(x), call(x), atol=1e-5)
    check_grads(call, (x,), order=1, modes=["rev"], eps=1.0, atol=1e-2, rtol=1e-2)


def test_a_gaussians_width_can_be_learned():
    x = jnp.asarray(random((9,), "float32"))

    def roughness(sigma):
        return jnp.sum(ndimage.gaussian_filter1d(x, sigma, radius=4) ** 2)

    step = 1e-2
    slope = (roughness(1 + step) - roughness(1 - step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(jax.grad(roughness))(1.0), slope, rtol=1e-3)


def test_gradients_in_fill_and_cval():
    x, k = np.ones((2, 2), np.float32), np.ones((2, 2), np.float32)
    outside = jax.grad(lambda v: signal.convolve2d(x, k, fillvalue=v).sum())(2.0)
    assert outside == 36 - 16
    edge = jax.grad(lambda v: ndimage.correlate1d(x, [1, 1, 1], mode="constant", cval=v).sum())(2.0)
    assert edge == 4
