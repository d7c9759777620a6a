"""Laplacians, gradient magnitudes and extremes of `ndimage`, compared with SciPy's."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage as theirs
from jax.test_util import check_grads

from jaxconv.compat.scipy import ndimage as ours
from jaxconv.compat.scipy._derivatives import _integer_root

MODES = ("reflect", "mirror", "nearest", "wrap", "constant")


def integers(shape, dtype, low=-20):
    low = 0 if np.dtype(dtype).kind in "ub" else low
    return np.random.default_rng(0).integers(low, 20, shape).astype(dtype)


def assert_same(found, want, tolerance=0):
    assert found.dtype == want.dtype
    scale = np.abs(want).max() * tolerance
    np.testing.assert_allclose(found, want, rtol=0, atol=scale)


DERIVATIVES = {
    "gaussian_laplace": lambda m, x, **k: m.gaussian_laplace(x, (0.8, 1.2), **k),
    "gaussian_laplace, one axis": lambda m, x, **k: m.gaussian_laplace(x, 0.8, axes=1, **k),
    "gaussian_laplace, radius": lambda m, x, **k: m.gaussian_laplace(x, 0.8, radius=3, **k),
    "gaussian_gradient_magnitude": lambda m, x, **k: m.gaussian_gradient_magnitude(
        x, (0.8, 1.2), truncate=3.0, **k
    ),
    "generic_laplace": lambda m, x, **k: m.generic_laplace(x, m.prewitt, **k),
    "generic_gradient_magnitude": lambda m, x, **k: m.generic_gradient_magnitude(
        x, m.sobel, axes=(1, 0), **k
    ),
}


@pytest.mark.cover
@pytest.mark.parametrize("mode", ["reflect", "constant", ["wrap", "mirror"]], ids=str)
@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name, mode):
    if "one axis" in name and not isinstance(mode, str):
        mode = mode[:1]
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    call = DERIVATIVES[name]
    assert_same(call(ours, x, mode=mode, cval=1.5), call(theirs, x, mode=mode, cval=1.5), 4e-6)


@pytest.mark.parametrize("dtype", ["int16", "int32"])
@pytest.mark.parametrize("name", ["generic_laplace", "generic_gradient_magnitude"])
def test_derivatives_of_integers(name, dtype):
    x = integers((6, 5), dtype)
    call = DERIVATIVES[name]
    assert_same(call(ours, x), call(theirs, x))
    assert_same(call(ours, x, output=np.float32), call(theirs, x, output=np.float32), 2e-7)


def test_further_arguments_of_a_derivative():
    def scaled(module):
        return lambda x, axis, output, mode, cval, by, to: module.correlate1d(
            x * by, [to, 0, -to], axis, output, mode, cval
        )

    x = integers((6, 5), "float32")
    for name in ("generic_laplace", "generic_gradient_magnitude"):
        extra = {"extra_arguments": (2,), "extra_keywords": {"to": 3.0}, "axes": (1,)}
        found = getattr(ours, name)(x, scaled(ours), **extra)

        def theirs_into_output(x, axis, output, mode, cval, by, to):
            return theirs.correlate1d(x * by, [to, 0, -to], axis, output, mode, cval)

        assert_same(found, getattr(theirs, name)(x, theirs_into_output, **extra), 2e-7)


def test_integer_roots():
    n = np.append(np.arange(1, 46341, 7), 46340)
    for numbers in (n**2, n**2 - 1, n**2 + n):
        numbers = numbers[numbers < 2**31].astype(np.int32)
        assert _integer_root(jnp.asarray(numbers)).tolist() == [*map(math.isqrt, numbers.tolist())]
    assert _integer_root(jnp.int8(-4)) == 0
    assert _integer_root(jnp.uint32(2**32 - 1)) == 65535


EXTREMES = ("maximum_filter", "minimum_filter")
WINDOWS = {
    "size": {"size": 3},
    "sizes": {"size": (4, 1), "origin": (1, 0)},
    "several times the image": {"size": (7, 25)},
    "axes": {"size": 5, "axes": (1,), "origin": -2},
    "footprint": {"footprint": [[1, 0, 1], [0, 1, 0]], "origin": (-1, 1)},
    "footprint of ones": {"footprint": np.ones((2, 5))},
    "footprint of some axes": {"footprint": [1, 0, 1], "axes": (0,)},
}


@pytest.mark.cover("name mode")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", EXTREMES)
def test_extremes(name, window, mode):
    for dtype in ("float32", "uint8"):
        x = integers((6, 8), dtype)
        arguments = WINDOWS[window] | {"mode": mode, "cval": 3.7}
        assert_same(getattr(ours, name)(x, **arguments), getattr(theirs, name)(x, **arguments))


@pytest.mark.cover
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "bool"])
@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_of_integers_beside_a_constant(name, dtype):
    x = integers((6, 8), dtype)
    for cval in (0, 3.7, -5):
        for output in (None, np.float32, np.int32):
            for axes in ({"size": 3}, {"footprint": [[1, 0, 1], [0, 1, 0]]}):
                if dtype == "bool" and (cval or output is not None):
                    continue
                how = {**axes, "mode": "constant", "cval": cval, "output": output}
                assert_same(getattr(ours, name)(x, **how), getattr(theirs, name)(x, **how))


@pytest.mark.parametrize("size", range(1, 10))
def test_extremes_along_one_axis(size):
    x = integers((3, 12), "float32")
    for name in ("maximum_filter1d", "minimum_filter1d"):
        for origin in {-(size // 2), 0, (size - 1) // 2}:
            how = {"axis": 1, "origin": origin, "mode": "mirror"}
            assert_same(getattr(ours, name)(x, size, **how), getattr(theirs, name)(x, size, **how))


def test_nan_reaches_the_windows_that_see_it():
    x = np.array([1.0, 2.0, np.nan, 4.0, 5.0], np.float32)
    for filtered in (ours.maximum_filter(x, 2), ours.minimum_filter(x, 2)):
        assert jnp.isnan(filtered).tolist() == [False, False, True, True, False]


def test_both_size_and_footprint():
    with pytest.warns(UserWarning, match="^maximum_filter: ignoring size because footprint is set"):
        ours.maximum_filter(np.ones(4), 3, [1, 1])


CALLS = {
    "gaussian_laplace": lambda x: ours.gaussian_laplace(x, 1.0),
    "gaussian_gradient_magnitude": lambda x: ours.gaussian_gradient_magnitude(x, 1.0),
    "maximum_filter": lambda x: ours.maximum_filter(x, (2, 3)),
    "minimum_filter": lambda x: ours.minimum_filter(x, footprint=[[0, 1, 0], [1, 1, 1]]),
}


@pytest.mark.parametrize("name", CALLS)
def test_transforms(name):
    call = CALLS[name]
    x = jnp.asarray(np.random.default_rng(1).permutation(30).reshape(5, 6), jnp.float32)
    plain = call(x)
    np.testing.assert_allclose(jax.jit(call)(x), plain, rtol=1e-5, atol=1e-5)
    mapped = jax.vmap(call)(jnp.stack([x, 2 * x]))
    np.testing.assert_allclose(mapped, jnp.stack([plain, 2 * plain]), rtol=1e-5, atol=1e-4)
    check_grads(call, (x,), order=1, modes=["fwd", "rev"], eps=1e-2, atol=2e-2, rtol=2e-2)


def test_a_flat_image_has_no_infinite_derivative():
    flat = jnp.ones((5, 5))
    gradient = jax.grad(lambda x: ours.gaussian_gradient_magnitude(x, 1.0).sum())(flat)
    assert jnp.isfinite(gradient).all()
    exact = jax.grad(lambda x: ours.generic_gradient_magnitude(x, ours.sobel).sum())(flat)
    assert not exact.any()


def test_equal_elements_share_the_derivative():
    gradient = jax.grad(lambda x: ours.maximum_filter(x, 3).sum())(jnp.ones(4))
    assert gradient.sum() == 4


def test_rows_that_are_summed_some_at_a_time(monkeypatch):
    """Blocks of rows, the last one smaller, have the bits of the whole."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 211, 190), dtype=np.uint8)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    calls = []
    monkeypatch.setattr(jax.lax, "map", recording(jax.lax.map, calls))
    blocks = ours.gaussian_filter(image, 1.3, axes=(1, 2), mode=("wrap", "mirror"))
    assert len(calls) == 2
    assert all(3 * 190 % rows and rows > 1 for rows in calls)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    jax.clear_caches()
    whole = ours.gaussian_filter(image, 1.3, axes=(1, 2), mode=("wrap", "mirror"))
    assert len(calls) == 2
    np.testing.assert_array_equal(blocks, whole)


def recording(function, calls):
    def run(f, x, *, batch_size):
        calls.append(batch_size)
        return function(f, x, batch_size=batch_size)

    return run
