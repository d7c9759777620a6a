"""What makes it a convolution: small integers in float32, so that equality is exact."""

import functools

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxconv import conv

jitted = functools.partial(jax.jit, static_argnames=("stride", "padding", "dilation", "flip"))(conv)
few = settings(max_examples=25, deadline=None, derandomize=True)


def whole_numbers(*shape):
    size = int(np.prod(shape))
    numbers = st.lists(st.integers(-9, 9), min_size=size, max_size=size)
    return numbers.map(lambda values: np.array(values, "float32").reshape(shape))


@few
@given(whole_numbers(2, 6, 5, 2), whole_numbers(2, 6, 5, 2), whole_numbers(2, 3, 2, 3), st.data())
def test_linear_in_each_operand(x, x2, w, data):
    f = functools.partial(jitted, stride=(1, 2), padding=((1, 0), (0, 2)))
    c = data.draw(st.integers(-9, 9))
    np.testing.assert_array_equal(f(x + c * x2, w), f(x, w) + c * f(x2, w))
    w2 = data.draw(whole_numbers(2, 3, 2, 3))
    np.testing.assert_array_equal(f(x, w + c * w2), f(x, w) + c * f(x, w2))


@few
@given(whole_numbers(20, 2), whole_numbers(3, 2, 2), st.integers(1, 4), st.sampled_from([1, 2]))
def test_a_shifted_input_gives_a_shifted_output(x, w, shift, stride):
    """By a multiple of the stride, wherever no window sees what the shift brought in."""
    f = functools.partial(jitted, stride=stride, dilation=2)
    moved = np.roll(x, shift * stride, axis=0)
    np.testing.assert_array_equal(f(moved, w)[shift:], f(x, w)[:-shift])


@few
@given(whole_numbers(3, 2, 1, 2), st.integers(0, 6), st.integers(0, 5))
def test_the_response_to_an_impulse_is_the_kernel(w, row, column):
    """Reversed for correlation, as it is for true convolution; placed where the impulse is."""
    x = np.zeros((7, 6, 1), "float32")
    x[row, column] = 1
    f = functools.partial(jitted, padding="full")
    for flip in (True, False):
        want = np.zeros((9, 7, 2), "float32")
        want[row : row + 3, column : column + 2] = (w if flip else w[::-1, ::-1])[:, :, 0]
        np.testing.assert_array_equal(f(x, w, flip=flip), want)


@few
@given(whole_numbers(5), whole_numbers(3), whole_numbers(4))
def test_true_convolution_commutes_and_associates(a, b, c):
    def star(a, b):
        return jitted(a[:, None], b[:, None, None], flip=True, padding="full")[:, 0]

    np.testing.assert_array_equal(star(a, b), star(b, a))
    np.testing.assert_array_equal(star(star(a, b), c), star(a, star(b, c)))


@few
@given(whole_numbers(6, 2), whole_numbers(3, 2, 3), whole_numbers(2, 3, 2))
def test_two_layers_are_one(x, u, v):
    """Channels multiply as matrices do: x * u * v = x * (u * v), u's inputs being its batch."""
    star = functools.partial(jitted, flip=True, padding="full")
    # (k, i, o) -> (i, k, o): each input channel of u is a sequence that v filters
    both = np.moveaxis(star(np.moveaxis(u, 1, 0), v), 0, 1)
    np.testing.assert_array_equal(star(star(x, u), v), star(x, both))


def test_correlation_does_not_commute():
    """So that the property above says something."""
    a, b = np.float32([1, 2, 3]), np.float32([1, 0, 0])
    both = [
        conv(a[:, None], b[:, None, None], padding="full"),
        conv(b[:, None], a[:, None, None], padding="full"),
    ]
    assert not np.array_equal(*both)
