"""`ConvInteger` and `QLinearConv`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.division import divided
from jaxconv._core.geometry.dtypes import as_array, constant, zero
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv.compat.onnx._attributes import geometry, of_bytes, one_or_each, operands, zero_point
from jaxconv.compat.onnx._quantized import quantized


def ConvInteger(
    x: jax.Array | np.ndarray,
    w: jax.Array | np.ndarray,
    x_zero_point: ArrayLike | None = None,
    w_zero_point: ArrayLike | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> jax.Array:
    """Convolve 8-bit integers, with exact sums in int32.

        y[n, o, t] = sum over i, k of (x[n, i, t strides + k dilations - before] - x_zero_point)
                                      (w[o, i, k] - w_zero_point[o])

    with x equal to x_zero_point outside, so that it counts as zero there.

    Args:
        x: (N, C, *space), uint8 or int8, of any rank from 1.
        w: (M, C // group, *kernel), uint8 or int8, whatever x is.
        x_zero_point: one number in x's dtype; None is 0.
        w_zero_point: one number in w's dtype, or (M,), one an output channel; None is 0.
        auto_pad: "NOTSET" for `pads`, "VALID" for none, "SAME_UPPER" and "SAME_LOWER" for
            ceil(space / strides) outputs, the larger half after or before.
        dilations: elements of x between neighbouring kernel entries; None is 1 in each dimension.
        group: number of groups that the channels are divided into.
        kernel_shape: None, or that of w.
        pads: elements outside, (before in each dimension, then after in each); None is 0.
        strides: elements of x between neighbouring outputs; None is 1 in each dimension.

    Returns:
        y: (N, M, *space'), int32;
        space' = floor((space + before + after - (kernel - 1) dilations - 1) / strides) + 1.
        Sums beyond int32 wrap around.

    Raises:
        TypeError: dtypes other than uint8 and int8, a zero point in another dtype than its array,
            or an attribute that is not made of integers.
        ValueError: shapes or attributes that do not make a convolution.

    Example:
        >>> x, w = jnp.full((1, 2, 4, 4), 130, "uint8"), jnp.full((3, 2, 3, 3), -1, "int8")
        >>> y = ConvInteger(x, w, jnp.uint8(128), pads=[1, 1, 1, 1])
        >>> y.dtype, y.shape, y[0, 0].tolist()[0]
        (dtype('int32'), (1, 3, 4, 4), [-16, -24, -24, -16])

    Source:
        ONNX, operator ConvInteger, version 10.
    """
    x, w = operands("ConvInteger", x, w)
    spec = geometry(
        *("ConvInteger", x.shape, w.shape),
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    points = _zero_points("ConvInteger", x, w, x_zero_point, w_zero_point)
    return _sums(x, w, *points, spec=spec)


def QLinearConv(
    x: jax.Array | np.ndarray,
    x_scale: ArrayLike,
    x_zero_point: ArrayLike,
    w: jax.Array | np.ndarray,
    w_scale: ArrayLike,
    w_zero_point: ArrayLike,
    y_scale: ArrayLike,
    y_zero_point: ArrayLike,
    B: jax.Array | np.ndarray | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> jax.Array:
    """Convolve quantized arrays: sums are exact, and rounded once.

        y = saturate(round(s x_scale w_scale / y_scale) + y_zero_point)
        s = ConvInteger(x, w, x_zero_point, w_zero_point) + B

    `round` is half to even, `saturate` cuts to the range of y_zero_point's dtype.

    Args:
        x: (N, C, *space), uint8 or int8; it stands for x_scale (x - x_zero_point).
        x_scale: one number, float32, above 0.
        x_zero_point: one number in x's dtype.
        w: (M, C // group, *kernel), uint8 or int8; it stands for w_scale (w - w_zero_point).
        w_scale: float32, one number or (M,), one an output channel.
        w_zero_point: in w's dtype, one number or (M,).
        y_scale: one number, float32.
        y_zero_point: one number, uint8 or int8.
        B: (M,), int32, in units of x_scale w_scale; None is 0.
        auto_pad: as in `ConvInteger`.
        dilations: as in `ConvInteger`.
        group: as in `ConvInteger`.
        kernel_shape: as in `ConvInteger`.
        pads: as in `ConvInteger`.
        strides: as in `ConvInteger`.

    Returns:
        y: (N, M, *space') in y_zero_point's dtype; it stands for y_scale (y - y_zero_point). The
        product with the scales is computed in float32, x_scale w_scale / y_scale first.

    Raises:
        TypeError: as `ConvInteger`; a scale is not float32, or B is not int32.
        ValueError: as `ConvInteger`; a scale or B has another shape.

    Example:
        >>> x, w = jnp.full((1, 2, 3, 3), 130, "uint8"), jnp.full((1, 2, 3, 3), -1, "int8")
        >>> half, middle = jnp.float32(0.5), jnp.uint8(128)
        >>> QLinearConv(x, half, middle, w, half, jnp.int8(0), jnp.float32(1), middle)
        Array([[[[119]]]], dtype=uint8)

    Source:
        ONNX, operators QLinearConv and QuantizeLinear (for rounding and saturation), version 10.
    """
    caller = "QLinearConv"
    x, w = operands(caller, x, w)
    spec = geometry(
        *(caller, x.shape, w.shape),
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    points = _zero_points(caller, x, w, x_zero_point, w_zero_point)
    outputs = w.shape[0]
    scales = (
        _scale(caller, "x_scale", x_scale, None),
        _scale(caller, "w_scale", w_scale, outputs),
        _scale(caller, "y_scale", y_scale, None),
    )
    y_zero = one_or_each(
        caller, "y_zero_point", of_bytes(caller, "y_zero_point", y_zero_point), None
    )
    bias = None if B is None else as_array(caller, "B", B)
    if bias is not None and bias.dtype != jnp.int32:
        raise TypeError(
            f"{caller}: B is {bias.dtype} but must be int32, in units of x_scale w_scale"
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(
            f"{caller}: B must be ({outputs},), one an output channel, got shape {bias.shape}"
        )
    return _rounded(x, w, *points, scales, y_zero, bias, spec=spec)


def _zero_points(caller: str, x: jax.Array, w: jax.Array, x_zero: Any, w_zero: Any):
    """Return x's zero point, and w's or None where it is known to be 0."""
    first = zero(x.dtype) if x_zero is None else zero_point(caller, "x_zero_point", x_zero, x.dtype)
    if w_zero is None:
        return first, None
    second = zero_point(caller, "w_zero_point", w_zero, w.dtype, w.shape[0])
    known = isinstance(w_zero, int | np.ndarray | np.generic)
    return first, None if known and not np.any(w_zero) else second


def _scale(caller: str, name: str, value: Any, channels: int | None) -> jax.Array:
    array = (
        constant(value, jnp.float32) if isinstance(value, float) else as_array(caller, name, value)
    )
    if array.dtype != jnp.float32:
        raise TypeError(f"{caller}: {name} is {array.dtype} but must be float32")
    return one_or_each(caller, name, array, channels)


@partial(jax.jit, static_argnames="spec")
def _sums(x, w, x_zero, w_zero, *, spec: ConvSpec):
    bias = jnp.zeros(w.shape[0], jnp.int32)
    factor, zero = jnp.ones(w.shape[0], jnp.float32), jnp.zeros((), jnp.float32)
    points = {"x_zero": x_zero, "w_zero": w_zero, "zero": zero}
    return quantized(x, w, spec, **points, bias=bias, factor=factor, dtype=jnp.dtype("int32"))


@partial(jax.jit, static_argnames="spec")
def _rounded(x, w, x_zero, w_zero, scales, y_zero, bias, *, spec: ConvSpec):
    each = w.shape[:1]
    of_x, of_w, of_y = scales
    factor = divided(jnp.broadcast_to(of_x * of_w, each), of_y)
    bias = jnp.zeros(each, jnp.int32) if bias is None else bias
    points = {"x_zero": x_zero, "w_zero": w_zero, "zero": y_zero.astype(jnp.float32)}
    return quantized(x, w, spec, **points, bias=bias, factor=factor, dtype=y_zero.dtype)
