"""Errors of `jaxconv.compat.cv2`, with the whole message."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.compat import cv2

X, K = np.zeros((6, 8), np.uint8), np.ones((3, 5))
BORDERS = "cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT"

REFUSED = [
    (
        lambda: cv2.filter2D(X.astype(np.int8), -1, K),
        TypeError,
        "filter2D: src is int8 but must be uint8, uint16, int16, float32 or float64; cast it: "
        "src.astype(...)",
    ),
    (
        lambda: cv2.blur(jnp.zeros((6, 8), jnp.bfloat16), (3, 3)),
        TypeError,
        "blur: src is bfloat16 but must be uint8, uint16, int16, int32, float32 or float64; cast "
        "it: src.astype(...)",
    ),
    (
        lambda: cv2.filter2D(X, -1, K, X),
        TypeError,
        "filter2D: dst must be None, since JAX's arrays do not change; use the array that is "
        "returned: dst = filter2D(...)",
    ),
    (
        lambda: cv2.GaussianBlur(X, (5, 5), 0, 0),
        TypeError,
        "GaussianBlur: dst must be None, not 0; dst comes before the arguments that may be left "
        "out in Python, so give them by name, such as borderType=cv2.BORDER_REPLICATE",
    ),
    (
        lambda: cv2.blur(X, (3, 3), (-1, -1)),
        TypeError,
        "blur: dst must be None, not (-1, -1); dst comes before the arguments that may be left "
        "out in Python, so give them by name, such as borderType=cv2.BORDER_REPLICATE",
    ),
    (
        lambda: cv2.Sobel(X.astype(np.uint16), cv2.CV_16S, 1, 0),
        ValueError,
        "Sobel: ddepth=cv2.CV_16S for src of uint16 must be -1 (the same), cv2.CV_16U, cv2.CV_32F "
        "or cv2.CV_64F",
    ),
    (
        lambda: cv2.Laplacian(X.astype(np.float64), cv2.CV_32F),
        ValueError,
        "Laplacian: ddepth=cv2.CV_32F for src of float64 must be -1 (the same), cv2.CV_64F",
    ),
    (
        lambda: cv2.filter2D(X, 7, K),
        ValueError,
        "filter2D: ddepth=7 for src of uint8 must be -1 (the same), cv2.CV_8U, cv2.CV_16U, "
        "cv2.CV_16S, cv2.CV_32F or cv2.CV_64F",
    ),
    (
        lambda: cv2.filter2D(X, np.float32, K),
        TypeError,
        "filter2D: ddepth=<class 'numpy.float32'> must be a fixed integer",
    ),
    (
        lambda: jax.jit(lambda depth: cv2.filter2D(X, depth, K))(-1),
        TypeError,
        "filter2D: ddepth must be a fixed integer, but is traced here; under jax.jit name it in "
        "static_argnames",
    ),
    (
        lambda: cv2.filter2D(X[None, None], -1, K),
        ValueError,
        "filter2D: src must be (height, width) or (height, width, channels), got shape "
        "(1, 1, 6, 8); for a batch use jax.vmap",
    ),
    (
        lambda: cv2.blur(X[:0], (3, 3)),
        ValueError,
        "blur: src is empty (src.shape=(0, 8))",
    ),
    (
        lambda: cv2.filter2D(X, -1, np.ones((3, 3, 2))),
        ValueError,
        "filter2D: kernel must be (rows, columns), got kernel.shape=(3, 3, 2); for one kernel a "
        "channel filter each channel, or use jaxconv.conv",
    ),
    (
        lambda: cv2.filter2D(X, -1, K * 1j),
        TypeError,
        "filter2D: kernel must be real, got complex64",
    ),
    (
        lambda: cv2.filter2D(X, -1, K[:0]),
        ValueError,
        "filter2D: kernel is empty (kernel.shape=(0, 5))",
    ),
    (
        lambda: cv2.sepFilter2D(X, -1, K, K[0]),
        ValueError,
        "sepFilter2D: kernelX must be one row or one column, got kernelX.shape=(3, 5); a kernel of "
        "both is for filter2D",
    ),
    (
        lambda: cv2.filter2D(X, -1, K, anchor=(1, 3)),
        ValueError,
        "filter2D: anchor=(1, 3) must lie inside the kernel of 5 columns and 3 rows: x from 0 to "
        "4, y from 0 to 2, or -1 for the middle",
    ),
    (
        lambda: cv2.blur(X, (3, 3), anchor=1),
        TypeError,
        "blur: anchor=1 must be two integers (x, y)",
    ),
    (
        lambda: cv2.filter2D(X, -1, K, delta=np.nan),
        ValueError,
        "filter2D: delta=nan must be finite",
    ),
    (
        lambda: cv2.Scharr(X, -1, 1, 0, scale=[1, 2]),
        TypeError,
        "Scharr: scale=[1, 2] must be one real number",
    ),
    (
        lambda: cv2.filter2D(X, -1, K, borderType=cv2.BORDER_WRAP),
        ValueError,
        f"filter2D: borderType=cv2.BORDER_WRAP must be {BORDERS} or cv2.BORDER_REFLECT_101; for a "
        "circular image pad it first: jaxconv.pad(..., mode='circular')",
    ),
    (
        lambda: cv2.GaussianBlur(X.astype(float), (3, 3), 0, borderType=3 | cv2.BORDER_ISOLATED),
        ValueError,
        f"GaussianBlur: borderType=cv2.BORDER_WRAP must be {BORDERS} or cv2.BORDER_REFLECT_101; "
        "for a circular image pad it first: jaxconv.pad(..., mode='circular')",
    ),
    (
        lambda: cv2.GaussianBlur(X, (3, 3), 0, borderType=5),
        ValueError,
        f"GaussianBlur: borderType=5 must be {BORDERS}, cv2.BORDER_WRAP or cv2.BORDER_REFLECT_101",
    ),
    (
        lambda: cv2.blur(X, 3),
        TypeError,
        "blur: ksize=3 must be two integers (width, height)",
    ),
    (
        lambda: cv2.boxFilter(X, -1, (0, 3)),
        ValueError,
        "boxFilter: ksize=(0, 3) must be (width, height) of 1 or more",
    ),
    (
        lambda: cv2.GaussianBlur(X, (4, 3), 1.0),
        ValueError,
        "GaussianBlur: ksize=(4, 3) must be (width, height), each odd, or 0 for the size that "
        "sigma needs",
    ),
    (
        lambda: cv2.GaussianBlur(X, (0, 0), 0),
        ValueError,
        "GaussianBlur: ksize=(0, 0) leaves the size to sigmaX=0.0, which must be positive; or give "
        "ksize as (width, height)",
    ),
    (
        lambda: jax.jit(lambda sigma: cv2.GaussianBlur(X, (3, 0), 1, sigmaY=sigma))(1.0),
        TypeError,
        "GaussianBlur: ksize=(3, 0) leaves the size to sigmaY, which is traced here; give ksize as "
        "(width, height)",
    ),
    (
        lambda: cv2.GaussianBlur(X, (3, 3), 0, hint=3),
        ValueError,
        "GaussianBlur: hint=3 must be one of cv2.ALGO_HINT_...: (0, 1, 2)",
    ),
    (
        lambda: cv2.Sobel(X, -1, 1, 0, ksize=4),
        ValueError,
        "Sobel: ksize=4 must be odd, from 1 to 31, or cv2.FILTER_SCHARR",
    ),
    (
        lambda: cv2.Sobel(X, -1, 0, 0),
        ValueError,
        "Sobel: dx=0, dy=0 must be 0 or more, and one of them 1 or more",
    ),
    (
        lambda: cv2.Sobel(X, -1, 3, 0),
        ValueError,
        "Sobel: dx=3, dy=0 must be at most 2, for ksize=3; for more take a larger ksize",
    ),
    (
        lambda: cv2.Scharr(X, -1, 1, 1),
        ValueError,
        "Scharr: dx=1, dy=1 must be 1 and 0, or 0 and 1, for Scharr's kernel; Sobel with ksize=5 "
        "has other derivatives",
    ),
    (
        lambda: cv2.Laplacian(X, -1, ksize=33),
        ValueError,
        "Laplacian: ksize=33 must be odd, from 1 to 31",
    ),
    (
        lambda: cv2.getGaussianKernel(4, 1),
        ValueError,
        "getGaussianKernel: ksize=4 must be odd, and 1 or more; jaxconv.filters.gaussian has even "
        "sizes",
    ),
    (
        lambda: cv2.getGaussianKernel(3, 1, cv2.CV_8U),
        ValueError,
        "getGaussianKernel: ktype=cv2.CV_8U must be cv2.CV_32F or cv2.CV_64F",
    ),
    (
        lambda: cv2.getDerivKernels(1, 0, 3, X),
        TypeError,
        "getDerivKernels: kx must be None; use the arrays that are returned",
    ),
    (
        lambda: cv2.getGaborKernel((3, 3), 1, 0, 0, 1),
        ValueError,
        "getGaborKernel: lambd must not be 0",
    ),
    (
        lambda: jax.jit(lambda sigma: jnp.asarray(cv2.getGaussianKernel(3, sigma)))(1.0),
        TypeError,
        "getGaussianKernel: sigma must be a fixed number, but is traced here; under jax.jit "
        "name it in static_argnames",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[row[2] for row in REFUSED])
def test_refusals(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
