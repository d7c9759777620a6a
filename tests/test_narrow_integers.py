"""Sums of 8- and 16-bit integers: asked for here, as their owners have them in replacements.

The table of docs/functions.md, section "Integers", by rows; `tests/bad_calls.py` has the messages.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv
from jaxconv.compat import cv2, onnx, scipy
from jaxconv.compat import lax as compat_lax
from jaxconv.compat import torch as functional

WRAPPED = {"int8": -112, "uint8": 144, "int16": -31072, "uint16": 34464}
EXACT = {"int8": 400, "uint8": 400, "int16": 34464, "uint16": 100000}


def operands(dtype):
    """(1, 1, 4) and (1, 1, 2): every inner sum is 4 times a number, beyond the dtype."""
    number = EXACT[dtype] // 4
    return np.full((1, 1, 4), number, dtype), np.full((1, 1, 2), 2, dtype)


def of_lax(x, w):
    return lax.conv_general_dilated(x, w, (1,), "VALID")


WRAPPING = {
    "accelerate": lambda x, w: jaxconv.accelerate(of_lax)(x, w),
    "compat.lax": lambda x, w: compat_lax.conv_general_dilated(x, w, (1,), "VALID"),
    "compat.torch": lambda x, w: functional.conv1d(x, w),
    "signal.convolve": lambda x, w: scipy.signal.convolve(x, w, mode="valid"),
    "signal.convolve, fft": lambda x, w: scipy.signal.convolve(x, w, "valid", method="fft"),
    "signal.correlate2d": lambda x, w: scipy.signal.correlate2d(x[0], w[0], mode="valid"),
    "ndimage.correlate": lambda x, w: scipy.ndimage.correlate(x, w),
    "in its own": lambda x, w: jaxconv.correlate(x, w, preferred_element_type=x.dtype),
}


@pytest.mark.parametrize("name", WRAPPING)
@pytest.mark.parametrize("dtype", WRAPPED)
def test_in_the_same_dtype_sums_wrap_around(name, dtype):
    x, w = operands(dtype)
    if name == "compat.torch" and dtype == "uint16":  # torch has no convolution of it
        return
    y = WRAPPING[name](x, w)
    assert y.dtype == dtype
    assert (np.ravel(y)[1:3] == WRAPPED[dtype]).all()
    if name in ("accelerate", "compat.lax"):
        np.testing.assert_array_equal(y, of_lax(x, w))


WIDE = {
    "correlate": lambda x, w: jaxconv.correlate(x, w, preferred_element_type="int32"),
    "conv": lambda x, w: jaxconv.conv(
        x.swapaxes(1, 2), w.transpose(2, 1, 0), preferred_element_type="int32"
    ),
    "compat.lax": lambda x, w: compat_lax.conv_general_dilated(
        x, w, (1,), "VALID", preferred_element_type=jnp.int32
    ),
    "ndimage.correlate": lambda x, w: scipy.ndimage.correlate(x, w, output="int32"),
    "compat.onnx": lambda x, w: onnx.ConvInteger(x, w),
}


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("dtype", WRAPPED)
def test_int32_holds_them(name, dtype):
    if name == "compat.onnx" and dtype.endswith("16"):  # ONNX has no convolution of 16 bits
        return
    y = WIDE[name](*operands(dtype))
    assert y.dtype == jnp.int32
    assert (np.ravel(y)[1:3] == EXACT[dtype]).all()


def test_opencvs_saturate_and_other_filters_of_signal_are_floats():
    x = np.full((4, 4), 100, np.uint8)
    assert (cv2.filter2D(x, -1, np.full((1, 2), 2.0)) == 255).all()
    assert (cv2.filter2D(x, cv2.CV_16S, np.full((1, 2), 2.0)) == 400).all()
    for call in (scipy.signal.fftconvolve, scipy.signal.oaconvolve):
        assert jnp.issubdtype(call(x, x).dtype, jnp.floating)
    for y in (scipy.signal.upfirdn([2, 2], x[0]), scipy.signal.savgol_filter(x, 3, 1)):
        assert jnp.issubdtype(y.dtype, jnp.floating)


def test_fold_and_unpad_keep_the_dtype():
    ones = np.full((3, 2), 100, np.uint8)
    assert jaxconv.fold(ones, (4,), (2,))[:, 0].tolist() == [100, 200, 200, 100]
    assert jaxconv.unpad(ones[:, 0], [(1, 1)], mode="circular").tolist() == [300 - 256]
