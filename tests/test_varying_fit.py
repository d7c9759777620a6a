"""Kernels of all nodes from an input and an output, against the dense least squares of NumPy."""

import functools
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import some
from test_varying import before, draw

from jaxconv import varying

EXAMPLE = Path(__file__).parents[1] / "examples" / "varying_psf.py"


def hats(size, nodes):
    """(n, g)."""
    if nodes == 1:
        return np.ones((size, 1))
    return np.maximum(
        0, 1 - abs(np.arange(size)[:, None] * (nodes - 1) / (size - 1) - range(nodes))
    )


def over(shape, grid):
    """(*shape, *grid), the products over axes."""
    found = np.ones(())
    for size, nodes in zip(shape, grid, strict=True):
        found = np.multiply.outer(found, hats(size, nodes))
    rank = len(shape)
    return found.transpose([2 * n for n in range(rank)] + [2 * n + 1 for n in range(rank)])


def design(x, kernel, grid, *, at, mode, flip=False, bias=False):
    """The matrix of the least squares (outputs, unknowns), and the output's shape."""
    x = x.astype(float)
    pads = [
        (b, {"valid": 0, "full": k - 1}.get(mode, k - 1 - b))
        for b, k in zip(before(mode, kernel), kernel, strict=True)
    ]
    out = [n + sum(pair) - k + 1 for n, pair, k in zip(x.shape, pads, kernel, strict=True)]
    columns = []
    for node in np.ndindex(*grid):
        for entry in np.ndindex(*kernel):
            a = np.subtract(kernel, 1) - entry if flip else entry
            window = tuple(slice(p, p + m) for p, m in zip(a, out, strict=True))
            if at == "input":
                column = np.pad(x * over(x.shape, grid)[(..., *node)], pads)[window]
            else:
                column = np.pad(x, pads)[window] * over(out, grid)[(..., *node)]
            columns.append(column.reshape(-1))
    if bias:
        columns += list(over(out, grid).reshape(np.prod(out), -1).T)
    return np.stack(columns, 1), tuple(out)


def least_squares(matrix, y, weights=None, ridge=0.0, count=0):
    """The unknowns, of which the first `count` are penalised."""
    root = np.sqrt(np.ones(y.size) if weights is None else weights.astype(float).reshape(-1))
    more = np.sqrt(ridge) * np.eye(matrix.shape[1])[:count]
    matrix = np.concatenate([root[:, None] * matrix, more])
    return np.linalg.lstsq(matrix, np.append(root * y.reshape(-1), np.zeros(len(more))))[0]


CASES = [((60,), (3,), (4,)), ((24, 20), (3, 2), (3, 2)), ((7, 5, 6), (2, 1, 2), (2, 1, 2))]
# mode, flip, bias
WAYS = [("valid", False, False), ("same", True, True), ("full", False, True)]
# each case in two of the ways, so that every pair of a way and a rank, or a way and an `at`, occurs
DRAWN = [
    (case, WAYS[(number + step) % 3], at)
    for number, case in enumerate(CASES)
    for step, at in enumerate(("output", "input"))
]


@pytest.mark.cover
@pytest.mark.parametrize(("case", "way", "at"), DRAWN, ids=str)
def test_equals_dense_least_squares(case, way, at):
    """With outputs that are weighed or left out, and with what a bias makes up for."""
    (shape, kernel, grid), (mode, flip, bias) = case, way
    x = draw(*shape) + np.float32(bias)
    matrix, out = design(x, kernel, grid, at=at, mode=mode, flip=flip, bias=bias)
    y, weights = draw(*out, seed=1), np.abs(draw(*out, seed=2))
    weights[weights < 0.2] = 0
    want = least_squares(matrix, y, weights)
    settings = {"grid": grid, "at": at, "mode": mode, "flip": flip, "bias": bias}
    found = varying.fit(x, y, kernel, weights=weights, tolerance=1e-9, **settings)
    size = found.kernels.size
    np.testing.assert_allclose(found.kernels.reshape(-1), want[:size], atol=2e-7)
    if bias:
        np.testing.assert_allclose(found.bias.reshape(-1), want[size:], atol=2e-7)
    else:
        assert found.bias is None
    left = np.sum(weights.reshape(-1) * (matrix @ want - y.reshape(-1)) ** 2)
    np.testing.assert_allclose(found.residual, left, rtol=1e-6)
    assert found.error < 1e-9
    assert found.steps < 40
    # the estimate of the standard errors
    noise = left / (np.sum(weights > 0) - matrix.shape[1])
    inverse = np.linalg.inv((matrix * weights.reshape(-1, 1)).T @ matrix)
    ratio = found.std_error.reshape(-1) / np.sqrt(noise * np.diagonal(inverse))[:size]
    assert 1 / 3 < ratio.min() <= ratio.max() < 3


