"""Weights of outputs: beside NumPy's lstsq over the rows that are kept, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import some
from jax.sharding import NamedSharding
from jax.test_util import check_grads
from sharded_cases import P, mesh_of

from jaxconv import conv, corr2d, pad, unfold
from jaxconv._core.geometry.spec import normalise
from jaxconv._files import images
from jaxconv._functional.sizes import explicit_padding
from jaxconv.learn import _weighted as weighted
from jaxconv.learn import fit_conv, recover_kernel, solve_kernel, usable_outputs


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def mask(seed, *shape):
    return np.random.default_rng(seed).uniform(size=shape) < 0.6


def _rows(x, size, *, padding=0, padding_mode="zeros", **steps):
    """(*batch, *space', prod(size) * channels) in float64: the window of each output."""
    widths = explicit_padding(x.shape[-len(size) - 1 : -1], size, padding=padding, **steps)
    x = pad(x, widths, axes=range(-len(size) - 1, -1), mode=padding_mode)
    return np.asarray(unfold(x, size, **steps), np.float64)


def _reference(rows, y, weights, *, bias):
    """Weights, bias, residual, standard errors, condition and rank, of the rows that are kept.

    Rows and targets are multiplied by the root of their weight; rows of weight 0 are left out.
    """
    kept = weights > 0
    root = np.sqrt(weights[kept].astype(np.float64))[:, None]
    table, target = rows[kept], np.asarray(y, np.float64)[kept]
    columns = np.column_stack([table, np.ones(len(table))]) if bias else table
    found, _, rank, _ = np.linalg.lstsq(root * columns, root * target, rcond=None)
    left = root * (target - columns @ found)
    residual = np.sum(left**2, 0)
    variance = np.diag(np.linalg.inv((root * columns).T @ (root * columns)))
    errors = np.sqrt(variance[:, None] * residual / (len(table) - rank))
    own = root**2 / np.sum(root**2)
    centred = root * (table - np.sum(own * table, 0)) if bias else root * table
    entries = rows.shape[1]
    shift = found[entries] if bias else None
    return (
        found[:entries],
        shift,
        residual,
        errors[:entries],
        np.linalg.cond(centred),
        int(kept.sum()),
    )


CASES = [
    ((2, 9, 11, 1), (3, 2), 1, {"bias": True}),
    ((3, 60, 2), (5,), 3, {"stride": 2, "dilation": 3, "bias": True, "padding": (4,)}),
    ((2, 2, 12, 10, 2), (3, 2), 4, {"stride": (2, 1), "padding": ((1, 0), (-1, 0))}),
    ((2, 6, 7, 6, 2), (2, 3, 2), 1, {"padding": 1, "bias": True}),
    ((12, 13, 2), (3, 3), 2, {"padding": "same", "padding_mode": "reflect", "bias": True}),
]


@pytest.mark.cover
@pytest.mark.parametrize("kind", ["mask", "graded"])
@pytest.mark.parametrize(("shape", "size", "out", "options"), CASES)
def test_it_is_least_squares_over_the_rows_that_are_kept(shape, size, out, options, kind):
    x = 1 + 3 * normal(0, *shape)
    geometry = {k: v for k, v in options.items() if k != "bias"}
    y = conv(x, normal(1, *size, shape[-1], out), **geometry)
    y = y + 0.5 * normal(2, *y.shape) + 2
    weights = mask(3, *y.shape[:-1])
    if kind == "graded":
        weights = (weights * np.random.default_rng(4).uniform(0.1, 5, weights.shape)).astype("f4")
    rows = _rows(x, size, **geometry)
    bias = options.get("bias", False)
    flat = rows.reshape(-1, rows.shape[-1]), np.asarray(y).reshape(-1, out), weights.ravel()
    kernel, shift, residual, errors, condition, used = _reference(*flat, bias=bias)
    found = solve_kernel(x, y, size, weights=weights, channels=True, **options)
    kernel, errors = (a.reshape(*size, shape[-1], out) for a in (kernel, errors))
    np.testing.assert_allclose(found.kernel, kernel, atol=1e-6)
    np.testing.assert_allclose(found.residual, residual, rtol=1e-5)
    np.testing.assert_allclose(found.std_error, errors, rtol=1e-5)
    np.testing.assert_allclose(found.condition, condition, rtol=1e-5)
    assert (found.positions, found.rank) == (used, rows.shape[-1])
    if bias:
        np.testing.assert_allclose(found.bias, shift, atol=2e-5)


def test_groups_are_solved_each_on_its_own_under_the_same_weights():
    x, y = normal(0, 30, 4), normal(1, 28, 6)
    weights = mask(2, 28)
    found = solve_kernel(x, y, (3,), weights=weights, channels=True, groups=2)
    for g in range(2):
        rows = _rows(x[..., 2 * g : 2 * g + 2], (3,))
        kernel, _, residual, errors, *_ = _reference(
            rows, y[:, 3 * g : 3 * g + 3], weights, bias=False
        )
        own = slice(3 * g, 3 * g + 3)
        np.testing.assert_allclose(found.kernel[..., own], kernel.reshape(3, 2, 3), atol=1e-6)
        np.testing.assert_allclose(found.std_error[..., own], errors.reshape(3, 2, 3), rtol=1e-5)
        np.testing.assert_allclose(found.residual[own], residual, rtol=1e-5)


def test_weights_of_one_are_none():
    x, y = normal(0, 9, 11), normal(1, 8, 9)
    plain = solve_kernel(x, y, (2, 3), bias=True)
    found = solve_kernel(x, y, (2, 3), weights=np.ones((8, 9), bool), bias=True)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=2e-6),
        (found.kernel, found.bias, found.residual, found.std_error, found.condition),
        (plain.kernel, plain.bias, plain.residual, plain.std_error, plain.condition),
    )
    assert plain.positions == found.positions == 72


