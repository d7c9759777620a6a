"""Rows of a batch that end before others, and rows that hold several sequences (segments)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.explicit_axes import entries_of, on_explicit_axes


def check_integers(
    caller: str, name: str, value: ArrayLike | None, x: jax.Array, x_name: str
) -> jax.Array | None:
    """Return `segment_ids` or `lengths` as an array of integers, or None.

    Raises:
        TypeError: they are not integers.
        ValueError: `segment_ids` is not one a time step of x, or `lengths` not one a row.
    """
    if value is None:
        return None
    array = dtypes.as_array(caller, name, value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"{caller}: {name} is {array.dtype}, but must be integers; cast it: "
            f"{name}.astype(jnp.int32)"
        )
    rows = name == "lengths"
    expected = x.shape[:-2] if rows else x.shape[:-1]
    if array.shape != expected:
        raise ValueError(
            f"{caller}: {name}.shape={array.shape} must be {expected}, one integer "
            f"{'a row' if rows else 'a time step'} of {x_name} ({x_name}.shape={x.shape})"
        )
    return array


def zeros_from(x: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Return x (*batch, time, channels) with zeros from `lengths` (*batch,) on."""
    if lengths is None:
        return x
    return on_explicit_axes(_zeros_from, x, lengths, shape=x.shape, entries=entries_of(x))


@partial(jax.jit, inline=True)
def _zeros_from(x: jax.Array, lengths: jax.Array) -> jax.Array:
    inside = lax.broadcasted_iota(jnp.int32, x.shape[:-1], x.ndim - 2) < _limited(x, lengths)
    return jnp.where(inside[..., None], x, dtypes.zero(x.dtype))


def _limited(x: jax.Array, lengths: jax.Array) -> jax.Array:
    """Lengths between 0 and x's time: (*batch, 1)."""
    return jnp.clip(lengths, 0, x.shape[-2]).astype(jnp.int32)[..., None]


def ids_before(ids: jax.Array, before: int) -> jax.Array:
    """Return ids (*batch, time) after `before` times the first one: the state is its segment's."""
    shape = (*ids.shape[:-1], before + ids.shape[-1])
    repeated = partial(_ids_before, before=before)
    return on_explicit_axes(repeated, ids, shape=shape, entries=entries_of(ids))


@partial(jax.jit, static_argnames="before", inline=True)
def _ids_before(ids: jax.Array, *, before: int) -> jax.Array:
    first = jnp.broadcast_to(ids[..., :1], (*ids.shape[:-1], before))
    return jnp.concatenate([first, ids], axis=-1)


def own_windows(
    x: jax.Array,
    ids: jax.Array,
    *,
    kernel: int,
    outputs: Any,
    stride: int,
    dilation: int,
    first: int,
) -> jax.Array:
    """Return each output's window, with zeros for what is not of the segment of its last element.

    windows[t, k] = x[s] where ids[s] is ids[first + t stride + (kernel - 1) dilation], else 0,
    with s = first + t stride + k dilation

    Args:
        x: (*batch, time, channels).
        ids: (*batch, time).
        kernel: elements of a window.
        outputs: number of windows.
        stride: elements of x between windows.
        dilation: elements of x between neighbouring elements of a window.
        first: the first element of the first window.

    Returns:
        (*batch, outputs, kernel, channels).
    """
    *batch, time, channels = entries_of(x)
    take = partial(
        _own_windows, kernel=kernel, outputs=outputs, stride=stride, dilation=dilation, first=first
    )
    shape = (*x.shape[:-2], outputs, kernel, x.shape[-1])
    return on_explicit_axes(take, x, ids, shape=shape, entries=[*batch, time, None, channels])


@partial(jax.jit, static_argnames=("kernel", "outputs", "stride", "dilation", "first"), inline=True)
def _own_windows(x, ids, *, kernel, outputs, stride, dilation, first):
    def windows(array, axis):  # axis -> (outputs, kernel)
        starts = [first + k * dilation for k in range(kernel)]
        ends = [start + (outputs - 1) * stride + 1 for start in starts]
        parts = [
            lax.slice_in_dim(array, start, end, stride, axis)
            for start, end in zip(starts, ends, strict=True)
        ]
        return jnp.stack(parts, axis=axis + 1)

    ids = windows(ids, ids.ndim - 1)
    return jnp.where(
        (ids == ids[..., -1:])[..., None], windows(x, x.ndim - 2), dtypes.zero(x.dtype)
    )
