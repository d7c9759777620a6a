"""`jaxconv.compat.cv2` beside loops in float64, without OpenCV: grids, and drawn calls."""

from fractions import Fraction

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cv2_references import (
    BORDERS,
    DERIVATIVES,
    DTYPES,
    TABLES,
    assert_equal_but_for_ties,
    assert_matches,
    cast,
    correlated,
    drawn,
    gaussian,
)
from hypothesis import given, settings

from jaxconv.compat import cv2
from jaxconv.compat.cv2 import _arguments as arguments

WHOLE = np.array([[2, -1, 0, 3, -2], [0, 1, -4, 1, 5], [7, 0, 1, -3, 1]])
SIXTEENTHS = np.array([[5, -3, 8], [1, 11, -6]], np.float32) / 16
# kernel, anchor, delta
KERNELS = {
    "whole": (WHOLE, (-1, -1), 0),
    "whole, off centre": (WHOLE, (4, 0), -7),
    "sixteenths of an even size": (SIXTEENTHS, (-1, -1), 0.5),
    "sixteenths, off centre": (SIXTEENTHS, (0, -1), 0),
}


DEPTHS = {
    "uint8": {-1: "uint8", 2: "uint16", 3: "int16", 5: "float32"},
    "uint16": {-1: "uint16", 5: "float32"},
    "int16": {-1: "int16", 5: "float32"},
    "float32": {-1: "float32"},
}
# every dtype at one border, every border for one dtype
KINDS = [*((dtype, 4) for dtype in DTYPES), *(("uint8", border) for border in (0, 1, 2))]


def results(dtype, border=4):
    """ddepth -> the dtype of the result: all for one border, for the others the same as x's."""
    return DEPTHS[dtype] if border == 4 else {-1: dtype}


@pytest.mark.cover("dtype border")
@pytest.mark.parametrize(("dtype", "border"), KINDS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_filter2d(kernel, dtype, border):
    k, anchor, delta = KERNELS[kernel]
    for shape in ((7, 9), (5, 6, 3)):
        x = drawn(dtype, shape)
        exact = correlated(x, k, border, anchor) + delta
        for ddepth, result in results(dtype, border).items():
            found = cv2.filter2D(x, ddepth, k, None, anchor, delta, border)
            assert_matches(found, cast(exact, result), result)


@pytest.mark.cover
@pytest.mark.parametrize("border", BORDERS, ids=BORDERS.get)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 7), (3, 1, 2)])
def test_kernels_larger_than_the_image(shape, border):
    """Borders are extended as often as is needed."""
    k = np.arange(1, 78).reshape(7, 11)
    x = drawn("uint8", shape)
    exact = correlated(x, k, border, (9, 0))
    assert_matches(cv2.filter2D(x, 5, k, anchor=(9, 0), borderType=border), exact, "float32")
    found = cv2.sepFilter2D(x, 5, k[0], k[:, 0], anchor=(9, 0), borderType=border)
    assert_matches(found, correlated(x, np.outer(k[:, 0], k[0]), border, (9, 0)), "float32")


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_of_other_fractions(dtype):
    """Rounded weights and sums: in float32 for bytes, in float64 for 16 bits."""
    x, k = drawn(dtype, (40, 50)), np.random.default_rng(5).random((2, 3)) / 3
    exact = correlated(x, k)
    found = cv2.filter2D(x, -1, k)
    if dtype == "float32":
        assert_matches(found, exact, dtype)
    else:
        near = 1e-4 if dtype == "uint8" else 1e-9
        assert assert_equal_but_for_ties(found, exact, dtype, near) < 0.01


