"""Learning: the numbers of the book's example, torch's, and what each option does."""

import dataclasses
import re
import runpy
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxconv import corr2d, learn
from jaxconv.learn import fit_conv, fit_kernel, losses

START = jnp.array([[0.0166553, 0.6072187]])
TRUTH = jnp.array([[1.0, -1.0]])
PRINTED = ["11.983", "2.914", "0.859", "0.296", "0.112"]
EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def edge():
    x = jnp.ones((6, 8)).at[:, 2:6].set(0.0)
    return x, corr2d(x, TRUTH)


def test_the_books_losses_and_kernel(edge):
    fit = fit_kernel(*edge, (1, 2), init=START)
    assert [f"{loss:.3f}" for loss in fit.losses[1::2]] == PRINTED
    np.testing.assert_allclose(fit.kernel, [[1.01856, -0.95157]], atol=1e-5)
    assert fit.bias is None
    assert fit.diverged_at is None


@pytest.mark.parametrize("mirror", [(0, 1), (1, 0), (1, 1)])
def test_the_starts_mirrored_about_the_truth_give_the_same_losses(edge, mirror):
    # the error's two axes are (1, 1) and (1, -1); a sign along either changes no loss
    axes = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    error = axes @ np.ravel(START - TRUTH) * np.where(mirror, -1, 1)
    start = TRUTH + jnp.asarray(axes.T @ error, jnp.float32)[None]
    np.testing.assert_allclose(
        fit_kernel(*edge, (1, 2), init=start).losses,
        fit_kernel(*edge, (1, 2), init=START).losses,
        rtol=1e-4,
    )


