"""A sequence in pieces gives what the sequence at once gives."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from streaming_cases import LAYERS, causal, integers, layer, rows, split

from jaxconv import Policy, causal_conv1d, conv


def in_pieces(pieces, w, b, how, state=None):
    outputs = []
    for piece in pieces:
        y, state = causal_conv1d(piece, w, b, state=state, **how)
        outputs.append(y)
    return jnp.concatenate(outputs, axis=-2), state


@pytest.mark.parametrize("name", LAYERS)
def test_at_once_is_the_causal_convolution(name):
    x, w, b, how = layer(name)
    y, state = causal_conv1d(x, w, b, **how)
    want = rows(causal, x, w, b, **how)
    np.testing.assert_array_equal(y, want)
    groups = x.shape[-1] // w.shape[1]
    np.testing.assert_array_equal(conv(x, w, b, padding="causal", groups=groups, **how), want)
    time = x.shape[-2]
    kept = (w.shape[0] - 1) * how["dilation"] + time % how["stride"]
    np.testing.assert_array_equal(state, x[..., time - kept :, :])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(LAYERS)), st.lists(st.integers(0, 9), max_size=5))
def test_any_pieces(name, cuts):
    """Pieces of any length: shorter than the memory, and of no length at all."""
    x, w, b, how = layer(name)
    pieces = split(x, cuts)

    @jax.jit
    def both(x, pieces, w, b):
        return causal_conv1d(x, w, b, **how), in_pieces(pieces, w, b, how)

    (whole, last), (y, state) = both(x, pieces, w, b)
    np.testing.assert_array_equal(y, whole)
    np.testing.assert_array_equal(state, last)


@pytest.mark.parametrize("name", [name for name in LAYERS if "strid" not in name])
def test_one_element_at_a_time_under_scan(name):
    """The state keeps its shape and dtype, so that it can be a scan's carry."""
    x, w, b, how = layer(name)
    whole, last = causal_conv1d(x, w, b, **how)

    @jax.jit
    def run(x):
        def step(state, x_t):
            y, state = causal_conv1d(x_t[..., None, :], w, b, state=state, **how)
            return state, y[..., 0, :]

        memory = (w.shape[0] - 1) * how["dilation"]
        state = jnp.zeros((*x.shape[:-2], memory, x.shape[-1]))
        state, y = jax.lax.scan(step, state, jnp.moveaxis(x, -2, 0))
        return jnp.moveaxis(y, 0, -2), state

    y, state = run(x)
    np.testing.assert_array_equal(y, whole)
    np.testing.assert_array_equal(state, last)


@pytest.mark.parametrize("name", ["strided", "stride beyond the kernel"])
def test_pieces_of_the_stride_under_scan(name):
    x, w, b, how = layer(name, time=12)
    stride = how["stride"]
    whole, last = causal_conv1d(x, w, b, **how)

    @jax.jit
    def run(x):
        step = lambda state, piece: causal_conv1d(piece, w, b, state=state, **how)[::-1]
        pieces = jnp.moveaxis(x.reshape(*x.shape[:-2], -1, stride, x.shape[-1]), -3, 0)
        state = jnp.zeros((*x.shape[:-2], w.shape[0] - 1, x.shape[-1]))
        state, y = jax.lax.scan(step, state, pieces)
        return jnp.moveaxis(y, 0, -3).reshape(whole.shape), state

    y, state = run(x)
    np.testing.assert_array_equal(y, whole)
    np.testing.assert_array_equal(state, last)


@pytest.mark.parametrize("name", ["depthwise", "grouped and dilated", "strided"])
def test_gradients_flow_through_the_state(name):
    x, w, b, how = layer(name)
    dy = integers(*causal_conv1d(x, w, **how)[0].shape, seed=7)

    def at_once(x, w, b):
        return (causal_conv1d(x, w, b, **how)[0] * dy).sum()

    def piecewise(x, w, b):
        head, state = causal_conv1d(x[..., :2, :], w, b, **how)
        middle, state = causal_conv1d(x[..., 2:3, :], w, b, state=state, **how)
        tail, _ = causal_conv1d(x[..., 3:, :], w, b, state=state, **how)
        return (jnp.concatenate([head, middle, tail], axis=-2) * dy).sum()

    once = jax.jit(jax.grad(at_once, (0, 1, 2)))(x, w, b)
    pieces = jax.jit(jax.grad(piecewise, (0, 1, 2)))(x, w, b)
    for got, want in zip(pieces, once, strict=True):
        np.testing.assert_array_equal(got, want)
    assert any(np.abs(want).max() > 0 for want in once)


