"""Receptive fields by geometry, by gradients and by paths, compared with each other."""

import re
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import jaxconv
from jaxconv.analysis import Layer, influence, reach, receptive_field


def chain(layers, rank):
    """The layers as a function, with positive kernels and pooling, so that nothing cancels."""

    def apply(x):
        for layer in layers:
            kernel = jaxconv._core.geometry.spec.per_dimension("", "", layer.kernel_size, rank)
            w = jnp.ones((*kernel, 1, 1), x.dtype)
            arguments = {
                "stride": layer.stride,
                "padding": layer.padding,
                "dilation": layer.dilation,
            }
            if layer.transposed:
                extra = layer.output_padding
                x = jaxconv.conv_transpose(x, w, output_padding=extra, **arguments)
            else:
                x = jaxconv.conv(x, w, **arguments)
        return x

    return apply


def test_the_chapters_two_layers():
    """Four elements of the first layer's output, nine of the image."""
    layers = [Layer((2, 2)), Layer((2, 2))]
    one, two = (receptive_field(layers[:n], input_size=(3, 3)) for n in (1, 2))
    assert (one.size, two.size) == ((2, 2), (3, 3))
    assert (one.output_size, two.output_size) == ((2, 2), (1, 1))
    assert one.mask((0, 0)).sum() == 4
    assert two.mask((0, 0)).all()
    np.testing.assert_array_equal(one.mask((0, 0)), [[1, 1, 0], [1, 1, 0], [0, 0, 0]])
    x = jnp.arange(9.0).reshape(3, 3, 1)
    np.testing.assert_array_equal(reach(chain(layers, 2), x, (0, 0, 0))[..., 0], np.ones((3, 3)))


# Published sizes, jumps and padding: Araujo, Norris and Sim (2019), table 1 and its code.
ALEXNET = [
    Layer(11, stride=4),
    Layer(3, stride=2),
    Layer(5, padding=2),
    Layer(3, stride=2),
    Layer(3, padding=1),
    Layer(3, padding=1),
    Layer(3, padding=1),
    Layer(3, stride=2),
]
_VGG_BLOCKS = [2, 2, 3, 3, 3]
VGG16 = [
    layer
    for convolutions in _VGG_BLOCKS
    for layer in [*[Layer(3, padding=1)] * convolutions, Layer(2, stride=2)]
]


def test_published_networks():
    alexnet, vgg = receptive_field(ALEXNET), receptive_field(VGG16, input_size=(224, 224))
    assert (alexnet.size, alexnet.jump) == ((195,), (32,))
    assert (vgg.size, vgg.jump, vgg.output_size) == ((212, 212), (32, 32), (7, 7))
    assert vgg.start == (-90, -90)


kernels = st.integers(1, 4)
forward = st.builds(
    Layer,
    kernel_size=kernels,
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    padding=st.tuples(st.tuples(st.integers(-1, 3), st.integers(-1, 3))),
)
backward = st.builds(
    Layer,
    kernel_size=kernels,
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.tuples(st.tuples(st.integers(0, 1), st.integers(0, 1))),
    transposed=st.just(True),
)


@settings(deadline=None)
@given(st.lists(forward, min_size=1, max_size=5))
def test_closed_form_of_chains_without_transposed_layers(layers):
    """The sums of Araujo, Norris and Sim, computed from the first layer on."""
    size, jump, start = 1, 1, 0
    for layer in layers:
        size += (layer.kernel_size - 1) * layer.dilation * jump
        start -= layer.padding[0][0] * jump
        jump *= layer.stride
    field = receptive_field(layers)
    assert (field.size, field.jump, field.start) == ((size,), (jump,), (start,))
    for index in (0, 1, 7):
        first = start + index * jump
        assert field.span(index) == ((first, first + size - 1),)


def connections(layers, n):
    """Boolean (outputs, inputs) of a chain in one dimension, as a product over layers."""
    whole = np.eye(n, dtype=bool)
    for layer in layers:
        (lo, hi), s, d, k = layer.padding[0], layer.stride, layer.dilation, layer.kernel_size
        span = (k - 1) * d + 1
        m = (n - 1) * s + span - lo - hi if layer.transposed else (n + lo + hi - span) // s + 1
        assume(m >= 1)
        # the forward layer whose rows are t; a transposed one is its transpose
        outputs, inputs = (n, m) if layer.transposed else (m, n)
        one = np.zeros((outputs, inputs), bool)
        for t in range(outputs):
            for position in (t * s + tap * d - lo for tap in range(k)):
                if 0 <= position < inputs:
                    one[t, position] = True
        one = one.T if layer.transposed else one
        whole, n = one @ whole, m
    return whole


