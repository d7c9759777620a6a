"""The state between the pieces of a sequence: the inputs that later outputs still see."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.explicit_axes import entries_of, on_explicit_axes


def check_state(
    caller: str,
    x: jax.Array,
    state: ArrayLike | None,
    memory: int,
    *,
    what: str,
    most: int = 0,
    name: str = "x",
) -> jax.Array:
    """Return the state, `memory` inputs and up to `most` more; None is zeros.

    Raises:
        TypeError: its dtype is not that of x.
        ValueError: its shape does not fit x.
    """
    expected = (*x.shape[:-2], memory, x.shape[-1])
    if state is None:
        # zeros placed as x is, on whatever mesh
        nothing = partial(_zeros_before, memory=memory)
        return on_explicit_axes(nothing, x, shape=expected, entries=entries_of(x))
    state = dtypes.as_array(caller, "state", state)
    fitting = [(*x.shape[:-2], memory + more, x.shape[-1]) for more in range(most + 1)]
    if state.shape not in fitting:
        more = f", and up to {most} after the last multiple of the stride" if most else ""
        raise ValueError(
            f"{caller}: state.shape={state.shape} must be {expected}, the {what} before "
            f"{name}{more} ({name}.shape={x.shape})"
        )
    if state.dtype != x.dtype:
        raise TypeError(
            f"{caller}: state is {state.dtype} but {name} is {x.dtype}; cast it: "
            f"state.astype(jnp.{x.dtype})"
        )
    return state


def _zeros_before(x: jax.Array, memory: int) -> jax.Array:
    """All of x cut off along time, and `memory` elements put before it."""
    time = (memory, -x.shape[-2], 0)
    return lax.pad(x, dtypes.zero(x.dtype), [*[(0, 0, 0)] * (x.ndim - 2), time, (0, 0, 0)])


def joined(x: jax.Array, state: jax.Array) -> jax.Array:
    """Return x after the state: (*batch, before + time, channels)."""
    shape = (*x.shape[:-2], state.shape[-2] + x.shape[-2], x.shape[-1])
    return on_explicit_axes(_joined, x, state, shape=shape, entries=entries_of(x))


def _joined(x: jax.Array, state: jax.Array) -> jax.Array:
    return jnp.concatenate([state, x], axis=-2)


def last_inputs(
    seen: jax.Array,
    ids: jax.Array | None,
    lengths: jax.Array | None,
    *,
    time: Any,
    kept: Any,
    start: Any,
) -> jax.Array:
    """Return the state after a piece: the last inputs of each row that are of its last segment.

    Args:
        seen: (*batch, before + time, channels): the state before the piece, and the piece.
        ids: (*batch, before + time), or None for one segment a row.
        lengths: (*batch,), or None for `time` in every row.
        time: length of the piece.
        kept: length of the state.
        start: its first element in `seen` where a row has `time` elements.

    Returns:
        (*batch, kept, channels).
    """
    take = partial(_last_inputs, time=time, kept=kept, start=start)
    more = [array for array in (ids, lengths) if array is not None]
    take = partial(take, has_ids=ids is not None, has_lengths=lengths is not None)
    shape = (*seen.shape[:-2], kept, seen.shape[-1])
    return on_explicit_axes(take, seen, *more, shape=shape, entries=entries_of(seen))


@partial(jax.jit, static_argnames=("time", "kept", "start", "has_ids", "has_lengths"), inline=True)
def _last_inputs(seen, *more, time, kept, start, has_ids, has_lengths):
    ids = more[0] if has_ids else None
    if has_lengths:
        back = time - jnp.clip(more[-1], 0, time).astype(jnp.int32)[..., None]
        at = start - back + lax.broadcasted_iota(jnp.int32, (*back.shape[:-1], kept), back.ndim - 1)
        take = partial(jnp.take_along_axis, mode="promise_in_bounds")
        state = take(seen, at[..., None], axis=-2)
        ids = ids if ids is None else take(ids, at, axis=-1)
    else:
        state = lax.slice_in_dim(seen, start, start + kept, axis=-2)
        ids = ids if ids is None else lax.slice_in_dim(ids, start, start + kept, axis=-1)
    if ids is None:
        return state
    return jnp.where((ids == ids[..., -1:])[..., None], state, dtypes.zero(state.dtype))
