"""Arrays in the place of something else are named by dtype and shape in messages, not printed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import learn, parallel
from jaxconv._core.geometry.messages import shown
from jaxconv.learn import constraints

X, W, PLANE = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 8)), jnp.ones((6, 8))
MESH = jax.make_mesh((2,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
CALLS = {
    "conv stride": lambda: jaxconv.conv(X, W, stride=X),
    "conv padding": lambda: jaxconv.conv(X, W, padding=X),
    "conv dilation": lambda: jaxconv.conv(X, W, dilation=X),
    "conv groups": lambda: jaxconv.conv(X, W, groups=X),
    "conv_transpose output_padding": lambda: jaxconv.conv_transpose(
        X, W[..., :4], output_padding=X
    ),
    "pad": lambda: jaxconv.pad(X, W),
    "unfold": lambda: jaxconv.unfold(X, W),
    "correlate": lambda: jaxconv.correlate(PLANE, PLANE, axes=PLANE),
    "accelerate": lambda: jaxconv.accelerate(X),
    "explain": lambda: jaxconv.explain(X),
    "tune": lambda: jaxconv.tune(X),
    "tune seconds": lambda: jaxconv.tune(jaxconv.conv, X, W, seconds=X),
    "parallel": lambda: parallel.conv(X, W, mesh=MESH, x_spec=X),
    "fit_kernel": lambda: learn.fit_kernel(PLANE, PLANE, PLANE),
    "fit_kernel optimizer": lambda: learn.fit_kernel(PLANE, PLANE, 1, optimizer=PLANE),
    "fit_kernel loss": lambda: learn.fit_kernel(PLANE, PLANE, 1, loss=PLANE),
    "fit_kernel key": lambda: learn.fit_kernel(PLANE, PLANE, 1, key=PLANE),
    "solve_kernel": lambda: learn.solve_kernel(PLANE, PLANE, PLANE),
    "fit_conv": lambda: learn.fit_conv(X, X, W),
    "projected": lambda: constraints.projected(PLANE),
    "recover_kernel": lambda: learn.recover_kernel(PLANE, PLANE, 3, constraints=PLANE),
}


@pytest.mark.parametrize("name", CALLS)
def test_arrays_are_not_printed(name):
    with pytest.raises((TypeError, ValueError)) as raised:
        CALLS[name]()
    assert len(str(raised.value)) < 400
    assert "[[" not in str(raised.value)


def test_shown():
    assert shown(np.arange(3)) == "array([0, 1, 2])"
    assert shown(jnp.ones((3, 3))) == "float32[3,3]"
    assert shown("same") == "'same'"
    assert shown([1] * 1000) == f"[{'1, ' * 66}1..."
