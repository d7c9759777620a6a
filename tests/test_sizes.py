"""The calculators beside each other, beside the arrays, and beside the chapter's rules."""

import math
import re

import cases
import jax
import jax.numpy as jnp
import pytest
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxconv
from jaxconv._functional.sizes import explicit_padding, input_size, output_size

GEOMETRY = ("stride", "padding", "dilation")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sizes_are_the_arrays_own(case):
    arguments = {name: case.arguments[name] for name in GEOMETRY if name in case.arguments}
    size, kernel = case.spec.input_size, case.spec.kernel_size
    outputs = output_size(size, kernel, **arguments)
    x, w = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (case.x, case.w))
    groups = case.arguments.get("groups", 1)
    y = jax.eval_shape(lambda x, w: jaxconv.conv(x, w, groups=groups, **arguments), x, w)
    assert outputs == y.shape[-1 - len(size) : -1]
    back = jax.eval_shape(
        lambda y, w: jaxconv.conv_transpose(y, w, groups=groups, **arguments), y, w
    )
    assert input_size(outputs, kernel, **arguments) == back.shape[-1 - len(size) : -1]
    pairs = explicit_padding(size, kernel, **arguments)
    assert output_size(size, kernel, **{**arguments, "padding": pairs}) == outputs


numbers = st.integers(1, 6)


@settings(deadline=None)
@given(n=st.integers(1, 40), k=numbers, s=numbers, d=st.integers(1, 3), p=st.integers(0, 20))
def test_the_chapters_formula_and_its_inverse(n, k, s, d, p):
    """floor((n - k + p + s) / s) with the total p, however it is split between the sides."""
    span = (k - 1) * d + 1
    if span > n + p:
        with pytest.raises(ValueError, match=r"^output_size: the kernel spans"):
            output_size(n, k, stride=s, padding=((p, 0),), dilation=d)
        return
    want = math.floor((n - span + p + s) / s)
    arguments = {"stride": s, "dilation": d, "padding": ((p // 3, p - p // 3),)}
    assert output_size(n, k, **arguments) == want
    smallest = max((want - 1) * s + span - p, 0)
    if smallest < 1:
        return
    inputs = [input_size(want, k, output_padding=extra, **arguments) for extra in range(s)]
    assert inputs == list(range(smallest, smallest + s))
    assert {output_size(m, k, **arguments) for m in inputs} == {want}
    assert n in inputs


@settings(deadline=None)
@given(
    n=numbers,
    k=numbers,
    s=numbers,
    d=st.integers(1, 3),
    name=st.sampled_from(["valid", "same", "same_lower", "full", "causal"]),
)
def test_the_names(n, k, s, d, name):
    n += 15
    span = (k - 1) * d + 1
    total = {"valid": 0, "full": 2 * (span - 1), "causal": span - 1}
    want = (n - span + total[name] + s) // s if name in total else math.ceil(n / s)
    arguments = {"stride": s, "dilation": d, "padding": name}
    assert output_size(n, k, **arguments) == want
    inputs = input_size(want, k, **arguments)
    assert output_size(inputs, k, **arguments) == want
    assert inputs <= n if name in total else inputs >= n


@settings(deadline=None)
@given(n=st.integers(6, 30), k=numbers)
def test_the_chapters_rules_for_padding(n, k):
    p = k - 1
    assert explicit_padding(n, k, padding="same_lower") == ((math.ceil(p / 2), p // 2),)
    assert explicit_padding(n, k, padding="same") == ((p // 2, math.ceil(p / 2)),)
    # n - k + p + 1: every element of padding adds one output
    assert output_size(n, k, padding=((p, 0),)) == n == output_size(n, k) + p
    if k % 2:
        assert output_size(n, k, padding=p // 2) == n


def test_the_chapters_examples():
    assert output_size((3, 3), (2, 2)) == (2, 2)
    assert output_size((6, 8), (1, 2)) == (6, 7)
    assert output_size((3, 3), 2, padding=1) == (4, 4)
    assert output_size((8, 8), 3, padding=1) == (8, 8)
    assert output_size((8, 8), (5, 3), padding=(2, 1)) == (8, 8)
    # the chapter's total p = (4, 2) is (2, 1) per side, and per side (4, 2) would be too much
    assert output_size((8, 8), (5, 3), padding=((2, 2), (1, 1))) == (8, 8)
    assert output_size((8, 8), (5, 3), padding=(4, 2)) == (12, 10)
    assert output_size((8, 8), 3, padding=1, stride=2) == (4, 4)
    assert output_size((8, 8), (3, 5), padding=(0, 1), stride=(3, 4)) == (2, 2)


def test_one_integer_or_one_a_dimension():
    assert output_size(8, 3) == 6
    assert output_size((8,), 3) == (6,)
    assert output_size([8, 9], 3) == (6, 7)
    assert input_size(6, 3) == 8
    assert input_size((6, 7), 3, stride=(1, 2)) == (8, 15)
    assert cases.by_name("4d").spec.output_size == output_size(
        (3, 4, 3, 4), 2, padding=(1, 0, 0, 1), stride=(1, 2, 1, 1)
    )


def refused(error, message, f, *args, **kwargs):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        f(*args, **kwargs)


def test_bad_input():
    refused(
        ValueError,
        "output_size: the kernel spans (5,) elements (kernel_size=(3,), dilation=(2,)), but the "
        "padded input has (4,) (size (4,), padding=((0, 0),)); use a smaller kernel, or (1,) more "
        "elements of padding",
        output_size,
        4,
        3,
        dilation=2,
    )
    refused(ValueError, "output_size: kernel_size=0 must be at least 1", output_size, 4, 0)
    refused(
        ValueError,
        "output_size: input_size=(0, 4) must be at least 1 in every dimension",
        output_size,
        (0, 4),
        1,
    )
    refused(ValueError, "output_size: stride=0 must be at least 1", output_size, 4, 2, stride=0)
    refused(
        TypeError,
        "output_size: kernel_size=1.5 must be an integer, not float",
        output_size,
        4,
        1.5,
    )
    refused(
        ValueError,
        "output_size: kernel_size=(3, 3) has 2 entries for 1 spatial dimension; give one integer",
        output_size,
        8,
        (3, 3),
    )
    refused(ValueError, "input_size: output_size=0 must be at least 1", input_size, 0, 3)
    refused(
        ValueError,
        "input_size: output_padding=2 must be below stride=(2,) in every dimension: it picks "
        "one of the `stride` input sizes that have the same output size; to lengthen the result "
        "by more, lower the padding after it",
        input_size,
        4,
        3,
        stride=2,
        output_padding=2,
    )
    refused(
        ValueError,
        "explicit_padding: padding='SAME' must be one of 'valid', 'same', 'same_lower', 'full', "
        "'causal'; use 'same'",
        explicit_padding,
        8,
        3,
        padding="SAME",
    )
