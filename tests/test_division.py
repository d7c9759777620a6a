"""`jaxconv._core.geometry.division`: quotients that are rounded once."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._core.geometry.division import divided, rounded_mean
from jaxconv.compat.onnx import QLinearConv
from jaxconv.compat.scipy import ndimage


@pytest.mark.parametrize("compiled", [True, False])
def test_divided_is_division(compiled):
    halves = (2 * np.arange(255, dtype=np.float32) + 1) * 8190
    f = jax.jit(divided) if compiled else divided
    np.testing.assert_array_equal(f(jnp.asarray(halves), jnp.float32(16380)), halves / 16380)


@pytest.mark.parametrize("count", [1, 2, 6, 35, 41, 70, 16380, 65792])
def test_rounded_means(count):
    """All sums of bytes that are next to a half or to an integer."""
    middle = np.arange(-510, 511) * count // 2
    sums = np.unique((middle[:, None] + np.arange(-2, 3)).clip(-255 * count, 255 * count))
    found = jax.jit(rounded_mean, static_argnums=1)(jnp.asarray(sums, jnp.float32), count)
    np.testing.assert_array_equal(found, [round(Fraction(int(total), count)) for total in sums])


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("size", [41, 49, 55, 98, 103])
def test_a_constant_image_is_its_own_mean(size, wide):
    """Of integers in SciPy's signature, whose fractions are dropped: 41 / 41 is not below 1."""
    with jax.enable_x64(wide):
        for value in (1, 2, 7, -1, -13):
            line = jnp.full(150, value, "int32")
            np.testing.assert_array_equal(ndimage.uniform_filter1d(line, size), line)
            of_floats = ndimage.uniform_filter1d(line.astype(float), size, output="int32")
            np.testing.assert_array_equal(of_floats, line)


def test_scales_of_a_quantized_layer_are_divided():
    """0.84 times 2.5 by 0.84 is 2.5 in float32, so that 1, 3, 5 and 7 become halves."""
    x, w = jnp.asarray([[[1, 3, 5, 7]]], jnp.int8), jnp.ones((2, 1, 1), jnp.int8)
    scale, each = np.float32(0.84), jnp.full(2, 2.5, jnp.float32)
    assert scale * np.float32(2.5) / scale == 2.5
    zero = np.int8(0)
    y = QLinearConv(x, scale, zero, w, each, zero, scale, zero)
    assert y.tolist() == [[[2, 8, 12, 18]] * 2]
