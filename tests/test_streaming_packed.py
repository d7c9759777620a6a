"""Rows of several lengths and rows of several segments, in one piece and in several."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering import some
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads
from streaming_cases import LAYERS, causal, integers, layer, rows, transposed, transposed_layer

from jaxconv import causal_conv1d, causal_conv_transpose1d

BOTH = {
    "causal_conv1d": (causal_conv1d, causal, layer),
    "causal_conv_transpose1d": (causal_conv_transpose1d, transposed, transposed_layer),
}
# up to nine elements of three segments a row, which begin elsewhere in every row
IDS = np.array([[0, 0, 1, 1, 1, 2, 2, 2, 2], [5, 5, 5, 5, 3, 4, 4, 4, 4]])


def ids_of(x):
    ids = IDS[: x.shape[0] if x.ndim > 2 else 1, : x.shape[-2]]
    return ids.reshape(x.shape[:-1])


@pytest.mark.cover
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("function", BOTH)
def test_no_output_sees_another_segment(function, name):
    call, definition, make = BOTH[function]
    x, w, b, how = make(name)
    ids = ids_of(x)
    y, state = jax.jit(functools.partial(call, **how))(x, w, b, segment_ids=ids)
    np.testing.assert_array_equal(y, rows(definition, x, w, b, ids, **how))
    plain, last = call(x, w, b, **how)
    own = ids[..., x.shape[-2] - last.shape[-2] :] == ids[..., -1:]
    np.testing.assert_array_equal(state, np.where(own[..., None], last, 0))
    assert np.array_equal(y, plain) == (last.shape[-2] == 0)  # without memory nothing is seen


@pytest.mark.parametrize("function", BOTH)
def test_nan_stays_in_its_segment(function):
    call, _, make = BOTH[function]
    x, w, b, how = make("dense")
    x[:, 2:5] = np.nan  # a whole segment of the first row
    ids = ids_of(x)[:1]
    y, state = call(x[:1], w, b, segment_ids=ids, **how)
    assert np.isnan(y).any(axis=(0, 2)).tolist() == [i == 1 for i in ids[0]]
    assert not np.isnan(state).any()


@pytest.mark.parametrize("function", some(BOTH, "causal_conv1d"))
def test_segments_in_pieces(function):
    """The state belongs to the first segment; where another begins with the piece, it is zero."""
    call, definition, make = BOTH[function]
    x, w, b, how = make("grouped and dilated")
    ids = ids_of(x)
    call = functools.partial(call, **how)
    cut = 4  # in the first row within a segment, in the second between two
    head, state = call(x[..., :cut, :], w, b, segment_ids=ids[..., :cut])
    goes_on = ids[..., cut - 1] == ids[..., cut]
    assert sorted(goes_on.ravel()) == [False, True]
    state = jnp.where(goes_on[..., None, None], state, 0)
    tail, last = call(x[..., cut:, :], w, b, state=state, segment_ids=ids[..., cut:])
    np.testing.assert_array_equal(
        jnp.concatenate([head, tail], -2), rows(definition, x, w, b, ids, **how)
    )
    np.testing.assert_array_equal(last, call(x, w, b, segment_ids=ids)[1])


@pytest.mark.parametrize("function", some(BOTH, "causal_conv1d"))
def test_lengths(function):
    """Each row as it would be by itself, and pieces of it that go on from its state."""
    call, _, make = BOTH[function]
    name = "dense" if function == "causal_conv1d" else "strided"
    x, w, b, how = make(name)
    call = functools.partial(call, **how)
    lengths, stride = np.array([2, 5]), how["stride"] if function != "causal_conv1d" else 1
    padded = np.where(np.arange(x.shape[1])[:, None] < lengths[:, None, None], x, np.nan)
    y, state = jax.jit(call)(padded, w, b, lengths=lengths)
    for row, length in enumerate(lengths):
        want, last = call(x[row, :length], w, b)
        np.testing.assert_array_equal(y[row, : length * stride], want)
        np.testing.assert_array_equal(state[row], last)
    step = integers(2, 1, x.shape[-1], seed=8)
    y, _ = call(step, w, b, state=state)
    for row, length in enumerate(lengths):
        want, _ = call(np.concatenate([x[row, :length], step[row]]), w, b)
        np.testing.assert_array_equal(y[row], want[-stride:])


@pytest.mark.parametrize("lengths", [[0, 9], [-3, 99]])
def test_lengths_at_the_ends(lengths):
    """None leaves the state as it is; what is beyond the ends counts as the end."""
    x, w, b, how = layer("dense")
    before = integers(2, 2, 3, seed=9)
    _, state = causal_conv1d(x, w, b, state=before, lengths=np.array(lengths), **how)
    np.testing.assert_array_equal(state, np.stack([before[0], x[1, -2:]]))


@pytest.mark.parametrize("function", some(BOTH, "causal_conv_transpose1d"))
def test_lengths_of_segments(function):
    call, _, make = BOTH[function]
    x, w, b, how = make("grouped and dilated")
    before = integers(*call(x, w, **how)[1].shape, seed=9)
    ids, lengths = ids_of(x), np.array([[4], [0]])
    call = functools.partial(call, w=w, b=b, **how)
    _, state = call(x, state=before, segment_ids=ids, lengths=lengths)
    for row, length in ((0, 4), (1, 0)):
        at = (row, 0)
        piece = {"state": before[at], "segment_ids": ids[at][:length]}
        np.testing.assert_array_equal(state[at], call(x[at][:length], **piece)[1])


@pytest.mark.parametrize("function", some(BOTH, "causal_conv_transpose1d"))
def test_gradients_and_vmap(function):
    call, _, make = BOTH[function]
    x, w, b, how = make("depthwise")
    ids, lengths = ids_of(x), np.array([3, 6])
    state = integers(*call(x, w, **how)[1].shape, seed=9)

    def f(x, w, state, ids=ids, lengths=lengths):
        return call(x, w, b, state=state, segment_ids=ids, lengths=lengths, **how)

    check_grads(jax.jit(f), (x, w, state), order=1, modes=("fwd", "rev"), eps=1.0, rtol=1e-3)
    mapped = jax.vmap(lambda x, s, ids, n: f(x, w, s, ids, n))(x, state, ids, lengths)
    for found, want in zip(mapped, f(x, w, state), strict=True):
        np.testing.assert_array_equal(found, want)


def test_what_is_not_an_input_has_no_gradient():
    """Not even where it is NaN, as buffers hold it."""
    x, w, b, how = layer("dense")
    x[0, 4:] = np.nan
    lengths = np.array([4, 9])

    def loss(x, w):
        y, _ = causal_conv1d(x, w, b, lengths=lengths, **how)
        return jnp.where((np.arange(9) < lengths[:, None])[..., None], jnp.square(y), 0).sum()

    dx, dw = jax.grad(loss, (0, 1))(x, w)
    assert not np.isnan(dx).any()
    assert not np.isnan(dw).any()
    assert not np.asarray(dx)[0, 4:].any()


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
@pytest.mark.parametrize("function", BOTH)
def test_integers_of_any_width_under_strict_promotion(function, dtype):
    call, _, make = BOTH[function]
    x, w, b, how = make("dense")
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        more = {"segment_ids": ids_of(x).astype(dtype), "lengths": np.array([3, 6], dtype)}
        found = call(x, w, b, **more, **how)
    want = call(x, w, b, segment_ids=ids_of(x), lengths=np.array([3, 6]), **how)
    jax.tree.map(np.testing.assert_array_equal, found, want)


@pytest.mark.parametrize("function", some(BOTH, "causal_conv_transpose1d"))
def test_on_explicit_meshes(function):
    call, _, make = BOTH[function]
    x, w, b, how = make("dense")
    more = {"segment_ids": ids_of(x), "lengths": np.array([3, 6])}
    want = call(x, w, b, **more, **how)
    mesh = jax.make_mesh((2,), ("a",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
    with jax.set_mesh(mesh):
        place = lambda array: jax.device_put(array, NamedSharding(mesh, P("a")))
        found = call(place(x), w, b, **jax.tree.map(place, more), **how)
    assert jax.typeof(found[0]).sharding.spec == P("a", None, None)
    jax.tree.map(np.testing.assert_array_equal, found, want)
