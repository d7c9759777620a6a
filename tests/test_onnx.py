"""Random convolutions beside the ONNX reference implementation, which is plain NumPy.

Small integers in float32, so that every sum is exact and the two must agree in every bit.
"""

import random

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from onnx.reference.ops.op_conv import _conv_implementation

from jaxconv import conv

pytestmark = pytest.mark.usefixtures("quick_compilation")

EXAMPLES, BLOCKS = 130, 4  # more than 500 a run, shared out between the workers


@st.composite
def configurations(draw):
    """Shapes and arguments of a convolution that both sides take."""
    rank = draw(st.sampled_from([1, 1, 2, 2, 2, 3]))
    groups = draw(st.integers(1, 3))
    i, o = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    size, kernel, stride, dilation, pads = [], [], [], [], []
    for _ in range(rank):
        k, d = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        lo, hi = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        span = (k - 1) * d + 1
        size.append(draw(st.integers(max(1, span - lo - hi), max(6, span))))
        kernel.append(k)
        stride.append(draw(st.integers(1, 3)))
        dilation.append(d)
        pads.append((lo, hi))
    x = (draw(st.integers(1, 2)), groups * i, *size)
    w = (groups * o, i, *kernel)
    bias = draw(st.booleans())
    return (
        x,
        w,
        bias,
        {
            "stride": tuple(stride),
            "dilation": tuple(dilation),
            "padding": tuple(pads),
            "groups": groups,
        },
    )


def theirs(x, w, b, *, stride, dilation, padding, groups):
    before, after = zip(*padding, strict=True)
    return _conv_implementation(
        *(x, w, b),
        auto_pad="NOTSET",
        dilations=list(dilation),
        group=groups,
        kernel_shape=list(w.shape[2:]),
        pads=[*before, *after],
        strides=list(stride),
    )


def ours(x, w, b, **arguments):
    """Channels first on both sides, so that the layouts meet here and nowhere else."""
    y = conv(np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-1, -2)), b, **arguments)
    return np.moveaxis(np.asarray(y), -1, 1)


def integers(rng, shape):
    return rng.integers(-9, 10, shape).astype("float32")


def compare(configuration, implementation=ours):
    x_shape, w_shape, bias, arguments = configuration
    rng = np.random.default_rng(0)
    x, w = integers(rng, x_shape), integers(rng, w_shape)
    b = integers(rng, w_shape[:1]) if bias else None
    want = theirs(x, w, b, **arguments)
    np.testing.assert_array_equal(implementation(x, w, b, **arguments), want)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_configurations(block):
    """Another seed every run: it is printed, and `seed(n)` in its place runs a failure again."""
    number = random.SystemRandom().getrandbits(32)
    print(f"hypothesis seed of block {block}: {number}")
    examples = 0

    @seed(number)
    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(configurations())
    def check(configuration):
        nonlocal examples
        compare(configuration)
        examples += 1

    check()
    assert examples >= 125


def test_the_comparison_can_fail():
    """One argument left out, or an element off by one, must be found."""

    def forgets_dilation(x, w, b, dilation, **arguments):
        return ours(x, w, b, dilation=1, **arguments)

    def off_by_one(x, w, b, **arguments):
        y = ours(x, w, b, **arguments).copy()
        y.flat[-1] += 1
        return y

    shapes = (1, 2, 5), (2, 2, 2), True
    arguments = {"stride": (1,), "dilation": (2,), "padding": ((1, 0),), "groups": 1}
    for wrong in (forgets_dilation, off_by_one):
        with pytest.raises(AssertionError, match="Arrays are not equal"):
            compare((*shapes, arguments), wrong)
