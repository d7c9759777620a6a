"""Programs for any batch, height, width and time, by `jax.export`."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx as flax_nnx
from jax import export
from public_calls import numbers

import jaxconv
from jaxconv import linen, nnx
from jaxconv._core import methods
from jaxconv._core.dispatch import arguments
from jaxconv.compat import torch

CONV, IMAGES, W, B = jaxconv.conv, ("n", "h", "w", 4), (3, 3, 4, 2), (2,)
PAIRS = ((2, 1), (-1, 1))


def conv(**arguments):
    return functools.partial(jaxconv.conv, **arguments)


def up(**arguments):
    return functools.partial(jaxconv.conv_transpose, **arguments)


def linen_layer(layer):
    """With ones for parameters, which need no compilation."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((2, 9, 9, 4)))
    return functools.partial(layer.apply, jax.tree.map(lambda a: np.ones(a.shape, a.dtype), shapes))


def nnx_layer(x):
    layer = nnx.Conv(4, 2, (3, 3), padding="SAME", rngs=flax_nnx.Rngs(0))
    layer.kernel[...] = numbers(*W)
    return layer(x)


# name -> a function, and the shapes of its arrays
CALLS = {
    **{
        f"conv, {padding}": (conv(stride=stride, padding=padding), IMAGES, W, B)
        for padding, stride in (
            *(("valid", 3), ("same", 3), ("same_lower", 2)),
            *(("full", 1), ("causal", 1), (PAIRS, 2)),
        )
    },
    **{
        f"conv, {mode}": (conv(stride=2, padding="same", padding_mode=mode), IMAGES, W)
        for mode in arguments.PADDING_MODES
        if mode != "zeros"
    },
    **{
        f"conv by {method}": (conv(padding=1, method=method), IMAGES, W)
        for method in methods.METHODS
    },
    "conv, grouped": (conv(groups=2), IMAGES, (3, 3, 2, 4)),
    **{
        f"conv_transpose, {padding}": (up(stride=2, padding=padding), IMAGES, (3, 3, 2, 4))
        for padding in ("same", "valid", 1)
    },
    "causal_conv1d": (
        lambda x, w: jaxconv.causal_conv1d(x, w, dilation=2)[0],
        ("n", "h", 4),
        (3, 1, 4),
    ),
    "causal_conv1d, strided": (
        lambda x, w: jaxconv.causal_conv1d(x, w, stride=2)[0],
        ("n", "h", 4),
        (3, 1, 4),
    ),
    "causal_conv1d of segments": (
        lambda x, w: jaxconv.causal_conv1d(x, w, segment_ids=(x[..., 0] > 0.5).astype("int32"))[0],
        ("n", "h", 4),
        (3, 1, 4),
    ),
    "causal_conv_transpose1d": (
        lambda y, w: jaxconv.causal_conv_transpose1d(y, w, stride=2)[0],
        ("n", "h", 4),
        (3, 2, 4),
    ),
    "correlate": (
        functools.partial(jaxconv.correlate, mode="same", boundary="reflect"),
        ("h", "w"),
        (3, 3),
    ),
    "unfold and fold": (
        lambda x: jaxconv.fold(jaxconv.unfold(x, (3, 3)), x.shape[1:3], (3, 3)),
        IMAGES,
    ),
    "linen.Conv": (linen_layer(linen.Conv(2, (3, 3), strides=2, padding="CIRCULAR")), IMAGES),
    "linen.ConvTranspose": (linen_layer(linen.ConvTranspose(2, (3, 3), 2)), IMAGES),
    "nnx.Conv": (nnx_layer, IMAGES),
    "compat.torch.conv2d": (torch.conv2d, ("n", 4, "h", "w"), (2, 4, 3, 3)),
}
# Gradients are contractions of the same sizes, whatever the method and the mode.
DIFFERENTIATED = {
    *("conv, same", "conv, full", "conv, causal", "conv, reflect", "conv_transpose, same"),
    *("causal_conv1d", "causal_conv1d, strided", "causal_conv_transpose1d"),
    *("correlate", "conv by taps"),
}


def arrays_of(shapes, **sizes):
    return [numbers(*(sizes.get(size, size) for size in shape)) for shape in shapes]


def exported(function, shapes, constraints=(), **how):
    """The program of a function, where names stand for sizes."""
    used = [size for size in ("n", "h", "w") if size in shapes[0]]
    symbols = export.symbolic_shape(", ".join(used), constraints=constraints)
    sizes = dict(zip(used, symbols, strict=True))
    arguments = [
        jax.ShapeDtypeStruct([sizes.get(size, size) for size in shape], jnp.float32)
        for shape in shapes
    ]
    return export.export(jax.jit(function), **how)(*arguments)


def check(found, want):
    for array, other in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-4, atol=1e-4)


# of the methods any is one: `test_any_batch_of_known_sizes` has each
@pytest.mark.cover(name=lambda name: name if " by " not in name else "by a method")
@pytest.mark.parametrize("name", CALLS)
def test_values_at_any_size(name):
    """With gradients, where the padding is what says how sizes depend on each other."""
    function, *shapes = CALLS[name]

    def gradients(*arrays):
        value, pull = jax.vjp(function, *arrays)
        return value, pull(value)

    program = gradients if name in DIFFERENTIATED else function
    constraints = [f"{size} >= 5" for size in ("h", "w") if size in shapes[0]]
    arrays = arrays_of(shapes, n=2, h=10, w=7)
    found = exported(program, shapes, constraints).call(*arrays)
    check(found, jax.jit(program)(*arrays))


@pytest.mark.parametrize("method", [*methods.METHODS, "fastest"])
def test_any_batch_of_known_sizes(method):
    """On every platform, with gradients; a dense layer, and a depthwise one, which `pallas` has."""
    for shape, layer in ((W, {"stride": 2, "padding": 1}), ((3, 3, 1, 4), {"groups": 4})):

        def gradients(*arrays, layer=layer):
            value, pull = jax.vjp(conv(method=method, **layer), *arrays)
            return value, pull(value)

        shapes = [("n", 10, 7, 4), shape]
        program = exported(gradients, shapes, platforms=("cpu", "cuda", "tpu"))
        arrays = arrays_of(shapes, n=2)
        check(program.call(*arrays), jax.jit(gradients)(*arrays))


@pytest.mark.parametrize("padding", ["VALID", "SAME", "CIRCULAR", "CAUSAL", 1, ((2, 1),)])
def test_sizes_without_constraints(padding):
    """As Flax's; results of inputs that are too small are empty, as lax has it."""
    layer = linen_layer(linen.Conv(3, (3,), padding=padding))
    program = exported(layer, [("n", "h", "w", 4)])
    x = numbers(2, 3, 5, 4)
    check(program.call(x), jax.jit(layer)(x))


def test_a_program_is_written_and_read_back():
    program = exported(conv(padding="same"), [IMAGES, W])
    read = export.deserialize(program.serialize(vjp_order=1))
    arrays = arrays_of([IMAGES, W], n=1, h=6, w=9)
    check(read.call(*arrays), jaxconv.conv(*arrays, padding="same"))
    assert read.has_vjp()


def test_a_size_that_must_be_known_is_named():
    message = (
        "conv: padding_mode='reflect' needs widths below the size, which is not known of axis 1 of "
        "size h (shape (n, h, w, 4)); give jax.export.symbolic_shape the constraint 'h >= 2'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
        exported(conv(padding=1, padding_mode="reflect"), [IMAGES, W])
    assert caught.value.args[0].splitlines()[0] == message
