"""`jaxconv.linen` compared with `flax.linen`, torch and `jaxconv.conv`."""

import dataclasses
import subprocess
import sys

import flax.linen
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax_cases import CONV, CONV_TRANSPOSE, HIGHEST, IMAGE, assert_same, outcomes

import jaxconv
from jaxconv import linen

EVERY = [
    *(("Conv", case) for case in CONV),
    *(("ConvTranspose", case) for case in CONV_TRANSPOSE),
]
KEY = jax.random.key(0)


def random_like(tree):
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), tree)


@pytest.mark.parametrize(("name", "case"), EVERY, ids=lambda value: str(value))
def test_same_parameters_outputs_and_gradients_as_flax(name, case):
    ours, theirs = case.linen(getattr(linen, name)), case.linen(getattr(flax.linen, name))
    shapes = jax.eval_shape(theirs.init, KEY, case.inputs)
    assert jax.eval_shape(ours.init, KEY, case.inputs) == shapes
    variables = random_like(shapes)
    assert_same(*outcomes((ours.apply, theirs.apply), variables, case.inputs))


class Network(flax.linen.Module):
    face: object

    @flax.linen.compact
    def __call__(self, x):
        x = self.face.Conv(4, (3, 3), strides=2)(x)
        x = self.face.ConvTranspose(3, (4, 4), strides=(2, 2))(x)
        return self.face.Conv(2, (1, 1), use_bias=False)(x)


@pytest.mark.parametrize(("source", "target"), [(flax.linen, linen), (linen, flax.linen)])
def test_a_checkpoint_of_either_loads_into_the_other(source, target):
    x = CONV[0].inputs
    variables = random_like(jax.eval_shape(Network(source).init, KEY, x))
    other = jax.eval_shape(Network(target).init, KEY, x)
    loaded = flax.serialization.from_bytes(other, flax.serialization.to_bytes(variables))
    with jax.default_matmul_precision("highest"):
        results = [
            jax.jit(Network(face).apply)(v, x)
            for face, v in ((target, loaded), (source, variables))
        ]
    assert_same(*results)


def test_parameters_start_where_those_of_flax_start():
    x = CONV[0].inputs
    ours, theirs = (jax.jit(Network(face).init)(KEY, x) for face in (linen, flax.linen))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose"])
def test_constructor_arguments_are_those_of_flax_in_its_order(name):
    def arguments(module):
        own = ("parent", "name", "conv_general_dilated", "conv_general_dilated_cls")
        functions = ("kernel_init", "bias_init")
        return [
            (f.name, None if f.name in functions else f.default)
            for f in dataclasses.fields(module)
            if f.name not in own and not f.kw_only
        ]

    assert arguments(getattr(linen, name)) == arguments(getattr(flax.linen, name))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_dtypes_promote_as_in_flax(dtype):
    x = CONV[0].inputs
    for options in ({"dtype": dtype}, {"dtype": jnp.float32, "param_dtype": dtype}):
        ours, theirs = linen.Conv(3, (3, 3), **options), flax.linen.Conv(3, (3, 3), **options)
        shapes = jax.eval_shape(theirs.init_with_output, KEY, x)
        assert jax.eval_shape(ours.init_with_output, KEY, x) == shapes
    half = linen.Conv(3, (3, 3), dtype=dtype, preferred_element_type=jnp.float32)
    assert jax.eval_shape(half.init_with_output, KEY, x)[0].dtype == jnp.float32


def test_integer_inputs_promote_to_the_parameters():
    x = np.arange(12, dtype="int32").reshape(1, 3, 4, 1)
    ours, theirs = linen.Conv(1, (2, 2)), flax.linen.Conv(1, (2, 2))
    with jax.numpy_dtype_promotion("standard"):
        variables = theirs.init(KEY, x)
        assert_same(ours.apply(variables, x), theirs.apply(variables, x))


