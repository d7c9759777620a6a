import math
import re

import ml_dtypes
import numpy as np
import pytest
import skimage.filters
from scipy import ndimage

from jaxconv import filters

DERIVATIVES = {"sobel": 8, "prewitt": 6, "scharr": 32}  # response to a ramp of slope 1 in a plane


def noise(*shape):
    return np.random.default_rng(7).standard_normal(shape)


def ramp(rank, axis):
    return np.indices((5,) * rank)[axis].astype(float)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", ["sobel", "prewitt"])
def test_derivatives_are_those_of_ndimage(name, rank):
    x = noise(*(7, 6, 5)[:rank])
    for axis in range(-rank, rank):
        kernel = getattr(filters, name)(axis, rank=rank, dtype=np.float64)
        np.testing.assert_allclose(
            ndimage.correlate(x, kernel), getattr(ndimage, name)(x, axis), atol=1e-12
        )


@pytest.mark.parametrize(("axis", "peer"), [(0, "scharr_h"), (1, "scharr_v")])
def test_scharr_is_that_of_skimage_times_sixteen(axis, peer):
    x = noise(9, 8)
    ours = ndimage.correlate(x, filters.scharr(axis, dtype=np.float64)) / 16
    np.testing.assert_allclose(ours, getattr(skimage.filters, peer)(x), atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_by_their_properties(name, rank):
    for axis in range(rank):
        kernel = getattr(filters, name)(axis, rank=rank)
        assert kernel.shape == (3,) * rank
        assert kernel.dtype == np.float32
        assert kernel.sum() == 0
        np.testing.assert_array_equal(np.flip(kernel, axis), -kernel)
        for other in set(range(rank)) - {axis}:
            np.testing.assert_array_equal(np.flip(kernel, other), kernel)
            # unfolded along any axis it is one outer product: separable
            assert np.linalg.matrix_rank(np.moveaxis(kernel, other, 0).reshape(3, -1)) == 1
        smoothing = DERIVATIVES[name] // 2
        response = (ramp(rank, axis)[(slice(1, 4),) * rank] * kernel).sum()
        assert response == 2 * smoothing ** (rank - 1)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_laplacian_is_that_of_ndimage(rank):
    x = noise(*(7, 6, 5)[:rank])
    kernel = filters.laplacian(rank=rank, dtype=np.float64)
    np.testing.assert_allclose(ndimage.correlate(x, kernel), ndimage.laplace(x), atol=1e-12)
    np.testing.assert_array_equal(kernel, filters.laplacian(rank=rank, connectivity=2 * rank))


@pytest.mark.parametrize(("rank", "second"), [(1, 2), (2, 6), (3, 18)])
def test_laplacian_with_diagonal_neighbours(rank, second):
    kernel = filters.laplacian(rank=rank, connectivity=3**rank - 1)
    expected = np.ones((3,) * rank)
    expected[(1,) * rank] = 1 - 3**rank
    np.testing.assert_array_equal(kernel, expected)
    for axis in range(rank):
        offset = ramp(rank, axis)[(slice(3),) * rank] - 1
        assert (offset * kernel).sum() == 0
        assert (offset**2 * kernel).sum() == second


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.63, (1.5, 0.6), (1.0, 0.5, 1.5)])
def test_gaussian_is_the_impulse_response_of_ndimage(sigma):
    kernel = filters.gaussian(sigma, dtype=np.float64)
    impulse = np.zeros(tuple(n + 4 for n in kernel.shape))
    impulse[tuple(n // 2 for n in impulse.shape)] = 1
    expected = np.pad(kernel, 2)
    np.testing.assert_allclose(ndimage.gaussian_filter(impulse, sigma), expected, atol=1e-15)


def test_gaussian_truncates_as_ndimage_does():
    impulse = np.zeros(31)
    impulse[15] = 1
    response = ndimage.gaussian_filter(impulse, 2.0, truncate=2.6)
    kernel = filters.gaussian(2.0, rank=1, truncate=2.6, dtype=np.float64)
    assert kernel.shape == (11,)
    np.testing.assert_allclose(np.trim_zeros(response), kernel, atol=1e-15)


def test_gaussian_of_an_even_size_sits_between_two_samples():
    kernel = filters.gaussian(1.5, (4, 6), dtype=np.float64)
    np.testing.assert_array_equal(kernel, kernel[::-1, ::-1])
    ratio = kernel[1, 2] / kernel[0, 2]  # distances 1/2 and 3/2 from the centre
    assert math.isclose(ratio, math.exp((1.5**2 - 0.5**2) / (2 * 1.5**2)))
    assert np.linalg.matrix_rank(kernel) == 1
    assert math.isclose(kernel.sum(), 1)


def test_gaussian_has_the_variance_asked_for():
    kernel = filters.gaussian(3.0, rank=1, truncate=8, dtype=np.float64)
    k = np.arange(kernel.size) - kernel.size // 2
    assert math.isclose((kernel * k**2).sum(), 9, rel_tol=1e-9)


def test_gaussian_of_a_tiny_sigma_is_an_average_still():
    np.testing.assert_array_equal(filters.gaussian(1e-3, 4, rank=1), [0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(filters.gaussian(1e-3), [[1]])


@pytest.mark.parametrize("size", [3, 5, (3, 5), (1, 3, 5)])
def test_box_is_the_uniform_filter(size):
    kernel = filters.box(size, dtype=np.float64)
    x = noise(*(8, 7, 6)[: kernel.ndim])
    np.testing.assert_allclose(
        ndimage.correlate(x, kernel), ndimage.uniform_filter(x, size), atol=1e-12
    )


def test_box_of_any_rank():
    assert filters.box(2, rank=4).shape == (2, 2, 2, 2)
    np.testing.assert_array_equal(filters.box(4, rank=1), [0.25] * 4)
    np.testing.assert_array_equal(filters.box(np.array([1, 2])), [[0.5, 0.5]])


@pytest.mark.parametrize("orientation", [0, math.pi / 6, math.pi / 2, 2.0])
@pytest.mark.parametrize("phase", [0, -math.pi / 2, 0.4])
def test_gabor_is_that_of_skimage_scaled(orientation, phase):
    sigma, aspect = 2.5, 0.6
    peer = skimage.filters.gabor_kernel(
        1 / 5, orientation, sigma_x=sigma, sigma_y=sigma / aspect, offset=phase
    )
    peer = peer.real * (2 * math.pi * sigma * sigma / aspect)
    kernel = filters.gabor(
        5.0, orientation, phase=phase, sigma=sigma, aspect=aspect, dtype=np.float64
    )
    # skimage's ceil may add a sample on either side of an axis-aligned kernel, by rounding noise
    by, bx = ((p - k) // 2 for p, k in zip(peer.shape, kernel.shape, strict=True))
    assert 0 <= by <= 1
    assert 0 <= bx <= 1
    inner = peer[by : by + kernel.shape[0], bx : bx + kernel.shape[1]]
    np.testing.assert_allclose(kernel, inner, atol=1e-12)


def test_gabor_holds_its_tails_by_default():
    # 3 * sigma = 3 along u, 3 * sigma / aspect = 7.5 along v
    assert filters.gabor(4.0, sigma=1.0, aspect=0.4).shape == (17, 7)
    assert filters.gabor(4.0, math.pi / 2, sigma=1.0, aspect=0.4).shape == (7, 17)
    assert filters.gabor(4.0, math.pi / 4, sigma=1.0, aspect=0.4).shape == (13, 13)


def test_gabor_has_a_bandwidth_of_one_octave_by_default():
    peer = skimage.filters.gabor_kernel(1 / 6, bandwidth=1)
    sigma = math.sqrt(1 / (2 * math.pi * abs(peer).max()))  # skimage's two sigmas are one here
    kernel = filters.gabor(6.0, aspect=1.0)
    np.testing.assert_allclose(kernel, filters.gabor(6.0, aspect=1.0, sigma=sigma), atol=1e-6)


def test_gabor_answers_to_stripes_across_its_orientation():
    def response(kernel, direction):
        y, x = np.indices(kernel.shape)
        u = x * math.cos(direction) + y * math.sin(direction)
        return abs((kernel * np.exp(2j * math.pi * u / 6)).sum())  # over all shifts of the wave

    for orientation in (0, math.pi / 4, math.pi / 2, 2.0):
        kernel = filters.gabor(6.0, orientation)
        assert response(kernel, orientation) > 50 * response(kernel, orientation + math.pi / 2)
    odd = filters.gabor(6.0, phase=-math.pi / 2)
    np.testing.assert_allclose(odd[:, ::-1], -odd, atol=1e-6)
    assert (odd * (np.arange(odd.shape[1]) - odd.shape[1] // 2)).sum() > 0


def test_names():
    assert (
        *("sobel_x", "sobel_y", "prewitt_x", "prewitt_y", "scharr_x", "scharr_y"),
        *("laplacian", "gaussian", "box", "gabor"),
    ) == filters.NAMES
    columns = ramp(2, 1)[1:4, 1:4]
    for name in filters.NAMES:
        kernel = filters.by_name(name)
        assert kernel.dtype == np.float32
        assert kernel.ndim == 2
        if name[-2:] in ("_x", "_y"):
            scale = DERIVATIVES[name[:-2]]
            assert (columns * kernel).sum() == (scale if name.endswith("x") else 0)
            assert (columns.T * kernel).sum() == (scale if name.endswith("y") else 0)
    np.testing.assert_array_equal(filters.by_name("gaussian"), filters.gaussian(1.0))


def test_dtypes():
    assert filters.sobel(0, dtype=np.int8).dtype == np.int8
    for make in (lambda d: filters.scharr(0, dtype=d), lambda d: filters.box(dtype=d)):
        for dtype in (np.float16, ml_dtypes.bfloat16, np.float64, np.complex64):
            kernel = make(dtype)
            assert kernel.dtype == dtype
            np.testing.assert_allclose(kernel.astype(complex), make(np.float64), rtol=4e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: filters.sobel(2), "sobel: axis must be in [-2, 2) for rank=2, got 2"),
        (lambda: filters.scharr(0, rank=0), "scharr: rank must be at least 1, got 0"),
        (
            lambda: filters.prewitt(0, dtype=np.uint8),
            "prewitt: dtype must hold negative numbers, got uint8",
        ),
        (
            lambda: filters.laplacian(dtype=bool),
            "laplacian: dtype must hold negative numbers, got bool",
        ),
        (
            lambda: filters.laplacian(connectivity=6),
            "laplacian: connectivity must be 4 (neighbours along the axes) or 8 (diagonal ones "
            "too) for rank=2, got 6",
        ),
        (lambda: filters.gaussian(0), "gaussian: sigma must be finite and above 0, got 0"),
        (
            lambda: filters.gaussian((1.0, -2.0)),
            "gaussian: sigma must be finite and above 0, got -2.0",
        ),
        (
            lambda: filters.gaussian(1.0, truncate=math.nan),
            "gaussian: truncate must be finite and above 0, got nan",
        ),
        (
            lambda: filters.gaussian((1.0, 2.0), (3, 3, 3)),
            "gaussian: size must be one number or 2 of them, got (3, 3, 3)",
        ),
        (
            lambda: filters.gaussian((1.0, 2.0), rank=1),
            "gaussian: sigma must be one number or 1 of them, got (1.0, 2.0)",
        ),
        (
            lambda: filters.box(dtype=np.int32),
            "box: dtype must hold fractions, got int32",
        ),
        (lambda: filters.box((3, 0)), "box: size must be integers of at least 1, got (3, 0)"),
        (lambda: filters.box(3.0), "box: size must be integers of at least 1, got 3.0"),
        (
            lambda: filters.gabor(-4.0),
            "gabor: wavelength must be finite and above 0, got -4.0",
        ),
        (
            lambda: filters.gabor(4.0, math.inf),
            "gabor: orientation must be finite, in radians, got inf",
        ),
        (
            lambda: filters.gabor(4.0, aspect=0),
            "gabor: aspect must be finite and above 0, got 0",
        ),
        (
            lambda: filters.by_name("sobel"),
            "by_name: name must be one of sobel_x, sobel_y, prewitt_x, prewitt_y, scharr_x, "
            "scharr_y, laplacian, gaussian, box, gabor; got 'sobel'",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
