"""Every refusal of `pad` and `unpad`, whole messages."""

import re

import jax.numpy as jnp
import pytest

from jaxconv import pad, unpad
from jaxconv._core.geometry.extension import check_widths


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: pad(x, [(1, 1)], axes=(0,), mode="wrap"),
            "pad: mode must be one of zeros, constant, reflect, symmetric, replicate, circular; "
            "got 'wrap'; 'wrap' is 'circular' here",
        ),
        (
            lambda x: pad(x, [(3, 0)], axes=(1,), mode="reflect"),
            "pad: mode='reflect' needs widths below the size, got widths (3, 0) for axis 1 of "
            "size 3 (shape (2, 3))",
        ),
        (
            lambda x: pad(x, [(-2, 3)], axes=(-1,), mode="reflect"),
            "pad: mode='reflect' needs widths below the size, got widths (-2, 3) for axis 1 of "
            "size 3 (shape (2, 3))",
        ),
        (
            lambda x: pad(x, [(0, 3), (0, 0)], mode="symmetric"),
            "pad: mode='symmetric' needs widths of at most the size, got widths (0, 3) for axis 0 "
            "of size 2 (shape (2, 3))",
        ),
        (
            lambda x: pad(x, [(0, 0), (4, 0)], mode="circular"),
            "pad: mode='circular' needs widths of at most the size, got widths (4, 0) for axis 1 "
            "of size 3 (shape (2, 3))",
        ),
        (
            lambda x: pad(x[:0], [(1, 0)], axes=(0,), mode="replicate"),
            "pad: mode='replicate' needs at least 1 element, got widths (1, 0) for axis 0 of size "
            "0 (shape (0, 3))",
        ),
        (
            lambda x: pad(x, [(-1, -2)], axes=(1,)),
            "pad: widths must leave at least 1 element, got (-1, -2) for axis 1 of size 3 "
            "(shape (2, 3))",
        ),
        (
            lambda x: pad(x, [(1, 1)]),
            "pad: widths must be one (before, after) pair of ints for each of the axes (0, 1), "
            "got [(1, 1)]",
        ),
        (
            lambda x: pad(x, (1, 1)),
            "pad: widths must be one (before, after) pair of ints for each of the axes (0, 1), "
            "got (1, 1)",
        ),
        (
            lambda x: pad(x, [(1, 1, 1)], axes=(1,)),
            "pad: widths must be one (before, after) pair of ints for each of the axes (1,), "
            "got [(1, 1, 1)]",
        ),
        (
            lambda x: pad(x, [(1, 1)], axes=(2,)),
            "pad: axes must be in [-2, 2) for shape (2, 3), got (2,)",
        ),
        (
            lambda x: pad(x, [(1, 1), (1, 1)], axes=(1, -1)),
            "pad: axes must differ from each other, got (1, -1)",
        ),
        (
            lambda x: pad(x, [(1, 1)], axes=(1,), fill_value=2),
            "pad: fill_value is for mode='constant', got fill_value=2 with mode='zeros'",
        ),
        (
            lambda x: pad(x, [(1, 1)], axes=(1,), mode="constant", fill_value=1j),
            "pad: fill_value must be a number that x's dtype float32 holds, got 1j",
        ),
        (
            lambda x: pad(x, [(1, 1)], axes=(1,), mode="constant", fill_value=1e300),
            "pad: fill_value must be a number that x's dtype float32 holds, got 1e+300",
        ),
        (
            lambda x: pad(x.astype("int32"), [(1, 1)], axes=(1,), mode="constant", fill_value=0.5),
            "pad: fill_value must be a number that x's dtype int32 holds, got 0.5",
        ),
        (
            lambda x: pad(
                x.astype("int32"), [(1, 1)], axes=(1,), mode="constant", fill_value=2**70
            ),
            f"pad: fill_value must be a number that x's dtype int32 holds, got {2**70}",
        ),
        (
            lambda x: pad(x, [(1, 1)], axes=(1,), mode="constant", fill_value=x[0]),
            "pad: fill_value must be a scalar, got one of shape (3,)",
        ),
        (
            lambda x: unpad(x, [(2, 2)], axes=(1,)),
            "unpad: widths must be within the size, got (2, 2) for axis 1 of size 3 (shape (2, 3))",
        ),
        (
            lambda x: unpad(x, [(1, 1)], axes=(1,), mode="reflect"),
            "unpad: mode='reflect' needs widths below the size, got widths (1, 1) for 1, left of "
            "axis 1 of size 3 (shape (2, 3))",
        ),
        (
            lambda x: check_widths(
                "conv", (1, 3), [(0, 9)], axes=(1,), mode="circular", argument="padding_mode"
            ),
            "conv: padding_mode='circular' needs widths of at most the size, got widths (0, 9) for "
            "axis 1 of size 3 (shape (1, 3))",
        ),
        (
            lambda x: check_widths("conv", (1, 3), [], mode="", argument="padding_mode"),
            "conv: padding_mode must be one of zeros, constant, reflect, symmetric, replicate, "
            "circular; got ''",
        ),
    ],
)
def test_messages(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(jnp.ones((2, 3), "float32"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: pad(jnp.ones(3), [(0.5, 1)]),
            "pad: widths must be one (before, after) pair of ints for each of the axes (0,), "
            "got [(0.5, 1)]",
        ),
        (
            lambda: unpad(jnp.ones(3, bool), [(1, 1)]),
            "unpad: y must be numeric, since margins are summed, got bool",
        ),
    ],
)
def test_messages_about_types(call, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        call()


def test_axes_are_a_sequence():
    message = "^pad: axes must be a sequence of integers, got 0$"
    with pytest.raises(TypeError, match=message):
        pad(jnp.ones(3), [(1, 1)], axes=0)  # pyright: ignore
