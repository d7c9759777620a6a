"""Steps of Richardson and Lucy beside dense matrices in float64, and beside scikit-image."""

import numpy as np
import pytest
from blurs import SIZES, blurred, drawn, matrix, middle, shape_of_x
from skimage import restoration

from jaxconv import psf, restore

pytestmark = pytest.mark.usefixtures("in_float64")


def lucy(x, y, k, boundary, steps, *, background=0.0):
    """Steps of Richardson and Lucy by dense matrices."""
    dense = matrix(lambda x: blurred(x, k, y.shape, boundary, False), x.shape)
    x = x.ravel()
    for _ in range(steps):
        x = x * (dense.T @ (y.ravel() / (dense @ x + background))) / dense.sum(0)
    return x


@pytest.mark.cover
@pytest.mark.parametrize("boundary", ["unknown", "zeros", "reflect"])
@pytest.mark.parametrize("method", ["taps", "fft"])
def test_richardson_lucy_takes_its_steps(boundary, method):
    size, kernel = SIZES[2]
    k, y = drawn(0, *kernel), drawn(1, *size)
    start = np.full(shape_of_x(size, kernel, boundary), y.mean())
    expected = lucy(start, y, k, boundary, 7, background=0.2)
    run = {"boundary": boundary, "method": method, "background": 0.2}
    found = restore.richardson_lucy(y, k, steps=7, **run)
    np.testing.assert_allclose(np.ravel(found.state), expected, rtol=1e-11)
    np.testing.assert_array_equal(
        found.image, np.asarray(found.state)[middle(size, kernel, boundary)]
    )
    assert found.steps == 7
    # in two parts it is the same
    first = restore.richardson_lucy(y, k, steps=3, **run)
    second = restore.richardson_lucy(y, k, steps=4, start=first.state, **run)
    np.testing.assert_allclose(second.state, found.state, rtol=1e-12)
    np.testing.assert_allclose([*first.misfits, *second.misfits], found.misfits, rtol=1e-10)


def test_richardson_lucy_is_scikit_images_where_the_ends_are_dark():
    x = np.zeros((40, 37))
    x[14:22, 13:20] = drawn(0, 8, 7)
    k = drawn(1, 5, 3)
    y = blurred(x, k / k.sum(), x.shape, "zeros", True)
    expected = restoration.richardson_lucy(y, k / k.sum(), num_iter=8, clip=False)
    found = restore.richardson_lucy(
        y, k / k.sum(), steps=8, start=np.full(y.shape, 0.5), boundary="zeros", flip=True
    )
    np.testing.assert_allclose(found.image, expected, atol=1e-6)


def test_total_variation_of_a_step_is_as_published():
    """Each step is divided by 1 - weight div(grad x / |grad x|): here by plain loops."""
    y, k = drawn(0, 6, 7), drawn(1, 3, 3)
    weight = 0.01
    plain = restore.richardson_lucy(y, k, steps=4, boundary="zeros")
    x = np.asarray(plain.state)
    expected = lucy(x, y, k, "zeros", 1).reshape(x.shape)
    right, down = np.zeros_like(x), np.zeros_like(x)
    down[:-1], right[:, :-1] = x[1:] - x[:-1], x[:, 1:] - x[:, :-1]
    steep = np.sqrt(right**2 + down**2 + (1e-3 * x.mean()) ** 2)
    a, b = down / steep, right / steep
    curved = a + b
    curved[1:] -= a[:-1]
    curved[:, 1:] -= b[:, :-1]
    found = restore.richardson_lucy(
        y, k, steps=1, start=plain.state, boundary="zeros", total_variation=weight
    )
    np.testing.assert_allclose(found.state, expected / (1 - weight * curved), rtol=1e-10)


def beads(size=48, count=12, photons=400.0):
    rng = np.random.default_rng(3)
    x = np.zeros((size, size))
    x[rng.integers(6, size - 6, count), rng.integers(6, size - 6, count)] = photons * 20
    k = psf.airy(2.5, size=9, dtype=np.float64)
    mean = blurred(np.pad(x, 4), k, x.shape, "unknown", False) + 5.0
    return x, k, rng.poisson(mean).astype(float)


def test_counts_stop_where_only_their_noise_is_left():
    _, k, y = beads()
    run = {"steps": 400, "background": 5.0}
    found = restore.richardson_lucy(y, k, stop=1.0, **run)
    taken = int(found.steps)
    assert 5 < taken < 400
    assert found.misfits[taken] <= 1 < found.misfits[taken - 1]
    assert np.isnan(found.misfits[taken + 1 :]).all()
    same = restore.richardson_lucy(y, k, steps=taken, background=5.0)
    np.testing.assert_allclose(found.image, same.image, rtol=1e-12)
    never = restore.richardson_lucy(y, k, stop=1e-9, steps=5)
    assert never.steps == 5
    assert np.isfinite(never.misfits).all()


def test_the_state_of_dark_images_is_zero_and_not_nan():
    found = restore.richardson_lucy(np.zeros((5, 5)), np.ones((3, 3)), total_variation=0.01)
    np.testing.assert_array_equal(found.image, 0.0)
    y = -np.ones((5, 5))
    np.testing.assert_array_equal(restore.richardson_lucy(y, np.ones((3, 3))).image, 0.0)


def test_elements_that_the_kernel_does_not_see_stay():
    k = np.zeros((3, 3))
    k[1, 1] = 2.0
    y = drawn(0, 5, 5)
    for method in ("taps", "fft"):
        found = restore.richardson_lucy(y, k, steps=20, method=method)
        np.testing.assert_allclose(found.image, y / 2, rtol=1e-10)
        np.testing.assert_array_equal(found.state[0], y.mean())


def test_blind_finds_image_and_kernel_of_beads():
    x, _, _ = beads()
    k = np.array([[0.0, 0.1, 0.05], [0.1, 0.4, 0.1], [0.05, 0.2, 0.0]])
    y = blurred(np.pad(x, 1), k, x.shape, "unknown", False)
    for method in ("taps", "fft"):
        found = restore.blind(y, np.full((3, 3), 1 / 9), rounds=60, method=method)
        np.testing.assert_allclose(found.kernel, k, atol=0.01)
        assert found.misfits[-1] < 1e-3 * found.misfits[0]
        assert np.corrcoef(np.ravel(found.image), x.ravel())[0, 1] > 0.99
    # flipped, it is the kernel of the convolution
    flipped = restore.blind(y, np.full((3, 3), 1 / 9), rounds=60, flip=True)
    np.testing.assert_allclose(flipped.kernel, k[::-1, ::-1], atol=0.01)
