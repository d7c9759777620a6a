"""`jaxconv.nnx` compared with `flax.nnx`: states, graphs and transforms."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as theirs
from flax_cases import CONV, CONV_TRANSPOSE, HIGHEST, assert_same, outcomes

import jaxconv
from jaxconv import nnx

EVERY = [
    *(("Conv", case) for case in CONV),
    *(("ConvTranspose", case) for case in CONV_TRANSPOSE),
]
# test_linen has the table of arguments; a few rows show that they are passed on
SOME = {"CIRCULAR", "masked", "input dilation"}


def pair(name, case):
    """Return jaxconv's layer and Flax's, from the same seed."""
    ours = case.nnx(getattr(nnx, name), theirs.Rngs(0))
    return ours, case.nnx(getattr(theirs, name), theirs.Rngs(0))


def as_function(layer):
    graph, state = theirs.split(layer)
    return lambda state, x: theirs.merge(graph, state)(x), state


@pytest.mark.parametrize(("name", "case"), EVERY, ids=lambda value: str(value))
def test_same_parameters_and_shapes_as_flax(name, case):
    ours, flax = (
        theirs.eval_shape(lambda module=module: case.nnx(getattr(module, name), theirs.Rngs(0)))
        for module in (nnx, theirs)
    )
    states = [theirs.to_pure_dict(theirs.state(layer)) for layer in (ours, flax)]
    assert states[0] == states[1]
    assert ours.kernel_shape == flax.kernel_shape
    shapes = [theirs.eval_shape(lambda m, x: m(x), m, case.inputs).shape for m in (ours, flax)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("name", "case"), [e for e in EVERY if e[1].name in SOME], ids=lambda value: str(value)
)
def test_same_initial_values_outputs_and_gradients_as_flax(name, case):
    (ours, state), (flax, expected) = map(as_function, pair(name, case))
    jax.tree.map(
        np.testing.assert_array_equal, theirs.to_pure_dict(state), theirs.to_pure_dict(expected)
    )
    assert_same(*outcomes((ours, flax), state, case.inputs))


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("into_ours", [True, False])
def test_the_state_of_either_loads_into_the_other(name, into_ours):
    case = CONV[0]
    target, source = pair(name, case) if into_ours else reversed(pair(name, case))
    theirs.update(source, jax.tree.map(lambda p: p + 0.5, theirs.state(source)))
    theirs.update(target, theirs.state(source))
    assert_same(target(case.inputs), source(case.inputs))


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
def test_constructor_arguments_are_those_of_flax(name):
    own = ("conv_general_dilated",)
    functions = ("kernel_init", "bias_init")
    flax = inspect.signature(getattr(theirs, name).__init__).parameters
    ours = inspect.signature(getattr(nnx, name).__init__).parameters
    for argument in set(flax) - set(own):
        assert ours[argument].kind == flax[argument].kind
        if argument not in functions:
            assert ours[argument].default == flax[argument].default


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
def test_metadata_reaches_the_parameters(name):
    layer = getattr(nnx, name)(
        4,
        3,
        (3, 3),
        rngs=theirs.Rngs(0),
        kernel_metadata={"role": "filter"},
        bias_metadata={"role": "offset"},
    )
    assert (layer.kernel.role, layer.bias.role) == ("filter", "offset")


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
def test_split_merge_and_jit(name):
    options = {"strides": [2, 1], "padding": [(1, 0), (2, 1)], "precision": HIGHEST}
    layer = getattr(nnx, name)(4, 3, [3, 2], **options, rngs=theirs.Rngs(0))
    x = CONV[0].inputs
    graph, state = theirs.split(layer)
    assert hash(graph) == hash(theirs.graphdef(layer))
    assert_same(theirs.merge(graph, state)(x), layer(x))
    assert_same(theirs.jit(lambda layer, x: layer(x))(layer, x), layer(x))


def test_vmapped_layers_have_parameters_of_their_own():
    @theirs.split_rngs(splits=3)
    @theirs.vmap
    def make(rngs):
        return nnx.Conv(4, 2, (3, 3), precision=HIGHEST, rngs=rngs)

    layers, x = make(theirs.Rngs(0)), CONV[0].inputs
    assert jnp.unique(layers.kernel[:, 0, 0, 0, 0]).size == 3
    y = theirs.vmap(lambda layer, x: layer(x), in_axes=(0, None))(layers, x)
    graph, state = theirs.split(layers)
    assert_same(y[2], theirs.merge(graph, jax.tree.map(lambda p: p[2], state))(x))


def test_the_arguments_flax_lacks_reach_the_convolution():
    x = CONV[0].inputs
    forward = nnx.Conv(
        4, 6, (4, 3), 2, padding=1, padding_mode="replicate", feature_group_count=2,
        use_bias=False, precision=HIGHEST, method="loops", rngs=theirs.Rngs(0),
    )  # fmt: skip
    adjoint = nnx.ConvTranspose(
        6, 4, (4, 3), 2, padding=1, padding_mode="replicate", feature_group_count=2,
        use_bias=False, precision=HIGHEST, method="loops", rngs=theirs.Rngs(0),
        transpose_kernel=True, use_consistent_padding=True, output_padding=(1, 1),
    )  # fmt: skip
    theirs.update(adjoint, theirs.state(forward))
    w = forward.kernel[...]
    options = {"stride": 2, "padding": 1, "groups": 2, "padding_mode": "replicate"}
    y = jaxconv.conv(x, w, **options, precision=HIGHEST)
    assert_same(forward(x), y)
    expected = jaxconv.conv_transpose(y, w, **options, precision=HIGHEST, output_padding=1)
    assert_same(adjoint(y), expected)
    assert "method=loops" in str(jax.make_jaxpr(forward)(x))
    assert "method=loops" in str(jax.make_jaxpr(adjoint)(y))


def test_dtypes_promote_as_in_flax():
    x = CONV[0].inputs
    for options in (
        {"dtype": jnp.bfloat16},
        {"dtype": jnp.float32, "param_dtype": jnp.float16},
        {"dtype": jnp.bfloat16, "preferred_element_type": jnp.float32},
    ):
        for name in ("Conv", "ConvTranspose"):
            ours, flax = (
                getattr(module, name)(4, 3, (3, 3), **options, rngs=theirs.Rngs(0))
                for module in (nnx, theirs)
            )
            assert ours.kernel.dtype == flax.kernel.dtype
            with jax.numpy_dtype_promotion("standard"):  # Flax adds the bias in its own dtype
                expected = jax.eval_shape(flax, x)
            assert jax.eval_shape(ours, x) == expected


def test_conv2d_starts_uniform_and_unbiased():
    layer = nnx.Conv2D((40, 50), rngs=theirs.Rngs(0))
    kernel = layer.kernel[...]
    assert (kernel.shape, layer.bias.shape, float(layer.bias[...])) == ((40, 50), (), 0.0)
    # 2000 uniform numbers: extremes and mean within four standard deviations
    assert 0 <= kernel.min() < 0.01 < 0.99 < kernel.max() < 1
    assert abs(kernel.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 2000)


def test_conv2d_learns_the_edge_of_the_chapter():
    x = jnp.ones((6, 8)).at[:, 2:6].set(0)
    y = jaxconv.corr2d(x, jnp.array([[1.0, -1.0]]))
    layer = nnx.Conv2D((1, 2), rngs=theirs.Rngs(0))
    np.testing.assert_array_equal(layer(x), jaxconv.corr2d(x, layer.kernel[...]))
    graph, state = theirs.split(layer)
    start = {"kernel": jnp.array([[0.0166553, 0.6072187]]), "bias": jnp.float32(0)}
    theirs.replace_by_pure_dict(state, start)

    @jax.jit
    def step(state):
        loss, gradient = jax.value_and_grad(
            lambda state: jnp.sum((theirs.merge(graph, state)(x) - y) ** 2)
        )(state)
        gradient["bias"] = jax.tree.map(jnp.zeros_like, gradient["bias"])  # the chapter drops it
        return loss, jax.tree.map(lambda p, g: p - 3e-2 * g, state, gradient)

    losses = []
    for _ in range(10):
        loss, state = step(state)
        losses.append(round(float(loss), 3))
    assert losses[1::2] == [11.983, 2.914, 0.859, 0.296, 0.112]


def raises(message, call):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        call()
    assert str(error.value) == message


def test_mistakes_are_told_at_construction_where_they_show():
    rngs = theirs.Rngs(0)
    raises(
        "Conv: 4 channels in and 3 out must be positive multiples of feature_group_count=2",
        lambda: nnx.Conv(4, 3, (3, 3), feature_group_count=2, rngs=rngs),
    )
    raises(
        "ConvTranspose: kernel_size=(3, -1) must be at least 1 in every dimension",
        lambda: nnx.ConvTranspose(4, 3, (3, -1), rngs=rngs),
    )
    raises(
        "Conv2D: kernel_size=(3,) has 1 entry for 2 spatial dimensions; give one integer, or 2",
        lambda: nnx.Conv2D((3,), rngs=rngs),
    )


def test_mistakes_are_told_when_called():
    rngs = theirs.Rngs(0)
    raises(
        "Conv: kernel_size=3 is ambiguous for inputs.shape=(2, 7, 8, 4); give "
        "kernel_size=(3, 3), or (3,) for a one-dimensional kernel",
        lambda: nnx.Conv(4, 3, 3, rngs=rngs)(CONV[0].inputs),
    )
    raises(
        "conv: x has 8 channels, w expects 4 (w.shape=(3, 3, 4, 3), groups=1); "
        "x.shape=(2, 4, 7, 8) looks channels-first: use jnp.moveaxis(x, 1, -1)",
        lambda: nnx.Conv(4, 3, (3, 3), rngs=rngs)(jnp.moveaxis(CONV[0].inputs, -1, 1)),
    )
    raises(
        "ConvTranspose: mask.shape=(3, 3) must be the kernel's shape (3, 3, 4, 3)",
        lambda: nnx.ConvTranspose(4, 3, (3, 3), mask=np.ones((3, 3)), rngs=rngs)(CONV[0].inputs),
    )
