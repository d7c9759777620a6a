"""Distance to the optimum, windows that miss the kernel, many fits at once, the stability bound."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from covering import some
from typer.testing import CliRunner

from jaxconv import corr2d, filters, learn
from jaxconv._files import images
from jaxconv.cli.app import app
from jaxconv.learn import (
    border_side,
    distance_to_optimum,
    estimate_shift,
    examine_window,
    find_shift,
    fit_conv,
    fit_kernel,
    losses,
    solve_kernel,
)

START = jnp.array([[0.0166553, 0.6072187]])


@pytest.fixture(scope="module")
def edge():
    x = jnp.ones((6, 8)).at[:, 2:6].set(0.0)
    return x, corr2d(x, jnp.array([[1.0, -1.0]]))


def _normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("bias", some([False, True], True))
def test_the_distance_is_the_difference_of_the_errors(bias):
    x = 3 + _normal(0, 12, 13)
    y = _normal(1, 11, 11)
    options = {"loss": losses.mean_squared_error, "optimizer": optax.sgd(1e-3), "bias": bias}
    fit = fit_kernel(x, y, (2, 3), steps=3, **options)
    found = jax.jit(distance_to_optimum)(fit, x, y)
    least = found.solution.residual
    np.testing.assert_allclose(found.excess, fit.final_loss * y.size - least, rtol=1e-4)
    np.testing.assert_allclose(
        found.kernel, jnp.abs(fit.kernel - found.solution.kernel).max(), rtol=1e-4
    )


def test_a_fit_reports_its_distance_where_asked(edge):
    fit = fit_kernel(*edge, (1, 2), init=START)
    assert fit.distance is None
    told = jax.jit(lambda x, y: fit_kernel(x, y, (1, 2), init=START, exact=True))(*edge)
    found = distance_to_optimum(fit, *edge)
    np.testing.assert_allclose(told.distance.kernel, found.kernel, rtol=1e-4)
    np.testing.assert_allclose(told.distance.excess, found.excess, rtol=1e-4)
    np.testing.assert_allclose(told.distance.solution.kernel, [[1, -1]], atol=1e-6)
    starts = _normal(0, 3, 1, 2)
    many = jax.vmap(lambda start: fit_kernel(*edge, (1, 2), init=start, exact=True))(starts)
    np.testing.assert_allclose(
        many.distance.kernel, jnp.abs(many.kernel - jnp.array([[1.0, -1.0]])).max((1, 2)), rtol=1e-3
    )
    # looked up on the way, the run is the same and so is what is told
    watched = fit_kernel(*edge, (1, 2), init=START, exact=True, on_losses=lambda *_: None)
    np.testing.assert_allclose(watched.distance.kernel, found.kernel, rtol=1e-3)


@pytest.mark.thorough
def test_the_distance_of_a_grouped_layer():
    x, y = _normal(0, 2, 20, 4), _normal(1, 2, 9, 6)
    geometry = {"groups": 2, "stride": 2}
    fit = fit_conv(x, y, (3,), steps=2, bias=True, **geometry)
    found = distance_to_optimum(fit, x, y, channels=True, **geometry)
    least = found.solution.residual.sum()
    np.testing.assert_allclose(found.excess, fit.final_loss * y.size - least, rtol=1e-4)


@pytest.mark.parametrize("extra", [{}, {"crop": 4}, {"on_losses": lambda *_: None}], ids=range(3))
def test_a_layer_reports_its_distance_where_asked(extra):
    """Of several images, strided and padded; of the whole where the steps saw crops."""
    x, y = [_normal(n, 2, 20 + n, 4) for n in (0, 1)], [_normal(n, 2, 8 + n, 6) for n in (2, 3)]
    geometry = {"groups": 2, "stride": 2, "padding": 1}
    asked = {"bias": True, "steps": 3} | geometry | extra
    told = fit_conv(x, y, (3,), exact=True, **asked)
    assert fit_conv(x, y, (3,), **asked).distance is None
    found = distance_to_optimum(told, x, y, channels=True, **geometry)
    jax.tree.map(np.testing.assert_array_equal, told.distance, found)
    assert found.kernel > 0.1


@pytest.mark.thorough
def test_many_layers_report_their_distances_under_vmap():
    x, y = _normal(0, 30, 2), _normal(1, 28, 3)
    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.vmap(lambda key: fit_conv(x, y, (3,), key=key, steps=2, exact=True))(keys)
    least = solve_kernel(x, y, (3,), channels=True)
    np.testing.assert_allclose(
        many.distance.kernel, jnp.abs(many.kernel - least.kernel).max((1, 2, 3)), rtol=1e-4
    )


def test_free_directions_are_no_distance(edge):
    x, _ = edge
    free = jnp.asarray([[5.0], [-5.0]])  # rows are alike
    fit = fit_kernel(x, jnp.zeros((5, 8)), (2, 1), init=free, steps=1)
    found = distance_to_optimum(fit, x, jnp.zeros((5, 8)))
    assert found.kernel < 1e-6
    assert found.excess < 1e-6


def test_descent_arrives_where_the_solve_is(edge):
    found = [
        distance_to_optimum(fit_kernel(*edge, (1, 2), init=START, steps=n), *edge) for n in (10, 60)
    ]
    np.testing.assert_allclose(found[0].kernel, 0.04843, atol=1e-4)
    assert found[1].kernel < 1e-5


def test_the_stability_bound_is_met_where_it_is_predicted(edge):
    curvature = 2 * solve_kernel(*edge, (1, 2)).energies  # the Hessian's eigenvalues
    np.testing.assert_allclose(
        curvature,
        jnp.linalg.eigvalsh(
            jax.hessian(
                lambda k: losses.sum_squared_error(corr2d(edge[0], k.reshape(1, 2)), edge[1])
            )(START.ravel())
        ),
        rtol=1e-5,
    )
    bound = 2 / curvature.max()
    np.testing.assert_allclose(bound, 1 / 30, rtol=1e-5)

    def end(rate):
        return fit_kernel(*edge, (1, 2), init=START, optimizer=optax.sgd(rate), steps=400)

    fits = [end(float(bound) * part) for part in (0.99, 1.01)]
    assert fits[0].final_loss < 1e-4 < fits[0].losses[0] < 1e3 < fits[1].final_loss
    assert fits[0].diverged_at is None
    assert fits[1].diverged_at is not None


def test_a_thousand_edge_kernels_in_one_call(edge):
    x, _ = edge
    truths = _normal(0, 1000, 1, 2)
    starts = _normal(1, 1000, 1, 2)
    rates = jnp.linspace(0.01, 0.03, 1000)

    @jax.jit
    @jax.vmap
    def learn_one(truth, start, rate):
        y = corr2d(x, truth)
        optimizer = optax.sgd(rate)  # of this run: the rate is data

        def step(state, _):
            return learn.step(state, x, y, optimizer=optimizer)

        state, seen = jax.lax.scan(step, learn.init(start, optimizer=optimizer), None, length=100)
        return state.kernel, seen

    kernels, seen = learn_one(truths, starts, rates)
    assert (kernels.shape, seen.shape) == ((1000, 1, 2), (1000, 100))
    np.testing.assert_allclose(kernels, truths, atol=1e-3)
    exact = jax.vmap(lambda truth: solve_kernel(x, corr2d(x, truth), (1, 2)).kernel)(truths)
    np.testing.assert_allclose(exact, truths, atol=1e-6)
    fits = jax.vmap(lambda start: fit_kernel(x, corr2d(x, truths[0]), (1, 2), init=start))(starts)
    one = fit_kernel(x, corr2d(x, truths[0]), (1, 2), init=starts[7])
    np.testing.assert_allclose(fits.losses[7], one.losses, rtol=1e-4)


# Windows


def _shifted(shift):
    """A photograph-like x, and its blur with content moved by (down, right)."""
    smooth = corr2d(_normal(0, 62, 72), jnp.ones((3, 3)) / 9)  # (60, 70)
    blurred = corr2d(smooth, jnp.asarray(filters.gaussian(0.5, size=3), jnp.float32))
    moved = jnp.roll(blurred, shift, (0, 1))[10:-10, 10:-10]
    return smooth[10:-10, 10:-10], moved + 1e-3 * _normal(5, *moved.shape)


@pytest.mark.parametrize("shift", some([(-3, 5), (2, -2)], (2, -2)))
def test_a_shift_beyond_the_window_is_told(shift):
    x, y = _shifted(shift)
    report = examine_window(x, y, 3)
    assert report.shift == shift
    # content moved down is content that the kernel finds further up, while the image is smooth
    assert shift != (2, -2) or report.side == (-1, 1)
    wanted = tuple(3 + 2 * abs(s) for s in shift)
    assert report.message.endswith(
        f"shifted against each other by about {shift}; align them, or increase kernel_size to "
        f"{wanted}"
    )


def test_a_window_that_is_too_small_is_told_and_one_that_is_not_is_not():
    x = _normal(0, 40, 44)
    y = corr2d(x, jnp.asarray(filters.gaussian(1.0, size=5), jnp.float32))
    y = y + 1e-3 * _normal(1, *y.shape)
    report = examine_window(x[1:-1, 1:-1], y, 3, bias=True)
    assert report.gain > 0.5
    assert report.message == (
        f"a kernel of (5, 5) removes {report.gain:.0%} of the error of one of (3, 3): "
        "increase kernel_size"
    )
    fine = examine_window(x, y, 5, bias=True)
    assert (fine.message, fine.shift, fine.gain) == (None, None, 0.0)


def test_no_named_filter_is_taken_for_a_shift():
    for name in filters.NAMES:
        kernel = np.asarray(filters.by_name(name))
        assert border_side(kernel) == (0,) * kernel.ndim, name


@pytest.mark.parametrize("far", [False, True])
def test_a_shift_whose_size_cannot_be_seen_gets_no_number(far):
    """Weight at the border, images that lie on each other; or images that tell nothing."""
    x = np.random.default_rng(0).normal(size=(40, 44))
    y = np.random.default_rng(31).normal(size=(38, 42)) if far else x[1:-1, 1:-1]
    assert estimate_shift(x, y) == ((0, -14) if far else (0, 0))
    shift, message = find_shift(np.array([[0, 0, 0], [0, 0, 0], [0, 1, 0.1]]), x, y)
    assert shift is None
    assert message == (
        "the kernel's weight is at the border of its window (last row): the images may be "
        "shifted against each other, if only by part of an element; align them, or increase "
        "kernel_size to (5, 3)"
    )


@pytest.mark.thorough
def test_half_a_pixel_is_told_of_an_identity():
    x = np.asarray(images.sample("camera"))[100:180, 200:280].astype(np.float32)
    phase = np.exp(-1j * np.pi * np.fft.fftfreq(80))[:, None]
    y = np.fft.ifft2(np.fft.fft2(x) * phase).real.astype(np.float32)
    inner = jnp.asarray(x[20:-20, 20:-20])
    for moved, told in ((x, None), (y, "removes")):
        message = examine_window(inner, jnp.asarray(moved[21:-21, 21:-21]), 3, bias=True).message
        assert message is None if told is None else told in message


def test_shifts_of_a_batch_are_estimated_together():
    x = np.random.default_rng(0).normal(size=(3, 40, 44))
    y = np.roll(x, (-6, 7), (1, 2))[:, 2:-2, 1:-1]
    assert estimate_shift(x, y + 0.5 * np.random.default_rng(1).normal(size=y.shape)) == (-6, 7)
    with pytest.raises(
        ValueError, match=r"^estimate_shift: y\.shape=\(5,\) must be x\.shape=\(4,\) or"
    ):
        estimate_shift(x[0, 0, :4], x[0, 0, :5])


# The command


def _learn(*arguments):
    return CliRunner().invoke(app, ["learn", *map(str, arguments)])


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    images.write(path, images.sample("page")[:40, :60])
    return path


@pytest.mark.usefixtures("undrawn")
def test_exact_prints_both_answers(photo, tmp_path):
    result = _learn("--photo", photo, "--target", "prewitt_y", "--out", tmp_path, "--exact")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    start = next(n for n, row in enumerate(rows) if row[:3] == ["exact", "standard", "error"])
    unit = float(rows[start][4].strip(")"))  # exact, standard error (times 1e-4)
    printed = np.array([[float(v) for v in row] for row in rows[start + 2 : start + 5]])
    printed[:, 3:] *= unit
    np.testing.assert_allclose(printed[:, :3], np.load(tmp_path / "kernel.npy"), atol=2e-4)
    assert (printed[:, 3:] > 0).all()
    assert "rank 9 of 9, condition " in result.stdout
    assert "descent stopped " in result.stdout


@pytest.mark.usefixtures("undrawn")
def test_large_kernels_are_no_tables(photo, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxconv.cli.tables.LARGEST_TABLE", 2)
    result = _learn("--photo", photo, "--target", "prewitt_y", "--out", tmp_path, "--exact")
    lines = result.stdout.splitlines()
    assert "the numbers are in kernel.csv" in lines
    assert any(line.split() == ["learned,", "3x3", "true,", "3x3"] for line in lines)
    assert "exact: the numbers and their standard errors come with --json" in lines
    rows = [line for line in lines[8:] if line.startswith("  ") and " from " not in line]
    assert not any(line.count(".") > 2 for line in rows)  # the legend of the picture has numbers


@pytest.mark.usefixtures("undrawn")
def test_exact_in_json_and_a_shift_on_standard_error(tmp_path):
    x = np.asarray(images.sample("page")[:60, :80])
    images.write(tmp_path / "x.png", x[10:50, 10:70])
    images.write(tmp_path / "y.png", x[6:46, 10:70])  # content four rows further down
    result = _learn(
        tmp_path / "x.png",
        tmp_path / "y.png",
        "--kernel",
        3,
        "--out",
        tmp_path / "o",
        "--exact",
        "--json",
    )
    assert result.exit_code == 0
    assert "the kernel's weight is at the border of its window (first row" in result.stderr
    assert "shifted against each other by about (4, 0)" in result.stderr
    found = json.loads(result.stdout)
    (exact,), (learned,) = found["exact"], found["learned"]
    np.testing.assert_allclose(learned["final_loss"], exact["loss"] + exact["excess"], rtol=1e-3)
    assert exact["rank"] == 9
