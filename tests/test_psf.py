"""Point-spread functions against brute force and their peers, and how they refuse."""

import math
import re

import ml_dtypes
import numpy as np
import pytest
from scipy import special

from jaxconv import psf

KERNELS = {
    "motion": psf.motion(9.5, 0.7, dtype=np.float64),
    "motion, even": psf.motion(4, 2.0, size=(8, 6), dtype=np.float64),
    "defocus": psf.defocus(3.3, dtype=np.float64),
    "defocus, a point": psf.defocus(1e-3, dtype=np.float64),
    "airy": psf.airy(2.5, dtype=np.float64),
}


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_is_a_blur(kernel):
    assert kernel.sum() == pytest.approx(1, abs=1e-14)
    assert kernel.min() >= 0
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize(("length", "angle"), [(9.5, 0.7), (6, 0.0), (6, math.pi / 2), (0.4, 3.0)])
def test_motion_is_the_mean_of_shifted_points(length, angle):
    kernel = psf.motion(length, angle, dtype=np.float64)
    at = (np.arange(200_000) + 0.5) / 200_000 * length - length / 2
    middle = np.array(kernel.shape) // 2
    rows = at * math.sin(angle) + middle[0]
    columns = at * math.cos(angle) + middle[1]
    expected = np.zeros(np.array(kernel.shape) + 1)
    for i in (0, 1):
        for j in (0, 1):
            row, column = np.floor(rows).astype(int) + i, np.floor(columns).astype(int) + j
            share = (1 - abs(rows - row)) * (1 - abs(columns - column))
            np.add.at(expected, (row, column), share / len(at))
    assert kernel.shape == tuple(np.array(expected.shape) - 1)
    np.testing.assert_allclose(kernel, expected[:-1, :-1], atol=1e-6)
    assert expected[:-1, :-1].sum() == pytest.approx(1)  # the default size loses nothing


def test_motion_goes_down_where_the_angle_grows():
    kernel = psf.motion(7, 0.5)
    assert kernel[-2, -2] > 0
    assert kernel[-2, 1] == 0
    assert psf.motion(5).shape == (1, 7)
    assert psf.motion(5, math.pi / 2).shape == (7, 1)


@pytest.mark.parametrize("radius", [0.8, 2.0, 3.3])
def test_defocus_is_a_disc(radius):
    kernel = psf.defocus(radius, dtype=np.float64)
    side, fine = len(kernel), 400
    at = (np.arange(side * fine) + 0.5) / fine - side / 2
    disc = (at[:, None] ** 2 + at**2 <= radius**2).reshape(side, fine, side, fine)
    assert disc[0].any()  # no larger than it has to be
    areas = disc.mean(axis=(1, 3))
    assert areas.sum() == pytest.approx(math.pi * radius**2, rel=1e-3)  # and no smaller
    np.testing.assert_allclose(kernel, areas / areas.sum(), atol=2e-4)


@pytest.mark.parametrize("radius", [1.5, 4.0])
def test_airy_is_that_of_bessels_integral(radius):
    kernel = psf.airy(radius, size=41, dtype=np.float64)
    r = np.hypot(*np.mgrid[-20:21, -20:21])
    v = np.where(r > 0, special.jn_zeros(1, 1)[0] * r / radius, 1)
    # Bessel's integral, J1(v) = (1 / pi) integral over t from 0 to pi of cos(t - v sin(t))
    t = (np.arange(200) + 0.5) * math.pi / 200
    j1 = np.cos(t - v[..., None] * np.sin(t)).mean(-1)
    expected = np.where(r > 0, (2 * j1 / v) ** 2, 1)
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-7, atol=1e-16)


def test_airy_holds_three_rings():
    kernel = psf.airy(4.0, dtype=np.float64)
    assert kernel.shape == (27, 27)
    middle = kernel[13]
    assert middle[13 + 4] < 1e-12  # the first dark ring
    whole = psf.airy(4.0, size=401, dtype=np.float64)
    assert whole[200, 200] / middle[13] == pytest.approx(0.95, abs=0.01)


def test_sizes_and_dtypes():
    assert psf.defocus(2, size=(3, 8)).shape == (3, 8)
    assert psf.airy(2, size=np.int64(6)).shape == (6, 6)
    assert psf.motion(2).dtype == np.float32
    assert psf.defocus(2, dtype=ml_dtypes.bfloat16).dtype == ml_dtypes.bfloat16


SIZE = "size must be one or two integers of at least 1, got "
REFUSED = [
    (lambda: psf.motion(0), "motion: length must be finite and above 0, got 0"),
    (lambda: psf.motion(3, math.inf), "motion: angle must be finite, in radians, got inf"),
    (lambda: psf.motion(3, size=0), f"motion: {SIZE}0"),
    (lambda: psf.motion(3, dtype=int), "motion: dtype must hold fractions, got int64"),
    (lambda: psf.defocus(math.nan), "defocus: radius must be finite and above 0, got nan"),
    (lambda: psf.defocus(2, size=(3, 3, 3)), f"defocus: {SIZE}(3, 3, 3)"),
    (lambda: psf.defocus(2, dtype=bool), "defocus: dtype must hold fractions, got bool"),
    (lambda: psf.airy(-1.0), "airy: radius must be finite and above 0, got -1.0"),
    (lambda: psf.airy(2, size=2.5), f"airy: {SIZE}2.5"),
    (lambda: psf.airy(2, dtype="uint8"), "airy: dtype must hold fractions, got uint8"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_refuses(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
