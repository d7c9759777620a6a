"""Where the output of a convolution shifts with its input, and where it does not."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import jaxconv
from jaxconv.analysis import equivariance_error, equivariance_map

SHIFTS = [(0, 0), (1, 0), (0, -2), (3, 5), (7, 8), (-9, 20)]
RNG = np.random.default_rng(0)
# integers: sums are exact in any order
X = RNG.integers(-8, 9, (8, 12, 2)).astype("float32")
W = RNG.integers(-8, 9, (3, 5, 2, 3)).astype("float32")


def layer(**arguments):
    return jax.jit(lambda x: jaxconv.conv(x, W, **arguments))


def test_circular_padding_is_exactly_equivariant():
    f = layer(padding="same", padding_mode="circular")
    np.testing.assert_array_equal(equivariance_error(f, X, SHIFTS), np.zeros(len(SHIFTS)))
    deep = jax.jit(lambda x: jnp.tanh(f(x)) ** 2)
    np.testing.assert_array_equal(equivariance_error(deep, X, SHIFTS), np.zeros(len(SHIFTS)))


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_the_border_effect_is_where_a_margin_is_seen_and_only_there(mode):
    """Outputs whose window covers padding: at the borders, and where the shift moved these."""
    f = layer(padding="same", padding_mode=mode)
    for shift in [(3, 0), (0, 4), (2, -3)]:
        seen = np.zeros((8, 12), bool)
        for axis, (n, pad) in enumerate([(8, 1), (12, 2)]):
            if shift[axis]:
                ends = np.r_[np.arange(-pad, pad), np.arange(-pad, pad) + shift[axis]] % n
                np.moveaxis(seen, axis, 0)[ends] = True
        error = np.asarray(equivariance_map(f, X, shift))
        assert error.shape == (8, 12, 3)
        assert not error[~seen].any()
        # one channel may agree by chance, all of them not
        assert (error.max(-1) > 0)[seen].mean() > 0.9
        assert float(equivariance_error(f, X, [shift])[0]) == error.max()


def test_without_padding_every_shift_that_does_not_wrap():
    f = layer()
    shifts = [(0, 0), (1, 0), (0, -2), (5, 7), (-5, 3)]
    errors = equivariance_error(f, X, shifts, wrap=False)
    np.testing.assert_array_equal(errors, np.zeros(5))
    assert equivariance_map(f, X, (2, -3), wrap=False).shape == (4, 5, 3)
    # the comparison can fail: a function that depends on the position is detected
    places = jnp.arange(6.0)[:, None, None]
    assert (equivariance_error(lambda x: f(x) + places, X, shifts, wrap=False)[1:] > 0).sum() == 3


def test_stride_leaves_a_sublattice():
    f = layer(padding=((1, 0), (2, 1)), stride=(2, 3), padding_mode="circular")
    shifts = [(i, j) for i in range(-2, 5) for j in range(-3, 7)]
    errors = np.asarray(equivariance_error(f, X, shifts, stride=(2, 3)))
    on_lattice = np.array([i % 2 == 0 and j % 3 == 0 for i, j in shifts])
    np.testing.assert_array_equal(errors == 0, on_lattice)
    assert not equivariance_map(f, X, (2, -3), stride=(2, 3)).any()


def test_between_two_whole_shifts_the_nearer_one_counts():
    """Every element occurs twice, so half a shift is rounded either way."""
    pairs = jnp.repeat(jnp.array([3.0, 1, 4, 9]), 2)
    for x in (pairs, jnp.roll(pairs, 1)):
        errors = equivariance_error(lambda x: x[::2], x, [-3, -1, 1, 3], stride=2, axes=(0,))
        assert not errors.any()


def test_other_axes_other_ranks():
    x = RNG.normal(size=(2, 9, 3)).astype("float32")
    w = RNG.normal(size=(3, 3, 4)).astype("float32")

    def f(x):
        return jaxconv.conv(x, w, padding="same", padding_mode="circular")

    np.testing.assert_allclose(equivariance_error(f, x, [1, 4], axes=(1,)), 0, atol=1e-6)
    np.testing.assert_allclose(equivariance_error(f, x, [1], axes=(-2,)), 0, atol=1e-6)
    assert equivariance_error(jnp.sort, x[0, :, 0], [1], axes=(0,))[0] > 0.1


def test_a_whole_model():
    """Four strides of two in all: equivariant to shifts by 4 and to no others."""

    class Model(linen.Module):
        @linen.compact
        def __call__(self, x):
            for features in (4, 3):
                x = linen.Conv(features, (3, 3), padding="CIRCULAR")(x)
                x = linen.max_pool(linen.relu(x), (2, 2), strides=(2, 2))
            return x

    model, x = Model(), jnp.asarray(RNG.normal(size=(1, 8, 8, 1)), jnp.float32)
    parameters = model.init(jax.random.key(0), x)
    f = jax.jit(lambda x: model.apply(parameters, x))
    errors = equivariance_error(f, x, range(-4, 5), stride=4, axes=(1, 2))
    on_lattice = [shift % 4 == 0 for shift in range(-4, 5)]
    np.testing.assert_array_equal(errors < 1e-5, on_lattice)


def refused(error, message, f, *args, **kwargs):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        f(*args, **kwargs)


def test_bad_input():
    f = layer()
    refused(
        ValueError,
        "equivariance_map: shift=(1, 2) must be a multiple of stride=(2, 2): other shifts have no "
        "counterpart in the output; equivariance_error takes them",
        equivariance_map,
        f,
        X,
        (1, 2),
        stride=2,
    )
    refused(
        ValueError,
        "equivariance_error: along axis 0 x has 8 elements, not stride=1 times the 6 of f(x), so a "
        "circular shift of x is not one of f(x); use wrap=False, or padding that keeps the size",
        equivariance_error,
        f,
        X,
        [1],
    )
    refused(
        ValueError,
        "equivariance_map: a shift of the output by 6 leaves none of its 6 elements to compare "
        "along axis 0; use smaller shifts, or wrap=True",
        equivariance_map,
        f,
        X,
        (6, 0),
        wrap=False,
    )
    refused(
        ValueError,
        "equivariance_map: f(x).shape=() does not have the axes (0, 1) of x",
        equivariance_map,
        jnp.sum,
        X,
        1,
    )
    refused(
        ValueError,
        "equivariance_map: axes=(0, 3) must name axes of x (x.shape=(8, 12, 2))",
        equivariance_map,
        f,
        X,
        1,
        axes=(0, 3),
    )
    refused(
        ValueError,
        "equivariance_map: axes=(0, 0) names an axis twice",
        equivariance_map,
        f,
        X,
        1,
        axes=(0, -3),
    )
    refused(
        ValueError,
        "equivariance_error: shifts=[] must name at least one shift",
        equivariance_error,
        f,
        X,
        [],
    )
