"""The exact answer: beside NumPy's lstsq on the design matrix, and what an image cannot tell."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import some
from jax.test_util import check_grads

from jaxconv import conv, corr2d, learn, pad, unfold
from jaxconv._functional.sizes import explicit_padding
from jaxconv.learn import solve_kernel


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"):
        yield


def _normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _design(x, size, *, padding=0, padding_mode="zeros", **geometry):
    """(positions, prod(size) * channels) in float64: every window a row."""
    steps = {k: v for k, v in geometry.items() if k in ("stride", "dilation")}
    widths = explicit_padding(x.shape[-len(size) - 1 : -1], size, padding=padding, **steps)
    axes = range(-len(size) - 1, -1)
    x = pad(x, widths, axes=axes, mode=padding_mode)
    columns = unfold(x, size, **steps)
    return np.asarray(columns, np.float64).reshape(-1, columns.shape[-1])


def _lstsq(x, y, size, *, bias=False, groups=1, **geometry):
    """Kernel (*size, in // groups, out) and bias by the design matrix of each group."""
    inner, outer = x.shape[-1] // groups, y.shape[-1] // groups
    kernels, biases = [], []
    for g in range(groups):
        table = _design(x[..., g * inner : (g + 1) * inner], size, **geometry)
        target = np.asarray(y[..., g * outer : (g + 1) * outer], np.float64).reshape(-1, outer)
        if bias:  # the least kernel, whatever the bias: means off both sides
            means = table.mean(0), target.mean(0)
            found = np.linalg.lstsq(table - means[0], target - means[1], rcond=1e-6)[0]
            biases.append(means[1] - means[0] @ found)
        else:
            found = np.linalg.lstsq(table, target, rcond=1e-6)[0]
        kernels.append(found.reshape(*size, inner, outer))
    return np.concatenate(kernels, -1), np.concatenate(biases) if bias else None


CASES = [
    ((2, 9, 11, 1), (3, 2), 1, {"bias": True}),
    ((3, 40, 2), (5,), 3, {"stride": 2, "dilation": 3, "bias": True, "padding": (4,)}),
    ((2, 1, 9, 10, 4), (3, 2), 6, {"groups": 2, "stride": (2, 1), "padding": ((1, 0), (-1, 0))}),
    ((1, 6, 7, 6, 2), (2, 3, 2), 1, {"padding": 1, "bias": True}),
    ((12, 13, 3), (3, 3), 3, {"groups": 3, "padding": "same", "padding_mode": "circular"}),
    ((12, 13, 2), (3, 3), 2, {"padding": "same", "padding_mode": "reflect", "bias": True}),
]


@pytest.mark.cover(shape=len, options=set)
@pytest.mark.parametrize(("shape", "size", "out", "options"), CASES)
def test_it_is_least_squares_on_the_design_matrix(shape, size, out, options):
    x = 1 + 3 * _normal(0, *shape)
    geometry = {k: v for k, v in options.items() if k != "bias"}
    groups = options.get("groups", 1)
    truth = _normal(1, *size, shape[-1] // groups, out)
    y = conv(x, truth, **geometry)
    y = y + 0.5 * _normal(2, *y.shape) + 2
    kernel, bias = _lstsq(x, y, size, **options)
    found = solve_kernel(x, y, size, channels=True, **options)
    np.testing.assert_allclose(found.kernel, kernel, atol=1e-6)
    left = conv(x, jnp.asarray(kernel, jnp.float32), **geometry) - y
    if bias is None:
        assert found.bias is None
    else:
        np.testing.assert_allclose(found.bias, bias, rtol=1e-5)
        left = left + jnp.asarray(bias, jnp.float32)
    np.testing.assert_allclose(found.residual, (left**2).reshape(-1, out).sum(0), rtol=1e-4)
    assert found.rank == np.prod(size) * shape[-1]
    tables = [
        _design(x[..., g::1][..., : shape[-1] // groups], size, **geometry)
        for g in range(0, shape[-1], shape[-1] // groups)
    ]
    if bias is not None:
        tables = [t - t.mean(0) for t in tables]
    np.testing.assert_allclose(found.condition, max(np.linalg.cond(t) for t in tables), rtol=1e-5)


def test_planes_have_no_channels():
    x, truth = _normal(0, 2, 8, 9), _normal(1, 2, 3)
    y = learn.predict(x, truth) + 0.25
    found = solve_kernel(x, y, (2, 3), bias=True)
    assert (found.kernel.shape, found.bias.shape, found.residual.shape) == ((2, 3), (), ())
    assert found.std_error.shape == (2, 3)
    assert found.directions.shape == (6, 2, 3)
    np.testing.assert_allclose(found.kernel, truth, atol=1e-6)
    np.testing.assert_allclose(found.bias, 0.25, atol=1e-6)
    line = solve_kernel(x[0, 0], jnp.convolve(x[0, 0], truth[0], mode="valid"), (3,))
    np.testing.assert_allclose(line.kernel, truth[0, ::-1], atol=1e-6)


def test_several_pairs_of_several_sizes_are_one_problem():
    xs = [_normal(n, 7 + n, 9) for n in range(3)]
    ys = [_normal(9 + n, 6 + n, 7) for n in range(3)]
    tables = [_design(x[..., None], (2, 3)) for x in xs]
    table, target = np.vstack(tables), np.concatenate([np.ravel(y) for y in ys])
    expected = np.linalg.lstsq(table, target.astype(np.float64), rcond=None)[0]
    found = solve_kernel(xs, ys, (2, 3))
    np.testing.assert_allclose(found.kernel, expected.reshape(2, 3), atol=1e-6)


@pytest.mark.thorough
def test_standard_errors_are_those_of_the_linear_model_and_of_repetition():
    x, truth = _normal(0, 12, 13), _normal(1, 2, 2)
    clean = corr2d(x, truth)
    found = solve_kernel(x, clean + 0.3 * _normal(5, *clean.shape), 2, bias=True)
    table = np.column_stack([_design(x[..., None], (2, 2)), np.ones(clean.size)])
    noise = float(found.residual) / (clean.size - 5)
    expected = np.sqrt(noise * np.diag(np.linalg.inv(table.T @ table))[:4])
    np.testing.assert_allclose(found.std_error.reshape(-1), expected, rtol=1e-4)
    ys = clean + 0.3 * _normal(6, 400, *clean.shape)
    many = jax.vmap(lambda y: solve_kernel(x, y, 2, bias=True))(ys)
    spread = np.asarray(many.kernel).std(0)
    np.testing.assert_allclose(spread / np.asarray(many.std_error).mean(0), 1, atol=0.12)


def test_pure_stripes_leave_what_adds_up_to_nothing_down_a_column():
    stripes = jnp.tile(_normal(0, 1, 30), (20, 1))
    truth = jnp.asarray([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    found = solve_kernel(stripes, corr2d(stripes, truth), 3)
    assert (found.rank, found.condition) == (3, np.inf)
    # the column sums are all there is, shared out evenly: least norm
    np.testing.assert_allclose(found.kernel, np.tile([4 / 3, 0, -4 / 3], (3, 1)), atol=1e-5)
    assert np.isinf(found.std_error).all()
    free = found.free
    assert free.shape == (6, 3, 3)
    np.testing.assert_allclose(free.sum(1), 0, atol=1e-6)
    for direction in free:
        np.testing.assert_allclose(corr2d(stripes, jnp.asarray(direction)), 0, atol=1e-5)
    told = np.asarray(found.directions)[np.asarray(found.identified)]
    basis = np.concatenate([free, told]).reshape(9, 9)
    np.testing.assert_allclose(basis @ basis.T, np.eye(9), atol=1e-5)


def test_a_constant_image_tells_the_sum_or_with_a_bias_nothing():
    x = jnp.full((9, 9), 0.7)
    found = solve_kernel(x, jnp.full((7, 7), 2.1), 3)
    assert found.rank == 1
    np.testing.assert_allclose(found.kernel, 1 / 3, rtol=1e-6)
    both = solve_kernel(x, jnp.full((7, 7), 2.1), 3, bias=True)
    assert (both.rank, len(both.free)) == (0, 9)
    np.testing.assert_array_equal(both.kernel, 0)
    np.testing.assert_allclose(both.bias, 2.1, rtol=1e-6)


def test_a_silent_channel_is_free_and_the_others_are_exact():
    x = _normal(0, 10, 10, 3).at[..., 1].set(0.0)
    truth = _normal(1, 2, 2, 3, 2)
    found = solve_kernel(x, conv(x, truth), 2, channels=True)
    assert found.rank == 8
    np.testing.assert_allclose(found.kernel, truth.at[:, :, 1].set(0.0), atol=1e-6)
    assert np.isinf(found.std_error[:, :, 1]).all()
    assert np.isfinite(found.std_error[:, :, [0, 2]]).all()
    assert found.free.shape == (4, 2, 2, 3)
    np.testing.assert_allclose(found.free[..., [0, 2]], 0, atol=1e-12)


def test_free_directions_of_a_group_stay_in_its_channels():
    x = _normal(0, 30, 2).at[:, 1].set(1.0)
    found = solve_kernel(x, _normal(1, 28, 2), (3,), channels=True, groups=2)
    assert found.rank == 4
    assert found.free.shape == (2, 3, 2)
    assert not found.free[..., 0].any()
    np.testing.assert_allclose(found.free[..., 1].sum(-1), 0, atol=1e-6)


def test_float32_images_lose_no_digits_in_the_normal_equations():
    # a smooth image on a pedestal: condition 2e4 with its mean, whose square float32 cannot hold
    smooth = jax.scipy.signal.convolve(_normal(0, 90, 90), jnp.ones((5, 5)) / 25, mode="valid")
    x = jnp.round(100 * (smooth + 60) * 128) / 128 / 100
    truth = jnp.asarray(np.arange(9.0).reshape(3, 3) - 4, jnp.float32)
    y = corr2d(x, truth) + 0.01 * _normal(3, 84, 84)
    found = solve_kernel(x, y, 3)
    assert found.condition > 2e3
    expected, _ = _lstsq(x[..., None], y[..., None], (3, 3))
    np.testing.assert_allclose(found.kernel, expected[..., 0, 0], rtol=2e-6)
    table = _design(x[..., None], (3, 3)).astype(np.float32)
    single = np.linalg.solve(table.T @ table, table.T @ np.ravel(y)).reshape(3, 3)
    assert np.abs(single - expected[..., 0, 0]).max() > 1e-3  # what float32 sums would give


def test_a_ridge_shrinks_as_its_formula_says_under_jit_and_vmap():
    x, y = _normal(0, 8, 9), _normal(1, 7, 7)
    table, target = _design(x[..., None], (2, 3)), np.ravel(y)
    ridges = jnp.asarray([0.0, 0.5, 20.0])

    @jax.jit
    def solution(x, ridge):
        return solve_kernel(x, y, (2, 3), ridge=ridge)

    # a map over compiled programs comes from outside their double precision
    found = jax.vmap(jax.jit(jax.vmap(solution, (None, 0))), (0, None))(x[None], ridges)
    for ridge, kernel in zip(ridges, found.kernel[0], strict=True):
        expected = np.linalg.solve(table.T @ table + ridge * np.eye(6), table.T @ target)
        np.testing.assert_allclose(kernel.reshape(-1), expected, atol=1e-6)


@pytest.mark.parametrize("order", some([1, 2], 1))
def test_derivatives_of_the_solution(order):
    x, y = _normal(0, 6, 7), _normal(1, 5, 5)

    @jax.jit
    def solution(x, y, ridge):
        found = solve_kernel(x, y, (2, 3), ridge=ridge, bias=True)
        return found.kernel, found.bias, found.residual

    arguments = (x, y, jnp.asarray(0.3))
    modes = ["fwd", "rev"] if order == 1 else ["rev"]
    check_grads(solution, arguments, order=order, modes=modes, atol=3e-2, rtol=3e-2, eps=1e-2)


MISTAKES = [
    ({"y": (6, 8)}, "y.shape=(6, 8), but x.shape=(6, 8) and kernel_size=(1, 2) give (6, 7)"),
    (
        {"kernel_size": (1, 0)},
        "kernel_size must be an integer of 1 or more, or one a dimension, got (1, 0)",
    ),
    ({"ridge": -1.0}, "ridge=-1.0 must be 0 or more, and finite"),
    ({"ridge": np.zeros(2)}, "ridge must be one number, got shape (2,); for several use jax.vmap"),
    ({"tolerance": -1.0}, "tolerance=-1.0 must be 0 or more, and finite"),
    ({"groups": 2}, "groups=2 is for arrays with channels; give channels=True"),
    (
        {"groups": 3, "channels": True, "x": (6, 8, 4), "y": (6, 7, 3)},
        "groups=3 must be an integer that divides the 4 channels of x and the 3 of y",
    ),
    (
        {"kernel_size": (1, 2, 2)},
        "x must be (*batch, *space) with 3 spatial dimensions, as kernel_size=(1, 2, 2) has, got "
        "x.shape=(6, 8)",
    ),
    (
        {"channels": True},
        "x must be (*batch, *space, channels) with 2 spatial dimensions, as kernel_size=(1, 2) "
        "has, got x.shape=(6, 8)",
    ),
    ({"x": (0, 6, 8), "y": (0, 6, 7)}, "x and y hold no images: x.shape=(0, 6, 8)"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_mistakes_are_told(change, message):
    given = {"x": (6, 8), "y": (6, 7), "kernel_size": (1, 2)} | change
    x, y = jnp.zeros(given.pop("x")), jnp.zeros(given.pop("y"))
    with pytest.raises(ValueError, match=f"^{re.escape('solve_kernel: ' + message)}$"):
        solve_kernel(x, y, given.pop("kernel_size"), **given)


def test_the_design_matrix_is_never_in_memory():
    x, y = jnp.zeros((256, 256)), jnp.zeros((248, 248))
    run = jax.jit(lambda x, y: solve_kernel(x, y, 9).kernel).lower(x, y).compile()
    design = 8 * y.size * 81
    assert run.memory_analysis().temp_size_in_bytes < design / 4