@pytest.mark.thorough
def test_the_model_applied_is_the_output():
    true, x = draw(3, 4, 3, 3), draw(40, 37, seed=1)
    for at, flip in (("output", False), ("input", True)):
        apply = varying.convolve if flip else varying.correlate
        y = apply(x, true, at=at, mode="same")
        found = varying.fit(x, y, 3, grid=(3, 4), at=at, mode="same", flip=flip)
        np.testing.assert_allclose(found.kernels, true, atol=1e-5)
        assert found.residual < 1e-8


@pytest.mark.thorough
def test_standard_errors_where_cells_are_wide():
    """The estimate neglects how much a hat changes over a kernel's size; here little."""
    x, y = draw(900), draw(897, seed=1)
    matrix, _ = design(x, (4,), (5,), at="output", mode="valid")
    found = varying.fit(x, y, 4, grid=5)
    noise = found.residual / (897 - 20)
    want = np.sqrt(float(noise) * np.diagonal(np.linalg.inv(matrix.T @ matrix)))
    np.testing.assert_allclose(found.std_error.reshape(-1), want, rtol=0.2)


@pytest.mark.parametrize("at", some(["output", "input"], "output"))
def test_a_ridge(at):
    x, kernel, grid = draw(20, 16), (2, 3), (2, 3)
    x[:, :9] = 0  # the first nodes see nothing: they are zeros
    matrix, out = design(x, kernel, grid, at=at, mode="same", bias=True)
    y, size = draw(*out, seed=1), 36
    want = least_squares(matrix, y, ridge=3.0, count=size)
    settings = {"grid": grid, "at": at, "mode": "same", "bias": True}
    found = varying.fit(x, y, kernel, ridge=3.0, tolerance=1e-9, **settings)
    np.testing.assert_allclose(found.kernels.reshape(-1), want[:size], atol=2e-7)
    np.testing.assert_allclose(found.bias.reshape(-1), want[size:], atol=2e-7)


def test_outputs_without_weight_count_for_nothing():
    x, true = draw(30, 26), draw(2, 3, 3, 3, seed=1)
    y = np.array(varying.correlate(x, true))
    left_out = np.abs(draw(*y.shape, seed=2)) < 0.3
    y[left_out] = np.nan
    for weights in (~left_out, (~left_out).astype(np.float32)):
        found = varying.fit(x, y, 3, grid=(2, 3), weights=weights)
        np.testing.assert_allclose(found.kernels, true, atol=1e-5)


def test_what_nothing_is_known_about_is_the_single_kernel():
    """No stars in the last two columns of nodes: they say so, and the others are not disturbed."""
    x = draw(24, 40)
    x[:, 18:] = 0
    y = varying.convolve(x, draw(2, 5, 3, 3, seed=1), at="input", mode="same")
    y = y + 0.1 * draw(24, 40, seed=2)
    settings = {"at": "input", "mode": "same", "flip": True}
    found = varying.fit(x, y, 3, grid=(2, 5), tolerance=1e-9, **settings)
    one = varying.fit(x, y, 3, grid=1, tolerance=1e-9, **settings)
    np.testing.assert_array_equal(found.energies > 0, [[True, True, True, False, False]] * 2)
    np.testing.assert_array_equal(np.isinf(found.std_error).all((2, 3)), found.energies == 0)
    for kernel in found.kernels[:, 3:].reshape(-1, 3, 3):
        np.testing.assert_allclose(kernel, one.kernels[0, 0], atol=1e-6)
    matrix, _ = design(x, (3, 3), (2, 5), **settings)
    left = np.sum((matrix @ least_squares(matrix, np.asarray(y)) - y.reshape(-1)) ** 2)
    np.testing.assert_allclose(found.residual, left, rtol=1e-6)


def test_float64_is_solved_in_float64():
    with jax.enable_x64(True):
        x, y = draw(50, dtype=float), draw(48, seed=1, dtype=float)
        found = varying.fit(x, y, 3, grid=4, tolerance=1e-13)
        matrix, _ = design(x, (3,), (4,), at="output", mode="valid")
        np.testing.assert_allclose(
            found.kernels.reshape(-1), least_squares(matrix, y), rtol=1e-10, atol=1e-11
        )


def test_jit_and_vmap():
    xs, ys = draw(3, 30), draw(3, 28, seed=1)
    call = functools.partial(varying.fit, kernel_size=3, grid=3, bias=True, tolerance=1e-9)
    found = jax.jit(jax.vmap(call))(xs, ys)
    for n in range(3):
        one = call(xs[n], ys[n])
        for name in ("kernels", "bias", "residual", "std_error", "energies"):
            leaves = (getattr(each, name) for each in (found, one))
            np.testing.assert_allclose(next(leaves)[n], next(leaves), rtol=2e-5, atol=1e-6)


