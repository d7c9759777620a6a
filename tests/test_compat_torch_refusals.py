"""Calls that are errors in `torch.nn.functional` and in `jaxconv.compat.torch`, with our messages.

Each line is a call as it is written with either library, and our whole message. That torch refuses
the call as well is part of the test.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_torch import normal
from torch_here import torch

import jaxconv.compat.torch as F  # noqa: N812

T = torch.nn.functional


def names(library):
    """The names in the calls below: an image x, kernels w and v of conv2d and conv_transpose2d."""

    def ones(*shape, dtype="float32"):
        array = np.ones(shape, dtype)
        return torch.tensor(array) if library is T else array

    x, w, v = ones(2, 4, 9, 8), ones(6, 4, 3, 3), ones(4, 6, 3, 3)
    return {"F": library, "ones": ones, "x": x, "w": w, "v": v}


TYPES = {
    "F.conv2d(ones(2, 4, 9, 8, dtype='float64'), w)": (
        "conv2d: input is float64 but weight is float32; their dtypes must be equal, as in torch: "
        "cast one of them, e.g. input.astype(jnp.float32)"
    ),
    "F.conv2d(x, ones(6, 4, 3, 3, dtype='float16'))": (
        "conv2d: input is float32 but weight is float16; their dtypes must be equal, as in torch: "
        "cast one of them, e.g. weight.astype(jnp.float32)"
    ),
    "F.conv2d(x, ones(6, 4, 3, 3, dtype='complex64'))": (
        "conv2d: input is float32 but weight is complex64; their dtypes must be equal, as in "
        "torch: cast one of them, e.g. weight.astype(jnp.float32)"
    ),
    "F.conv2d(x, w, ones(6, dtype='float16'))": (
        "conv2d: input is float32 but bias is float16; their dtypes must be equal, as in torch: "
        "cast one of them, e.g. bias.astype(jnp.float32)"
    ),
    "F.conv2d(ones(2, 4, 9, 8, dtype='bool'), ones(6, 4, 3, 3, dtype='bool'))": (
        "conv2d: input is bool, which torch.nn.functional.conv2d does not accept either; cast it to"
        " one of float16, bfloat16, float32, float64, complex64, complex128, int8, uint8, int16, "
        "int32, int64"
    ),
    "F.conv2d(ones(2, 4, 9, 8, dtype='uint16'), ones(6, 4, 3, 3, dtype='uint16'))": (
        "conv2d: input is uint16, which torch.nn.functional.conv2d does not accept either; cast it "
        "to one of float16, bfloat16, float32, float64, complex64, complex128, int8, uint8, "
        "int16, int32, int64"
    ),
    "F.conv_transpose2d(ones(2, 4, 9, 8, dtype='int8'), ones(4, 6, 3, 3, dtype='int8'))": (
        "conv_transpose2d: input is int8, which torch.nn.functional.conv_transpose2d does not "
        "accept either; cast it to one of float16, bfloat16, float32, float64, complex64, "
        "complex128, int32"
    ),
    "F.conv_transpose2d(x, v, ones(6, dtype='float16'))": (
        "conv_transpose2d: input is float32 but bias is float16; their dtypes must be equal, "
        "as in torch: cast one of them, e.g. bias.astype(jnp.float32)"
    ),
    "F.conv2d(x, w, groups=1.0)": ("conv2d: groups=1.0 must be an integer, not float"),
    "F.conv2d(x, w, None, 2.0)": ("conv2d: stride=2.0 must be an integer, not float"),
    "F.conv2d(x, w, None, True)": ("conv2d: stride=True must be an integer, not bool"),
    "F.conv2d(x, w, None, 1, ((1, 1), (1, 1)))": (
        "conv2d: padding=((1, 1), (1, 1)) must be made of integers, not tuple"
    ),
    "F.conv_transpose2d(x, v, padding='same')": (
        "conv_transpose2d: padding='same' must be made of integers, not a name"
    ),
    "F.unfold(ones(2, 4, 9, 8, dtype='int32'), 3)": (
        "unfold: input is int32, which torch.nn.functional.unfold does not accept either; cast it "
        "to one of float16, bfloat16, float32, float64, complex64, complex128, bool"
    ),
    "F.unfold(x, 3, 1, 'same')": ("unfold: padding='same' must be made of integers, not a name"),
    "F.unfold(x, 3.0)": ("unfold: kernel_size=3.0 must be an integer, not float"),
    "F.fold(ones(2, 36, 42, dtype='int32'), (9, 8), 3)": (
        "fold: input is int32, which torch.nn.functional.fold does not accept either; cast it to "
        "one of float16, bfloat16, float32, float64, complex64, complex128, bool"
    ),
    "F.pad(x, 1)": ("pad: pad=1 must be a sequence of integers, two for each dimension"),
    "F.pad(x, (1.0, 1))": ("pad: pad=(1.0, 1) must be made of integers, not float"),
    "F.pad(ones(2, 4, 9, 8, dtype='bool'), (1, 1, 1, 1), 'reflect')": (
        "pad: input is bool, which torch.nn.functional.pad does not reflect either; cast it: "
        "input.astype(jnp.uint8)"
    ),
    "F.pad(x, (1, 1), 'constant', (1+2j))": ("pad: value=(1+2j) must be one real number"),
}

VALUES = {
    "F.conv2d(ones(1, 2, 4, 9, 8), w)": (
        "conv2d: input.shape=(1, 2, 4, 9, 8) must be (batch, in, *space), or (in, *space) "
        "unbatched: 4 or 3 dimensions"
    ),
    "F.conv2d(ones(9, 8), w)": (
        "conv2d: input.shape=(9, 8) must be (batch, in, *space), or (in, *space) unbatched: 4 or "
        "3 dimensions"
    ),
    "F.conv2d(x, ones(6, 4, 3))": (
        "conv2d: weight.shape=(6, 4, 3) must be (out, in // groups, *kernel), 4 dimensions"
    ),
    "F.conv1d(ones(2, 4, 9), w)": (
        "conv1d: weight.shape=(6, 4, 3, 3) must be (out, in // groups, *kernel), 3 dimensions"
    ),
    "F.conv_transpose1d(x, ones(4, 6, 3))": (
        "conv_transpose1d: input.shape=(2, 4, 9, 8) must be (batch, in, *space), or (in, *space) "
        "unbatched: 3 or 2 dimensions"
    ),
    "F.conv3d(ones(4, 9, 8), ones(6, 4, 1, 1, 1))": (
        "conv3d: input.shape=(4, 9, 8) must be (batch, in, *space), or (in, *space) unbatched: 5 "
        "or 4 dimensions"
    ),
    "F.conv2d(x, ones(6, 3, 3, 3))": (
        "conv2d: input has 4 channels, weight expects 3 (weight.shape=(6, 3, 3, 3), groups=1); "
        "input.shape=(2, 4, 9, 8)"
    ),
    "F.conv2d(ones(2, 9, 8, 4), w)": (
        "conv2d: input has 9 channels, weight expects 4 (weight.shape=(6, 4, 3, 3), groups=1); "
        "input.shape=(2, 9, 8, 4) looks channels-last: use jnp.moveaxis(input, -1, 1)"
    ),
    "F.conv2d(ones(3, 9, 8), w)": (
        "conv2d: input has 3 channels, weight expects 4 (weight.shape=(6, 4, 3, 3), groups=1); "
        "input.shape=(3, 9, 8)"
    ),
    "F.conv_transpose2d(x, ones(5, 6, 3, 3))": (
        "conv_transpose2d: input has 4 channels, weight expects 5 (weight.shape=(5, 6, 3, 3), "
        "groups=1); input.shape=(2, 4, 9, 8)"
    ),
    "F.conv2d(x, w, None, 1, 0, 1, 3)": (
        "conv2d: input has 4 channels, weight expects 12 (weight.shape=(6, 4, 3, 3), groups=3); "
        "input.shape=(2, 4, 9, 8)"
    ),
    "F.conv2d(x, ones(5, 2, 3, 3), groups=2)": (
        "conv2d: groups=2 does not divide the first dimension of weight (weight.shape=(5, 2, 3, 3))"
    ),
    "F.conv_transpose2d(x, v, groups=3)": (
        "conv_transpose2d: groups=3 does not divide the first dimension of weight "
        "(weight.shape=(4, 6, 3, 3))"
    ),
    "F.conv2d(x, w, groups=0)": ("conv2d: groups=0 must be at least 1"),
    "F.conv2d(x, w, ones(5))": (
        "conv2d: bias.shape=(5,) must be (6,), one a channel of the result"
    ),
    "F.conv2d(x, w, ones(1, 6))": (
        "conv2d: bias.shape=(1, 6) must be (6,), one a channel of the result"
    ),
    "F.conv_transpose2d(x, v, ones(4))": (
        "conv_transpose2d: bias.shape=(4,) must be (6,), one a channel of the result"
    ),
    "F.conv2d(x, w, None, 0)": ("conv2d: stride=0 must be at least 1"),
    "F.conv2d(x, w, None, (1, -1))": (
        "conv2d: stride=(1, -1) must be at least 1 in every dimension"
    ),
    "F.conv2d(x, w, None, (2, 2, 2))": (
        "conv2d: stride=(2, 2, 2) has 3 entries for 2 spatial dimensions; give one integer, or 2"
    ),
    "F.conv2d(x, w, None, ())": (
        "conv2d: stride=() has 0 entries for 2 spatial dimensions; give one integer, or 2"
    ),
    "F.conv_transpose2d(x, v, None, 0)": ("conv_transpose2d: stride=0 must be at least 1"),
    "F.conv2d(x, w, dilation=0)": ("conv2d: dilation=0 must be at least 1"),
    "F.conv_transpose2d(x, v, dilation=(1, 0))": (
        "conv_transpose2d: dilation=(1, 0) must be at least 1 in every dimension"
    ),
    "F.conv2d(x, w, None, 1, -1)": ("conv2d: padding=-1 must be at least 0"),
    "F.conv2d(x, w, padding='full')": ("conv2d: padding='full' is neither 'valid' nor 'same'"),
    "F.conv2d(x, w, padding='SAME')": ("conv2d: padding='SAME' is neither 'valid' nor 'same'"),
    "F.conv2d(x, w, padding='same', stride=(1, 2))": (
        "conv2d: padding='same' needs stride 1, as in torch, got stride=(1, 2); give the "
        "padding as numbers"
    ),
    "F.conv_transpose2d(x, v, padding=-1)": ("conv_transpose2d: padding=-1 must be at least 0"),
    "F.conv_transpose2d(x, v, None, 1, 0, 1)": (
        "conv_transpose2d: output_padding=1 must be below the stride or the dilation in every "
        "dimension (stride=(1, 1), dilation=(1, 1))"
    ),
    "F.conv_transpose2d(x, v, None, (1, 4), 0, (1, 1))": (
        "conv_transpose2d: output_padding=(1, 1) must be below the stride or the dilation in "
        "every dimension (stride=(1, 4), dilation=(1, 1))"
    ),
    "F.conv_transpose2d(x, v, None, 2, 0, -1)": (
        "conv_transpose2d: output_padding=-1 must be at least 0"
    ),
    "F.conv_transpose1d(ones(2, 4, 9), ones(4, 6, 3), None, 2, 0, 2)": (
        "conv_transpose1d: output_padding=2 must be below the stride or the dilation in every "
        "dimension (stride=(2,), dilation=(1,))"
    ),
    "F.conv_transpose3d(ones(4, 2, 2, 2), ones(4, 1, 2, 2, 2), None, 1, 0, 1)": (
        "conv_transpose3d: output_padding=1 must be below the stride or the dilation in every "
        "dimension (stride=(1, 1, 1), dilation=(1, 1, 1))"
    ),
    "F.conv2d(x, ones(6, 4, 10, 3))": (
        "conv2d: the kernel spans (10, 3) elements (kernel size (10, 3), dilation=(1, 1)), but "
        "the padded input has (9, 8) (input.shape=(2, 4, 9, 8)); use a smaller kernel or more "
        "padding"
    ),
    "F.conv2d(x, w, dilation=4)": (
        "conv2d: the kernel spans (9, 9) elements (kernel size (3, 3), dilation=(4, 4)), but the "
        "padded input has (9, 8) (input.shape=(2, 4, 9, 8)); use a smaller kernel or more padding"
    ),
    "F.conv2d(ones(2, 4, 0, 8), w, None, 1, 2)": (
        "conv2d: input.shape=(2, 4, 0, 8) must have no dimension of size zero except batch"
    ),
    "F.conv2d(x, ones(0, 4, 3, 3))": (
        "conv2d: weight.shape=(0, 4, 3, 3) must have no dimension of size zero"
    ),
    "F.conv2d(x, ones(6, 4, 0, 3))": (
        "conv2d: weight.shape=(6, 4, 0, 3) must have no dimension of size zero"
    ),
    "F.conv_transpose2d(ones(2, 4, 0, 8), v)": (
        "conv_transpose2d: input.shape=(2, 4, 0, 8) must have no dimension of size zero "
        "except batch"
    ),
    "F.unfold(ones(1, 2, 4, 9, 8), 3)": (
        "unfold: input.shape=(1, 2, 4, 9, 8) must be (batch, channels, height, width), or "
        "(channels, height, width) unbatched"
    ),
    "F.unfold(x, (10, 3))": (
        "unfold: the kernel spans (10, 3) elements (kernel size (10, 3), dilation=(1, 1)), but "
        "the padded input has (9, 8) (input.shape=(2, 4, 9, 8)); use a smaller kernel or more "
        "padding"
    ),
    "F.unfold(x, 0)": ("unfold: kernel_size=0 must be at least 1"),
    "F.unfold(x, (3,))": (
        "unfold: kernel_size=(3,) has 1 entry for 2 spatial dimensions; give one integer, or 2"
    ),
    "F.unfold(x, 3, 1, 0, 0)": ("unfold: stride=0 must be at least 1"),
    "F.unfold(x, 3, 1, 0, (2,))": (
        "unfold: stride=(2,) has 1 entry for 2 spatial dimensions; give one integer, or 2"
    ),
    "F.unfold(x, 3, 1, -1)": ("unfold: padding=-1 must be at least 0"),
    "F.unfold(x, 3, 0)": ("unfold: dilation=0 must be at least 1"),
    "F.unfold(ones(2, 4, 0, 8), 3, 1, 2)": (
        "unfold: input.shape=(2, 4, 0, 8) must have no dimension of size zero except batch"
    ),
    "F.fold(ones(1, 2, 36, 42), (9, 8), 3)": (
        "fold: input.shape=(1, 2, 36, 42) must be (batch, channels * prod(kernel_size), windows),"
        " or without batch"
    ),
    "F.fold(ones(2, 35, 42), (9, 8), 3)": (
        "fold: input.shape=(2, 35, 42) must have a multiple of prod(kernel_size)=9 rows, not 35"
    ),
    "F.fold(ones(2, 36, 41), (9, 8), 3)": (
        "fold: input.shape=(2, 36, 41) must have one column for each window, but an image "
        "of output_size=(9, 8) has 7 by 6 windows (kernel_size=(3, 3), dilation=(1, 1), "
        "padding=(0, 0), stride=(1, 1))"
    ),
    "F.fold(ones(1, 12, 1), (2, 2), (4, 3))": (
        "fold: input.shape=(1, 12, 1) must have one column for each window, but an image "
        "of output_size=(2, 2) has 0 by 0 windows (kernel_size=(4, 3), dilation=(1, 1), "
        "padding=(0, 0), stride=(1, 1))"
    ),
    "F.fold(ones(2, 36, 42), (9,), 3)": (
        "fold: output_size=(9,) has 1 entry for 2 spatial dimensions; give one integer, or 2"
    ),
    "F.fold(ones(2, 36, 42), (-9, 8), 3)": (
        "fold: output_size=(-9, 8) must be at least 1 in every dimension"
    ),
    "F.fold(ones(2, 36, 0), (9, 8), 3)": (
        "fold: input.shape=(2, 36, 0) must have no dimension of size zero except batch"
    ),
    "F.pad(x, (1, 1), 'symmetric')": (
        "pad: mode='symmetric' is not one of 'constant', 'reflect', 'replicate', 'circular'"
    ),
    "F.pad(x, (1, 0, 0))": (
        "pad: pad=(1, 0, 0) must have two entries for each dimension, at most 8 for "
        "input.shape=(2, 4, 9, 8), not 3"
    ),
    "F.pad(x, (1, 1, 1, 1, 1, 1, 1, 1, 1, 1))": (
        "pad: pad=(1, 1, 1, 1, 1, 1, 1, 1, 1, 1) must have two entries for each dimension, at most "
        "8 for input.shape=(2, 4, 9, 8), not 10"
    ),
    "F.pad(x, (1, 2), 'reflect')": (
        "pad: mode='reflect' pads all of *space in (batch, channels, *space) or (channels, "
        "*space), one to three dimensions; got 2 numbers for input.shape=(2, 4, 9, 8)"
    ),
    "F.pad(x, (1, 1, 1, 1, 1, 1, 1, 1), 'circular')": (
        "pad: mode='circular' pads all of *space in (batch, channels, *space) or (channels, "
        "*space), one to three dimensions; got 8 numbers for input.shape=(2, 4, 9, 8)"
    ),
    "F.pad(x, (), 'replicate')": (
        "pad: mode='replicate' pads all of *space in (batch, channels, *space) or (channels, "
        "*space), one to three dimensions; got 0 numbers for input.shape=(2, 4, 9, 8)"
    ),
    "F.pad(x, (8, 0, 0, 0), 'reflect')": (
        "pad: mode='reflect' needs numbers below the size; got (8, 0) for axis 3 of "
        "input.shape=(2, 4, 9, 8)"
    ),
    "F.pad(x, (9, 0, 0, 0), 'circular')": (
        "pad: mode='circular' needs numbers of at most the size, 8 after cropping; got (9, 0) for"
        " axis 3 of input.shape=(2, 4, 9, 8)"
    ),
    "F.pad(ones(1, 1, 8), (-3, 6), 'circular')": (
        "pad: mode='circular' needs numbers of at most the size, 5 after cropping; got (-3, 6) "
        "for axis 2 of input.shape=(1, 1, 8)"
    ),
    "F.pad(x, (-5, -4))": (
        "pad: the numbers crop more than the size; got (-5, -4) for axis 3 of input.shape=(2, "
        "4, 9, 8)"
    ),
    "F.pad(ones(2, 3, 4), (-5, 3))": (
        "pad: the numbers crop more than the size; got (-5, 3) for axis 2 of input.shape=(2, 3, 4)"
    ),
    "F.pad(x, (-5, -4, 0, 0), 'replicate')": (
        "pad: the numbers must leave at least 1 element; got (-5, -4) for axis 3 of "
        "input.shape=(2, 4, 9, 8)"
    ),
    "F.pad(ones(2, 4, 0, 8), (1, 1, 1, 1), 'replicate')": (
        "pad: input.shape=(2, 4, 0, 8) must have no dimension of size zero except batch"
    ),
    "F.pad(x, (1, 1, 1, 1), 'reflect', 1.5)": (
        "pad: value=1.5 is for mode='constant', not for mode='reflect'"
    ),
    "F.pad(ones(2, 4, 9, 8, dtype='int8'), (1, 1), 'constant', 300)": (
        "pad: value=300 is out of range for the input's dtype int8"
    ),
    "F.pad(ones(2, 4, 9, 8, dtype='uint8'), (1, 1), 'constant', -0.5)": (
        "pad: value=-0.5 is out of range for the input's dtype uint8"
    ),
    "F.pad(ones(2, 4, 9, 8, dtype='int32'), (1, 1), 'constant', float('nan'))": (
        "pad: value=nan is out of range for the input's dtype int32"
    ),
    "F.pad(x, (1, 1), 'constant', 1e+39)": (
        "pad: value=1e+39 is out of range for the input's dtype float32"
    ),
    "F.pad(ones(2, 4, 9, 8, dtype='float16'), (1, 1), 'constant', 70000.0)": (
        "pad: value=70000.0 is out of range for the input's dtype float16"
    ),
}


@pytest.mark.parametrize("call", [*TYPES, *VALUES])
def test_refused_by_both(call):
    theirs = (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError)
    with pytest.raises(theirs):
        eval(call, names(T))
    with pytest.raises(TypeError if call in TYPES else ValueError) as caught:
        eval(call, names(F))
    assert str(caught.value) == {**TYPES, **VALUES}[call]


# Documented differences: torch returns an empty result, or the result of an empty sum.
BY_DESIGN = {
    "F.conv_transpose2d(x, v, None, 1, 5)": (
        "conv_transpose2d: padding cuts the whole result away: its spatial shape would be (1, 0) "
        "(input.shape=(2, 4, 9, 8), weight.shape=(4, 6, 3, 3), padding=(5, 5))"
    ),
    "F.pad(x, (-4, -4))": (
        "pad: the numbers must leave at least 1 element; got (-4, -4) for axis 3 of "
        "input.shape=(2, 4, 9, 8)"
    ),
    "F.conv2d(ones(2, 0, 9, 8), ones(6, 0, 3, 3))": (
        "conv2d: weight.shape=(6, 0, 3, 3) must have no dimension of size zero"
    ),
}


@pytest.mark.parametrize("call", BY_DESIGN)
def test_refused_here_alone(call):
    assert 0 in eval(call, names(T)).shape
    with pytest.raises(ValueError, match=f"^{re.escape(BY_DESIGN[call])}$"):
        eval(call, names(F))


def test_what_is_no_array_and_no_number():
    x, w = normal(1, 2, 5), normal(2, 2, 3)
    with pytest.raises(TypeError, match=r"^conv1d: input must be an array of numbers, not str$"):
        F.conv1d("x", w)
    with pytest.raises(TypeError, match=r"^conv1d: groups=\[1\] must be an integer$"):
        F.conv1d(x, w, groups=[1])
    with pytest.raises(TypeError, match=r"^pad: value='0' must be one real number$"):
        F.pad(x, (1, 1), value="0")
    message = (
        "conv1d: stride must be a fixed integer, but is traced here; under jax.jit name it in "
        "static_argnames"
    )
    with pytest.raises(TypeError, match=f"^{message}\\n"):
        jax.jit(lambda s: F.conv1d(x, w, None, s))(1)


def test_refusals_are_raised_while_tracing():
    with pytest.raises(ValueError, match=r"^conv1d: input has 3 channels, weight expects 2 "):
        jax.eval_shape(F.conv1d, jnp.ones((1, 3, 5)), jnp.ones((2, 2, 3)))
