"""Every operation that `reach` follows, compared with the Jacobian at random points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

import jaxconv
from jaxconv.analysis import reach
from jaxconv.analysis._reach import _clip_path_counts

SHAPE = (4, 6)
ONES = jnp.ones((3, 1, 1))
ORDER = jnp.array([3, 0, 0, 2])


def conv_of_lax(x):
    return lax.conv_general_dilated(
        x[..., None], ONES, (2,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
    )


# Functions whose Jacobian is zero only where there is no connection.
FOLLOWED = {
    "elementwise": lambda x: jnp.tanh(x) * jnp.exp(2 * x) + 1 / (3 + x**2),
    "reshape": lambda x: x.T.reshape(3, 8)[:, None, ::-1],
    "concatenate": lambda x: jnp.concatenate([x[:2], jnp.ones((1, 6)), 2 * x[3:]]),
    "pad": lambda x: (
        jnp.pad(x, ((1, 2), (0, 1))) + jaxconv.pad(x, ((2, 1), (1, 0)), mode="circular")
    ),
    "take": lambda x: x[ORDER] * x[:, jnp.array([5])],
    "set": lambda x: x.at[ORDER[:1], 1].set(x[0, 0]),
    "add at": lambda x: x.at[ORDER, 2].add(x[:, 5]),
    "dynamic": lambda x: lax.dynamic_update_slice(x, lax.dynamic_slice(x, (1, 2), (2, 2)), (0, 3)),
    "reduce": lambda x: jnp.stack([x.sum(0), x[:2].prod(0), jnp.log(x[1:] ** 2).mean(0)]),
    "cumulate": lambda x: jnp.cumsum(x, 1) + lax.cumlogsumexp(x, 0, reverse=True),
    "softmax": lambda x: jax.nn.softmax(x, 0),
    "matmul": lambda x: x[:, :3] @ jnp.ones((3, 2)),
    "quadratic": lambda x: x @ x.T,
    "conv": lambda x: jaxconv.correlate(x, jnp.ones((2, 3)), mode="same"),
    "conv of itself": lambda x: jaxconv.correlate(x, x[:2, :2]),
    "conv_transpose": lambda x: jaxconv.conv_transpose(x[..., None], ONES, stride=2, padding=1),
    "conv of lax": conv_of_lax,
    "unfold and fold": lambda x: jaxconv.fold(jaxconv.unfold(x[..., None], (3,)), (6,), (3,)),
    "average": lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2), (2, 1), "SAME"),
    "calls": lambda x: jax.jit(jax.checkpoint(jnp.sin))(x) + jax.nn.silu(x),
    "vmap": lambda x: jax.vmap(lambda row: jaxconv.correlate(row, jnp.ones(3)))(x),
    "not at all": lambda x: jnp.stack([x[0], jnp.arange(6.0)]),
}


def pattern(f, points=3):
    """Boolean (outputs, *SHAPE): where the Jacobian is not zero at one of the points."""
    jacobian = jax.jit(jax.jacobian(f))
    keys = jax.random.split(jax.random.key(0), points)
    values = sum(jnp.abs(jacobian(jax.random.normal(key, SHAPE))) for key in keys)
    return np.asarray(values.reshape(-1, *SHAPE)) != 0


@pytest.mark.parametrize("name", FOLLOWED)
def test_followed_element_by_element(name):
    f = FOLLOWED[name]
    want = pattern(f)
    shape = jax.eval_shape(f, jnp.zeros(SHAPE)).shape
    for flat in (0, len(want) // 2, len(want) - 1):
        seen = reach(f, jnp.zeros(SHAPE), np.unravel_index(flat, shape))
        np.testing.assert_array_equal(seen, want[flat])


@pytest.mark.parametrize(
    ("f", "index", "elements"),
    [
        (lambda x: linen.max_pool(x[None, ..., None], (2, 3)), (0, 0, 1, 0), 6),
        (lambda x: jnp.sort(x, axis=1), (1, 0), 6),
        (lambda x: jnp.argmax(x, axis=0), 2, 4),
        (lambda x: lax.cummax(x, 0), (2, 1), 3),
        (lambda x: jnp.where(jnp.arange(6) > 2, x, jnp.roll(x, 1, 1) * x), (0, 3), 2),
        (lambda x: jnp.clip(x, x.mean(0) - 9, 9.0), (1, 1), 4),
        (lambda x: lax.cond(x[0, 0] > 0, jnp.sin, lambda x: x[::-1], x), (0, 1), 3),
        (lambda x: lax.stop_gradient(jnp.sign(x) > 0), (0, 0), 1),
        (lambda x: x.at[ORDER, 2].max(x[:, 5]), (0, 2), 3),
        # not followed element by element: every input reaches every output
        (lambda x: jnp.abs(jnp.fft.rfft(x)), (0, 0), 24),
        (lambda x: lax.fori_loop(0, 2, lambda _, x: 2 * x, x), (0, 0), 24),
        (lambda x: x[jnp.argmax(x[:, 0])], 0, 24),
    ],
)
def test_steps_maxima_and_what_is_not_followed(f, index, elements):
    assert int(reach(f, jnp.zeros(SHAPE), index).sum()) == elements


def test_integers_and_deep_chains():
    """Paths are not counted: 9^40 of them would overflow a float."""
    assert jax.vjp(_clip_path_counts, jnp.ones(2))[1](jnp.array([0.0, 9]))[0].tolist() == [0, 1]
    assert reach(lambda x: x[1:] + x[:-1], jnp.arange(4), 1).tolist() == [False, True, True, False]

    def deep(x):
        for _ in range(40):
            x = jaxconv.correlate(x, jnp.full((3, 3), 9.0), mode="same")
        return x

    assert reach(deep, jnp.zeros((5, 6)), (0, 0)).all()
    narrow = reach(lambda x: deep(x[:2, :2]), jnp.zeros((5, 6)), (0, 0))
    assert int(narrow.sum()) == 4
