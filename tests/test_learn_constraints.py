"""Constraints, robust losses, any kernel, crops."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxconv import conv, corr2d, filters
from jaxconv.learn import constraints, fit_conv, fit_kernel, losses, solve_kernel
from jaxconv.learn.constraints import projected

BLUR = jnp.asarray(filters.gaussian(0.8, size=5), jnp.float32)
CROSS = jnp.zeros((5, 5)).at[2].add(0.1).at[:, 2].add(0.1)  # two products of a column and a row


def _normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _noisy(truth):
    """An image filtered, under so much noise that least squares breaks every rule of the kernel."""
    x = _normal(0, 30, 32)
    clean = corr2d(x, truth)
    return x, clean + 0.5 * _normal(1, *clean.shape)


def _beyond(rank):
    """How much of a kernel is more than so many products of a column and a row."""
    return lambda kernel: np.linalg.svd(kernel, compute_uv=False)[rank] / np.linalg.norm(kernel)


RULES = [
    ((constraints.non_negative,), lambda k: max(-k.min(), 0.0)),
    ((constraints.sum_to_one,), lambda k: abs(k.sum() - 1)),
    ((constraints.simplex,), lambda k: max(-k.min(), abs(k.sum() - 1))),
    (
        (constraints.symmetric,),
        lambda k: max(np.abs(k - k[::-1]).max(), np.abs(k - k[:, ::-1]).max()),
    ),
    ((constraints.separable(1),), _beyond(1)),
    ((constraints.separable(2),), _beyond(2)),
    (
        (constraints.symmetric, constraints.simplex),
        lambda k: max(-k.min(), abs(k.sum() - 1), np.abs(k - k[::-1]).max()),
    ),
]


@pytest.mark.parametrize(
    ("rules", "breach"),
    RULES,
    ids=lambda r: "+".join(f.__name__ for f in r) if isinstance(r, tuple) else "",
)
def test_a_projection_is_kept_and_costs_little_noise(rules, breach):
    truth = next(kernel for kernel in (CROSS, BLUR) if breach(np.asarray(kernel)) < 1e-6)
    noisy = _noisy(truth)
    free = np.asarray(solve_kernel(*noisy, 5).kernel)
    assert breach(free) > 1e-3
    optimizer = optax.chain(optax.sgd(0.2), projected(*rules))
    fit = fit_kernel(*noisy, 5, optimizer=optimizer, steps=150, loss=losses.mean_squared_error)
    kernel = np.asarray(fit.kernel)
    assert breach(kernel) < 1e-5
    # what is known beforehand takes noise away, and the descent has arrived
    assert np.linalg.norm(kernel - truth) < np.linalg.norm(free - truth)
    more = fit_kernel(
        *noisy, 5, optimizer=optimizer, steps=1, init=fit.kernel, loss=losses.mean_squared_error
    )
    np.testing.assert_allclose(more.kernel, kernel, atol=1e-4)


def test_each_projection_is_the_nearest_kernel_of_its_kind():
    kernel = _normal(3, 3, 4)
    for projection in (
        constraints.non_negative,
        constraints.sum_to_one,
        constraints.simplex,
        constraints.symmetric,
        constraints.separable(2),
    ):
        nearest = projection(kernel)
        np.testing.assert_allclose(projection(nearest), nearest, atol=1e-6)
        distance = jnp.linalg.norm(nearest - kernel)
        for seed in range(20):
            other = projection(nearest + 0.3 * _normal(seed, 3, 4))
            assert jnp.linalg.norm(other - kernel) >= distance - 1e-6


def test_with_channels_every_kernel_obeys_and_the_bias_is_free():
    x, truth = _normal(0, 40, 2), jnp.abs(_normal(1, 3, 2, 2))
    truth = truth / truth.sum(0)
    y = conv(x, truth) + jnp.asarray([2.0, -3.0])
    optimizer = optax.chain(optax.adam(0.03), projected(constraints.simplex, channels=True))
    fit = fit_conv(x, y, (3,), bias=True, optimizer=optimizer, steps=400)
    np.testing.assert_allclose(fit.kernel.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(fit.kernel, truth, atol=1e-2)
    np.testing.assert_allclose(fit.bias, [2, -3], atol=1e-2)


@pytest.mark.parametrize(("rules", "breach"), RULES, ids=range(len(RULES)))
def test_a_layers_kernels_obey_each_by_itself(rules, breach):
    x, y = _normal(0, 9, 10, 2), _normal(1, 7, 8, 3)
    optimizer = optax.chain(optax.sgd(0.1), projected(*rules, channels=True))
    fit = fit_conv(x, y, 3, optimizer=optimizer, steps=2)
    for i in range(2):
        for o in range(3):
            assert breach(np.asarray(fit.kernel[..., i, o])) < 1e-5


@pytest.mark.parametrize(
    "loss",
    [functools.partial(losses.mean_huber_error, delta=0.05), losses.mean_absolute_error],
    ids=["huber", "absolute"],
)
def test_wild_pixels_move_a_robust_loss_little(loss):
    x = _normal(0, 24, 26)
    truth = jnp.asarray(filters.by_name("sobel_x"), jnp.float32)
    y = corr2d(x, truth)
    wild = np.random.default_rng(1).random(y.shape) < 0.05
    y = jnp.where(jnp.asarray(wild), 40.0, y)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.3, 300))
    fit = fit_kernel(x, y, 3, loss=loss, optimizer=optimizer, steps=300, bias=True)
    exact = solve_kernel(x, y, 3, bias=True)
    error = float(jnp.abs(fit.kernel - truth).max())
    assert error < 0.03 < 0.3 < float(jnp.abs(exact.kernel - truth).max())


LAYERS = [
    ((2, 60, 3), (5,), 2, {"stride": 2, "dilation": 2, "padding": 3}),
    ((2, 11, 12, 4), (3, 2), 4, {"groups": 2, "padding": "same", "padding_mode": "reflect"}),
    ((8, 7, 9, 2), (2, 3, 2), 1, {"stride": (1, 2, 1), "bias": True}),
]


@pytest.mark.parametrize(("shape", "size", "out", "options"), LAYERS)
def test_descent_finds_the_exact_answer_of_any_layer(shape, size, out, options):
    x = _normal(0, *shape)
    truth = _normal(1, *size, shape[-1] // options.get("groups", 1), out)
    geometry = {k: v for k, v in options.items() if k != "bias"}
    y = conv(x, truth, **geometry)
    y = y + 0.5 * _normal(2, *y.shape) + 1
    exact = solve_kernel(x, y, size, channels=True, **options)
    fit = fit_conv(x, y, size, optimizer=optax.lbfgs(), steps=60, **options)
    np.testing.assert_allclose(fit.kernel, exact.kernel, atol=2e-3)
    if fit.bias is not None:
        np.testing.assert_allclose(fit.bias, exact.bias, atol=2e-3)
    np.testing.assert_allclose(fit.final_loss, exact.residual.sum() / y.size, rtol=1e-4)
    np.testing.assert_allclose(fit.zero_loss, jnp.mean(y**2), rtol=1e-5)


def test_several_pairs_weigh_by_their_positions():
    xs = [_normal(n, 9 + 4 * n, 10, 1) for n in range(2)]
    ys = [_normal(5 + n, 8 + 4 * n, 8, 1) for n in range(2)]
    exact = solve_kernel(xs, ys, (2, 3), channels=True)
    fit = fit_conv(xs, ys, (2, 3), optimizer=optax.lbfgs(), steps=40)
    np.testing.assert_allclose(fit.kernel, exact.kernel, atol=1e-3)


def test_random_crops_learn_what_whole_images_would():
    xs = [_normal(n, 2, 40, 50, 2) for n in range(2)]
    truth = _normal(9, 3, 3, 2, 1)
    geometry = {"stride": (2, 1), "padding": 1}
    ys = [conv(x, truth, **geometry) for x in xs]
    fit = fit_conv(xs, ys, 3, crop=(6, 8), crops=4, steps=400, **geometry)
    np.testing.assert_allclose(fit.kernel, truth, atol=1e-3)
    assert fit.losses.shape == (400,)
    # a step sees a piece: from the truth on, pieces of a spoiled image differ
    spoiled = [ys[0].at[:, :3].add(1.0), ys[1]]
    still = fit_conv(
        xs, spoiled, 3, crop=(6, 8), optimizer=optax.sgd(0.0), init=truth, steps=200, **geometry
    )
    seen = np.asarray(still.losses)
    assert (seen < 1e-9).any()
    assert (seen > 0.01).any()
    # rows 0, 1, 2 of 20 in one of two images
    np.testing.assert_allclose(still.final_loss, 3 / 40, rtol=1e-4)


def test_a_steps_memory_follows_the_crop():
    x, y = jnp.zeros((512, 512, 4)), jnp.zeros((510, 510, 4))

    def temporary(**options):
        run = jax.jit(lambda x, y: fit_conv(x, y, 3, steps=2, **options).kernel)
        return run.lower(x, y).compile().memory_analysis().temp_size_in_bytes

    assert temporary(crop=32) < 0.5 * temporary()


MISTAKES = [
    ({"steps": 0}, "steps must be an integer of 1 or more, got 0"),
    ({"crops": 1.5}, "crops must be an integer of 1 or more, got 1.5"),
    ({"crop": 9}, "crop=9 is larger than y's size (6, 6)"),
    (
        {"crop": (2,)},
        "crop=(2,) must be an integer of 1 or more, or one for each of the 2 spatial dimensions",
    ),
    ({"init": np.zeros((3, 3))}, "init.shape=(3, 3), but the kernel is (3, 3, 1, 1)"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_mistakes_are_told(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape('fit_conv: ' + message)}$"):
        fit_conv(jnp.zeros((8, 8, 1)), jnp.zeros((6, 6, 1)), 3, **options)


CONSTRAINTS = [
    (ValueError, "separable: rank=0 must be an integer of 1 or more", constraints.separable, 0),
    (ValueError, "separable: rank=1.5 must be an integer of 1 or more", constraints.separable, 1.5),
    (
        ValueError,
        "separable: the kernel must be (h, w), got shape (3,); with channels give "
        "projected(..., channels=True)",
        constraints.separable(1),
        jnp.zeros(3),
    ),
    (
        ValueError,
        "projected: give at least one projection, as in projected(non_negative)",
        projected,
    ),
    (
        TypeError,
        "projected: 3 must be a function of a kernel, such as one of jaxconv.learn.constraints, as "
        "in projected(non_negative)",
        projected,
        3,
    ),
    (
        ValueError,
        "projected: optimizer.update needs params, the kernel to project",
        projected(constraints.simplex).update,
        (jnp.zeros(2), None),
        optax.EmptyState(),
    ),
    (
        ValueError,
        "projected: channels=True is for kernels (*kernel, in // groups, out), got shape (2, 2); "
        "for planes leave it out",
        projected(constraints.simplex, channels=True).update,
        (jnp.zeros((2, 2)), None),
        optax.EmptyState(),
        (jnp.zeros((2, 2)), None),
    ),
    (
        ValueError,
        "projected: a projection made shape (2,) of a kernel (2, 2)",
        projected(lambda kernel: kernel[0]).update,
        (jnp.zeros((2, 2)), None),
        optax.EmptyState(),
        (jnp.zeros((2, 2)), None),
    ),
]


@pytest.mark.parametrize("case", CONSTRAINTS, ids=lambda case: case[1][:40])
def test_constraints_that_cannot_serve(case):
    error, message, call, *arguments = case
    with pytest.raises(error) as caught:
        call(*arguments)
    assert type(caught.value) is error
    assert str(caught.value) == message
