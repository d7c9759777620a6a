"""`unfold` and `fold` of `torch.nn.functional`: for images, with channel-major columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry import dtypes, shapes
from jaxconv._core.geometry.spec import per_dimension
from jaxconv._functional import windows
from jaxconv.compat.torch import _checks as checks

Numbers = int | Sequence[int]
_DTYPES = (*checks.FLOATS, "bool")


def unfold(
    input: jax.Array | np.ndarray,
    kernel_size: Numbers,
    dilation: Numbers = 1,
    padding: Numbers = 0,
    stride: Numbers = 1,
) -> jax.Array:
    """Return every window of an image as a column, as `torch.nn.functional.unfold` does.

    cols[n, (c, k), t] = input[n, c, t stride + k dilation - padding], zero outside the input

    Args:
        input: (batch, channels, height, width), or (channels, height, width) unbatched; floats,
            complex numbers or bool.
        kernel_size: one integer or two.
        dilation: elements of the input between neighbouring entries of a window.
        padding: zeros at both ends.
        stride: elements of the input between neighbouring windows.

    Returns:
        cols: (batch, channels * prod(kernel_size), windows), unbatched without batch.

    Raises:
        TypeError: a dtype that torch does not support, or an argument that is not an integer.
        ValueError: a rank other than 3 or 4, an argument out of range, or a window larger than the
            padded input.

    Example:
        >>> unfold(jnp.arange(6.0).reshape(1, 2, 3), 2)
        Array([[0., 1.],
               [1., 2.],
               [3., 4.],
               [4., 5.]], dtype=float32)
    """
    x = dtypes.as_array("unfold", "input", input)
    checks.check_dtype("unfold", "input", x, _DTYPES)
    if x.ndim not in (3, 4):
        raise ValueError(
            f"unfold: input.shape={x.shape} must be (batch, channels, height, width), or "
            "(channels, height, width) unbatched"
        )
    checks.check_not_empty("unfold", "input", x.shape, x.shape[-3:])
    kernel, arguments = _arguments("unfold", kernel_size, dilation, padding, stride)
    pads = arguments["padding"]
    checks.check_fits("unfold", x.shape, kernel, arguments["dilation"], pads)
    cols = windows.unfold(checks.channels_last(x, 2), kernel, **arguments)
    # (*batch, *space', kernel * channels) -> (*batch, windows, kernel, channels)
    batch, channels, count = x.shape[:-3], x.shape[-3], math.prod(cols.shape[-3:-1])
    cols = cols.reshape(*batch, count, math.prod(kernel), channels)
    # -> (*batch, channels, kernel, windows) -> (*batch, channels * kernel, windows)
    cols = jnp.swapaxes(cols, -1, -3)
    return cols.reshape(*batch, channels * math.prod(kernel), count)


def fold(
    input: jax.Array | np.ndarray,
    output_size: Numbers,
    kernel_size: Numbers,
    dilation: Numbers = 1,
    padding: Numbers = 0,
    stride: Numbers = 1,
) -> jax.Array:
    """Add every column to its window of an image, as `torch.nn.functional.fold` does.

    y[n, c, s] = sum of input[n, (c, k), t] over all t, k with t stride + k dilation - padding = s

    the adjoint of `unfold`; for bool the sum is a logical or.

    Args:
        input: (batch, channels * prod(kernel_size), windows), or unbatched without batch.
        output_size: (height, width) of the result, or one integer for both.
        kernel_size: as in `unfold`.
        dilation: as in `unfold`.
        padding: as in `unfold`.
        stride: as in `unfold`.

    Returns:
        y: (batch, channels, *output_size), unbatched without batch.

    Raises:
        TypeError: as in `unfold`.
        ValueError: the input does not have the shape that `unfold` returns for `output_size`.

    Example:
        >>> fold(unfold(jnp.ones((1, 3, 3)), 2), 3, 2)[0]
        Array([[1., 2., 1.],
               [2., 4., 2.],
               [1., 2., 1.]], dtype=float32)
    """
    cols = dtypes.as_array("fold", "input", input)
    checks.check_dtype("fold", "input", cols, _DTYPES)
    if cols.ndim not in (2, 3):
        raise ValueError(
            f"fold: input.shape={cols.shape} must be (batch, channels * prod(kernel_size), "
            "windows), or without batch"
        )
    checks.check_not_empty("fold", "input", cols.shape, cols.shape[-2:])
    size = per_dimension("fold", "output_size", output_size, 2, minimum=1)
    kernel, arguments = _arguments("fold", kernel_size, dilation, padding, stride)
    if cols.shape[-2] % math.prod(kernel):
        raise ValueError(
            f"fold: input.shape={cols.shape} must have a multiple of prod(kernel_size)="
            f"{math.prod(kernel)} rows, not {cols.shape[-2]}"
        )
    space = _windows(size, kernel, arguments)
    if min(space) < 1 or math.prod(space) != cols.shape[-1]:
        raise ValueError(
            f"fold: input.shape={cols.shape} must have one column for each window, but an image "
            f"of output_size={size} has {max(space[0], 0)} by {max(space[1], 0)} windows "
            f"(kernel_size={kernel}, dilation={arguments['dilation']}, "
            f"padding={tuple(lo for lo, _ in arguments['padding'])}, stride={arguments['stride']})"
        )
    dtype = cols.dtype
    batch, channels = cols.shape[:-2], cols.shape[-2] // math.prod(kernel)
    # (*batch, channels * kernel, windows) -> (*batch, windows, kernel, channels)
    cols = jnp.swapaxes(cols.reshape(*batch, channels, math.prod(kernel), math.prod(space)), -1, -3)
    cols = cols.reshape(*batch, *space, math.prod(kernel) * channels)
    if dtype == jnp.bool_:
        cols = cols.astype(jnp.int32)
    y = windows.fold(cols, size, kernel, **arguments)
    return checks.channels_first(y.astype(dtype), 2)


def _arguments(
    caller: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> tuple[tuple[int, ...], dict[str, Any]]:
    kernel = per_dimension(caller, "kernel_size", kernel_size, 2, minimum=1)
    if isinstance(padding, str):
        raise TypeError(f"{caller}: padding={padding!r} must be made of integers, not a name")
    both = per_dimension(caller, "padding", padding, 2, minimum=0)
    return kernel, {
        "dilation": per_dimension(caller, "dilation", dilation, 2, minimum=1),
        "padding": tuple((p, p) for p in both),
        "stride": per_dimension(caller, "stride", stride, 2, minimum=1),
    }


def _windows(
    size: Sequence[int], kernel: Sequence[int], arguments: dict[str, Any]
) -> tuple[int, ...]:
    names = ("stride", "dilation", "padding")
    each = zip(size, kernel, *(arguments[name] for name in names), strict=True)
    return tuple(shapes.output_size(n, k, s, d, lo, hi) for n, k, s, d, (lo, hi) in each)