def test_the_gradient_in_the_state_itself():
    x, w, b, _ = layer("depthwise")
    state = integers(2, 3, 4, seed=9)
    f = functools.partial(causal_conv1d, w=w, b=b)
    check_grads(
        jax.jit(lambda x, state: f(x, state=state)),
        (x, state),
        order=1,
        modes=("fwd", "rev"),
        eps=1.0,
    )


def test_under_vmap_over_sequences_and_states():
    x, w, b, _ = layer("depthwise")
    state = integers(2, 3, 4, seed=9)
    f = lambda x, state: causal_conv1d(x, w, b, state=state)
    y, after = jax.vmap(f)(x, state)
    want, last = f(x, state)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(after, last)


def test_no_output_sees_the_future():
    x, w, b, how = layer("grouped and dilated")
    y, _ = causal_conv1d(x, w, b, **how)
    changed = x.copy()
    changed[..., 5, :] += 1
    other, _ = causal_conv1d(changed, w, b, **how)
    moved = np.any(np.asarray(y) != np.asarray(other), axis=(0, 1, 3))
    assert moved.tolist() == [False] * 5 + [True] + [False] * 2 + [True]


@pytest.mark.parametrize("dtype", ["bfloat16", "int32", "complex64"])
def test_dtypes_are_kept_even_of_nothing(dtype):
    x, w = np.ones((2, 0, 3), jnp.dtype(dtype)), np.ones((4, 1, 3), jnp.dtype(dtype))
    y, state = causal_conv1d(x, w)
    assert (y.shape, y.dtype) == ((2, 0, 3), dtype)
    assert (state.shape, state.dtype) == ((2, 3, 3), dtype)
    y, state = causal_conv1d(np.ones((2, 2, 3), jnp.dtype(dtype)), w, state=state)
    assert np.asarray(y)[0, :, 0].tolist() == [1, 2]
    assert (y.dtype, state.dtype) == (dtype, dtype)


@pytest.mark.parametrize("batch", [(0,), (), (1, 2)])
def test_any_batch(batch):
    y, state = causal_conv1d(np.ones((*batch, 5, 2), "float32"), np.ones((3, 2, 1), "float32"))
    assert y.shape == (*batch, 5, 1)
    assert state.shape == (*batch, 2, 2)


def test_forgetting_the_state_is_seen():
    """So that the comparison of pieces says something."""
    x, w, b, how = layer("dense")
    whole, _ = causal_conv1d(x, w, b, **how)
    parts = [causal_conv1d(piece, w, b)[0] for piece in np.split(x, [4], axis=-2)]
    assert not np.array_equal(np.concatenate(parts, axis=-2), whole)


def test_numerics_are_those_of_conv():
    x, w, b, _ = layer("strided")
    half = [array.astype("bfloat16") for array in (x, w, b)]
    y, state = causal_conv1d(*half, preferred_element_type="float32")
    assert (y.dtype, state.dtype) == ("float32", "bfloat16")
    policy = Policy()
    how = {"method": "loops", "policy": policy, "precision": "highest"}
    text = str(jax.make_jaxpr(functools.partial(causal_conv1d, **how))(x, w, b))
    assert all(part in text for part in ("method=loops", "policy=Policy", "HIGHEST"))


@pytest.mark.parametrize(("name", "method"), [("dense", "lax"), ("depthwise", "taps")])
def test_a_single_output_is_left_to_xla(name, method):
    """The one that goes on from a state, unless a method or a policy is given."""
    x, w, _, how = layer(name, time=1)
    state = integers(*x.shape[:-2], w.shape[0] - 1, x.shape[-1])

    def taken(**more):
        call = functools.partial(causal_conv1d, **how, **more)
        text = str(jax.make_jaxpr(lambda x, w, state: call(x, w, state=state))(x, w, state))
        return re.search(r"method=(\w+)", text)[1]

    assert taken() == method
    assert taken(policy=Policy()) == "auto"
    assert taken(method="loops") == "loops"