@settings(deadline=None)
@given(st.lists(forward | backward, min_size=1, max_size=4), st.integers(4, 12))
def test_exact_elements_of_any_chain(layers, n):
    seen = connections(layers, n)
    field = receptive_field(layers, input_size=n)
    assert field.output_size == (len(seen),)
    for index, row in enumerate(seen):
        np.testing.assert_array_equal(field.mask(index), row)


@settings(deadline=None, max_examples=12)
@given(st.lists(forward | backward, min_size=1, max_size=3), st.data())
def test_gradients_and_paths_agree_with_the_integers(layers, data):
    n = 9
    shape = connections(layers, n).shape
    field = receptive_field(layers, input_size=n)
    index = data.draw(st.integers(0, shape[0] - 1))
    f, x = chain(layers, 1), jnp.linspace(-1, 1, n)[:, None]
    mask = field.mask(index)
    np.testing.assert_array_equal(influence(f, x, (index, 0), probes=1).reached[:, 0], mask)
    np.testing.assert_array_equal(reach(f, x, (index, 0))[:, 0], mask)


def test_two_dimensions_that_differ():
    layers = [
        Layer((3, 2), stride=(2, 1), padding=(1, 0)),
        Layer((2, 3), dilation=(1, 2), padding="same"),
        Layer((2, 3), stride=(2, 3), transposed=True, output_padding=(1, 0)),
    ]
    field = receptive_field(layers, input_size=(7, 6))
    f, x = chain(layers, 2), jnp.ones((7, 6, 1))
    assert f(x).shape == (*field.output_size, 1)
    assert field.jump == (1, Fraction(1, 3))
    for index in [(0, 0), (4, 7)]:
        np.testing.assert_array_equal(reach(f, x, (*index, 0))[..., 0], field.mask(index))


def test_padding_share():
    """A 3x3 layer with padding 1: a third of a corner's field is padding along each dimension."""
    field = receptive_field([Layer((3, 3), padding=1)], input_size=(4, 6))
    assert field.padding_share((0, 3)) == pytest.approx((1 / 3, 0))
    assert field.padding_share() == pytest.approx((2 / 3 / 4, 2 / 3 / 6))
    # padding of an inner layer is not part of the image either, though its field covers pixels
    deep = receptive_field([Layer(1), Layer(2, padding=((0, 1),)), Layer(1)], input_size=4)
    assert deep.padding_share(3) == (0.5,)
    assert receptive_field([Layer(3)], input_size=5).padding_share() == (0,)


def test_strided_same_needs_the_size():
    layers = [Layer(3, stride=2, padding="same")]
    assert receptive_field(layers, input_size=8).start == (0,)
    assert receptive_field(layers, input_size=9).start == (-1,)
    assert receptive_field([Layer(4, padding="same_lower")]).start == (-2,)
    assert receptive_field([Layer(4, padding="causal")]).start == (-3,)


class Model(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Conv(4, (3, 3), padding=1)(x))
        x = linen.max_pool(x, (2, 2), strides=(2, 2))
        x = linen.relu(linen.Conv(4, (3, 3), strides=2, padding=((1, 1), (1, 1)))(x))
        return linen.Conv(2, (2, 2), kernel_dilation=2, padding="VALID")(x)


MODEL_LAYERS = [
    Layer((3, 3), padding=1),
    Layer((2, 2), stride=2),
    Layer((3, 3), stride=2, padding=1),
    Layer((2, 2), dilation=2),
]


def test_a_whole_linen_model():
    """Probes find inputs whose gradient is hidden by ReLU or pooling, and nothing else."""
    model, x = Model(), jnp.zeros((1, 20, 16, 1))
    parameters = model.init(jax.random.key(0), x)
    f = jax.jit(lambda x: model.apply(parameters, x))
    field = receptive_field(MODEL_LAYERS, input_size=(20, 16))
    assert f(x).shape[1:3] == field.output_size
    index = (1, 0)
    mask = field.mask(index)
    one, many = (influence(f, x, (0, *index), probes=probes) for probes in (1, 64))
    # at x = 0 only, every tie of the pooling goes to the first element
    assert not one.reached[0, ..., 0][~mask].any()
    assert int(one.reached.sum()) < mask.sum()
    np.testing.assert_array_equal(many.reached[0, ..., 0], mask)
    np.testing.assert_array_equal(reach(f, x, (0, *index))[0, ..., 0], mask)
    assert 0 < int(many.effective_count(0.5)) < mask.sum()


