"""Complex kernels: beside NumPy's complex lstsq on the design matrix."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.test_util import check_grads
from sharded_cases import P, mesh_of

from jaxconv import conv, pad, unfold
from jaxconv._functional.sizes import explicit_padding
from jaxconv.learn import solve_kernel


def _complex(seed, *shape):
    parts = np.random.default_rng(seed).normal(size=(2, *shape))
    return jnp.asarray(parts[0] + 1j * parts[1], jnp.complex64)


def _rows(x, size, *, padding=0, padding_mode="zeros", **steps):
    widths = explicit_padding(x.shape[-len(size) - 1 : -1], size, padding=padding, **steps)
    x = pad(x, widths, axes=range(-len(size) - 1, -1), mode=padding_mode)
    windows = unfold(x, size, **steps)
    return np.asarray(windows, np.complex128).reshape(-1, windows.shape[-1])


CASES = [
    ((2, 9, 11, 1), (3, 2), 1, {"bias": True}),
    ((3, 40, 2), (5,), 3, {"stride": 2, "dilation": 3, "bias": True, "padding": (4,)}),
    ((12, 13, 2), (3, 3), 2, {"padding": "same", "padding_mode": "reflect"}),
    ((2, 30, 4), (3,), 6, {"groups": 2, "bias": True}),
]


@pytest.mark.cover
@pytest.mark.parametrize("kind", ["both", "real x", "weights"])
@pytest.mark.parametrize(("shape", "size", "out", "options"), CASES)
def test_it_is_complex_least_squares(shape, size, out, options, kind):
    groups, bias = options.get("groups", 1), options.get("bias", False)
    geometry = {k: v for k, v in options.items() if k != "bias"}
    x = 1 + 2j + 3 * _complex(0, *shape)
    x = x.real if kind == "real x" else x
    truth = _complex(1, *size, shape[-1] // groups, out)
    y = conv(x.astype(jnp.complex64), truth, **geometry)
    y = y + 0.5 * _complex(2, *y.shape) + 2 - 1j
    weights = None
    w = np.ones(y.shape[:-1])
    if kind == "weights":
        w = np.random.default_rng(3).uniform(size=w.shape) * (w > 0.3)
        weights = w.astype("f4")
    found = solve_kernel(x, y, size, channels=True, weights=weights, **options)
    assert found.kernel.dtype == jnp.complex64
    steps = {k: v for k, v in geometry.items() if k != "groups"}
    inner, outer = shape[-1] // groups, out // groups
    ranks = 0
    for g in range(groups):
        rows = _rows(x[..., g * inner : (g + 1) * inner], size, **steps)
        target = np.asarray(y[..., g * outer : (g + 1) * outer], np.complex128).reshape(-1, outer)
        root = np.sqrt(w.reshape(-1, 1))
        table = np.column_stack([rows, np.ones(len(rows))]) if bias else rows
        kernel, _, rank, _ = np.linalg.lstsq(root * table, root * target, rcond=None)
        own = slice(g * outer, (g + 1) * outer)
        entries = rows.shape[1]
        expected = kernel[:entries].reshape(*size, inner, outer)
        np.testing.assert_allclose(found.kernel[..., own], expected, atol=2e-6)
        if bias:
            np.testing.assert_allclose(found.bias[own], kernel[entries], atol=2e-5)
        residual = np.sum(abs(root * (target - table @ kernel)) ** 2, 0)
        np.testing.assert_allclose(found.residual[own], residual, rtol=1e-5)
        # of the 2 n real equations for 2 rank real numbers
        noise = residual / (2 * np.sum(w > 0) - 2 * rank)
        hermitian = (root * table).conj().T @ (root * table)
        variance = np.diag(np.linalg.inv(hermitian)).real[:entries, None] * noise
        errors = np.sqrt(variance).reshape(*size, inner, outer)
        np.testing.assert_allclose(found.std_error[..., own], errors, rtol=1e-5)
        ranks += 2 * (rank - bias)
    assert found.rank == ranks
    assert found.positions == np.sum(w > 0)


def test_planes_and_lists_of_them():
    truth = _complex(9, 2, 3)
    xs = [_complex(n, 7 + n, 9) for n in range(2)]
    ys = [conv(x[..., None], truth[..., None, None])[..., 0] - 0.5j for x in xs]
    found = solve_kernel(xs, ys, (2, 3), bias=True)
    np.testing.assert_allclose(found.kernel, truth, atol=2e-6)
    np.testing.assert_allclose(found.bias, -0.5j, atol=2e-6)
    assert found.directions.shape == (12, 2, 3)


def test_free_directions_have_no_effect():
    x = jnp.tile(_complex(0, 1, 30), (20, 1))
    found = solve_kernel(x, _complex(1, 18, 28), 3)
    assert (found.rank, found.free.shape) == (6, (12, 3, 3))
    for direction in found.free:
        output = conv(x[..., None], jnp.asarray(direction)[..., None, None])
        np.testing.assert_allclose(output, 0, atol=1e-5)


@pytest.mark.thorough
def test_standard_errors_are_those_of_repetition():
    x, truth = _complex(0, 12, 13), _complex(1, 2, 2)
    clean = conv(x[..., None], truth[..., None, None])[..., 0]
    many = jax.vmap(lambda y: solve_kernel(x, y, 2))(clean + 0.3 * _complex(6, 400, *clean.shape))
    for part in (many.kernel.real, many.kernel.imag):
        spread = np.asarray(part).std(0)
        np.testing.assert_allclose(spread / np.asarray(many.std_error).mean(0), 1, atol=0.12)


def test_derivatives():
    x, y = _complex(0, 6, 7), _complex(1, 5, 5)

    @jax.jit
    def solution(x_real, x_imag, y_real, ridge):
        x = jax.lax.complex(x_real, x_imag)
        found = solve_kernel(x, jax.lax.complex(y_real, y.imag), (2, 3), ridge=ridge, bias=True)
        return found.kernel.real, found.kernel.imag, found.bias.imag, found.residual

    arguments = (x.real, x.imag, y.real, jnp.asarray(0.3))
    check_grads(solution, arguments, order=1, modes=["fwd", "rev"], atol=3e-2, rtol=3e-2, eps=1e-2)


def test_sharded_complex_images_are_refused():
    x = jax.device_put(_complex(0, 2, 16, 12), NamedSharding(mesh_of(), P("b", "a")))
    message = (
        "solve_kernel: x is complex, and complex images must be on one device, but these are "
        "sharded; put them on one, as in jax.device_put(x, jax.devices()[0])"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        solve_kernel(x, _complex(1, 2, 14, 10), 3)