def test_one_number_times_all_weights_changes_nothing_but_the_residual():
    x, y = normal(0, 9, 11), normal(1, 8, 9)
    weights = np.random.default_rng(2).uniform(0.1, 2, (8, 9)).astype("f4")
    one, many = (solve_kernel(x, y, (2, 3), weights=c * weights, bias=True) for c in (1, 64))
    np.testing.assert_allclose(many.kernel, one.kernel, rtol=1e-5)
    np.testing.assert_allclose(many.std_error, one.std_error, rtol=1e-5)
    np.testing.assert_allclose(many.residual, 64 * one.residual, rtol=1e-5)


@pytest.mark.thorough
def test_standard_errors_are_those_of_repetition_where_the_variance_is_one_over_the_weight():
    x, truth = normal(0, 12, 13), normal(1, 2, 2)
    clean = corr2d(x, truth)
    weights = jnp.asarray(np.random.default_rng(3).uniform(0.05, 4, clean.shape), jnp.float32)
    ys = clean + 0.3 * normal(6, 400, *clean.shape) / jnp.sqrt(weights)
    many = jax.vmap(lambda y: solve_kernel(x, y, 2, weights=weights, bias=True))(ys)
    spread = np.asarray(many.kernel).std(0)
    np.testing.assert_allclose(spread / np.asarray(many.std_error).mean(0), 1, atol=0.12)