def torch_conv(torch, x, variables, module, order):
    parameters = {name: torch.tensor(value) for name, value in variables["params"].items()}
    weight = parameters["kernel"].permute(*order).contiguous()
    module.load_state_dict({"weight": weight, "bias": parameters["bias"]})
    return module(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_modes_beside_torch(padding_mode, torch):
    x = CONV[0].inputs
    layer = linen.Conv(
        3, (3, 4), strides=2, padding=(1, 2), padding_mode=padding_mode, precision=HIGHEST
    )
    variables = random_like(jax.eval_shape(layer.init, KEY, x))
    module = torch.nn.Conv2d(4, 3, (3, 4), 2, (1, 2), padding_mode=padding_mode)
    assert_same(layer.apply(variables, x), torch_conv(torch, x, variables, module, (3, 2, 0, 1)))


def test_symmetric_margins_beside_numpy():
    x = CONV[0].inputs
    layer = linen.Conv(3, (3, 3), padding="same", padding_mode="symmetric", precision=HIGHEST)
    variables = random_like(jax.eval_shape(layer.init, KEY, x))
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="symmetric")
    valid = flax.linen.Conv(3, (3, 3), padding="VALID", precision=HIGHEST)
    assert_same(layer.apply(variables, x), valid.apply(variables, padded))


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding", "output_padding", "dilation", "groups"),
    [
        ((3, 3), 2, (1, 1), (1, 1), 1, 2),
        ((5, 4), (3, 2), (1, 2), (2, 0), 1, 1),
        ((3, 2), 2, (0, 1), (0, 1), (2, 1), 4),
    ],
)
def test_transposed_beside_torch(
    kernel_size, stride, padding, output_padding, dilation, groups, torch
):
    x = CONV[0].inputs
    layer = linen.ConvTranspose(
        8,
        kernel_size,
        strides=stride,
        padding=padding,
        kernel_dilation=dilation,
        transpose_kernel=True,
        precision=HIGHEST,
        feature_group_count=groups,
        output_padding=output_padding,
        use_consistent_padding=True,
    )
    variables = random_like(jax.eval_shape(layer.init, KEY, x))
    module = torch.nn.ConvTranspose2d(
        4,
        8,
        kernel_size,
        stride,
        padding,
        output_padding=output_padding,
        groups=groups,
        dilation=dilation,
    )
    expected = torch_conv(torch, x, variables, module, (3, 2, 0, 1))
    assert_same(layer.apply(variables, x), expected)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR", ((1, 3), (2, 0))])
def test_a_grouped_transposed_layer_is_one_of_flax_a_group(padding):
    options = {"strides": (2, 3), "padding": padding, "precision": HIGHEST}
    x = CONV[0].inputs
    layer = linen.ConvTranspose(6, (4, 3), **options, feature_group_count=2)
    variables = random_like(jax.eval_shape(layer.init, KEY, x))
    one = flax.linen.ConvTranspose(3, (4, 3), **options)
    first = jax.tree.map(lambda p: p[..., :3], variables)
    second = jax.tree.map(lambda p: p[..., 3:], variables)
    halves = one.apply(first, x[..., :2]), one.apply(second, x[..., 2:])
    assert_same(layer.apply(variables, x), jnp.concatenate(halves, -1))


def test_output_padding_continues_the_result_of_flax():
    options = {"strides": (3, 2), "padding": ((1, 1), (2, 1)), "precision": HIGHEST}
    x = CONV[0].inputs
    theirs = flax.linen.ConvTranspose(3, (4, 3), **options)
    ours = linen.ConvTranspose(3, (4, 3), **options, output_padding=(2, 1))
    variables = random_like(jax.eval_shape(theirs.init, KEY, x))
    expected = theirs.apply(variables, x)
    y = ours.apply(variables, x)
    assert y.shape[1:3] == (expected.shape[1] + 2, expected.shape[2] + 1)
    assert_same(y[:, :-2, :-1], expected)


