"""Checks of arguments that torch rejects, before tracing, and conversions of layouts.

A caller is a function of `torch.nn.functional`; messages use its argument names.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.dispatch.arguments import check_method
from jaxconv._core.geometry import dtypes, shapes
from jaxconv._core.geometry.precision import check_precision
from jaxconv._core.geometry.spec import per_dimension

FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
INTEGERS = ("int8", "uint8", "int16", "int32", "int64")


def operands(
    caller: str, rank: int, arrays: tuple[Any, Any, Any], *, transposed: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Return input, weight and bias of a convolution after checking their dtypes and ranks.

    Raises:
        TypeError: torch does not support the dtype, or the dtypes differ.
        ValueError: the shapes are not those of an input and a weight of this rank.
    """
    x, w = dtypes.as_array(caller, "input", arrays[0]), dtypes.as_array(caller, "weight", arrays[1])
    b = None if arrays[2] is None else dtypes.as_array(caller, "bias", arrays[2])
    # torch transposes int64 and no other integer; int64 is int32 unless jax_enable_x64 is on
    integers = (jax.dtypes.canonicalize_dtype(np.int64).name,) if transposed else INTEGERS
    check_dtype(caller, "input", x, (*FLOATS, *integers))
    # compare the dtypes as given: JAX may turn NumPy's float64 into float32
    given = [
        a.dtype if isinstance(a, np.ndarray) else j.dtype
        for a, j in zip(arrays, (x, w, b), strict=True)
        if j is not None
    ]
    for name, dtype in zip(("weight", "bias"), given[1:], strict=False):
        if dtype != given[0]:
            cast = "input" if dtype == x.dtype else name
            raise TypeError(
                f"{caller}: input is {given[0]} but {name} is {dtype}; their dtypes must be "
                f"equal, as in torch: cast one of them, e.g. {cast}.astype(jnp.{x.dtype})"
            )
    channels = "(in, out // groups, *kernel)" if transposed else "(out, in // groups, *kernel)"
    if w.ndim != rank + 2:
        raise ValueError(
            f"{caller}: weight.shape={w.shape} must be {channels}, {rank + 2} dimensions"
        )
    if x.ndim not in (rank + 1, rank + 2):
        raise ValueError(
            f"{caller}: input.shape={x.shape} must be (batch, in, *space), or (in, *space) "
            f"unbatched: {rank + 2} or {rank + 1} dimensions"
        )
    check_not_empty(caller, "weight", w.shape, w.shape)
    check_not_empty(caller, "input", x.shape, x.shape[-rank - 1 :])
    return x, w, b


def check_dtype(caller: str, name: str, array: jax.Array, allowed: Sequence[str]) -> None:
    """Raise a TypeError for a dtype that torch's function does not accept."""
    if array.dtype.name not in allowed:
        raise TypeError(
            f"{caller}: {name} is {array.dtype}, which torch.nn.functional.{caller} does not "
            f"accept either; cast it to one of {', '.join(allowed)}"
        )


def check_not_empty(caller: str, name: str, shape: Sequence[int], part: Sequence[int]) -> None:
    """Raise a ValueError if `part`, the dimensions of `shape` that must not be zero, has a zero."""
    if min(part) < 1:
        batch = " except batch" if len(part) < len(shape) else ""
        raise ValueError(
            f"{caller}: {name}.shape={tuple(shape)} must have no dimension of size zero{batch}"
        )


def check_groups(
    caller: str, x: jax.Array, w: jax.Array, groups: Any, *, transposed: bool = False
) -> int:
    """Return groups as an integer after checking it and the channels against weight."""
    if np.ndim(groups):
        raise TypeError(f"{caller}: groups={groups!r} must be an integer")
    (groups,) = per_dimension(caller, "groups", groups, 1, minimum=1)
    if w.shape[0] % groups:
        raise ValueError(
            f"{caller}: groups={groups} does not divide the first dimension of weight "
            f"(weight.shape={w.shape})"
        )
    expected = w.shape[0] if transposed else w.shape[1] * groups
    axis = x.ndim - w.ndim + 1
    if x.shape[axis] != expected:
        hint = ""
        if x.shape[-1] == expected:
            hint = f" looks channels-last: use jnp.moveaxis(input, -1, {axis})"
        raise ValueError(
            f"{caller}: input has {x.shape[axis]} channels, weight expects {expected} "
            f"(weight.shape={w.shape}, groups={groups}); input.shape={x.shape}{hint}"
        )
    return groups


def check_bias(caller: str, b: jax.Array | None, channels: int) -> None:
    """Raise a ValueError unless the bias has one element for each channel of the result."""
    if b is not None and b.shape != (channels,):
        raise ValueError(
            f"{caller}: bias.shape={b.shape} must be ({channels},), one a channel of the result"
        )


def per_spatial_dimension(
    caller: str, name: str, value: Any, rank: int, *, minimum: int
) -> tuple[int, ...]:
    """Return one integer for each spatial dimension; as in torch, a sequence of one is repeated."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        checked = per_dimension(caller, name, value, 1, minimum=minimum)
        return checked * rank
    return per_dimension(caller, name, value, rank, minimum=minimum)


def check_fits(
    caller: str,
    shape: Sequence[int],
    kernel: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> None:
    """Raise a ValueError for a kernel that is larger than the padded input."""
    size = shape[-len(kernel) :]
    padded = tuple(n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True))
    spans = tuple(map(shapes.extent, kernel, dilation))
    if any(e > p for e, p in zip(spans, padded, strict=True)):
        raise ValueError(
            f"{caller}: the kernel spans {spans} elements (kernel size {tuple(kernel)}, "
            f"dilation={tuple(dilation)}), but the padded input has {padded} "
            f"(input.shape={tuple(shape)}); use a smaller kernel or more padding"
        )


def numerics(caller: str, method: str, precision: Any) -> dict[str, Any]:
    """Check and return the arguments that torch does not have."""
    return {
        "method": check_method(caller, method),
        "precision": check_precision(caller, precision),
    }


def channels_last(x: jax.Array, rank: int) -> jax.Array:
    """(*batch, channels, *space) -> (*batch, *space, channels)."""
    return jnp.moveaxis(x, -rank - 1, -1)


def channels_first(x: jax.Array, rank: int) -> jax.Array:
    """(*batch, *space, channels) -> (*batch, channels, *space)."""
    return jnp.moveaxis(x, -1, -rank - 1)


def kernel_from_weight(weight: jax.Array) -> jax.Array:
    """(a, b, *kernel) -> (*kernel, b, a): torch's layout to jaxconv's, plain or transposed."""
    return jnp.moveaxis(weight, (0, 1), (-1, -2))