def test_sums_beyond_float32_are_exact():
    """2^24 and more, of kernels that are known and of traced ones."""
    x = drawn("uint16", (6, 8))
    k = np.array([[60001, -60000, 3], [2**25 + 1, 1, -(2**25)]], np.int32)
    wanted = cast(correlated(x, k), "uint16")
    assert_matches(cv2.filter2D(x, -1, k), wanted, "uint16")
    assert_matches(jax.jit(lambda x, k: cv2.filter2D(x, -1, k))(x, k), wanted, "uint16")
    close = np.array([[40001.0, -40000.0]])  # of the difference float32 would keep few digits
    wanted = correlated(x, close)
    found = cv2.filter2D(x, cv2.CV_32F, close)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))


LINES = {"whole": ([1, 4, -2], [3, 0, -1, 2]), "quarters": ([0.25, 0.5, 0.25], [-1, 0.75])}


@pytest.mark.parametrize(("dtype", "border"), KINDS)
def test_sep_filter2d(dtype, border):
    for row, column in LINES.values():
        k = np.outer(column, row)
        for shape, anchor in (((7, 9), (-1, -1)), ((5, 6, 2), (2, 0))):
            x = drawn(dtype, shape)
            exact = correlated(x, k, border, anchor) + 2.5
            for ddepth, result in results(dtype, border).items():
                found = cv2.sepFilter2D(x, ddepth, row, column, None, anchor, 2.5, border)
                assert_matches(found, cast(exact, result), result)


def test_shapes_of_lines():
    x, row, column = drawn("uint8", (6, 8)), np.array([1, 2, 3]), np.array([4, 5])
    wanted = cast(correlated(x, np.outer(column, row)), "int16")
    for first, second in (
        (row, column),
        (row[None], column[:, None]),
        (row[:, None], column[None]),
    ):
        assert_matches(cv2.sepFilter2D(x, 3, first, second), wanted, "int16")
    found = cv2.filter2D(x, 3, row)  # one dimension is a row
    assert_matches(found, cast(correlated(x, row[None]), "int16"), "int16")


@pytest.mark.cover("dx dy ksize")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dx", "dy", "ksize"), DERIVATIVES)
def test_sobel(dx, dy, ksize, dtype):
    row, column = DERIVATIVES[dx, dy, ksize]
    x = drawn(dtype, (8, 9))
    for border, scale, delta in ((4, 1, 0), (1, 0.25, 10)):
        exact = scale * correlated(x, np.outer(column, row), border) + delta
        for ddepth, result in results(dtype, border).items():
            found = cv2.Sobel(x, ddepth, dx, dy, None, ksize, scale, delta, border)
            assert_matches(found, cast(exact, result), result)
            if ksize == -1:
                other = cv2.Scharr(x, ddepth, dx, dy, None, scale, delta, border)
                np.testing.assert_array_equal(other, found)