@pytest.mark.cover
@pytest.mark.parametrize("padding", ["same", "valid", "same_lower", ((1, 2), (0, 1))])
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "circular"])
def test_the_transposed_layer_is_the_adjoint_of_the_layer(padding, padding_mode):
    x = np.random.default_rng(0).normal(size=(2, 8, 10, 4)).astype("float32")
    options = {
        "kernel_size": (4, 2),
        "strides": 2,
        "padding": padding,
        "use_bias": False,
        "precision": HIGHEST,
        "padding_mode": padding_mode,
    }
    forward = linen.Conv(3, **options)
    adjoint = linen.ConvTranspose(
        4,
        **options,
        transpose_kernel=True,
        use_consistent_padding=True,
        output_padding=(1, 1) if isinstance(padding, tuple) else 0,
    )
    variables = random_like(jax.eval_shape(forward.init, KEY, x))
    y = random_like(jax.eval_shape(forward.apply, variables, x))
    (expected,) = jax.linear_transpose(lambda x: forward.apply(variables, x), x)(y)
    assert_same(adjoint.apply(variables, y), expected)


def test_lower_case_names_are_those_of_jaxconv():
    x = CONV[0].inputs
    layer = linen.Conv(3, (3, 4), padding="causal", precision=HIGHEST)
    variables = random_like(jax.eval_shape(layer.init, KEY, x))
    w, b = variables["params"]["kernel"], variables["params"]["bias"]
    expected = jaxconv.conv(x, w, b, padding="causal", precision=HIGHEST)
    np.testing.assert_array_equal(layer.apply(variables, x), expected)
    sizes = {}
    for padding in ("VALID", "valid"):
        layer = linen.ConvTranspose(3, (2, 2), strides=4, padding=padding)
        sizes[padding] = jax.eval_shape(layer.init_with_output, KEY, x)[0].shape[1:3]
    assert sizes == {"VALID": (28, 32), "valid": (26, 30)}


@pytest.mark.parametrize("module", [linen.Conv(2, (3, 3)), linen.ConvTranspose(2, (3, 3))])
def test_method_and_dtype_reach_the_convolution(module):
    x = CONV[0].inputs
    module = module.clone(method="loops", preferred_element_type=jnp.bfloat16)
    y, variables = jax.eval_shape(module.init_with_output, KEY, x)
    assert y.dtype == jnp.bfloat16
    assert "method=loops" in str(jax.make_jaxpr(module.apply)(random_like(variables), x))


def test_vmapped_layers_have_parameters_of_their_own():
    many = flax.linen.vmap(
        linen.Conv,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=None,
        axis_size=3,
    )(2, (3, 3), precision=HIGHEST)
    x = CONV[0].inputs
    y, variables = jax.jit(many.init_with_output)(KEY, x)
    assert jnp.unique(variables["params"]["kernel"][:, 0, 0, 0, 0]).size == 3
    last = jax.tree.map(lambda p: p[2], variables)
    assert_same(y[2], linen.Conv(2, (3, 3), precision=HIGHEST).apply(last, x))


def test_tabulate_shows_the_parameters():
    layer = linen.Conv(8, (3, 3))
    table = layer.tabulate(
        KEY, jnp.ones((1, 8, 8, 3)), console_kwargs={"force_terminal": False, "width": 120}
    )
    assert "float32[3,3,3,8]" in table
    assert "Total Parameters: 224" in table


def test_conv2d_starts_uniform_and_unbiased():
    variables = linen.Conv2D((40, 50)).init(KEY, jnp.ones((40, 50)))
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert jax.tree.map(jnp.shape, variables) == {"params": {"bias": (), "kernel": (40, 50)}}
    assert bias == 0
    # 2000 uniform numbers: extremes and mean within four standard deviations
    assert 0 <= kernel.min() < 0.01 < 0.99 < kernel.max() < 1
    assert abs(kernel.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 2000)


def test_conv2d_is_corr2d_plus_bias():
    x = jnp.ones((6, 8)).at[:, 2:6].set(0)
    edge = {"params": {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.float32(0.5)}}
    y = linen.Conv2D((1, 2)).apply(edge, x)
    np.testing.assert_array_equal(y, jaxconv.corr2d(x, edge["params"]["kernel"]) + 0.5)
    np.testing.assert_array_equal(y[0], [0.5, 1.5, 0.5, 0.5, 0.5, -0.5, 0.5])


