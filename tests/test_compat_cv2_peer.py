"""`jaxconv.compat.cv2` beside OpenCV 5, and the table of how OpenCV differs in whole numbers."""

import inspect
import re
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from cv2_references import BORDERS, DTYPES, assert_equal_but_for_ties, assert_matches, cast, drawn
from hypothesis import given, settings

from jaxconv.compat import cv2 as ours

REASON = "OpenCV 5 is not installed: pip install 'opencv-python-headless>=5'"
cv2 = pytest.importorskip("cv2", minversion="5", reason=REASON)

PAGE = Path(__file__).parents[1] / "docs" / "from_opencv.md"
CONSTANTS = [name for name in ours.__all__ if name.isupper()]
FUNCTIONS = [name for name in ours.__all__ if not name.isupper()]


def test_constants_are_opencvs():
    assert len(CONSTANTS) > 15
    assert {name: getattr(ours, name) for name in CONSTANTS} == {
        name: getattr(cv2, name) for name in CONSTANTS
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_are_opencvs(name):
    first = getattr(cv2, name).__doc__.splitlines()[0]
    arguments = re.findall(r"\w+", first.split(" -> ")[0])[1:]
    parameters = inspect.signature(getattr(ours, name)).parameters.values()
    assert [each.name for each in parameters] == arguments
    needed = re.findall(r"\w+", first.split("[")[0].split(" -> ")[0])[1:]
    assert [each.name for each in parameters if each.default is each.empty] == needed


def assert_like_opencv(function, x, *arguments, **keywords):
    """Floats to 1e-5; integers the same, except where a sum that is rounded lies near a half."""
    found, wanted = (getattr(m, function)(x, *arguments, **keywords) for m in (ours, cv2))
    if wanted.dtype.kind == "f":
        assert_matches(found, wanted, wanted.dtype)
        return
    if "ddepth" in inspect.signature(getattr(ours, function)).parameters:
        arguments = (cv2.CV_64F, *arguments[1:])
    exact = getattr(cv2, function)(x.astype(np.float64), *arguments, **keywords)
    near = 1e-4 if x.dtype == np.uint8 else 0.02  # OpenCV sums 16 bits in float32
    found = np.asarray(found)
    tied = np.abs(exact - np.floor(exact) - 0.5) < near
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found[~tied], wanted[~tied])
    assert np.abs(found.astype(int) - wanted)[tied].max(initial=0) <= 1


ROW, COLUMN = np.float32([0.5, -1, 2, 0.25]), np.float32([1, -3, 1])
THIRDS = np.float32([[1, 2, -1], [0, 1, 3]]) / 3
CALLS = {
    "filter2D": [
        (-1, np.float32([[1, -2, 1], [3, 1, -4]])),
        (-1, THIRDS, None, (2, 0), 3.5),
        (5, THIRDS),
        (-1, np.ones(7)),
    ],
    "sepFilter2D": [(-1, ROW, COLUMN), (5, ROW, COLUMN, None, (0, 2), 1.5)],
    "Sobel": [(-1, 1, 0), (5, 1, 1, None, 5), (-1, 0, 2, None, 7, 0.25, 9), (5, 0, 1, None, -1)],
    "Scharr": [(-1, 0, 1), (5, 1, 0, None, 0.5)],
    "Laplacian": [(-1,), (5, None, 3), (-1, None, 7, 0.5)],
    "blur": [((3, 5),), ((5, 1), None, (4, 0))],
    "boxFilter": [(-1, (3, 3)), (5, (2, 4)), (-1, (2, 3), None, (0, 0), False)],
}


@pytest.mark.cover
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", CALLS)
def test_beside_opencv(function, dtype):
    x = drawn(dtype, (9, 11, 3))
    for arguments in CALLS[function]:
        assert_like_opencv(function, x, *arguments)
    for border in BORDERS:
        assert_like_opencv(function, x[..., 0], *CALLS[function][0], borderType=border)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_gaussian_blur(dtype):
    """uint8 and uint16, which OpenCV weighs in fixed point, are in the table."""
    x = drawn(dtype, (12, 13, 2))
    for ksize, sigma in (((3, 9), 0), ((11, 5), 0), ((0, 0), 1.3), ((5, 7), (1, 2))):
        sigma_x, sigma_y = sigma if isinstance(sigma, tuple) else (sigma, 0)
        for border in BORDERS:
            assert_like_opencv("GaussianBlur", x, ksize, sigma_x, sigmaY=sigma_y, borderType=border)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_drawn_calls_beside_opencv(data):
    draw = data.draw
    dtype = draw(st.sampled_from(DTYPES))
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), *draw(st.sampled_from([(), (3,)])))
    x = drawn(dtype, shape, draw(st.integers(0, 999)))
    numbers = np.random.default_rng(draw(st.integers(0, 999)))
    columns, rows = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    anchor = draw(st.integers(-1, columns - 1)), draw(st.integers(-1, rows - 1))
    border = draw(st.sampled_from([*BORDERS]))
    ddepth = draw(st.sampled_from([-1, 5]))
    k = numbers.normal(size=(rows, columns)).astype(np.float32)
    how = {"anchor": anchor, "borderType": border}
    assert_like_opencv("filter2D", x, ddepth, k, delta=draw(st.integers(-9, 9)) / 4, **how)
    assert_like_opencv("sepFilter2D", x, ddepth, k[0], k[:, 0], **how)
    if columns % 2 and rows % 2:  # others are in the table
        assert_like_opencv(
            "boxFilter", x, ddepth, (columns, rows), normalize=draw(st.booleans()), **how
        )


