"""The kernels of `jaxconv.compat.cv2` beside their formulas, and its names."""

import math

import numpy as np
import pytest
from cv2_references import DERIVATIVES, TABLES, gaussian

from jaxconv.compat import cv2


@pytest.mark.parametrize("ktype", [cv2.CV_32F, cv2.CV_64F])
def test_gaussian_kernels(ktype):
    dtype = {cv2.CV_32F: np.float32, cv2.CV_64F: np.float64}[ktype]
    for size in range(1, 14, 2):
        for sigma in (-1, 0, 0.4, 3):
            found = cv2.getGaussianKernel(size, sigma, ktype)
            assert found.shape == (size, 1)
            assert found.dtype == dtype
            wanted = gaussian(size, sigma if sigma > 0 else 0.3 * ((size - 1) / 2 - 1) + 0.8)
            if sigma <= 0 and size in TABLES:
                wanted = np.array(TABLES[size]) / 256
            np.testing.assert_allclose(found[:, 0], wanted.astype(dtype), rtol=1e-13)


@pytest.mark.parametrize(("dx", "dy", "ksize"), DERIVATIVES)
def test_derivative_kernels(dx, dy, ksize):
    wanted = DERIVATIVES[dx, dy, ksize]
    for found, line in zip(cv2.getDerivKernels(dx, dy, ksize), wanted, strict=True):
        assert found.dtype == np.float32
        assert found.tolist() == [[each] for each in line]
    moments = []
    normal = cv2.getDerivKernels(dx, dy, ksize, normalize=True, ktype=cv2.CV_64F)
    for found, line, order in zip(normal, wanted, (dx, dy), strict=True):
        np.testing.assert_allclose(found[:, 0] * line[0], found[0, 0] * np.array(line))
        at = np.arange(len(line)) - len(line) // 2
        moments.append((found[:, 0] * at.astype(float) ** order).sum())
    # x^dx y^dy, differentiated so often
    assert np.prod(moments) == math.factorial(dx) * math.factorial(dy)


def test_gabor_kernels():
    for ksize, shape in (((5, 7), (7, 5)), ((4, 2), (3, 5)), ((0, -1), (7, 5))):
        sigma, theta, wavelength, gamma, psi = 1.0, 0.6, 3.0, 0.8, 0.3
        found = cv2.getGaborKernel(ksize, sigma, theta, wavelength, gamma, psi)
        assert found.shape == shape
        rows, columns = shape
        for i in range(rows):
            for j in range(columns):
                y, x = rows // 2 - i, columns // 2 - j
                along = x * np.cos(theta) + y * np.sin(theta)
                across = -x * np.sin(theta) + y * np.cos(theta)
                value = np.exp(-(along**2 + (gamma * across) ** 2) / (2 * sigma**2))
                value *= np.cos(2 * np.pi * along / wavelength + psi)
                assert abs(found[i, j] - value) < 1e-12


def test_names():
    """A script that imports this module in OpenCV's place finds its constants."""
    for name, value in {
        "BORDER_CONSTANT": 0,
        "BORDER_REPLICATE": 1,
        "BORDER_REFLECT": 2,
        "BORDER_WRAP": 3,
        "BORDER_REFLECT_101": 4,
        "BORDER_REFLECT101": 4,
        "BORDER_DEFAULT": 4,
        "BORDER_ISOLATED": 16,
        "FILTER_SCHARR": -1,
        "CV_8U": 0,
        "CV_16U": 2,
        "CV_16S": 3,
        "CV_32S": 4,
        "CV_32F": 5,
        "CV_64F": 6,
    }.items():
        assert getattr(cv2, name) == value
    assert dir(cv2) == sorted(cv2.__all__)
    with pytest.raises(AttributeError) as caught:
        cv2.medianBlur  # noqa: B018 - looking it up is what raises
    assert str(caught.value) == (
        "module 'jaxconv.compat.cv2' has no attribute 'medianBlur'; what else OpenCV has takes "
        "NumPy's arrays: import cv2; cv2.medianBlur(np.asarray(image)). There are here: "
        "GaussianBlur, Laplacian, Scharr, Sobel, blur, boxFilter, filter2D, getDerivKernels, "
        "getGaborKernel, getGaussianKernel, sepFilter2D"
    )
    assert not hasattr(cv2, "__wrapped__")