MISTAKES = [
    (
        linen.Conv(4, 3),
        (2, 32, 32, 3),
        "Conv: kernel_size=3 is ambiguous for inputs.shape=(2, 32, 32, 3); give "
        "kernel_size=(3, 3), or (3,) for a one-dimensional kernel",
    ),
    (
        linen.ConvTranspose(4, 3),
        (2, 8, 8, 8, 3),
        "ConvTranspose: kernel_size=3 is ambiguous for inputs.shape=(2, 8, 8, 8, 3); give "
        "kernel_size=(3, 3, 3), or (3,) for a one-dimensional kernel",
    ),
    (
        linen.Conv(4, (3, 3)),
        (8, 3),
        "Conv: inputs.shape=(8, 3) has 2 dimensions, but kernel_size=(3, 3) needs "
        "(*batch, *space, channels): at least 3",
    ),
    (
        linen.Conv(4, ()),
        (),
        "Conv: kernel_size=() must have an entry for each spatial dimension",
    ),
    (
        linen.Conv(4, (3, 0)),
        IMAGE,
        "Conv: kernel_size=(3, 0) must be at least 1 in every dimension",
    ),
    (linen.Conv(4, (3, 3), strides=0), IMAGE, "Conv: strides=0 must be at least 1"),
    (
        linen.Conv(4, (3, 3), kernel_dilation=(1, 2, 3)),
        IMAGE,
        "Conv: kernel_dilation=(1, 2, 3) has 3 entries for 2 spatial dimensions; give one "
        "integer, or 2",
    ),
    (
        linen.Conv(4, (3, 3), feature_group_count=3),
        IMAGE,
        "Conv: 4 channels in and 4 out must be positive multiples of feature_group_count=3",
    ),
    (
        linen.Conv(4, (3, 3), feature_group_count=0),
        IMAGE,
        "Conv: feature_group_count=0 must be at least 1",
    ),
    (
        linen.Conv(4, (3, 3), mask=np.ones((3, 3))),
        IMAGE,
        "Conv: mask.shape=(3, 3) must be the kernel's shape (3, 3, 4, 4)",
    ),
    (
        linen.Conv(4, (3, 3), padding="CIRCULAR", padding_mode="reflect"),
        IMAGE,
        "Conv: padding='CIRCULAR' and padding_mode='reflect' are different modes; give only one, "
        "or padding='same' with padding_mode='reflect'",
    ),
    (
        linen.ConvTranspose(4, (3, 3), padding="REFLECT"),
        IMAGE,
        "conv_transpose: padding='REFLECT' must be one of 'valid', 'same', 'same_lower', 'full', "
        "'causal'",
    ),
    (
        linen.ConvTranspose(4, (3, 3), padding=(1, 2, 3)),
        IMAGE,
        "ConvTranspose: padding=(1, 2, 3) has 3 entries for 2 spatial dimensions; give one "
        "integer, or 2 integers or (before, after) pairs, one a dimension",
    ),
    (
        linen.ConvTranspose(4, (3, 3), strides=2, output_padding=1),
        IMAGE,
        "conv_transpose: output_padding=(1, 1) does not go with padding='same', which gives size "
        "times stride; use explicit padding",
    ),
]


@pytest.mark.parametrize(("layer", "shape", "message"), MISTAKES, ids=lambda value: None)
def test_mistakes_are_told(layer, shape, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        jax.eval_shape(layer.init, KEY, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert str(error.value) == message


def test_conv2d_refuses_what_is_no_plane_kernel():
    message = "Conv2D: kernel_size=(3,) has 1 entry for 2 spatial dimensions; give one "
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        linen.Conv2D((3,)).init(KEY, jnp.ones((6, 8)))
    assert str(error.value) == message + "integer, or 2"


def test_jaxconv_alone_does_not_import_flax():
    code = "import sys, jaxconv; print('flax' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