@pytest.mark.cover
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ksize", [1, 3, 5, 9])
def test_laplacian(ksize, dtype):
    if ksize == 1:
        k = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    else:
        second, smooth = np.array([1, -2, 1]), np.array([1, 2, 1])
        for _ in range((ksize - 3) // 2):
            second, smooth = np.convolve(second, [1, 2, 1]), np.convolve(smooth, [1, 2, 1])
        k = np.outer(smooth, second) + np.outer(second, smooth)
    x = drawn(dtype, (9, 8, 2))
    for border, scale, delta in ((4, 1, 0), (0, 0.5, -3)):
        exact = scale * correlated(x, k, border) + delta
        for ddepth, result in results(dtype, border).items():
            found = cv2.Laplacian(x, ddepth, None, ksize, scale, delta, border)
            assert_matches(found, cast(exact, result), result)


def test_the_widest_derivatives_are_exact():
    """31 elements: sums up to 2^75 or so, whose differences fit uint16 after scaling."""
    x = drawn("uint16", (12, 40))
    row = column = np.ones(1)
    for _ in range(30):
        column = np.convolve(column, [1.0, 1.0])
    for _ in range(29):
        row = np.convolve(row, [1.0, 1.0])
    row = np.convolve(row, [-1.0, 1.0])
    exact = correlated(x, np.outer(column, row)) * 2.0**-58 + 100
    found = cv2.Sobel(x, cv2.CV_16U, 1, 0, ksize=31, scale=2.0**-58, delta=100)
    assert_equal_but_for_ties(found, exact, "uint16", 1e-9)
    assert np.ptp(np.asarray(found)) > 100


@pytest.mark.parametrize(("dtype", "border"), [*KINDS, ("int32", 4)])
def test_boxes(dtype, border):
    """Means that are halves go to the even neighbour."""
    for shape, size, anchor in (((8, 9), (2, 2), (-1, -1)), ((6, 7, 3), (4, 3), (3, 0))):
        x = drawn(dtype, shape) // (1 if dtype == "float32" else 2)
        total = correlated(x, np.ones(size[::-1]), border, anchor)
        mean = total / (size[0] * size[1])
        assert_matches(cv2.blur(x, size, None, anchor, border), cast(mean, dtype), dtype)
        kinds = {-1: dtype}
        if border == 4 and dtype != "float32":
            kinds |= {4: "int32", 5: "float32"}
        for ddepth, result in kinds.items():
            for exact, normalize in ((mean, True), (total, False)):
                found = cv2.boxFilter(x, ddepth, size, None, anchor, normalize, border)
                assert_matches(found, cast(exact, result), result)


def test_means_of_large_windows_are_exact():
    """Sums of 16 bits above 2^23: their quotients in float32 would be rounded to halves."""
    x = (65535 - np.random.default_rng(0).integers(0, 900, (40, 50))).astype(np.uint16)
    for size in ((15, 15), (12, 18), (16, 16)):
        total = correlated(x, np.ones(size[::-1])).astype(np.int64)
        count = size[0] * size[1]
        whole, rest = np.divmod(total, count)
        wanted = whole + ((2 * rest > count) | ((2 * rest == count) & (whole % 2 == 1)))
        np.testing.assert_array_equal(cv2.blur(x, size), wanted)


def test_every_mean_of_two_and_four_bytes_is_rounded_half_to_even():
    first, second = np.meshgrid(np.arange(256), np.arange(256))
    pairs = np.stack([first.ravel(), second.ravel()]).astype(np.uint8)
    found = cv2.blur(pairs, (1, 2), anchor=(-1, 0), borderType=cv2.BORDER_REPLICATE)[0]
    np.testing.assert_array_equal(found, np.rint(pairs.astype(float).mean(0)))
    for value in (0, 7, 100, 255):
        flat = np.full((3, 5), value, np.uint8)
        for size in ((2, 1), (2, 2), (4, 4), (5, 2)):
            np.testing.assert_array_equal(cv2.blur(flat, size), flat)


GAUSSIANS = {  # ksize, sigmaX, sigmaY -> sizes and deviations; None where there is a table
    ((3, 5), 0, 0): ((3, None), (5, None)),
    ((9, 7), 0, 0): ((9, None), (7, None)),
    ((11, 1), 0, 0): ((11, 2.0), (1, None)),
    ((3, 5), 0.7, 2): ((3, 0.7), (5, 2.0)),
    ((5, 3), 1.5, 0): ((5, 1.5), (3, 1.5)),
}


@pytest.mark.parametrize("size", [(2, 3), (14, 7), (10, 41)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_means_that_are_halves_or_next_to_one(dtype, size):
    """Quotients that are rounded twice are beside a half, or on one that they are not."""
    count = size[0] * size[1]
    rest = count // 2 + np.arange(-1, 2)
    values = np.arange(0, 250, 3)[:, None] * count + rest  # the sums of a window each
    means = values // count
    x = np.zeros((size[1], values.size, size[0]), np.int64) + means.ravel()[None, :, None]
    flat = x.transpose(1, 0, 2).reshape(values.size, count)
    flat[:, : count - 1] += np.arange(count - 1) < (values - means * count).reshape(-1, 1)
    x = flat.reshape(values.size, size[1], size[0]).transpose(1, 0, 2).reshape(size[1], -1)
    found = cv2.blur(x.astype(dtype), size, anchor=(0, 0), borderType=0)[0, :: size[0]]
    exact = [round(Fraction(int(total), count)) for total in values.ravel()]
    np.testing.assert_array_equal(found, exact)


def test_numbers_keep_their_64_bits():
    """As OpenCV's, which are doubles."""
    for value in (0.1, np.float64(0.1)):
        assert arguments.number("filter2D", "delta", value) == 0.1


def blurring(size, sigma):
    return np.array(TABLES[size]) / 256 if sigma is None else gaussian(size, sigma)


@pytest.mark.parametrize(("dtype", "border"), KINDS)
def test_gaussian_blur(dtype, border):
    x = drawn(dtype, (14, 15, 2))
    for (ksize, sigma_x, sigma_y), (row, column) in GAUSSIANS.items():
        found = cv2.GaussianBlur(x, ksize, sigma_x, None, sigma_y, border)
        exact = correlated(x, np.outer(blurring(*column), blurring(*row)), border)
        if dtype == "float32":
            assert_matches(found, exact, dtype)
        elif sigma_x == 0 and 11 not in ksize:  # parts of 256
            assert_matches(found, cast(exact, dtype), dtype)
        else:
            assert_equal_but_for_ties(found, exact, dtype, 1e-4 if dtype == "uint8" else 1e-7)


def test_the_size_of_a_gaussian_by_its_deviation():
    """3 deviations on each side for bytes, 4 for all else."""
    for dtype, size in (("uint8", 9), ("uint16", 11), ("int16", 11), ("float32", 11)):
        x = drawn(dtype, (16, 17))
        wanted = cv2.GaussianBlur(x, (size, size), 1.3)
        np.testing.assert_array_equal(cv2.GaussianBlur(x, (0, 0), 1.3), wanted)
        np.testing.assert_array_equal(cv2.GaussianBlur(x, (0, size), 1.3, sigmaY=1.3), wanted)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_circular_gaussian(dtype):
    x = drawn(dtype, (6, 7))
    exact = correlated(x, np.outer(blurring(5, None), blurring(9, None)), 3)
    found = cv2.GaussianBlur(x, (9, 5), 0, borderType=cv2.BORDER_WRAP)
    assert_matches(found, cast(exact, dtype), dtype)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_drawn_calls(data):
    """Any image, kernel, anchor, border and depth."""
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), *draw(st.sampled_from([(), (2,)])))
    size = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    anchor = draw(st.integers(-1, size[1] - 1)), draw(st.integers(-1, size[0] - 1))
    border = draw(st.sampled_from([*BORDERS])) | draw(st.sampled_from([0, cv2.BORDER_ISOLATED]))
    ddepth, result = draw(st.sampled_from([*results(dtype).items()]))
    numbers = np.random.default_rng(draw(st.integers(0, 999)))
    x = drawn(dtype, shape, numbers.integers(999))
    k = numbers.integers(-40, 41, size) / draw(st.sampled_from([1, 4, 64]))
    delta = draw(st.integers(-40, 40)) / 2
    how = {"anchor": anchor, "delta": delta, "borderType": border}
    exact = correlated(x, k, border & ~cv2.BORDER_ISOLATED, anchor) + delta
    assert_matches(cv2.filter2D(x, ddepth, k, **how), cast(exact, result), result)
    row, column = k[0], k[:, 0]
    product = np.outer(column, row)
    exact = correlated(x, product, border & ~cv2.BORDER_ISOLATED, anchor) + delta
    assert_matches(cv2.sepFilter2D(x, ddepth, row, column, **how), cast(exact, result), result)


def test_one_channel_is_dropped_as_in_opencv():
    x = drawn("uint8", (5, 6))
    found = cv2.blur(x[..., None], (3, 3))
    np.testing.assert_array_equal(found, cv2.blur(x, (3, 3)))


def test_float64():
    """CV_64F with 64-bit types; without them it is float32."""
    x = np.random.default_rng(0).normal(size=(6, 7))
    thirds, sigma = WHOLE / 3, gaussian(5, 1.1)
    assert cv2.filter2D(x, cv2.CV_64F, WHOLE).dtype == jnp.float32
    with jax.enable_x64(True):
        for given in (x, x.astype(np.float32), (100 + 20 * x).astype(np.uint8)):
            found = cv2.filter2D(given, cv2.CV_64F, thirds)
            assert found.dtype == jnp.float64
            np.testing.assert_allclose(found, correlated(given, thirds), atol=1e-12)
        found = cv2.GaussianBlur(x, (5, 5), 1.1)
        np.testing.assert_allclose(found, correlated(x, np.outer(sigma, sigma)), atol=1e-12)


# JAX


def test_under_jit_and_vmap_integers_are_the_same():
    """In float64 among 32 bits, too."""
    x = np.stack([drawn("uint16", (8, 9, 2), seed) for seed in range(3)])
    for call in (
        lambda x: cv2.GaussianBlur(x, (7, 5), 1.3),
        lambda x: cv2.Sobel(x, cv2.CV_16U, 1, 0, ksize=7),
        lambda x: cv2.blur(x, (3, 4)),
    ):
        wanted = np.stack([call(each) for each in x])
        np.testing.assert_array_equal(jax.vmap(call)(x), wanted)
        np.testing.assert_array_equal(jax.jit(jax.vmap(call))(x), wanted)


def test_derivatives_are_adjoints():
    """<f(x), y> = <x, f^T(y)>, and with respect to the kernel, delta and sigma."""
    x, y = drawn("float32", (6, 7, 2)), drawn("float32", (6, 7, 2), 1)
    for call in (
        lambda x: cv2.filter2D(x, -1, SIXTEENTHS, borderType=cv2.BORDER_REFLECT),
        lambda x: cv2.Laplacian(x, -1, ksize=5),
        lambda x: cv2.blur(x, (9, 15)),
        lambda x: cv2.GaussianBlur(x, (5, 3), 0.9),
    ):
        value, pull = jax.vjp(call, x)
        np.testing.assert_allclose(np.vdot(value, y), np.vdot(x, pull(y)[0]), rtol=1e-4)
    loss = lambda k, delta: (y * cv2.filter2D(x, -1, k, delta=delta)).sum()
    k, delta = jnp.asarray(SIXTEENTHS), jnp.float32(0.5)
    by_kernel, by_delta = jax.grad(loss, (0, 1))(k, delta)
    np.testing.assert_allclose(np.vdot(by_kernel, k), loss(k, 0 * delta), rtol=1e-4)
    np.testing.assert_allclose(by_delta, y.sum(), rtol=1e-4)


def test_sigma_and_scale_can_be_traced():
    x, y = drawn("float32", (9, 8)), drawn("float32", (9, 8), 1)
    blurred = lambda sigma: (y * cv2.GaussianBlur(x, (5, 7), sigma)).sum()
    np.testing.assert_allclose(jax.jit(blurred)(1.2), blurred(1.2), rtol=1e-5)
    exact = lambda s: (y * correlated(x, np.outer(gaussian(7, s), gaussian(5, s)))).sum()
    slope = (exact(1.2 + 1e-4) - exact(1.2 - 1e-4)) / 2e-4
    np.testing.assert_allclose(jax.grad(blurred)(1.2), slope, rtol=1e-3)
    scaled = jax.jit(lambda scale: cv2.Sobel(x, -1, 1, 0, scale=scale))(0.5)
    np.testing.assert_allclose(scaled, cv2.Sobel(x, -1, 1, 0, scale=0.5), rtol=1e-6)