@pytest.mark.usefixtures("torch")
def test_torch_learns_the_same(edge):
    compare = runpy.run_path(str(EXAMPLES / "compare_with_torch.py"))["compare"]
    their_losses, their_kernel, our_losses, our_kernel = compare()
    assert len(their_losses) == 10
    np.testing.assert_allclose(our_losses, their_losses, rtol=1e-5)
    np.testing.assert_allclose(our_kernel, their_kernel, rtol=1e-5)


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_the_comparison_prints_a_row_a_step_and_errors_within_bounds(
    capsys, monkeypatch, precision
):
    monkeypatch.setattr(sys, "argv", ["compare_with_torch.py", "--precision", precision])
    runpy.run_path(str(EXAMPLES / "compare_with_torch.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["step", "torch", "jaxconv", "relative", "difference"]
    printed = {int(line.split()[0]): line.split()[1:3] for line in lines[1:11]}
    assert [f"{float(printed[step][1]):.3f}" for step in (2, 10)] == ["11.983", "0.112"]
    assert lines[11:14] == [
        "   torch kernel: (1.01856, -0.95157)",
        " jaxconv kernel: (1.01856, -0.95157)",
        "",
    ]
    bound = {"float32": 1e-4, "tf32": 2e-3, "bfloat16": 8e-3}[precision]
    rows = {name: list(map(float, errors)) for name, *errors in map(str.split, lines[-3:])}
    assert set(rows) == {"torch", "lax", "jaxconv"}
    assert all(0 < error <= bound for errors in rows.values() for error in errors)


def test_a_torch_without_the_switch_of_precision_is_named(torch, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "conv", None)
    compare_layer = runpy.run_path(str(EXAMPLES / "compare_with_torch.py"))["compare_layer"]
    message = f"compare_with_torch: torch is {torch.__version__}; 2.9 or later is needed"
    with pytest.raises(SystemExit, match=f"^{re.escape(message)}$"):
        compare_layer("cpu", "float32")


def test_losses_are_seen_before_the_update_and_final_loss_after_the_last(edge):
    x, y = edge
    fit = fit_kernel(x, y, (1, 2), init=START, steps=3)
    np.testing.assert_allclose(fit.losses[0], jnp.sum((corr2d(x, START) - y) ** 2), rtol=1e-6)
    np.testing.assert_allclose(
        fit.final_loss, fit_kernel(x, y, (1, 2), init=START, steps=4).losses[3], rtol=1e-6
    )
    np.testing.assert_allclose(fit.zero_loss, jnp.sum(y**2))


def test_a_schedule_decides_each_steps_rate(edge):
    schedule = optax.piecewise_constant_schedule(3e-2, {4: 0.0})
    fit = fit_kernel(*edge, (1, 2), init=START, optimizer=optax.sgd(schedule))
    plain = fit_kernel(*edge, (1, 2), init=START)
    np.testing.assert_allclose(fit.losses[:5], plain.losses[:5], rtol=1e-6)
    np.testing.assert_array_equal(fit.losses[5:], np.full(5, fit.losses[4]))


@pytest.mark.parametrize(
    "optimizer", [optax.lbfgs(), optax.adam(0.1), optax.sgd(2e-2, momentum=0.5)]
)
def test_optimisers_reach_the_truth(edge, optimizer):
    fit = fit_kernel(*edge, (1, 2), init=START, optimizer=optimizer, steps=200)
    np.testing.assert_allclose(fit.kernel, TRUTH, atol=1e-3)


def test_a_bias_is_learned_where_asked(edge):
    x, y = edge
    fit = fit_kernel(x, y + 3, (1, 2), init=START, bias=True, optimizer=optax.lbfgs(), steps=20)
    np.testing.assert_allclose(fit.kernel, TRUTH, atol=1e-4)
    np.testing.assert_allclose(fit.bias, 3.0, atol=1e-4)


def test_another_loss_is_minimised(edge):
    x, y = edge
    spoiled = y.at[0, 0].set(50.0)  # squares would follow the outlier

    def absolute(prediction, target):
        return jnp.mean(jnp.abs(prediction - target))

    robust = fit_kernel(x, spoiled, (1, 2), loss=absolute, optimizer=optax.adam(0.05), steps=200)
    squared = fit_kernel(x, spoiled, (1, 2), optimizer=optax.sgd(1e-2), steps=200)
    assert jnp.abs(robust.kernel - TRUTH).max() < 0.1 < jnp.abs(squared.kernel - TRUTH).max()


def test_one_kernel_serves_a_batch_of_planes():
    x = jax.random.normal(jax.random.key(0), (2, 3, 7, 6))
    truth = jnp.array([[1.0, 2.0], [-3.0, 0.5]])
    y = learn.predict(x, truth)
    assert y.shape == (2, 3, 6, 5)
    # a batch may get another method than a plane: equal to a share of |x| |w|, as float32 promises
    error = jnp.abs(y[1, 2] - corr2d(x[1, 2], truth))
    assert (error <= 2e-6 * corr2d(jnp.abs(x[1, 2]), jnp.abs(truth))).all()
    fit = fit_kernel(x, y, 2, optimizer=optax.sgd(0.2), loss=losses.mean_squared_error, steps=60)
    np.testing.assert_allclose(fit.kernel, truth, atol=1e-4)


def one_channel(x, y, size, *, init, **how):
    """`fit_conv` of arrays without channels."""
    wide = [[a[..., None] for a in arrays] for arrays in (x, y)]
    fit = fit_conv(*wide, size, init=init[..., None, None], **how)
    bias = None if fit.bias is None else fit.bias[0]
    return dataclasses.replace(fit, kernel=fit.kernel[..., 0, 0], bias=bias)


@pytest.mark.parametrize(
    ("rank", "shapes"),
    [
        (1, [(20,), (3, 30)]),
        pytest.param(2, [(2, 7, 6), (9, 8)], marks=pytest.mark.thorough),
        (3, [(5, 6, 7)]),
    ],
)
def test_fit_kernel_is_fit_conv_on_one_channel(rank, shapes):
    """Signals, planes and volumes, in images of several sizes."""
    size, draws = (2, 3, 2)[:rank], np.random.default_rng(0)
    x = [draws.normal(size=shape).astype("float32") for shape in shapes]
    outputs = [(*a.shape[:-rank], *np.subtract(a.shape[-rank:], size) + 1) for a in x]
    y = [draws.normal(size=shape).astype("float32") for shape in outputs]
    how = {"init": jnp.full(size, 0.1), "bias": True, "steps": 3, "exact": True}
    how |= {"optimizer": optax.adam(0.1), "loss": losses.mean_huber_error}
    found, want = (call(x, y, size, **how) for call in (fit_kernel, one_channel))
    distances = found.distance.kernel, want.distance.kernel
    found, want = (dataclasses.replace(fit, distance=None) for fit in (found, want))
    chex.assert_trees_all_close(found, want, rtol=1e-5)
    np.testing.assert_allclose(*distances, rtol=1e-5)


@pytest.mark.parametrize("call", [fit_kernel, one_channel])
def test_images_of_two_dtypes_learn_in_the_wider_one(edge, call):
    """Whatever the program's rule of promotion is."""
    x, y = edge
    half = x.astype("bfloat16")
    how = {"init": START, "optimizer": optax.sgd(1e-2), "loss": losses.sum_squared_error}
    want = call([x], [y], (1, 2), **how)
    with jax.numpy_dtype_promotion("strict"):
        found = call([half], [y], (1, 2), **how)
    assert found.kernel.dtype == jnp.float32
    chex.assert_trees_all_close(found, want, rtol=1e-6)


def test_progress_is_reported_and_changes_nothing(edge):
    seen = []
    fit = fit_kernel(
        *edge, (1, 2), init=START, steps=47, on_progress=lambda *report: seen.append(report)
    )
    plain = fit_kernel(*edge, (1, 2), init=START, steps=47)
    np.testing.assert_allclose(fit.losses, plain.losses, rtol=1e-5, atol=1e-12)
    assert [done for done, _ in seen] == [*range(3, 46, 3), 47]
    np.testing.assert_allclose([loss for _, loss in seen], [fit.losses[n - 1] for n, _ in seen])


def test_init_and_step_vmap_over_start_kernels(edge):
    x, y = edge
    optimizer = optax.adam(0.1)
    starts = jax.random.uniform(jax.random.key(0), (4, 1, 2))
    states = jax.vmap(lambda kernel: learn.init(kernel, optimizer=optimizer))(starts)
    stepped, seen = jax.jit(jax.vmap(lambda s: learn.step(s, x, y, optimizer=optimizer)))(states)
    assert seen.shape == (4,)
    one, loss = learn.step(learn.init(starts[2], optimizer=optimizer), x, y, optimizer=optimizer)
    np.testing.assert_allclose(stepped.kernel[2], one.kernel, rtol=1e-6)
    np.testing.assert_allclose(seen[2], loss, rtol=1e-6)


def test_whole_fits_vmap_and_differentiate_in_the_start(edge):
    x, y = edge
    starts = jnp.stack([START, TRUTH])
    fits = jax.vmap(lambda start: fit_kernel(x, y, (1, 2), init=start))(starts)
    np.testing.assert_allclose(
        fits.losses[0], fit_kernel(x, y, (1, 2), init=START).losses, rtol=1e-5
    )
    np.testing.assert_array_equal(fits.losses[1], 0)
    gradient = jax.grad(lambda start: fit_kernel(x, y, (1, 2), init=start).final_loss)(START)
    # a start nearer to the truth ends nearer to it
    assert jnp.vdot(gradient, START - TRUTH) > 0


@pytest.mark.parametrize(("rate", "step"), [(0.3, 2), (1e10, 2)])
def test_divergence_names_its_step(edge, rate, step):
    fit = fit_kernel(*edge, (1, 2), init=START, optimizer=optax.sgd(rate), steps=20)
    assert fit.diverged_at == step


def test_divergence_that_starts_late_is_dated_late(edge):
    schedule = optax.piecewise_constant_schedule(3e-2, {6: 10.0})
    fit = fit_kernel(*edge, (1, 2), init=START, optimizer=optax.sgd(schedule), steps=20)
    first = int(np.flatnonzero(np.asarray(fit.losses) > fit.losses[0])[0]) + 1
    assert fit.diverged_at == first == 8  # the steps before went well


def test_nan_is_divergence_from_the_first_step(edge):
    x, y = edge
    assert fit_kernel(x, y.at[0, 0].set(jnp.nan), (1, 2)).diverged_at == 1


def test_a_start_at_the_truth_is_no_divergence(edge):
    assert fit_kernel(*edge, (1, 2), init=TRUTH + 1e-7).diverged_at is None


def test_random_starts_follow_the_key(edge):
    starts = [
        fit_kernel(*edge, (1, 2), key=key, optimizer=optax.sgd(0.0)).kernel
        for key in (None, jax.random.key(0), jax.random.key(1))
    ]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[1], starts[2])
    assert all(start.min() >= 0 and start.max() < 1 for start in starts)


MISTAKES = [
    (
        ((6, 8), (6, 7), (1, 2), {"steps": 0}),
        "fit_kernel: steps must be an integer of 1 or more, got 0",
    ),
    (
        ((6, 8), (6, 8), (1, 2), {}),
        "fit_kernel: y.shape=(6, 8), but x.shape=(6, 8) and kernel_size=(1, 2) give (6, 7)",
    ),
    (
        ((6, 8), (6, 7), 7, {}),
        "fit_kernel: kernel_size=(7, 7) is larger than x's size (6, 8)",
    ),
    (
        ((6, 8), (6, 7), (0, 2), {}),
        "fit_kernel: kernel_size must be an integer of 1 or more, or one a dimension, got (0, 2)",
    ),
    (
        ((8,), (7,), (1, 2), {}),
        "fit_kernel: x must be (*batch, *space) with 2 spatial dimensions, as kernel_size=(1, 2) "
        "has, got x.shape=(8,)",
    ),
    (
        ((6, 8), (6, 7), (1, 2), {"init": np.zeros((2, 2))}),
        "fit_kernel: init.shape=(2, 2), but the kernel is (1, 2)",
    ),
    (
        ((6, 8), (6, 7), (1, 2), {"init": np.zeros((1, 2)), "key": 1}),
        "fit_kernel: init and key both give a start; leave one of them out",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_told(arguments, message):
    x, y, size, options = arguments
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fit_kernel(jnp.zeros(x), jnp.zeros(y), size, **options)
