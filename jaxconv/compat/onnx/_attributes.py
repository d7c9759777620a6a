"""ONNX's attributes of a convolution, checked: strides, dilations, pads, groups."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry import shapes
from jaxconv._core.geometry.dtypes import as_array, constant
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.shapes import Size, below
from jaxconv._core.geometry.spec import ConvSpec, per_dimension

BYTES = ("uint8", "int8")
AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def operands(caller: str, x: Any, w: Any) -> tuple[jax.Array, jax.Array]:
    """Return x (N, C, *space) and w (M, C // group, *kernel) as arrays.

    Raises:
        TypeError: they are not arrays of 8-bit integers.
        ValueError: other numbers of dimensions, or one of w or of x's space is empty.
    """
    x, w = of_bytes(caller, "x", x), of_bytes(caller, "w", w)
    if w.ndim < 3:
        raise ValueError(
            f"{caller}: w.shape={w.shape} must be (M, C // group, *kernel), 3 dimensions or more"
        )
    if x.ndim != w.ndim:
        raise ValueError(
            f"{caller}: x.shape={x.shape} must be (N, C, *space), {w.ndim} dimensions as w has "
            f"(w.shape={w.shape})"
        )
    if min(w.shape) < 1:
        raise ValueError(f"{caller}: w.shape={w.shape} has a dimension of size zero")
    return x, w


def of_bytes(caller: str, name: str, value: Any) -> jax.Array:
    """Return an argument as an array of uint8 or int8.

    Raises:
        TypeError: it is none.
    """
    array = as_array(caller, name, value)
    if array.dtype.name not in BYTES:
        raise TypeError(f"{caller}: {name} is {array.dtype} but must be uint8 or int8")
    return array


def zero_point(
    caller: str, name: str, value: Any, dtype: Any, channels: int | None = None
) -> jax.Array:
    """Return a zero point as an array of `dtype`: one number or, for weights, one a channel.

    Args:
        caller: the operator's name, for messages.
        name: the argument's name.
        value: an integer, or an array of `dtype`.
        dtype: the dtype of the array to which it belongs.
        channels: output channels, where there may be one for each.

    Raises:
        TypeError: it has another dtype.
        ValueError: it has another shape, or an integer lies outside the dtype's range.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        ends = np.iinfo(dtype)
        if not ends.min <= value <= ends.max:
            raise ValueError(
                f"{caller}: {name}={value} must be from {ends.min} to {ends.max}, since it belongs "
                f"to an array of {dtype}"
            )
        return constant(value, dtype)
    array = as_array(caller, name, value)
    if array.dtype != dtype:
        raise TypeError(
            f"{caller}: {name} is {array.dtype} but belongs to an array of {dtype}; their dtypes "
            "must be equal"
        )
    return one_or_each(caller, name, array, channels)


def one_or_each(caller: str, name: str, array: jax.Array, channels: int | None) -> jax.Array:
    """Return an array of one number as (), and of one an output channel as it is.

    Raises:
        ValueError: it has another shape.
    """
    if array.shape in ((), (1,)):
        return jnp.reshape(array, ())
    if channels is None:
        raise ValueError(f"{caller}: {name} must be one number, got shape {array.shape}")
    if array.shape != (channels,):
        raise ValueError(
            f"{caller}: {name} must be one number or ({channels},), one an output channel, got "
            f"shape {array.shape}"
        )
    return array


def geometry(
    caller: str,
    x_shape: tuple[Size, ...],
    w_shape: tuple[int, ...],
    *,
    auto_pad: Any,
    dilations: Any,
    group: Any,
    kernel_shape: Any,
    pads: Any,
    strides: Any,
) -> ConvSpec:
    """Return the geometry that the attributes describe; None is an attribute's default.

    Raises:
        TypeError: an attribute that must be an integer is not.
        ValueError: shapes or values do not make a convolution, or `pads` and `auto_pad` are given.
    """
    rank = len(w_shape) - 2
    size, kernel = tuple(x_shape[2:]), tuple(w_shape[2:])
    stride = _numbers(caller, "strides", strides, (1,) * rank, minimum=1)
    dilation = _numbers(caller, "dilations", dilations, (1,) * rank, minimum=1)
    if _numbers(caller, "kernel_shape", kernel_shape, kernel, minimum=1) != kernel:
        raise ValueError(
            f"{caller}: kernel_shape={shown(kernel_shape)} must be that of w, {kernel} "
            f"(w.shape={w_shape})"
        )
    (groups,) = per_dimension(caller, "group", group, 1, minimum=1)
    if w_shape[0] % groups:
        raise ValueError(
            f"{caller}: group={groups} does not divide the {w_shape[0]} output channels of w "
            f"(w.shape={w_shape})"
        )
    if x_shape[1] != w_shape[1] * groups:
        last = x_shape[-1] == w_shape[1] * groups
        hint = " looks channels-last: use jnp.moveaxis(x, -1, 1)" if last else ""
        raise ValueError(
            f"{caller}: x has {x_shape[1]} channels, w expects {w_shape[1] * groups} "
            f"(w.shape={w_shape}, group={groups}); x.shape={x_shape}{hint}"
        )
    ends = _numbers(caller, "pads", pads, (0,) * (2 * rank), minimum=0)
    if auto_pad not in AUTO_PADS:
        raise ValueError(
            f"{caller}: auto_pad={shown(auto_pad)} must be one of {', '.join(map(repr, AUTO_PADS))}"
        )
    if auto_pad != "NOTSET" and any(ends):
        raise ValueError(
            f"{caller}: pads={shown(pads)} and auto_pad={auto_pad!r} cannot be given together"
        )
    padding = tuple(zip(ends[:rank], ends[rank:], strict=True))
    if auto_pad.startswith("SAME"):
        each = zip(size, kernel, stride, dilation, strict=True)
        lower = auto_pad == "SAME_LOWER"
        padding = tuple(shapes.same_padding(*sizes, lower=lower) for sizes in each)
    spec = ConvSpec(stride, dilation, padding, groups, size, kernel)
    if any(below(n, 1) for n in spec.output_size):
        padded = tuple(n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True))
        raise ValueError(
            f"{caller}: the kernel spans {tuple(map(shapes.extent, kernel, dilation))} elements "
            f"(w.shape={w_shape}, dilations={dilation}), but the padded x has {padded} "
            f"(x.shape={x_shape}, padding={padding}); use a smaller kernel or larger pads"
        )
    return spec


def _numbers(
    caller: str, name: str, value: Any, default: Sequence[int], *, minimum: int
) -> tuple[int, ...]:
    """Return an attribute that is a list of integers, or its default for None."""
    if value is None:
        return tuple(default)
    if not np.iterable(value):
        raise ValueError(
            f"{caller}: {name}={shown(value)} must be a list of {len(default)} integers"
        )
    entries = list(value)
    if len(entries) != len(default):
        raise ValueError(
            f"{caller}: {name}={shown(value)} has {len(entries)} integers and must have "
            f"{len(default)}{' (those before, then those after)' if name == 'pads' else ''}"
        )
    return per_dimension(caller, name, entries, len(entries), minimum=minimum)