@pytest.mark.parametrize("numbers", [1, 40, 150, 2000])
def test_the_gram_matrix_of_blocks_is_that_of_loops(monkeypatch, numbers):
    """Blocks that divide the outputs and that do not, down to one window."""
    monkeypatch.setattr(weighted, "BLOCK", numbers)
    spec = normalise("test", (2, 9, 12, 4), (3, 2, 2, 4), stride=(1, 2), dilation=(2, 3), groups=2)
    x = np.random.default_rng(0).normal(size=(2, 9, 12, 4))
    w = np.random.default_rng(1).uniform(size=(2, *spec.output_size, 1))
    expected, sums = np.zeros((2, 12, 12)), np.zeros((2, 12))
    for n, row, column in np.ndindex(*w.shape[:-1]):
        window = x[n, row : row + 5 : 2, 2 * column : 2 * column + 4 : 3]
        for g in range(2):
            entries = window[..., 2 * g : 2 * g + 2].ravel()
            expected[g] += w[n, row, column, 0] * np.outer(entries, entries)
            sums[g] += w[n, row, column, 0] * entries
    with jax.enable_x64(True):
        given = jnp.asarray(x), spec, jnp.asarray(w)
        np.testing.assert_allclose(weighted.weighted_gram(*given), expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(weighted.weighted_sums(*given), sums, rtol=1e-12, atol=1e-12)


def test_blocks_fit_their_bound():
    for outputs in [(1, 512, 512), (10000, 20, 20), (1, 100000), (3, 64, 256, 256), (7, 5)]:
        for entries in (9, 961, 2**21):
            block = weighted.block_size(outputs, entries)
            assert np.prod(block) * entries <= max(weighted.BLOCK, entries)
            assert all(1 <= b <= n for b, n in zip(block, outputs, strict=True))


def test_the_windows_are_never_all_in_memory():
    x, y, w = jnp.zeros((512, 512)), jnp.zeros((504, 504)), jnp.ones((504, 504))
    solve = jax.jit(lambda x, y, w: solve_kernel(x, y, 9, weights=w).kernel)
    run = solve.lower(x, y, w).compile()
    windows = 8 * y.size * 81
    assert run.memory_analysis().temp_size_in_bytes < windows / 2
    value = jax.jit(jax.grad(lambda x: jnp.sum(solve_kernel(x, y, 9, weights=w).kernel)))
    assert value.lower(x).compile().memory_analysis().temp_size_in_bytes < windows / 2


def test_what_is_missing_in_x_or_y_may_be_nan():
    x, truth = normal(0, 14, 15), normal(1, 3, 3)
    y = corr2d(x, truth)
    y = y.at[2, 3].set(jnp.nan)
    broken = x.at[7, 8].set(jnp.nan).at[0, 0].set(jnp.inf)
    usable = usable_outputs(jnp.isfinite(broken), 3)
    expected = np.ones((12, 13), bool)
    expected[5:8, 6:9] = False
    expected[0, 0] = False
    np.testing.assert_array_equal(usable, expected)
    weights = usable & jnp.isfinite(y)
    for run in (solve_kernel, jax.jit(solve_kernel, static_argnums=2)):
        found = run(broken, y, 3, weights=weights)
        np.testing.assert_allclose(found.kernel, truth, atol=1e-6)
        assert found.positions == 145
    # under jit values are unknown: what is used and NaN makes the kernel NaN
    for x_given, w in ((broken, jnp.isfinite(y)), (x, jnp.ones(y.shape))):
        found = jax.jit(solve_kernel, static_argnums=2)(x_given, y, 3, weights=w)
        assert np.isnan(found.kernel).all()


@pytest.mark.parametrize(
    "geometry",
    [
        {"stride": 2, "padding": 1},
        {"dilation": 2, "padding": ((2, 1), (-1, 3))},
        {"padding": "same", "padding_mode": "circular"},
    ],
    ids=str,
)
def test_usable_outputs_are_those_whose_windows_are_good(geometry):
    good = np.random.default_rng(0).uniform(size=(2, 9, 10, 3)) < 0.97
    rows = _rows(jnp.where(jnp.asarray(good), 0.0, 1.0), (3, 2), **geometry)
    found = usable_outputs(good, (3, 2), channels=True, **geometry)
    np.testing.assert_array_equal(found, ~rows.any(-1))
    assert 0 < found.mean() < 1


def test_several_images_have_weights_each():
    xs = [normal(n, 7 + n, 9) for n in range(3)]
    ys = [normal(9 + n, 6 + n, 7) for n in range(3)]
    ws = [mask(n, 6 + n, 7) for n in range(3)]
    rows = np.vstack([_rows(x[..., None], (2, 3)).reshape(-1, 6) for x in xs])
    target, weights = (np.concatenate([np.ravel(a) for a in arrays]) for arrays in (ys, ws))
    kernel, *_, used = _reference(rows, target[:, None], weights, bias=False)
    found = solve_kernel(xs, ys, (2, 3), weights=ws)
    np.testing.assert_allclose(found.kernel, kernel.reshape(2, 3), atol=1e-6)
    assert found.positions == used


def test_jit_and_vmap_over_weights():
    x, y = normal(0, 8, 9), normal(1, 7, 7)
    weights = jnp.asarray(np.stack([mask(n, 7, 7) for n in range(3)]), jnp.float32)
    solve = lambda w: solve_kernel(x, y, (2, 3), weights=w, bias=True)
    many = jax.jit(jax.vmap(solve))(weights)
    for n, w in enumerate(weights):
        one = solve(w)
        np.testing.assert_allclose(many.kernel[n], one.kernel, atol=1e-6)
        np.testing.assert_allclose(many.std_error[n], one.std_error, rtol=1e-5)
        assert many.positions[n] == one.positions


@pytest.mark.parametrize("order", some([1, 2], 1))
def test_derivatives_in_weights_too(order):
    x, y = normal(0, 6, 7), normal(1, 5, 5)
    w = jnp.asarray(np.random.default_rng(2).uniform(0.5, 2, (5, 5)), jnp.float32)

    @jax.jit
    def solution(x, y, w, ridge):
        found = solve_kernel(x, y, (2, 3), weights=w, ridge=ridge, bias=True)
        return found.kernel, found.bias, found.residual

    arguments = (x, y, w, jnp.asarray(0.3))
    modes = ["fwd", "rev"] if order == 1 else ["rev"]
    check_grads(solution, arguments, order=order, modes=modes, atol=3e-2, rtol=3e-2, eps=1e-2)


@pytest.mark.parametrize(
    ("spec", "geometry"),
    [
        pytest.param(P("b"), {"groups": 2}, marks=pytest.mark.thorough),
        (P("b", "a"), {"stride": 2, "padding": 2, "padding_mode": "reflect"}),
    ],
    ids=str,
)
def test_sharded_images(spec, geometry):
    x = 1 + normal(0, 2, 16, 12, 4)
    y = conv(x, normal(1, 3, 3, 4 // geometry.get("groups", 1), 6), **geometry)
    y = y + 0.1 * normal(2, *y.shape)
    weights = jnp.asarray(mask(3, *y.shape[:-1]), jnp.float32)
    exact = functools.partial(
        solve_kernel, kernel_size=3, channels=True, bias=True, weights=weights, **geometry
    )
    sharded = jax.device_put(x, NamedSharding(mesh_of(), spec))
    want, got = exact(x, y), exact(sharded, y)
    for name in ("kernel", "bias", "residual", "positions", "condition", "std_error", "energies"):
        actual, right = getattr(got, name), getattr(want, name)
        np.testing.assert_allclose(actual, right, rtol=5e-7, atol=2e-7, err_msg=name)
    fit = functools.partial(fit_conv, kernel_size=3, steps=3, weights=weights, **geometry)
    want, got = fit(x, y), fit(sharded, y)
    np.testing.assert_allclose(got.kernel, want.kernel, atol=2e-6)
    np.testing.assert_allclose(got.final_loss, want.final_loss, rtol=2e-6)


SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32)
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)


@pytest.mark.parametrize("kernel", [SHARPEN, SOBEL], ids=["sharpen", "sobel"])
def test_kernels_of_clipped_images_are_exact(kernel):
    x = 255 * images.sample("camera")[100:260, 100:300].round(7)
    x = np.rint(x).astype(np.float32)
    stored = np.clip(np.asarray(corr2d(x, kernel)), 0, 255)
    weights = (stored > 0) & (stored < 255)
    believed = solve_kernel(x, stored, 3, bias=True)
    assert np.abs(believed.kernel - kernel).max() > 0.1
    found = solve_kernel(x, stored, 3, weights=weights, bias=True)
    np.testing.assert_allclose(found.kernel, kernel, atol=1e-6)
    by_descent = recover_kernel(x, stored, 3, weights=weights)
    np.testing.assert_allclose(by_descent.kernel, kernel, atol=4e-5)
    np.testing.assert_allclose(by_descent.bias, 0, atol=4e-2)
