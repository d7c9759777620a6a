"""`ConvLocal` beside Flax's, loops, `jaxconv.conv` and one dense product a group."""

import dataclasses
import inspect
import itertools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx
from flax_cases import CONV, HIGHEST, IMAGE, assert_same, outcomes

import jaxconv
from jaxconv import linen, nnx

KEY = jax.random.key(0)
# lax takes no names with input_dilation, and Flax's local layer has no groups
FLAX_HAS = [
    case
    for case in CONV
    if "feature_group_count" not in case.arguments and "mask" not in case.arguments
]
MODES = ("zeros", "reflect", "symmetric", "replicate", "circular")


def random_like(tree):
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), tree)


def made(layer, x):
    return random_like(jax.eval_shape(layer.init, KEY, x))


def in_nnx(layer, shape):
    """The NNX layer of a Linen layer's arguments."""
    own = ("parent", "name", "features", "kernel_size")
    arguments = {
        field.name: getattr(layer, field.name)
        for field in dataclasses.fields(layer)
        if field.name not in own
    }
    promote = arguments.pop("promote_dtype")
    assert promote is flax.linen.dtypes.promote_dtype
    rank = len(np.atleast_1d(layer.kernel_size))
    return nnx.ConvLocal(
        shape[-1],
        layer.features,
        layer.kernel_size,
        input_size=shape[-rank - 1 : -1],
        rngs=flax_nnx.Rngs(0),
        **arguments,
    )


@pytest.mark.parametrize("case", FLAX_HAS, ids=str)
def test_same_parameters_outputs_and_gradients_as_flax(case):
    ours, theirs = case.linen(linen.ConvLocal), case.linen(flax.linen.ConvLocal)
    shapes = jax.eval_shape(theirs.init, KEY, case.inputs)
    assert jax.eval_shape(ours.init, KEY, case.inputs) == shapes
    assert_same(*outcomes((ours.apply, theirs.apply), random_like(shapes), case.inputs))


@pytest.mark.cover(case=lambda case: {len(case.x), *case.arguments})
@pytest.mark.parametrize("case", CONV, ids=str)
def test_nnx_is_linen(case):
    case = dataclasses.replace(case, arguments={**case.arguments, "mask": None})
    layer = case.linen(linen.ConvLocal)
    variables = made(layer, case.inputs)
    other = in_nnx(layer, case.x)
    assert jax.tree.map(jnp.shape, flax_nnx.to_pure_dict(flax_nnx.state(other))) == jax.tree.map(
        jnp.shape, variables["params"]
    )
    for name, value in variables["params"].items():
        getattr(other, name)[...] = value
    assert other.kernel_shape == other.kernel.shape
    np.testing.assert_array_equal(other(case.inputs), layer.apply(variables, case.inputs))


