"""Weights of outputs in gradient descent: the same kernel, losses and whitening as by solving."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from covering import some
from test_learn_weights import mask, normal

from jaxconv import conv, corr2d, learn
from jaxconv.learn import fit_conv, fit_kernel, losses, recover_kernel, solve_kernel, usable_outputs

DESCENTS = {
    "fit_kernel": (fit_kernel, {"loss": losses.mean_squared_error}),
    "recover_kernel": (recover_kernel, {}),
}


@pytest.mark.parametrize("name", some(DESCENTS, "recover_kernel"))
def test_descent_arrives_at_the_weighted_kernel(name):
    fit, options = DESCENTS[name]
    x, truth = 3 + normal(0, 30, 31), normal(1, 2, 3)
    y = corr2d(x, truth) + 0.3 * normal(2, 29, 29)
    weights = np.where(mask(3, 29, 29), 2.0, 0.0).astype("f4") * np.linspace(0.2, 1, 29, dtype="f4")
    y, x = y.at[4, 5].set(jnp.nan), x.at[20, 21].set(jnp.nan)
    weights = weights * usable_outputs(jnp.isfinite(x), (2, 3)) * jnp.isfinite(y)
    if name == "fit_kernel":
        options = options | {"optimizer": optax.lbfgs(), "steps": 60, "exact": True}
    found = fit(x, y, (2, 3), weights=weights, bias=True, **options)
    exact = solve_kernel(x, y, (2, 3), weights=weights, bias=True)
    np.testing.assert_allclose(found.kernel, exact.kernel, atol=2e-3)
    np.testing.assert_allclose(found.final_loss, exact.residual / weights.sum(), rtol=1e-4)
    distance = learn.distance_to_optimum(found, x, y, weights=weights)
    np.testing.assert_allclose(distance.solution.kernel, exact.kernel, atol=1e-6)
    assert distance.kernel < 2e-3
    if name == "fit_kernel":
        np.testing.assert_allclose(found.distance.excess, distance.excess, rtol=1e-3, atol=1e-6)


def test_the_distance_is_the_difference_of_the_weighted_errors():
    x, y = 3 + normal(0, 12, 13), normal(1, 11, 11)
    weights = np.random.default_rng(2).uniform(0, 2, (11, 11)).astype("f4")
    options = {"loss": losses.sum_squared_error, "optimizer": optax.sgd(1e-5), "bias": True}
    fit = fit_kernel(x, y, (2, 3), weights=weights, steps=3, exact=True, **options)
    least = fit.distance.solution.residual
    np.testing.assert_allclose(fit.distance.excess, fit.final_loss - least, rtol=1e-4)


@pytest.mark.parametrize("weighted", some([False, True], True))
def test_recover_kernel_takes_pairs_of_several_sizes(weighted):
    truth = normal(9, 3, 3)
    xs = [5 + normal(n, 14 + n, 15) for n in range(2)]
    ys = [
        corr2d(x, truth) + 0.2 * normal(n + 5, *np.subtract(x.shape, 2)) for n, x in enumerate(xs)
    ]
    ws = [mask(n, *y.shape) for n, y in enumerate(ys)]
    weights = ws if weighted else None
    exact = solve_kernel(xs, ys, 3, weights=weights, bias=True)
    found = recover_kernel(xs, ys, 3, weights=weights)
    np.testing.assert_allclose(found.kernel, exact.kernel, atol=1e-3)
    np.testing.assert_allclose(found.bias, exact.bias, atol=1e-2)
    held = recover_kernel(xs, ys, 3, weights=weights, constraints=[learn.constraints.symmetric])
    assert np.isfinite(held.kernel).all()


def test_the_covariance_of_weighted_windows():
    xs = [np.random.default_rng(n).normal(size=(2, 6 + n, 7)) for n in range(2)]
    ws = [np.random.default_rng(n + 2).uniform(size=(2, 5 + n, 5)) for n in range(2)]
    rows = [np.lib.stride_tricks.sliding_window_view(x, (2, 3), axis=(1, 2)) for x in xs]
    rows = np.vstack([r.reshape(-1, 6) for r in rows])
    w = np.concatenate([w.ravel() for w in ws])
    found = learn.window_covariance(xs, (2, 3), weights=ws)
    np.testing.assert_allclose(found, (w[:, None] * rows).T @ rows / w.sum(), rtol=1e-12)
    np.testing.assert_allclose(
        learn.window_covariance(xs, (2, 3)), rows.T @ rows / len(rows), rtol=1e-12
    )


@pytest.mark.parametrize("extra", [{}, {"crop": 4, "crops": 3}, {"on_losses": lambda *_: None}])
def test_layers_never_see_what_has_no_weight(extra):
    """The same run, bit for bit, whatever stands where the weights are 0."""
    x, truth = normal(0, 2, 20, 3), normal(1, 3, 3, 2)
    y = conv(x, truth)
    weights = mask(2, 2, 18)
    spoilt = jnp.where(jnp.asarray(weights)[..., None], y, jnp.nan)
    run = functools.partial(
        fit_conv, kernel_size=(3,), weights=weights, steps=30, bias=True, **extra
    )
    clean, other = run(x, y), run(x, spoilt)
    np.testing.assert_array_equal(clean.kernel, other.kernel)
    np.testing.assert_array_equal(clean.losses, other.losses)
    assert np.isfinite(clean.losses).all()
    assert not np.array_equal(
        clean.kernel, fit_conv(x, y, (3,), steps=30, bias=True, **extra).kernel
    )


ERRORS = {
    losses.sum_squared_error: (np.square, np.sum),
    losses.mean_squared_error: (np.square, np.mean),
    losses.mean_absolute_error: (np.abs, np.mean),
    losses.mean_huber_error: (lambda e: np.where(abs(e) <= 1, e * e / 2, abs(e) - 0.5), np.mean),
}


@pytest.mark.parametrize(
    "loss",
    some(ERRORS, losses.sum_squared_error, losses.mean_squared_error),
    ids=lambda loss: loss.__name__,
)
def test_losses_are_weighted(loss):
    prediction, target = normal(0, 5, 6, 2), 2 * normal(1, 5, 6, 2)
    error, gather = ERRORS[loss]
    each = error(np.asarray(prediction - target))
    weights = np.random.default_rng(2).uniform(size=(5, 6, 1)).astype("f4")
    total = np.sum(weights * each) / (1 if gather is np.sum else 2 * weights.sum())
    np.testing.assert_allclose(loss(prediction, target, weights), total, rtol=1e-5)
    kept = np.broadcast_to(mask(3, 5, 6, 1), target.shape)
    np.testing.assert_allclose(loss(prediction, target, kept), gather(each[kept]), rtol=1e-5)
    missing = jnp.where(kept, target, jnp.nan)
    value, gradient = jax.value_and_grad(loss)(prediction, missing, kept)
    np.testing.assert_allclose(value, gather(each[kept]), rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert not gradient[~kept].any()
    assert loss(prediction, target, np.zeros(target.shape)) == 0
