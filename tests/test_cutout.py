"""Windows that begin and end outside of what they are taken from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._core.methods.cutout import Window, cutout


@pytest.mark.parametrize("size", [2, 3, 7])
def test_a_window_is_the_array_and_zero_around_it(size):
    a = np.arange(1, 16, dtype=np.float32).reshape(3, 5)
    padded = np.pad(a, ((0, 0), (20, 20)))
    taken = jax.jit(lambda start: cutout(jnp.asarray(a), {1: Window(start, size, -8, 6)}))
    for start in range(-8, 7):
        expected = padded[:, 20 + start : 20 + start + size]
        np.testing.assert_array_equal(taken(np.int32(start)), expected)


def test_axes_without_a_window_are_whole_and_windows_inside_are_slices():
    a = np.arange(24).reshape(2, 3, 4)
    block = cutout(
        jnp.asarray(a), {0: Window(jnp.int32(1), 1, 0, 1), 2: Window(jnp.int32(1), 2, 1, 1)}
    )
    np.testing.assert_array_equal(block, a[1:2, :, 1:3])
