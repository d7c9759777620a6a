"""Values and both gradients compared with torch's convolutions.

Both sides sum in float32, in different orders. An element that sums m products of normal numbers
is off by some sqrt(m) 2**-24 of the size sqrt(m) of the sum; with m below 400 in all of these,
1e-5 beside values of size 1 to 20 leaves a margin of three to ten.
"""

import functools

import jax
import numpy as np
import pytest
from torch_here import torch

from jaxconv import conv, conv_transpose

F = torch.nn.functional

# torch warns of a copy for even kernels, which does not change its results
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]

HIGHEST = jax.lax.Precision.HIGHEST
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def first(array):
    """Channels last -> torch's channels first."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def last(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def torch_kernel(w):
    """(*kernel, in // groups, out) -> torch's (out, in // groups, *kernel)."""
    return np.ascontiguousarray(np.moveaxis(w, (-1, -2), (0, 1)))


def our_kernel(tensor):
    return np.moveaxis(tensor.detach().numpy(), (0, 1), (-1, -2))


def torch_gradients(f, x, w, b):
    """Return a cotangent, and torch's value and three gradients of f, in jaxconv's layout."""
    tensors = [torch.tensor(a, requires_grad=True) for a in (first(x), torch_kernel(w), b)]
    y = f(*tensors)
    dy = normal(*last(y).shape, seed=9)
    y.backward(torch.tensor(first(dy)))
    tx, tw, tb = tensors
    return dy, (last(y), last(tx.grad), our_kernel(tw.grad), tb.grad.numpy())


def our_gradients(f, x, w, b, dy):
    @jax.jit
    def run(x, w, b, dy):
        y, pull = jax.vjp(f, x, w, b)
        return (y, *pull(dy))

    return run(x, w, b, dy)


def compare(ours, theirs, x, w, b):
    dy, want = torch_gradients(theirs, x, w, b)
    for got, expected in zip(our_gradients(ours, x, w, b, dy), want, strict=True):
        assert_close(got, expected)


FORWARD = {
    "1d": ((2, 9, 4), (3, 4, 6), {}),
    "1d same even": ((2, 9, 4), (4, 4, 6), {"padding": "same"}),
    "1d same dilated": ((2, 9, 4), (4, 4, 6), {"padding": "same", "dilation": 3}),
    "1d valid": ((1, 9, 2), (2, 2, 2), {"padding": "valid", "stride": 3}),
    "1d depthwise": ((2, 9, 6), (4, 1, 6), {"groups": 6, "padding": 3}),
    "2d strided": ((2, 8, 9, 3), (3, 2, 3, 4), {"stride": (2, 3), "padding": (1, 0)}),
    "2d same": ((2, 5, 6, 3), (3, 4, 3, 4), {"padding": "same"}),
    "2d dilated": ((1, 9, 8, 2), (3, 2, 2, 4), {"dilation": (2, 3), "padding": 2, "stride": 2}),
    "2d grouped": ((2, 6, 7, 6), (3, 3, 2, 9), {"groups": 3, "padding": 1}),
    "2d multiplier": ((2, 7, 6, 3), (3, 2, 1, 6), {"groups": 3, "stride": 2, "dilation": (1, 2)}),
    "2d 1x1 strided": ((2, 5, 6, 4), (1, 1, 4, 5), {"stride": 2}),
    "3d": ((1, 5, 4, 6, 2), (2, 3, 2, 2, 4), {"stride": (1, 1, 2), "padding": (1, 0, 1)}),
    "3d grouped": ((2, 4, 5, 4, 4), (2, 2, 3, 2, 4), {"groups": 2, "dilation": (1, 2, 1)}),
}


@pytest.mark.parametrize("name", FORWARD)
def test_conv(name):
    x_shape, w_shape, arguments = FORWARD[name]
    x, w, b = normal(*x_shape), normal(*w_shape, seed=1), normal(w_shape[-1], seed=2)
    theirs = functools.partial(CONV[len(w_shape) - 2], **arguments)
    compare(functools.partial(conv, precision=HIGHEST, **arguments), theirs, x, w, b)


TRANSPOSED = {
    "1d": ((2, 7, 6), (3, 4, 6), {}),
    "1d output padding": ((2, 7, 6), (3, 4, 6), {"stride": 3, "padding": 1, "output_padding": 2}),
    "1d dilated": ((1, 5, 4), (4, 2, 4), {"stride": 2, "dilation": 3, "padding": 2}),
    "2d strided": ((1, 4, 5, 4), (5, 5, 3, 4), {"stride": 2, "padding": 1}),
    "2d uneven": (
        (2, 4, 3, 4),
        (3, 2, 3, 4),
        {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)},
    ),
    "2d grouped": ((2, 4, 4, 6), (3, 3, 2, 6), {"groups": 3, "stride": 2, "output_padding": 1}),
    "2d depthwise": ((2, 4, 4, 4), (4, 4, 1, 4), {"groups": 4, "stride": 2, "padding": 1}),
    "2d everything": (
        (1, 3, 4, 4),
        (3, 2, 3, 4),
        {"groups": 2, "stride": (2, 3), "padding": 1, "output_padding": 1, "dilation": (2, 1)},
    ),
    "3d": ((1, 3, 2, 3, 4), (2, 3, 2, 2, 4), {"stride": (2, 1, 2), "padding": (0, 1, 1)}),
    "3d grouped": ((1, 2, 3, 2, 4), (2, 2, 2, 2, 4), {"groups": 2, "stride": 2, "dilation": 2}),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose(name):
    """torch's weight is (in, out // groups, *kernel), as of the conv that it is the adjoint of."""
    y_shape, w_shape, arguments = TRANSPOSED[name]
    channels = w_shape[-2] * arguments.get("groups", 1)
    y, w, b = normal(*y_shape), normal(*w_shape, seed=1), normal(channels, seed=2)
    theirs = functools.partial(CONV_TRANSPOSE[len(w_shape) - 2], **arguments)
    compare(functools.partial(conv_transpose, precision=HIGHEST, **arguments), theirs, y, w, b)


def test_output_padding_beyond_the_stride_is_less_padding_after():
    """torch accepts output_padding < dilation; here padding gives the same, as the message says."""
    y, w = normal(1, 5, 4), normal(3, 2, 4, seed=1)
    theirs = F.conv_transpose1d(
        *map(torch.tensor, (first(y), torch_kernel(w))),
        padding=2,
        dilation=3,
        output_padding=2,
    )
    assert_close(
        conv_transpose(y, w, padding=((2, 0),), dilation=3, precision=HIGHEST), last(theirs)
    )


# jaxconv's mode -> torch's; torch has no symmetric padding
MODES = {"zeros": "zeros", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


@pytest.mark.cover
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [2, (1, 3), "same"], ids=str)
def test_padding_modes_of_the_layer(padding, mode):
    """nn.Conv2d, also with even kernels, for which "same" pads one side more."""
    kernel, stride = (4, 3), 1 if padding == "same" else 2
    layer = torch.nn.Conv2d(
        4, 6, kernel, stride=stride, padding=padding, groups=2, padding_mode=MODES[mode]
    )
    x, w = normal(2, 6, 5, 4), our_kernel(layer.weight)
    b = layer.bias.detach().numpy()
    arguments = {"stride": stride, "padding": padding, "groups": 2, "padding_mode": mode}

    def theirs(x, w, b):
        return torch.func.functional_call(layer, {"weight": w, "bias": b}, (x,))

    compare(functools.partial(conv, precision=HIGHEST, **arguments), theirs, x, w, b)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_padding_modes_of_lines_and_volumes(mode):
    for layer, shape in ((torch.nn.Conv1d, (2, 7, 2)), (torch.nn.Conv3d, (1, 4, 3, 5, 2))):
        module = layer(2, 3, 3, padding=1, padding_mode=MODES[mode])
        x, w = normal(*shape), our_kernel(module.weight)
        y = conv(
            x, w, module.bias.detach().numpy(), padding=1, padding_mode=mode, precision=HIGHEST
        )
        assert_close(y, last(module(torch.tensor(first(x)))))


def test_the_comparison_can_fail():
    """A correct value with a gradient that is wrong by one part in a thousand is an error."""
    x, w, b = normal(1, 5, 2), normal(2, 2, 2, seed=1), normal(2, seed=2)

    def wrong(x, w, b):
        return conv(x, w, b, precision=HIGHEST) + 1e-3 * (w - jax.lax.stop_gradient(w)).sum()

    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(wrong, F.conv1d, x, w, b)
