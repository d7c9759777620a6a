"""Transposed convolutions of a sequence in pieces: the definition, and the whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from streaming_cases import LAYERS, integers, rows, split, transposed, transposed_layer

from jaxconv import causal_conv_transpose1d, conv_transpose


def memory_of(w, how):
    return (w.shape[0] - 1) * how["dilation"] // how["stride"]


@pytest.mark.parametrize("name", LAYERS)
def test_at_once_is_the_definition_and_the_transposed_convolution(name):
    y, w, b, how = transposed_layer(name)
    x, state = causal_conv_transpose1d(y, w, b, **how)
    np.testing.assert_array_equal(x, rows(transposed, y, w, b, **how))
    after = (w.shape[0] - 1) * how["dilation"] + 1 - how["stride"]
    np.testing.assert_array_equal(x, conv_transpose(y, w, b, padding=((0, after),), **how))
    np.testing.assert_array_equal(state, y[..., y.shape[-2] - memory_of(w, how) :, :])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(LAYERS)), st.lists(st.integers(0, 6), max_size=4))
def test_any_pieces(name, cuts):
    y, w, b, how = transposed_layer(name)

    @jax.jit
    def both(y, pieces, w, b):
        outputs, state = [], None
        for piece in pieces:
            x, state = causal_conv_transpose1d(piece, w, b, state=state, **how)
            outputs.append(x)
        return causal_conv_transpose1d(y, w, b, **how), (jnp.concatenate(outputs, -2), state)

    (whole, last), (x, state) = both(y, split(y, cuts), w, b)
    np.testing.assert_array_equal(x, whole)
    np.testing.assert_array_equal(state, last)


@pytest.mark.parametrize("name", ["strided", "strided, depthwise and dilated"])
def test_one_element_at_a_time_under_scan(name):
    y, w, b, how = transposed_layer(name)
    whole, last = causal_conv_transpose1d(y, w, b, **how)

    @jax.jit
    def run(y):
        def step(state, y_t):
            x, state = causal_conv_transpose1d(y_t[..., None, :], w, b, state=state, **how)
            return state, x

        state = jnp.zeros((*y.shape[:-2], memory_of(w, how), y.shape[-1]))
        state, x = jax.lax.scan(step, state, jnp.moveaxis(y, -2, 0))
        return jnp.moveaxis(x, 0, -3).reshape(whole.shape), state

    for found, want in zip(run(y), (whole, last), strict=True):
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("name", ["strided", "grouped and dilated"])
def test_gradients(name):
    y, w, b, how = transposed_layer(name)
    state = integers(*y.shape[:-2], memory_of(w, how), y.shape[-1], seed=9)
    f = jax.jit(lambda y, w, state: causal_conv_transpose1d(y, w, b, state=state, **how))
    check_grads(f, (y, w, state), order=1, modes=("fwd", "rev"), eps=1.0, rtol=1e-3)


def test_no_output_sees_the_future():
    y, w, b, how = transposed_layer("strided")
    changed = y.copy()
    changed[..., 3, :] = np.nan
    x, _ = causal_conv_transpose1d(changed, w, b, **how)
    seen = np.isnan(x).any(axis=(0, 2))
    assert seen.tolist() == [False] * 6 + [True] * 4 + [False] * 2


def test_under_vmap_over_sequences_and_states():
    y, w, b, how = transposed_layer("strided")
    state = integers(*y.shape[:-2], memory_of(w, how), y.shape[-1], seed=9)
    f = lambda y, state: causal_conv_transpose1d(y, w, b, state=state, **how)
    for found, want in zip(jax.vmap(f)(y, state), f(y, state), strict=True):
        np.testing.assert_array_equal(found, want)


def test_sums_in_pieces_are_rounded_once():
    y, w, _, how = transposed_layer("strided")
    y, w = (jnp.asarray(array / 7, jnp.bfloat16) for array in (y, w))
    call = functools.partial(causal_conv_transpose1d, method="loops", **how)
    whole, _ = call(y, w)
    head, state = call(y[..., :3, :], w)
    tail, last = call(y[..., 3:, :], w, state=state)
    assert (whole.dtype, state.dtype, last.dtype) == ("bfloat16",) * 3
    np.testing.assert_array_equal(jnp.concatenate([head, tail], -2), whole)


def test_of_nothing():
    w = np.ones((4, 3, 2), "float32")
    x, state = causal_conv_transpose1d(np.ones((2, 0, 2), "float32"), w, stride=2)
    assert (x.shape, state.shape) == ((2, 0, 3), (2, 1, 2))
    x, state = causal_conv_transpose1d(np.ones((0, 5, 2), "float32"), w, stride=2)
    assert (x.shape, state.shape) == ((0, 10, 3), (0, 1, 2))