@pytest.mark.cover
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("groups", [1, 2])
def test_equal_kernels_are_a_convolution(mode, groups):
    """The kernel of `jaxconv.conv`, channels before positions, repeated: with every mode."""
    x = CONV[0].inputs
    options = {"padding": ((1, 2), (2, -1)), "padding_mode": mode, "precision": HIGHEST}
    layer = linen.ConvLocal(
        6, (3, 4), strides=(1, 2), feature_group_count=groups, use_bias=False, **options
    )
    kernel = np.random.default_rng(2).normal(size=(3, 4, 4 // groups, 6)).astype("float32")
    shape = jax.eval_shape(layer.init, KEY, x)["params"]["kernel"].shape
    assert shape == (8, 3, 48 // groups, 6)

    def local(kernel, x):
        entries = jnp.moveaxis(kernel, 2, 0).reshape(-1, 6)
        return layer.apply({"params": {"kernel": jnp.broadcast_to(entries, shape)}}, x)

    def shared(kernel, x):
        return jaxconv.conv(x, kernel, stride=(1, 2), groups=groups, **options)

    assert_same(*outcomes((local, shared), kernel, x))


def test_beside_loops():
    x = CONV[0].inputs
    layer = linen.ConvLocal(
        6, (3, 2), strides=(2, 1), padding=1, kernel_dilation=(1, 2), feature_group_count=2,
        precision=HIGHEST,
    )  # fmt: skip
    variables = made(layer, x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    want = np.zeros((2, 4, 8, 6), "float32")
    for row, column, feature in itertools.product(range(4), range(8), range(6)):
        group = feature // 3
        window = padded[
            :, 2 * row : 2 * row + 3, column : column + 3 : 2, 2 * group : 2 * group + 2
        ]
        entries = window.transpose(0, 3, 1, 2).reshape(2, -1)  # channels before positions
        want[:, row, column, feature] = entries @ kernel[row, column, :, feature]
    assert_same(layer.apply(variables, x), want + bias)


def test_begins_where_flax_begins_and_as_its_initialiser_says():
    x = CONV[0].inputs
    ours, theirs = (face.ConvLocal(3, (3, 3)).init(KEY, x) for face in (linen, flax.linen))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    x = np.ones((1, 32, 32, 4), "float32")
    every = linen.ConvLocal(8, (3, 3))
    window = every.clone(kernel_init=jax.nn.initializers.lecun_normal(batch_axis=(0, 1)))
    for layer, inputs in ((every, 36 * 32 * 32), (window, 36)):
        kernel = layer.init(KEY, x)["params"]["kernel"]
        assert abs(float(kernel.var()) * inputs - 1) < 0.05


def test_constructor_arguments_are_those_of_flax():
    def arguments(module):
        own = ("parent", "name", "conv_general_dilated", "conv_general_dilated_cls")
        return [
            (f.name, None if f.name.endswith("_init") else f.default)
            for f in dataclasses.fields(module)
            if f.name not in own and not f.kw_only
        ]

    assert arguments(linen.ConvLocal) == arguments(flax.linen.ConvLocal)
    conv, local = (
        inspect.signature(layer.__init__).parameters for layer in (nnx.Conv, nnx.ConvLocal)
    )
    assert set(conv) - set(local) == {"method", "policy"}
    assert set(local) - set(conv) == {"input_size"}
    assert not hasattr(flax_nnx, "ConvLocal")  # whose arguments these would be


def test_mask():
    x = CONV[0].inputs
    mask = (np.arange(7 * 8 * 36 * 3).reshape(7, 8, 36, 3) % 3 > 0).astype("float32")
    layer = linen.ConvLocal(3, (3, 3), mask=mask, precision=HIGHEST)
    variables = made(layer, x)
    masked = {"params": {**variables["params"], "kernel": variables["params"]["kernel"] * mask}}
    plain = layer.clone(mask=None)
    np.testing.assert_array_equal(layer.apply(variables, x), plain.apply(masked, x))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_rounded_once(dtype):
    x = 33 * (np.arange(2 * 6 * 5 * 64).reshape(2, 6, 5, 64) % 7 - 3).astype("float32")
    layer = linen.ConvLocal(4, (3, 3), dtype=dtype, use_bias=False)
    variables = jax.tree.map(jnp.round, made(layer, x))  # whole numbers: exact sums
    y = layer.apply(variables, x)
    want = layer.clone(dtype=jnp.float32).apply(variables, x)
    assert float(jnp.abs(want).max()) > 2048  # not every one is of half precision
    np.testing.assert_array_equal(y, want.astype(dtype))
    wide = layer.clone(preferred_element_type=jnp.float32)
    np.testing.assert_array_equal(wide.apply(variables, x), want)


def test_split_merge_jit_and_vmap():
    options = {"padding": [(1, 0), (2, 1)], "precision": HIGHEST, "rngs": flax_nnx.Rngs(0)}
    layer = nnx.ConvLocal(4, 3, [3, 2], [2, 1], input_size=[7, 8], **options)
    x = CONV[0].inputs
    graph, state = flax_nnx.split(layer)
    assert hash(graph) == hash(flax_nnx.graphdef(layer))
    assert_same(flax_nnx.merge(graph, state)(x), layer(x))
    assert_same(flax_nnx.jit(lambda layer, x: layer(x))(layer, x), layer(x))
    assert_same(jax.vmap(layer)(x), layer(x))


MISTAKES = [
    (
        linen.ConvLocal(4, (3, 3), feature_group_count=3),
        "ConvLocal: 4 channels in and 4 out must be positive multiples of feature_group_count=3",
    ),
    (linen.ConvLocal(4, (3, 3), strides=0), "ConvLocal: strides=0 must be at least 1"),
    (
        linen.ConvLocal(4, (3, 9), padding="VALID"),
        "ConvLocal: the kernel spans (3, 9) elements (kernel_size=(3, 9), dilation=(1, 1)), but "
        "the padded input has (7, 8) (size (7, 8), padding=((0, 0), (0, 0))); use a smaller "
        "kernel, or (0, 1) more elements of padding",
    ),
    (
        linen.ConvLocal(4, (3, 3), padding="CIRCULAR", padding_mode="reflect"),
        "ConvLocal: padding='CIRCULAR' and padding_mode='reflect' are different modes; give only "
        "one, or padding='same' with padding_mode='reflect'",
    ),
    (
        linen.ConvLocal(4, (3, 3), padding_mode="wrap"),
        "ConvLocal: padding_mode='wrap' must be one of 'zeros', 'reflect', 'symmetric', "
        "'replicate', 'circular'; 'wrap' is 'circular' here",
    ),
    (
        linen.ConvLocal(4, (3, 3), mask=np.ones((3, 3))),
        "ConvLocal: mask.shape=(3, 3) must be the kernel's shape (7, 8, 36, 4)",
    ),
    (
        linen.ConvLocal(4, 3),
        "ConvLocal: kernel_size=3 is ambiguous for inputs.shape=(2, 7, 8, 4); give "
        "kernel_size=(3, 3), or (3,) for a one-dimensional kernel",
    ),
]


@pytest.mark.parametrize(("layer", "message"), MISTAKES, ids=lambda value: None)
def test_mistakes_are_told(layer, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        jax.eval_shape(layer.init, KEY, jax.ShapeDtypeStruct(IMAGE, jnp.float32))
    assert str(error.value) == message


def test_inputs_of_another_size_are_told():
    layer = nnx.ConvLocal(4, 3, (3, 3), input_size=(7, 8), rngs=flax_nnx.Rngs(0))
    for shape in ((2, 8, 8, 4), (7, 8, 3)):
        with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
            layer(np.ones(shape, "float32"))
        assert str(error.value) == (
            f"ConvLocal: inputs.shape={shape} must be (*batch, 7, 8, 4): every position has a "
            "kernel of its own, and this layer has input_size=(7, 8), in_features=4"
        )
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        nnx.ConvLocal(4, 3, (3, 3), input_size=(7,), rngs=flax_nnx.Rngs(0))
    assert str(error.value) == (
        "ConvLocal: input_size=(7,) has 1 entry for 2 spatial dimensions; give one integer, or 2"
    )