def test_few_steps_say_so():
    x, y = draw(30, 26), draw(28, 24, seed=1)
    found = varying.fit(x, y, 3, grid=4, steps=2)
    assert found.steps == 2
    assert found.error > 1e-6
    matrix, _ = design(x, (3, 3), (4, 4), at="output", mode="valid")
    best = np.sum((matrix @ least_squares(matrix, y) - y.reshape(-1)) ** 2)
    assert found.residual > best * (1 + 1e-6)


@pytest.mark.parametrize(
    ("at", "shape", "size", "grid"),
    [
        ("input", (20,), (3,), (4,)),
        pytest.param("output", (10, 8), (2, 3), (2, 2), marks=pytest.mark.thorough),
        pytest.param("input", (10, 8), (2, 3), (2, 2), marks=pytest.mark.thorough),
    ],
)
def test_gradients(at, shape, size, grid):
    """In reverse mode, of kernels, bias and residual in all four arrays, by differences."""
    with jax.enable_x64(True):
        arrays = [draw(*shape, seed=n, dtype=float) for n in range(2)]
        arrays += [np.abs(draw(*shape, seed=2, dtype=float)) + 0.1, np.float64(0.3)]
        pulls = (draw(*grid, *size, seed=3, dtype=float), draw(*grid, seed=4, dtype=float))

        def value(x, y, weights, ridge):
            found = varying.fit(
                *(x, y, size),
                grid=grid,
                at=at,
                mode="same",
                weights=weights,
                ridge=ridge,
                bias=True,
                tolerance=1e-13,
            )
            both = jnp.vdot(pulls[0], found.kernels) + jnp.vdot(pulls[1], found.bias)
            return both + 0.1 * found.residual

        gradients = jax.jit(jax.grad(value, (0, 1, 2, 3)))(*arrays)
        value = jax.jit(value)
        for n, gradient in enumerate(gradients):
            along = draw(*np.shape(arrays[n]), seed=5, dtype=float)
            ends = [
                value(*(a + step * along if m == n else a for m, a in enumerate(arrays)))
                for step in (1e-5, -1e-5)
            ]
            slope = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(jnp.vdot(gradient, along), slope, rtol=1e-5)


def test_stars_of_a_field(capsys):
    """The example on a small field: the fitted functions are those of the simulation."""
    with jax.numpy_dtype_promotion("standard"):
        found = runpy.run_path(str(EXAMPLE))["main"](["--quick"])
    for place in ("between", "corners"):
        mine, single = found[place]
        assert mine < 0.6 * single
    assert found["centre"][0] < 0.15
    # what light falls beyond kernels of 9x9 counts as sky
    assert 99 < found["sky"].min() < found["sky"].mean() < 105
    assert "150 stars, 192x192 pixels, 3x3 kernels of 9x9" in capsys.readouterr().out


X, Y = draw(9, 8), draw(7, 6)
REFUSED = [
    (
        {"y": draw(9, 8)},
        "fit: y.shape=(9, 8) must be (7, 6), for x.shape=(9, 8), kernels of (3, 3) and "
        "mode='valid'; it is that of mode='same'",
    ),
    (
        {"kernel_size": (3, 3, 1)},
        "fit: kernel_size=(3, 3, 1) must be an integer of 1 or more, or one for each of the 2 axes "
        "of x",
    ),
    (
        {"grid": 9},
        "fit: grid=(9, 9) must have from 1 to 7 nodes along axis 0 of the output (the "
        "output.shape=(7, 6))",
    ),
    (
        {"x": draw(9, 8)[None, None], "y": draw(7, 6)[None, None]},
        "fit: x and y must have the same 1, 2 or 3 axes, got x.shape=(1, 1, 9, 8) and "
        "y.shape=(1, 1, 7, 6); for several pairs use jax.vmap",
    ),
    ({"weights": -Y}, "fit: weights must be 0 or more; 0 leaves an output out"),
    (
        {"weights": X},
        "fit: weights.shape=(9, 8) must be y.shape=(7, 6), one weight an output",
    ),
    ({"ridge": -1.0}, "fit: ridge=-1.0 must be 0 or more, and finite"),
    ({"steps": 0}, "fit: steps must be an integer of 1 or more, got 0"),
    (
        {"y": np.full_like(Y, np.nan)},
        "fit: y has values that are NaN or infinite; give weights=jnp.isfinite(y) to leave such "
        "outputs out",
    ),
    ({"x": np.full_like(X, np.inf)}, "fit: x has values that are NaN or infinite"),
    (
        {"y": Y.astype(np.float16)},
        "fit: y must be float32 or float64, got y.dtype=float16: convert it, as in "
        "y.astype('float32')",
    ),
    ({"bias": 1}, "fit: bias=1 must be True or False"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_errors_name_the_rule(change, message):
    arguments = {"x": X, "y": Y, "kernel_size": 3, "grid": 2} | change
    with pytest.raises((TypeError, ValueError)) as caught:
        varying.fit(**arguments)
    assert str(caught.value) == message
