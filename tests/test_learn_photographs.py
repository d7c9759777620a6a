"""`recover_kernel`: kernels of photographs, beside least squares, and what cannot serve."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxconv import corr2d, filters, learn
from jaxconv._files import images
from jaxconv.learn import fit_kernel, recover_kernel


@pytest.fixture(scope="module")
def page():
    return images.sample("page")[:96, :128]


def _least_squares(x, y, shape):
    windows = np.lib.stride_tricks.sliding_window_view(x, shape).reshape(-1, np.prod(shape))
    table = np.hstack([windows, np.ones((len(windows), 1))]).astype(np.float64)
    solution = np.linalg.lstsq(table, np.ravel(y).astype(np.float64), rcond=None)[0]
    return solution[:-1].reshape(shape), solution[-1]


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({}, 1e-4),
        ({"optimizer": optax.lbfgs(memory_size=30), "whitened": False, "steps": 60}, 1e-3),
    ],
    ids=["whitened", "lbfgs"],
)
def test_photographs_are_fitted_as_exactly_as_least_squares_can(page, options, tolerance):
    truth = filters.by_name("scharr_x")
    stored, scale, offset = images.quantise(np.asarray(corr2d(page, truth)))
    y = (stored * scale + offset).astype(np.float32)
    fit = recover_kernel(page, y, 3, **options)
    kernel, bias = _least_squares(page, y, (3, 3))
    size = np.abs(kernel).max()
    np.testing.assert_allclose(fit.kernel, kernel, atol=tolerance * size)
    np.testing.assert_allclose(fit.bias, bias, atol=tolerance * size)
    residual = learn.predict(jnp.asarray(page), fit.kernel, fit.bias) - y
    np.testing.assert_allclose(fit.final_loss, np.mean(residual**2), rtol=1e-2)


def test_plain_descent_on_raw_pixels_diverges_where_whitened_descent_does_not(page):
    y = corr2d(page, filters.by_name("sobel_x"))
    assert fit_kernel(page, y, 3).diverged_at == 2
    fit = recover_kernel(page, y, 3)
    assert fit.diverged_at is None
    np.testing.assert_allclose(fit.kernel, filters.by_name("sobel_x"), atol=1e-4)


def test_whitened_descent_halves_the_error_a_step(page):
    y = corr2d(page, filters.by_name("sobel_x"))
    fit = recover_kernel(page, y, 3)
    ratios = fit.losses[1:8] / fit.losses[:7]
    np.testing.assert_allclose(ratios, 0.25, rtol=0.02)  # squared error: a quarter


def test_units_of_the_images_do_not_matter(page):
    y = corr2d(page, filters.by_name("sobel_x"))
    plain = recover_kernel(page, y, 3)
    scaled = recover_kernel(255 * page + 7, 40 * y - 3, 3)
    np.testing.assert_allclose(scaled.kernel * 255 / 40, plain.kernel, atol=1e-4)
    np.testing.assert_allclose(scaled.losses[:5], 1600 * plain.losses[:5], rtol=1e-3)


def test_without_a_bias_none_is_used(page):
    truth = filters.by_name("box")
    fit = recover_kernel(page, corr2d(page, truth), 3, bias=False)
    assert fit.bias is None
    np.testing.assert_allclose(fit.kernel, truth, atol=1e-4)


def test_what_the_image_does_not_show_stays_at_zero():
    stripes = jnp.tile(jax.random.normal(jax.random.key(0), (1, 40)), (30, 1))
    truth = filters.by_name("sobel_x")
    covariance = learn.window_covariance(stripes - stripes.mean(), 3)
    assert learn.seen_directions(covariance) == 3
    fit = recover_kernel(stripes, corr2d(stripes, truth), 3)
    # all rows look alike: the column sums are all there is to learn, shared out evenly
    np.testing.assert_allclose(fit.kernel, np.tile([-4 / 3, 0, 4 / 3], (3, 1)), atol=1e-4)


def test_the_covariance_is_the_mean_of_window_products():
    x = np.random.default_rng(0).normal(size=(2, 6, 7))
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 3), axis=(1, 2)).reshape(-1, 6)
    np.testing.assert_allclose(
        learn.window_covariance(x, (2, 3)), windows.T @ windows / len(windows), rtol=1e-12
    )


def test_a_constant_image_is_refused():
    message = "recover_kernel: x has one value everywhere, which determines no kernel"
    with pytest.raises(ValueError, match=f"^{message}$"):
        recover_kernel(jnp.full((9, 9), 0.7), jnp.zeros((7, 7)), 3)


def test_interior_cuts_what_padding_touched():
    x = jax.random.normal(jax.random.key(0), (9, 8))
    kernel = jax.random.normal(jax.random.key(1), (3, 5))
    padded = corr2d(jnp.pad(x, ((1, 1), (2, 2))), kernel)
    np.testing.assert_allclose(
        learn.interior(padded, (9, 8), (3, 5)), corr2d(x, kernel), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x, y: (x.at[3, 4].set(jnp.nan), y),
            "x has pixels that are NaN or infinite; leave them out by "
            "weights=usable_outputs(jnp.isfinite(x), kernel_size)",
        ),
        (
            lambda x, y: (x, y.at[0, 0].set(jnp.inf)),
            "y has pixels that are NaN or infinite; leave them out by weights=jnp.isfinite(y)",
        ),
        (
            lambda x, y: (x[0], y),
            "x must be planes (*batch, H, W) with pixels, got x.shape=(9,)",
        ),
        (
            lambda x, y: (x[None][:0], y[None][:0]),
            "x must be planes (*batch, H, W) with pixels, got x.shape=(0, 9, 9)",
        ),
        (
            lambda x, y: (1e30 * x, y),
            "the squares of x's deviations leave the range of float32; scale x closer to 1",
        ),
        (
            lambda x, y: (1e-30 * x, y),
            "the squares of x's deviations leave the range of float32; scale x closer to 1",
        ),
    ],
)
def test_photographs_that_cannot_serve(change, message):
    x = jax.random.normal(jax.random.key(0), (9, 9))
    with pytest.raises(ValueError, match=f"^{re.escape('recover_kernel: ' + message)}$"):
        recover_kernel(*change(x, x[1:-1, 1:-1]), 3)
