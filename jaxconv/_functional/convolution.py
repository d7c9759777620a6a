"""Convolution layers as functions: `conv` and its adjoint `conv_transpose`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxconv._core.dispatch.arguments import check_numerics, check_padding_mode, flipped
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.spec import Padding, normalise, normalise_transpose


def conv(
    x: jax.Array | np.ndarray,
    w: jax.Array | np.ndarray,
    b: jax.Array | np.ndarray | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip: bool = False,
    method: str = "auto",
    policy: Policy | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Convolve as a layer does: cross-correlate every window of x with the kernel w and add b.

    y[n, t, g, o] = b[g, o] + sum over k, i of x[n, t stride + k dilation - lo, g, i] w[k, g, i, o]

    Under "auto" these products are summed, by the method that is expected to be the fastest, and so
    are those of the gradients: an output's error is on the scale of its own products, and a NaN or
    infinity in x (in a gradient: the cotangent) reaches the outputs that see it and no other. One
    in w reaches every output whose window meets x under it; where it meets padding or the gaps of a
    stride it is left open whether that counts (0 times NaN), as it is in lax and torch. The method
    does not depend on the batch, and on CPUs an image's result is the same, bit for bit, in
    whatever batch it comes, `vmap` over x included (w's gradient sums over the batch), where x and
    y have at least 32 positions an image and more than two channels are summed: else, as in dense
    layers, the sums' order may depend on the batch, since one image at a time would
    read w anew for each. Without AVX-512 this holds for the methods "onednn" and "taps", and for
    others where more than 16 channels are made.

    FFT (method="fft", or "fastest" where it takes it) may change four things. Errors are on the
    scale of the whole array: beside a star, the sky loses digits. One NaN or infinity spreads over
    all of it. Exact zeros become small numbers of either sign: what is nowhere negative may give
    negative outputs. And every output sees all of the input in its rounding: those before an
    event see the event.

    Args:
        x: (*batch, *space, in); any number of batch axes, none included.
        w: (*kernel, in // groups, out) in x's dtype; its rank less two is the number of spatial
            dimensions, from 1 up. A kernel of torch's, (out, in // groups, *kernel), may fit by
            chance, in one dimension always, and means another thing: turn it by
            `jnp.moveaxis(w, (0, 1), (-1, -2))`, or call `jaxconv.compat.torch`.
        b: (out,), or None.
        stride: elements of x between neighbouring outputs; one integer or one a dimension.
        padding: an integer or one a dimension (the same before and after), (before, after) a
            dimension, or a name: "valid" (none), "same" (ceil(size / stride) outputs, an odd
            element goes after, as in lax and torch), "same_lower" (it goes before), "full" (every
            position that touches x), "causal" (all before). Negative numbers cut elements off.
        dilation: elements of x between neighbouring kernel entries; one integer or one a dimension.
        groups: number of groups: the input channels are split into `groups` equal parts, each
            convolved with its own kernels. It must divide both numbers of channels.
        padding_mode: what lies outside x: "zeros", "reflect", "symmetric", "replicate", "circular"
            (pictures in `jaxconv.pad`).
        flip: reverse the kernel in every spatial dimension: the convolution of mathematics.
        method: "auto", "fastest" (as "auto", but FFT where that is expected to be faster), or a
            method's name.
        policy: what `jaxconv.tune` or `jaxconv calibrate` measured; it goes before the rules where
            method is "auto" or "fastest".
        precision: as in `jax.lax.conv_general_dilated`, for all derivatives too; None is the
            device's default, which is less than float32 on GPU (TF32) and TPU (bfloat16). A
            `jax.lax.DotAlgorithmPreset` is the lowest level that is at least as precise.
        preferred_element_type: dtype of the result: for integers an integer dtype that holds
            their values, or any float; for floats any float or complex dtype. By default the
            operands'. Integers of 8 and 16 bits, whose sums may need more, must say: jnp.int32
            holds them, and in their own dtype they wrap around.

    Returns:
        y: (*batch, *space', out), space' = floor((space + lo + hi - span) / stride) + 1 with
        span = (kernel - 1) dilation + 1.

    Raises:
        TypeError: dtypes differ, integers of 8 or 16 bits without `preferred_element_type`, an
            argument that must be an integer is not, or policy is not a `jaxconv.Policy`.
        ValueError: the shapes and numbers do not make a convolution.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.ones((2, 32, 32, 3))
        >>> w = jnp.ones((3, 3, 3, 8))
        >>> conv(x, w, stride=2, padding=1).shape
        (2, 16, 16, 8)

    Source:
        Dumoulin and Visin (2016), "A guide to convolution arithmetic for deep learning".
    """
    x, w = dtypes.as_array("conv", "x", x), dtypes.as_array("conv", "w", w)
    dtype = dtypes.result_dtype("conv", ("x", x), ("w", w), preferred_element_type)
    spec = normalise(
        "conv", x.shape, w.shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    numerics = check_numerics("conv", method, policy, precision)
    b = dtypes.check_bias("conv", b, w.shape[-1], x.dtype, dtype)
    check_padding_mode("conv", x.shape, spec, padding_mode)
    w = flipped("conv", w, flip)
    y = contract("output", x, w, spec, dtype=dtype, mode=padding_mode, **numerics)
    return dtypes.with_bias(y, b)


def conv_transpose(
    y: jax.Array | np.ndarray,
    w: jax.Array | np.ndarray,
    b: jax.Array | np.ndarray | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip: bool = False,
    method: str = "auto",
    policy: Policy | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """Apply the adjoint of `conv` with the same kernel and arguments: transposed convolution.

    x[n, s, g, i] = b[g, i] + sum of w[k, g, i, o] y[n, t, g, o] over t stride + k dilation - lo = s

    so that, without biases, <conv(x, w), y> = <x, conv_transpose(y, w)> for every x.

    Args:
        y: (*batch, *space', out).
        w: (*kernel, in // groups, out) in y's dtype: the kernel of the `conv` it is the adjoint of.
            A kernel of torch's is turned as for `conv`.
            It is neither flipped nor are its channels swapped by the caller.
        b: (in,), or None.
        stride: as in `conv`; here it spreads the elements of y.
        padding: as in `conv`; here it cuts the result. Under "same" and "same_lower" the result has
            size times stride.
        output_padding: 0 to stride - 1: which of the input sizes that give the same output size is
            meant, counted from the smallest; one integer or one a dimension.
        dilation: as in `conv`.
        groups: as in `conv`.
        padding_mode: as in `conv`; what `conv` read in its margins is added where it was read from.
        flip: as in `conv`.
        method: as in `conv`.
        policy: as in `conv`.
        precision: as in `conv`.
        preferred_element_type: as in `conv`.

    Returns:
        x: (*batch, *space, in), space = (space' - 1) stride + span - lo - hi + output_padding.

    Raises:
        TypeError: dtypes differ, integers of 8 or 16 bits without `preferred_element_type`, an
            argument that must be an integer is not, or policy is not a `jaxconv.Policy`.
        ValueError: the shapes and numbers do not make a transposed convolution.

    Example:
        >>> import jax.numpy as jnp
        >>> y, w = jnp.ones((1, 8, 8, 16)), jnp.ones((5, 5, 3, 16))
        >>> conv_transpose(y, w, stride=2, padding=1).shape
        (1, 17, 17, 3)

    Source:
        Dumoulin and Visin (2016), section 4; the size rule is that of `torch.nn.ConvTranspose2d`.
    """
    caller = "conv_transpose"
    y, w = dtypes.as_array(caller, "y", y), dtypes.as_array(caller, "w", w)
    dtype = dtypes.result_dtype(caller, ("y", y), ("w", w), preferred_element_type)
    spec = normalise_transpose(
        caller,
        y.shape,
        w.shape,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
    )
    numerics = check_numerics(caller, method, policy, precision)
    b = dtypes.check_bias(caller, b, w.shape[-2] * spec.groups, y.dtype, dtype)
    x_shape = (*y.shape[: -spec.rank - 1], *spec.input_size, w.shape[-2] * spec.groups)
    check_padding_mode(caller, x_shape, spec, padding_mode)
    w = flipped(caller, w, flip)
    x = contract("input", y, w, spec, dtype=dtype, mode=padding_mode, **numerics)
    return dtypes.with_bias(x, b)
