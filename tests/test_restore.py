"""Restoration beside dense matrices of NumPy's in float64, and beside scikit-image."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from blurs import SIZES, blurred, drawn, matrix, middle, shape_of_x
from covering import some
from skimage import restoration

from jaxconv import filters, restore
from jaxconv.restore import penalties
from jaxconv.restore._blur import BOUNDARIES, make_blur

pytestmark = pytest.mark.usefixtures("in_float64")


@pytest.mark.cover("boundary method")
@pytest.mark.parametrize("method", ["taps", "fft"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("rank", SIZES)
def test_the_blur_and_its_adjoint(rank, boundary, flip, method):
    size, kernel = SIZES[rank]
    k = drawn(0, *kernel)
    blur = make_blur("test", size, jnp.asarray(k), boundary=boundary, flip=flip, method=method)
    x = drawn(1, *shape_of_x(size, kernel, boundary))
    assert blur.shape == x.shape
    np.testing.assert_allclose(blur.forward(x), blurred(x, k, size, boundary, flip), atol=1e-13)
    y = drawn(2, *size)
    assert np.vdot(blur.adjoint(y), x) == pytest.approx(np.vdot(y, blur.forward(x)), rel=1e-12)
    np.testing.assert_array_equal(blur.crop(x), x[middle(size, kernel, boundary)])
    np.testing.assert_array_equal(blur.crop(blur.grow(y)), y)


def differences(shape):
    """L of the docstrings as a matrix: squared differences of neighbours, none over the ends."""
    total = np.zeros((math.prod(shape),) * 2)
    index = np.arange(math.prod(shape)).reshape(shape)
    for axis in range(len(shape)):
        pairs = (
            np.take(index, range(shape[axis] - 1), axis),
            np.take(index, range(1, shape[axis]), axis),
        )
        for a, b in zip(*(p.ravel() for p in pairs), strict=True):
            total[[a, b], [a, b]] += 1
            total[[a, b], [b, a]] -= 1
    return total


@pytest.mark.cover("boundary method")
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("boundary", ["unknown", "zeros", "symmetric"])
@pytest.mark.parametrize("method", ["taps", "fft"])
def test_tikhonov_is_the_least_squares_solution(boundary, order, method):
    (size, kernel), balance = SIZES[2], 0.03
    k, y = drawn(0, *kernel), drawn(1, *size)
    shape = shape_of_x(size, kernel, boundary)
    dense = matrix(lambda x: blurred(x, k, size, boundary, False), shape)
    smooth = balance * np.linalg.matrix_power(differences(shape), order)
    expected = np.linalg.solve(dense.T @ dense + smooth, dense.T @ y.ravel()).reshape(shape)
    found = restore.tikhonov(
        y, k, balance=balance, order=order, boundary=boundary, method=method, tolerance=1e-12
    )
    np.testing.assert_allclose(
        found.image, expected[middle(size, kernel, boundary)], rtol=1e-8, atol=1e-8
    )
    np.testing.assert_allclose(
        np.ravel(found.residual), y.ravel() - dense @ expected.ravel(), atol=1e-8
    )


@pytest.mark.parametrize("rank", SIZES)
@pytest.mark.parametrize("flip", [False, True])
def test_wiener_is_the_least_squares_solution_on_a_circle(rank, flip):
    (size, kernel), balance = SIZES[rank], 0.02
    k, y = drawn(0, *kernel), drawn(1, *size)
    dense = matrix(lambda x: blurred(x, k, size, "circular", flip), size)
    bend = matrix(
        lambda x: sum(2 * x - np.roll(x, 1, a) - np.roll(x, -1, a) for a in range(rank)), size
    )
    for order in (1, 2):
        smooth = balance * np.linalg.matrix_power(bend, order)
        expected = np.linalg.solve(dense.T @ dense + smooth, dense.T @ y.ravel())
        found = restore.wiener(y, k, balance=balance, order=order, boundary="circular", flip=flip)
        np.testing.assert_allclose(np.ravel(found), expected, atol=1e-10)


def test_a_mean_that_the_kernel_takes_out_is_zero():
    y, k = drawn(0, 8, 9), np.asarray(filters.sobel(1), np.float32)
    for dtype in (np.float32, np.float64):
        found = restore.wiener(y.astype(dtype), (k / 3).astype(dtype), balance=1e-4)
        assert np.isfinite(found).all()
        assert np.abs(found).max() < 10 * np.abs(y).max()


@pytest.mark.parametrize("kernel", [(5, 3), (4, 6)])
def test_wiener_is_scikit_images(kernel):
    y, k = drawn(0, 32, 30), drawn(1, *kernel)
    expected = restoration.wiener(y, k, 0.1, clip=False)
    found = restore.wiener(y, k, balance=0.1, order=2, boundary="circular", flip=True)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_descent_ends_where_least_squares_do():
    y, k = drawn(0, 9, 8), drawn(1, 3, 2)
    balance = 0.05
    count = math.prod(shape_of_x(y.shape, k.shape, "unknown"))
    expected = restore.tikhonov(y, k, balance=balance, order=1, tolerance=1e-12).image
    rough = lambda x: balance * count / y.size * penalties.roughness(x)
    with jax.numpy_dtype_promotion("standard"):
        found = restore.descend(y, k, optimizer=optax.sgd(0.7, 0.95), penalty=rough, steps=6000)
    np.testing.assert_allclose(found.image, expected, atol=1e-6)
    assert found.losses[-1] < found.losses[0]
    plain = restore.descend(y, k, optimizer=optax.sgd(0.1), steps=1)
    assert plain.losses[0] == pytest.approx(
        float(
            np.mean(
                (
                    blurred(np.pad(y, ((1, 1), (0, 1)), mode="edge"), k, y.shape, "unknown", False)
                    - y
                )
                ** 2
            )
        )
    )


@pytest.mark.parametrize("order", [1, 2, 3])
def test_roughness_is_a_quadratic_form(order):
    x = drawn(0, 4, 3)
    dense = np.linalg.matrix_power(differences(x.shape), order)
    expected = x.ravel() @ dense @ x.ravel() / x.size
    assert penalties.roughness(x, order=order) == pytest.approx(expected)


def test_total_variation_is_a_mean_of_lengths():
    x = drawn(0, 4, 3)
    total = 0.0
    for i, j in np.ndindex(*x.shape):
        down = x[i + 1, j] - x[i, j] if i < 3 else 0.0
        right = x[i, j + 1] - x[i, j] if j < 2 else 0.0
        total += math.sqrt(down**2 + right**2 + 0.1**2) - 0.1
    assert penalties.total_variation(x, smoothing=0.1) == pytest.approx(total / x.size)


@pytest.mark.parametrize("sigma", [0.01, 0.1])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_noise_is_measured_over_what_is_smooth(rank, sigma):
    size = {1: (20000,), 2: (150, 140), 3: (30, 28, 26)}[rank]
    ramp = sum(
        np.arange(n).reshape([-1 if a == i else 1 for i in range(rank)]) / n
        for a, n in enumerate(size)
    )
    y = ramp + sigma * np.random.default_rng(0).standard_normal(size)
    assert restore.noise_level(y) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("known", [False, True])
def test_the_balance_of_a_random_image_is_found(order, known):
    """An image whose spectrum is a / R, for which the best balance is noise^2 / a."""
    rng = np.random.default_rng(0)
    size, a, sigma = (256, 256), 0.04, 0.5
    angles = np.meshgrid(*(2 * np.pi * np.fft.fftfreq(n) for n in size), indexing="ij")
    penalty = sum(2 - 2 * np.cos(angle) for angle in angles) ** order
    penalty[0, 0] = np.inf
    x = np.fft.ifft2(np.fft.fft2(rng.standard_normal(size)) * np.sqrt(a / penalty)).real
    k = filters.gaussian(1.0, 7, rank=2).astype(float)
    y = blurred_by_spectra(x, k) + sigma * rng.standard_normal(size)
    given = {"order": order, "noise": sigma if known else None}
    found = restore.estimate_balance(y, k, boundary="circular", **given)
    assert found == pytest.approx(sigma**2 / a, rel=0.15)
    # a part of it alone, closed by straight lines
    found = restore.estimate_balance(y[:200, :180], k, **given)
    assert found == pytest.approx(sigma**2 / a, rel=0.5)


def blurred_by_spectra(x, k):
    padded = np.zeros_like(x)
    padded[: k.shape[0], : k.shape[1]] = k
    y = np.fft.ifft2(np.fft.fft2(x) * np.fft.fft2(padded).conj()).real
    return np.roll(y, [(n - 1) // 2 for n in k.shape], (0, 1))


def test_derivatives_are_those_of_finite_differences():
    y, k = drawn(0, 6, 5), drawn(1, 3, 2)
    ways = {
        "wiener": lambda y, k: restore.wiener(y, k, balance=0.1),
        "tikhonov": lambda y, k: restore.tikhonov(y, k, balance=0.1, tolerance=1e-13).image,
        "lucy": lambda y, k: restore.richardson_lucy(y, k, steps=4, total_variation=0.01).image,
        "blind": lambda y, k: restore.blind(y, k, rounds=2).kernel,
        "descent": lambda y, k: restore.descend(y, k, optimizer=optax.sgd(0.1), steps=4).image,
    }
    towards = [drawn(2, *y.shape), drawn(3, *k.shape)]
    for name, way in ways.items():
        weights = drawn(4, *jax.eval_shape(way, y, k).shape)
        cost = lambda y, k, way=way, weights=weights: jnp.sum(weights * way(y, k))
        slopes = jax.grad(cost, (0, 1))(y, k)
        for at, (slope, step) in enumerate(zip(slopes, towards, strict=True)):
            h = 1e-5
            moved = [[y, k], [y, k]]
            moved[0][at], moved[1][at] = moved[0][at] + h * step, moved[1][at] - h * step
            expected = (cost(*moved[0]) - cost(*moved[1])) / (2 * h)
            assert jnp.vdot(slope, step) == pytest.approx(float(expected), rel=1e-6), (name, at)


def test_the_balance_can_be_learned():
    y, k = drawn(0, 6, 5), drawn(1, 3, 2)
    for way in (
        lambda b: restore.wiener(y, k, balance=b),
        lambda b: restore.tikhonov(y, k, balance=b, tolerance=1e-13).image,
    ):
        cost = lambda b, way=way: jnp.sum(way(b) ** 2)
        expected = (cost(0.1 + 1e-6) - cost(0.1 - 1e-6)) / 2e-6
        assert jax.grad(cost)(0.1) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    "way", ["wiener", "tikhonov", "richardson_lucy", "blind", "lucy to a stop"]
)
def test_many_images_at_once_and_compiled(way):
    ys, k = drawn(0, 3, 12, 11), drawn(1, 3, 3)
    function = {
        "wiener": restore.wiener,
        "tikhonov": lambda y, k: restore.tikhonov(y, k).image,
        "richardson_lucy": lambda y, k: restore.richardson_lucy(y, k).image,
        "blind": lambda y, k: restore.blind(y, k, rounds=2).image,
        "lucy to a stop": lambda y, k: restore.richardson_lucy(y, k, stop=1e-3).image,
    }[way]
    together = jax.jit(jax.vmap(function, (0, None)))(ys, k)
    for y, found in zip(ys, together, strict=True):
        np.testing.assert_allclose(found, function(y, k), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("rank", some([1, 2, 3], 1, 3))
def test_float32_is_near_float64(rank):
    size = {1: (400,), 2: (64, 60), 3: (20, 16, 18)}[rank]
    k = np.asarray(filters.gaussian(1.2, 7, rank=rank), np.float64)
    y = drawn(0, *size)
    narrow, small = np.float32(y), np.float32(k)
    for found, expected in (
        (restore.wiener(narrow, small, balance=0.01), restore.wiener(y, k, balance=0.01)),
        (
            restore.tikhonov(narrow, small, balance=0.01, tolerance=1e-6).image,
            restore.tikhonov(y, k, balance=0.01, tolerance=1e-9).image,
        ),
        (
            restore.richardson_lucy(narrow, small, steps=10).image,
            restore.richardson_lucy(y, k, steps=10).image,
        ),
    ):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("shape", [(50,), (37, 50), (9, 12, 10)])
def test_tiles_are_those_of_the_whole_image_far_from_their_margins(shape):
    y, shapes, told = drawn(0, *shape), set(), []
    k = np.asarray(filters.gaussian(0.5, 3, rank=len(shape)), np.float64)

    def function(window):
        shapes.add(window.shape)
        return restore.tikhonov(window, k, balance=0.1, tolerance=1e-12).image

    whole, tiled = np.asarray(function(y)), np.full(shape, np.nan)
    shapes.clear()
    tile, margin = tuple(n // 3 for n in shape), 2 if len(shape) == 3 else 10
    step = lambda done, count: told.append((done, count))
    restore.restore_tiled(y, tiled, function, tile=tile, margin=margin, on_tile=step)
    assert len(shapes) == 1
    assert shapes != {shape}
    count = math.prod(-(-n // t) for n, t in zip(shape, tile, strict=True))
    assert told == [(done, count) for done in range(1, count + 1)]
    assert np.abs(tiled - whole).max() < (0.2 if len(shape) == 3 else 1e-3) * np.abs(whole).max()
    # one tile is the whole image, whatever the margin
    restore.restore_tiled(y, tiled, function, tile=max(shape), margin=0)
    np.testing.assert_array_equal(tiled, whole)


def test_a_tile_is_read_with_its_margin_alone():
    """Each window is moved inside, and every element is written once."""

    class Watched:
        shape = (10,)

        def __getitem__(self, box):
            read.append((box[0].start, box[0].stop))
            return np.arange(10.0)[box]

    read, written = [], np.zeros(10)
    restore.restore_tiled(Watched(), written, lambda window: window, tile=4, margin=2)
    assert read == [(0, 8), (2, 10), (2, 10)]
    np.testing.assert_array_equal(written, np.arange(10.0))