def test_a_float64_image():
    import jax

    x = np.random.default_rng(0).normal(size=(9, 8))
    with jax.enable_x64(True):
        for call in (
            lambda m: m.GaussianBlur(x, (0, 0), 1.3),
            lambda m: m.filter2D(x, -1, THIRDS),
            lambda m: m.Laplacian(x, m.CV_64F, ksize=5),
        ):
            np.testing.assert_allclose(call(ours), call(cv2), rtol=1e-6, atol=1e-6)


def test_kernels_are_opencvs():
    for size in range(1, 34, 2):
        for sigma in (-1, 0, 0.3, 2, 9):
            found, wanted = (m.getGaussianKernel(size, sigma) for m in (ours, cv2))
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
    for ksize in (-1, 1, 3, 5, 9, 31):
        for dx, dy in ((1, 0), (0, 1), (2, 0), (1, 2), (3, 3)):
            if max(dx, dy) > max(ksize, 3) - 1 or (ksize == -1 and dx + dy != 1):
                continue
            for normalize in (False, True):
                for ktype in (cv2.CV_32F, cv2.CV_64F):
                    how = {"normalize": normalize, "ktype": ktype}
                    pairs = (m.getDerivKernels(dx, dy, ksize, **how) for m in (ours, cv2))
                    for found, wanted in zip(*pairs, strict=True):
                        assert found.dtype == wanted.dtype
                        np.testing.assert_array_equal(found, wanted)
    for ksize in ((5, 7), (4, 2), (0, -1), (0, 0)):
        for theta, psi in ((0, 0), (0.6, 1.1), (2.5, 0.2)):
            found, wanted = (
                m.getGaborKernel(ksize, 1.3, theta, 3.1, 0.7, psi) for m in (ours, cv2)
            )
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)


def test_shapes_are_opencvs():
    for shape in ((5, 6), (5, 6, 1), (5, 6, 3)):
        x = drawn("uint8", shape)
        assert ours.blur(x, (3, 3)).shape == cv2.blur(x, (3, 3)).shape


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_circular_border_is_refused_where_opencv_does(dtype):
    x = drawn(dtype, (6, 7))
    how = {"borderType": cv2.BORDER_WRAP}
    beside_circular = [np.asarray(m.GaussianBlur(x, (5, 7), 0, **how)) for m in (ours, cv2)]
    np.testing.assert_allclose(*(each.astype(int) for each in beside_circular), atol=1)
    for call in (
        lambda m: m.filter2D(x, -1, THIRDS, **how),
        lambda m: m.Sobel(x, -1, 1, 0, **how),
        lambda m: m.blur(x, (3, 3), **how),
        lambda m: m.GaussianBlur(x.astype(np.float32), (3, 3), 0, **how),
    ):
        with pytest.raises(cv2.error, match="BORDER_WRAP"):
            call(cv2)
        with pytest.raises(ValueError, match="BORDER_WRAP"):
            call(ours)


# How OpenCV differs: the table of the documentation, measured

ROWS = re.findall(r"^\| `(cv2\..+?)` \| ([\d.]+) % \| (\d) \|", PAGE.read_text(), re.MULTILINE)


def test_the_table_is_read():
    assert len(ROWS) >= 10


@pytest.mark.skipif(not cv2.__version__.startswith("5.0.0"), reason="measured with OpenCV 5.0.0")
@pytest.mark.parametrize(("code", "share", "largest"), ROWS, ids=[row[0] for row in ROWS])
def test_what_the_page_says_of_opencv(code, share, largest):
    """And that ours is the exact sum, rounded."""
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (512, 512), dtype=np.uint8)
    x16 = draw.integers(0, 65536, (512, 512), dtype=np.uint16)
    images = {"x": x, "x16": x16}
    doubles = {name: image.astype(np.float64) for name, image in images.items()}
    exact = eval(code, {"cv2": cv2, "np": np, **doubles})
    dtype = np.uint16 if "x16" in code else np.uint8
    wanted = cast(exact, dtype)
    apart = np.abs(eval(code, {"cv2": cv2, "np": np, **images}).astype(int) - wanted)
    assert abs(100 * (apart > 0).mean() - float(share)) < 0.3
    assert apart.max() == int(largest)
    found = eval(code, {"cv2": ours, "np": np, **images})
    if "blur" in code:
        np.testing.assert_array_equal(found, wanted)
    else:
        assert_equal_but_for_ties(found, exact, dtype, 1e-4)


@pytest.mark.skipif(not cv2.__version__.startswith("5.0.0"), reason="measured with OpenCV 5.0.0")
def test_a_constant_image_becomes_brighter_in_opencv():
    sevens = np.full((8, 64), 7, np.uint8)
    assert (cv2.blur(sevens, (2, 1)) == 8).all()
    assert (np.asarray(ours.blur(sevens, (2, 1))) == 7).all()
