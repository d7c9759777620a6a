"""How much is smoothed by itself: images of little noise, ends that are a guess, whole levels."""

import numpy as np
import pytest
import scipy.signal

from jaxconv import filters, psf, restore
from jaxconv._files import images

KERNELS = {
    "gaussian": filters.gaussian(1.6, 11, rank=2),
    "motion": psf.motion(9, 0.5, size=11),
    "defocus": psf.defocus(4.0, size=11),
}
BALANCES = [10.0**n for n in range(-8, 1)]
WAYS = {
    "wiener": restore.wiener,
    "tikhonov": lambda y, k, **how: restore.tikhonov(y, k, **how).image,
}


def photograph(k, bits=None, noise=0.0, around=None, exact=False):
    """A photograph and its blur: of a larger scene, or of a circle."""
    wide = images.sample("camera")[150:306, 150:306].astype(float)
    edge = k.shape[0] // 2
    truth = wide[edge:-edge, edge:-edge]
    if around:
        wide = np.pad(truth, edge, mode=around)
    y = scipy.signal.correlate(wide, np.float64(k), mode="valid")
    y += noise * np.random.default_rng(0).standard_normal(y.shape)
    if bits:
        white = 2**bits - 1
        y = np.rint(np.clip(y, 0, 1) * white) / white
    return truth, y if exact else np.float32(y)


def ratio(found, truth):
    return -10 * np.log10(np.mean((np.asarray(found, float) - truth) ** 2))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bits", [8, 16, None])
@pytest.mark.parametrize("kernel", KERNELS)
def test_images_of_little_noise_do_not_ring(kernel, bits, way):
    """Nearly as near the truth as under the best of nine balances, and nearer than unrestored."""
    k = KERNELS[kernel]
    truth, y = photograph(k, bits)
    best = max(ratio(WAYS[way](y, k, balance=b), truth) for b in BALANCES)
    found = ratio(WAYS[way](y, k), truth)
    assert found > best - {"wiener": 2, "tikhonov": 3.5}[way]
    assert found > ratio(y, truth) + 1.5


@pytest.mark.parametrize("kernel", KERNELS)
def test_on_a_circle_the_ends_are_no_noise(kernel):
    k = KERNELS[kernel]
    truth, y = photograph(k, 16, around="wrap")
    best = max(ratio(restore.wiener(y, k, balance=b, boundary="circular"), truth) for b in BALANCES)
    assert ratio(restore.wiener(y, k, boundary="circular"), truth) > best - 2
    least = restore.estimate_balance(y, k, restoration="wiener", boundary="circular")
    assert 10 * least < restore.estimate_balance(y, k, restoration="wiener")


def test_noise_that_is_large_decides_alone():
    """Then ends, rounding and steps add nothing: b is `s^2 / a` for both."""
    k = KERNELS["gaussian"]
    _, y = photograph(k, noise=0.3)
    either = [restore.estimate_balance(y, k, restoration=way) for way in WAYS]
    assert either[0] == pytest.approx(float(either[1]), rel=0.1)
    assert restore.estimate_balance(y, k, steps=10**6) == either[1]


def test_the_balance_of_few_steps_is_one_that_they_can_reach():
    k = KERNELS["motion"]
    truth, y = photograph(k, 16)
    other = restore.estimate_balance(y, k, restoration="wiener")
    for steps in (12, 60):
        found = restore.estimate_balance(y, k, steps=steps)
        assert found == pytest.approx(float(other) * (6 / steps) ** 2, rel=1e-5)
    assert restore.estimate_balance(y, k, steps=10**4) < found
    assert ratio(restore.tikhonov(y, k, steps=12).image, truth) > ratio(y, truth) + 1.5


def test_the_rounding_of_the_computation_bounds_the_balance(in_float64):
    """Without noise float32 needs more smoothing than float64."""
    k = KERNELS["gaussian"]
    _, y = photograph(k, exact=True)
    wide, narrow = (
        float(restore.estimate_balance(y.astype(d), k.astype(d), steps=10**6))
        for d in (np.float64, np.float32)
    )
    assert 3 * wide < narrow


def test_noise_is_at_least_that_of_rounding():
    """Where an image is flat rounding leaves no trace of itself."""
    x = np.zeros((74, 74))
    x[30:44, 24:44] = 7.0
    k = KERNELS["gaussian"]
    y = np.float32(np.rint(scipy.signal.correlate(x, k, mode="valid")))
    least = 12**-0.5
    without = restore.estimate_balance(y, k, steps=10**6)
    found = restore.estimate_balance(y, k, least_noise=least, steps=10**6)
    assert found > 2 * without
    # a noise that is larger anyway is as it was
    y = y + np.random.default_rng(0).standard_normal(y.shape, np.float32)
    assert restore.estimate_balance(y, k, least_noise=least) == restore.estimate_balance(y, k)


def test_the_expected_error_is_that_of_drawn_images(in_float64):
    """The balance is where a mean over many images and their noise is least, to a step of a third.

    On a circle, a photograph's spectrum: the error of each balance is measured, not computed.
    """
    rng = np.random.default_rng(0)
    size, a, sigma = (96, 96), 0.04, 0.2
    angles = np.meshgrid(*(2 * np.pi * np.fft.fftfreq(n) for n in size), indexing="ij")
    rough = sum(2 - 2 * np.cos(angle) for angle in angles) ** 2
    rough[0, 0] = np.inf
    k = np.asarray(KERNELS["motion"], float)
    errors, found = dict.fromkeys(sigma**2 / a * 10.0 ** np.arange(-1, 1.1, 1 / 3), 0.0), []
    for _ in range(6):
        x = np.fft.ifft2(np.fft.fft2(rng.standard_normal(size)) * np.sqrt(a / rough)).real
        wide = np.pad(x, 5, mode="wrap")
        y = scipy.signal.correlate(wide, k, mode="valid") + sigma * rng.standard_normal(size)
        for b in errors:
            image = restore.wiener(y, k, balance=b, boundary="circular")
            errors[b] += float(np.mean(np.square(image - x)))
        found.append(restore.estimate_balance(y, k, boundary="circular", restoration="wiener"))
    best = min(errors, key=errors.get)
    assert abs(np.log10(np.mean(found) / best)) < 0.34


@pytest.mark.parametrize("level", [0.0, 1.0, 65535.0])
@pytest.mark.parametrize("way", WAYS)
def test_an_even_image_stays_as_it_is(way, level):
    y = np.full((32, 30), level, np.float32)
    found = WAYS[way](y, KERNELS["gaussian"])
    np.testing.assert_allclose(found, y, rtol=1e-4)
    one = np.full((1, 1), level, np.float32)
    np.testing.assert_allclose(WAYS[way](one, one * 0 + 1, balance=0.1), one)