def test_an_nnx_model():
    layer = nnx.Conv(1, 1, (3, 5), padding="SAME", rngs=nnx.Rngs(0))
    field = receptive_field([Layer((3, 5), padding="same")], input_size=(6, 7))
    seen = influence(layer, jnp.zeros((1, 6, 7, 1)), (0, 0, 3, 0))
    np.testing.assert_array_equal(seen.reached[0, ..., 0], field.mask((0, 3)))


def test_the_effective_field_is_the_gradient():
    """Kernels of ones, convolved n times, have known weights (Luo et al., section 2.2)."""
    layers = [Layer(3)] * 4
    seen = influence(chain(layers, 1), jnp.zeros((9, 1)), (0, 0), probes=3)
    want = np.ones(1)
    for _ in layers:
        want = np.convolve(want, np.ones(3))
    np.testing.assert_allclose(seen.magnitude[:, 0], want, rtol=1e-6)
    assert int(seen.effective_count(0.5)) == 5
    assert int(seen.effective_count()) == 9


def test_several_outputs_do_not_cancel():
    x = jnp.ones(4)
    seen = influence(lambda x: jnp.stack([x, -x]), x, (slice(None), 1))
    np.testing.assert_array_equal(seen.reached, [0, 1, 0, 0])
    np.testing.assert_array_equal(reach(lambda x: jnp.stack([x, -x]), x, ...), np.ones(4))


def test_what_is_missed_is_as_documented():
    x = jnp.array([3.0, -1, 2])
    assert not influence(jnp.sign, x, 0).reached.any()
    assert not influence(lambda x: jax.lax.stop_gradient(x), x, 0).reached.any()
    assert reach(lambda x: jax.lax.stop_gradient(x), x, 0)[0]
    # a product with zero is also a connection
    assert not influence(lambda x: 0 * x, x, 0).reached.any()
    assert reach(lambda x: 0 * x, x, 0)[0]


def refused(error, message, f, *args, **kwargs):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        f(*args, **kwargs)


def test_bad_input():
    refused(
        TypeError,
        "receptive_field: 3 is not a Layer; use Layer(kernel_size, stride=..., padding=..., "
        "dilation=...)",
        receptive_field,
        [3],
    )
    refused(
        ValueError, "receptive_field: layers=[] must have at least one layer", receptive_field, []
    )
    refused(
        ValueError,
        "receptive_field: layer 2: the kernel spans (3,) elements (kernel_size=(3,), "
        "dilation=(1,)), but the padded input has (2,) (size (2,), padding=((0, 0),)); use a "
        "smaller kernel, or (1,) more elements of padding",
        receptive_field,
        [Layer(3), Layer(3)],
        input_size=4,
    )
    refused(
        ValueError,
        "receptive_field: layer 1: padding='same' with stride=2 depends on the input's size; "
        "give it: receptive_field(layers, input_size=...)",
        receptive_field,
        [Layer(3, stride=2, padding="same")],
    )
    refused(
        ValueError,
        "receptive_field: layer 1: output_padding=1 needs transposed=True",
        receptive_field,
        [Layer(3, stride=2, output_padding=1)],
    )
    refused(
        ValueError,
        "indices: index=(6,) lies outside the output's (6,)",
        lambda: receptive_field([Layer(3)], input_size=8).mask(6),
    )
    refused(
        ValueError,
        "indices: which elements are padding depends on the input's size; give it: "
        "receptive_field(layers, input_size=...)",
        receptive_field([Layer(3)]).indices,
        0,
    )
    refused(
        ValueError,
        "span: the field of output (1,) is empty along dimension 0",
        receptive_field([Layer(1, stride=2, transposed=True)]).span,
        1,
    )
    refused(
        TypeError,
        "influence: x is int32, but only floats have derivatives",
        influence,
        jnp.sin,
        jnp.arange(3),
        0,
    )
    refused(
        TypeError,
        "influence: f(x) is int32, but only floats have derivatives",
        influence,
        jnp.argsort,
        jnp.ones(3),
        0,
    )
    refused(
        ValueError,
        "influence: index=(0, 3) does not lie in f(x), whose shape is (2, 3)",
        influence,
        jnp.sin,
        jnp.ones((2, 3)),
        (0, 3),
    )
    refused(
        ValueError,
        "reach: index=7 does not lie in f(x), whose shape is (3,)",
        reach,
        jnp.sin,
        jnp.ones(3),
        7,
    )
    refused(
        ValueError,
        "influence: probes=0 must be at least 1",
        influence,
        jnp.sin,
        jnp.ones(3),
        0,
        probes=0,
    )
