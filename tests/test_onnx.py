"""Random convolutions compared with the ONNX reference implementation in NumPy.

Small integers in float32, so that every sum is exact and the two must agree in every bit.
"""

import random

import jax
import numpy as np
import pytest
from covering import some
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from onnx.reference.ops.op_conv import _conv_implementation

from jaxconv import conv

# more than 500 a run: four blocks for the workers to share, and programs of ten to compile fewer
PROGRAMS, TOGETHER, BLOCKS = 13, 10, 4


@st.composite
def configurations(draw):
    """Random shapes and arguments of a convolution that both accept."""
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


def ours(calls):
    """Compare with channels first on both sides."""
    calls = [
        (np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-1, -2)), b, arguments)
        for x, w, b, arguments in calls
    ]
    arrays = [(x, w, b) for x, w, b, _ in calls]

    @jax.jit
    def together(arrays):
        return [conv(*a, **call[-1]) for a, call in zip(arrays, calls, strict=True)]

    return [np.moveaxis(np.asarray(y), -1, 1) for y in together(arrays)]


def integers(rng, shape):
    return rng.integers(-9, 10, shape).astype("float32")


def compare(configurations, implementation=ours):
    rng = np.random.default_rng(0)
    calls = [
        (integers(rng, x), integers(rng, w), integers(rng, w[:1]) if bias else None, arguments)
        for x, w, bias, arguments in configurations
    ]
    for (x, w, b, arguments), y in zip(calls, implementation(calls), strict=True):
        message = f"x {x.shape}, w {w.shape}, b {b is not None}, {arguments}"
        np.testing.assert_array_equal(y, theirs(x, w, b, **arguments), message)


@pytest.mark.parametrize("block", some(range(BLOCKS), 0))
def test_random_configurations(block):
    """Each run has another seed, which is printed; `seed(n)` repeats a failure."""
    number = random.SystemRandom().getrandbits(32)
    print(f"hypothesis seed of block {block}: {number}")
    examples = 0

    @seed(number)
    @settings(max_examples=PROGRAMS, deadline=None, database=None)
    @given(st.lists(configurations(), min_size=TOGETHER, max_size=TOGETHER))
    def check(drawn):
        nonlocal examples
        compare(drawn)
        examples += len(drawn)

    check()
    assert examples >= 125


def test_the_comparison_can_fail():
    """A missing argument or an element that is off by one is an error."""

    def forgets_dilation(calls):
        return ours([(*arrays, arguments | {"dilation": 1}) for *arrays, arguments in calls])

    def off_by_one(calls):
        results = [y.copy() for y in ours(calls)]
        results[-1].flat[-1] += 1
        return results

    shapes = (1, 2, 5), (2, 2, 2), True
    arguments = {"stride": (1,), "dilation": (2,), "padding": ((1, 0),), "groups": 1}
    plain = (*shapes, arguments | {"dilation": (1,)})
    for wrong in (forgets_dilation, off_by_one):
        with pytest.raises(
            AssertionError, match=r"b True, \{'stride': \(1,\), 'dilation': \(2,\), "
        ):
            compare([plain, (*shapes, arguments)], wrong)
