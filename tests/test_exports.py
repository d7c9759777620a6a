"""Every public function of arrays lowers for cpu, cuda and tpu in one program, here on a CPU."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sharded_cases import P, mesh_of

import jaxconv
from jaxconv import parallel

MESH = mesh_of()
X, W, PLANE, EDGE = (jnp.ones(s) for s in ((2, 8, 8, 4), (3, 3, 4, 8), (6, 8), (1, 2)))
ROWS = {"mesh": MESH, "x_spec": P("b", "a")}

CALLS = {
    "accelerate": lambda: (jaxconv.accelerate(lambda x, w: jaxconv.conv(x, w)), X, W),
    "causal_conv1d": lambda: (jaxconv.causal_conv1d, X[0], W[0]),
    "conv": lambda: (jaxconv.conv, X, W),
    "conv_transpose": lambda: (jaxconv.conv_transpose, jnp.ones((2, 6, 6, 8)), W),
    "convolve": lambda: (jaxconv.convolve, PLANE, EDGE),
    "corr2d": lambda: (jaxconv.corr2d, PLANE, EDGE),
    "correlate": lambda: (jaxconv.correlate, PLANE, EDGE),
    "fold": lambda: (lambda c: jaxconv.fold(c, (8, 8), (3, 3)), jnp.ones((2, 6, 6, 36))),
    "pad": lambda: (lambda x: jaxconv.pad(x, [(1, 2), (2, 1)], mode="reflect"), PLANE),
    "unfold": lambda: (lambda x: jaxconv.unfold(x, (3, 3)), X),
    "unpad": lambda: (lambda x: jaxconv.unpad(x, [(1, 2), (2, 1)], mode="reflect"), PLANE),
    "parallel.conv": lambda: (lambda x, w: parallel.conv(x, w, padding=1, **ROWS), X, W),
    "parallel.conv_transpose": lambda: (
        lambda y, w: parallel.conv_transpose(y, w, padding=1, mesh=MESH, y_spec=P("b", "a")),
        jnp.ones((2, 8, 8, 8)),
        W,
    ),
}
# What they return is no array: integers, a choice, a report, a policy.
NO_ARRAYS = {"explain", "input_size", "output_size", "receptive_field", "tune"}


def leaves(result):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result)]


@pytest.mark.parametrize("name", CALLS)
def test_value_and_gradient_export(name):
    f, *arrays = CALLS[name]()

    def program(*arrays):
        value, pull = jax.vjp(f, *arrays)
        return value, pull(value)

    program = jax.jit(program)
    exported = jax.export.export(program, platforms=["cpu", "cuda", "tpu"])(*arrays)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    if name.startswith("parallel"):  # a program for eight devices is called on eight
        whole = jax.sharding.NamedSharding(MESH, P())
        arrays = [jax.device_put(array, whole) for array in arrays]
    for actual, want in zip(
        leaves(jax.jit(exported.call)(*arrays)), leaves(program(*arrays)), strict=True
    ):
        np.testing.assert_allclose(actual, want, rtol=1e-5, atol=1e-5)


def test_every_public_function_is_here():
    public = {n for n in jaxconv.__all__ if inspect.isfunction(getattr(jaxconv, n))}
    sharded = {f"parallel.{n}" for n in parallel.__all__ if not n.endswith("_bytes")}
    assert set(CALLS) == (public - NO_ARRAYS) | sharded
