"""Residuals that are not noise are told, and noise and rounding are not."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxconv import corr2d, filters, learn
from jaxconv._files import images
from jaxconv.learn import examine_residuals, solve_kernel

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def photo():
    return np.rint(255 * images.sample("camera")[80:240, 90:290]).astype(np.float32)


def _examined(x, y, size, *, weights=None, step=0.0):
    found = solve_kernel(x, y, size, weights=weights, bias=True)
    prediction = learn.predict(jnp.asarray(x), found.kernel, found.bias)
    rounding = step * np.sqrt((1 + np.sum(np.square(found.kernel))) / 12)
    return examine_residuals(prediction, y, weights=weights, rounding=float(rounding))


BLUR = filters.gaussian(0.8, 3)
KERNELS = {"blur": BLUR} | {n: filters.by_name(n) for n in ("box", "sobel_x", "laplacian")}

NOISE = {
    "normal": lambda rng, y: rng.normal(size=y.shape),
    "uniform": lambda rng, y: rng.uniform(-1, 1, y.shape),
    "photons": lambda rng, y: rng.normal(size=y.shape) * np.sqrt(np.abs(y)),
    "outliers": lambda rng, y: rng.standard_t(3, y.shape),
}


@pytest.mark.parametrize("size", [2.0, 30.0])
@pytest.mark.parametrize("kind", NOISE)
@pytest.mark.parametrize("name", ["blur", "sobel_x"])
def test_noise_is_not_told(photo, name, kind, size):
    y = np.asarray(corr2d(photo, KERNELS[name]))
    for seed in range(3):
        report = _examined(photo, y + size * NOISE[kind](RNG(seed), y), 3)
        assert report.message is None
        assert abs(report.correlation) < 0.05


@pytest.mark.parametrize("name", KERNELS)
def test_rounding_is_not_told(photo, name):
    y = np.asarray(corr2d(photo, KERNELS[name]))
    assert _examined(photo, y, 3).message is None  # of float32 alone
    assert _examined(photo, np.rint(y), 3, step=1.0).message is None
    y = np.asarray(corr2d(photo + RNG(0).uniform(-0.5, 0.5, photo.shape), KERNELS[name]))
    assert _examined(photo, np.rint(y), 3, step=1.0).message is None  # x was rounded too


def _clipped(x):
    return x, np.clip(corr2d(x, filters.by_name("sobel_x")), 0, 255)


def _too_small(x):
    return x[3:-3, 3:-3], np.asarray(corr2d(x, filters.gaussian(2.0, 9)))


def _shifted(x):
    return x, ndimage.shift(x, (0, 3.3), order=3)[1:-1, 1:-1]


def _gamma(x):
    return x, 255 * (np.asarray(corr2d(x, filters.by_name("box"))) / 255) ** 0.5


def _noisy_x(x):
    y = np.asarray(corr2d(x, BLUR))
    return x + RNG(0).normal(size=x.shape) * 10, y


STRUCTURES = [_clipped, _too_small, _shifted, _gamma, _noisy_x]


@pytest.mark.cover
@pytest.mark.parametrize("noise", [0.0, 1.0])
@pytest.mark.parametrize("make", STRUCTURES, ids=lambda make: make.__name__)
def test_structure_is_told(photo, make, noise):
    x, y = make(photo)
    y = y + noise * RNG(1).normal(size=y.shape)
    report = _examined(x, y, 3, step=1.0)
    assert report.message is not None
    assert report.message.startswith("the residuals are not noise: ")


def test_clipped_values_that_are_left_out_are_not_told(photo):
    x, y = _clipped(photo)
    assert _examined(x, y, 3, weights=(y > 0) & (y < 255), step=1.0).message is None


def test_a_curve_of_white_noise_is_told_by_the_predicted_value_alone():
    """Independent pixels under a curve: no neighbours correlate."""
    x = RNG(0).normal(size=(80, 90))
    y = x + 0.3 * (x**2 - 1) + 0.1 * RNG(1).normal(size=x.shape)
    report = examine_residuals(x, y)
    assert abs(report.correlation) < 0.05
    assert re.fullmatch(
        r"the residuals are not noise: \d\d% of their variance depends on the predicted value; the "
        r"kernel may be biased and its standard errors too small \(clipped values, a kernel that "
        r"is too small, images shifted against each other, a response that is not linear, or noise "
        r"in x\)",
        report.message,
    )


def test_the_numbers_are_those_of_loops():
    prediction, y = RNG(0).normal(size=(2, 5, 6)), RNG(1).normal(size=(2, 5, 6))
    y[:, :, 1:] += 0.5 * y[:, :, :-1]
    weights = (RNG(2).uniform(size=y.shape) < 0.8) * RNG(3).uniform(0.5, 2, y.shape)
    report = examine_residuals(prediction, y, weights=weights)
    left = np.where(weights > 0, (y - prediction) * np.sqrt(weights), np.nan)
    products, first, second = [], [], []
    for n, i, j in np.ndindex(*y.shape):
        for k, m in ((i + 1, j), (i, j + 1)):
            if k < 5 and m < 6 and np.isfinite(left[n, i, j] * left[n, k, m]):
                products.append(left[n, i, j] * left[n, k, m])
                first.append(left[n, i, j] ** 2)
                second.append(left[n, k, m] ** 2)
    expected = sum(products) / np.sqrt(sum(first) * sum(second))
    np.testing.assert_allclose(report.correlation, expected, rtol=1e-12)
    kept = weights > 0
    rms = np.sqrt(np.sum((weights * (y - prediction) ** 2)[kept]) / np.sum(weights))
    np.testing.assert_allclose(report.rms, rms, rtol=1e-12)
    # missing values change nothing
    y[~kept] = np.nan
    assert examine_residuals(prediction, y, weights=weights) == report


def test_one_list_is_all_images():
    prediction, y = RNG(0).normal(size=(3, 8, 9)), RNG(1).normal(size=(3, 8, 9))
    several = examine_residuals(list(prediction), list(y))
    whole = examine_residuals(prediction, y)
    np.testing.assert_allclose(several.correlation, whole.correlation, rtol=1e-12)
    np.testing.assert_allclose(several.dependence, whole.dependence, rtol=1e-12)


def test_one_value_everywhere_has_no_structure():
    report = examine_residuals(np.ones((5, 6)), np.ones((5, 6)))
    assert (report.rms, report.correlation, report.dependence, report.message) == (0, 0, 0, None)


MISTAKES = [
    (
        ((5, 6), (5, 7), {}),
        "prediction has shape (5, 6) and y (5, 7); give one number for each output",
    ),
    (
        ((5, 6), (5, 6), {"weights": np.ones((4, 6))}),
        "weights has shape (4, 6) and y (5, 6); give one number for each output",
    ),
    (((6,), (6,), {}), "rank=2 must be from 1 to 1, the number of axes of y"),
    (
        ((5, 6), (5, 6), {"weights": np.zeros((5, 6))}),
        "weights are 0 everywhere, so that no output is used",
    ),
    (((5, 6), (5, 6), {"rounding": -1.0}), "rounding=-1.0 must be 0 or more, and finite"),
]


@pytest.mark.parametrize(("given", "message"), MISTAKES)
def test_mistakes_are_told(given, message):
    prediction, y, options = given
    with pytest.raises(ValueError, match=f"^{re.escape('examine_residuals: ' + message)}$"):
        examine_residuals(np.ones(prediction), np.ones(y), **options)
