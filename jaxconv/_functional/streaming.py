"""Convolution of a sequence that arrives in pieces."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxconv._core.dispatch.arguments import check_method
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.explicit_axes import entries_of, on_explicit_axes
from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import normalise, per_dimension


def causal_conv1d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    state: ArrayLike | None = None,
    dilation: int = 1,
    method: str = "auto",
) -> tuple[jax.Array, jax.Array]:
    """Convolve a piece of a sequence so that no output depends on later inputs.

    y[t] = b + sum over k of x[t - (K - 1 - k) dilation] w[k], where x before the first element is
    `state` (zeros at the start).

    No output changes with later inputs, bit for bit, and no NaN or infinity comes from them. FFT
    (method="fft", or "fastest" where it takes FFT) is the exception: the rounding of every output
    depends on the whole sequence, on the scale of its largest elements, and one NaN makes all
    outputs NaN.

    Pieces of any length, each with the state that the last one returned, give the same outputs as
    the whole sequence in one call.

    Args:
        x: (*batch, time, in); time may be zero.
        w: (K, in // groups, out) in x's dtype; the number of groups follows from the shapes, so
            (K, 1, in) is a depthwise kernel.
        b: (out,), or None.
        state: (*batch, (K - 1) dilation, in), the inputs before x; None for zeros.
        dilation: elements of time between neighbouring kernel entries.
        method: as in `jaxconv.conv`.

    Returns:
        (y, state): y is (*batch, time, out), state is the last (K - 1) dilation inputs.

    Raises:
        TypeError: dtypes differ.
        ValueError: the shapes do not fit each other.

    Example:
        >>> x, w = jnp.arange(6.0).reshape(6, 1), jnp.ones((3, 1, 1))
        >>> whole, _ = causal_conv1d(x, w)
        >>> head, state = causal_conv1d(x[:1], w)
        >>> tail, _ = causal_conv1d(x[1:], w, state=state)
        >>> bool((jnp.concatenate([head, tail]) == whole).all())
        True

    Source:
        van den Oord et al. (2016), "WaveNet: A Generative Model for Raw Audio", section 2.1.
    """
    caller = "causal_conv1d"
    x, w = dtypes.as_array(caller, "x", x), dtypes.as_array(caller, "w", w)
    if w.ndim != 3 or x.ndim < 2:
        raise ValueError(
            f"{caller}: x must be (*batch, time, in) and w (K, in // groups, out), got "
            f"x.shape={x.shape}, w.shape={w.shape}"
        )
    dtype = dtypes.result_dtype(caller, ("x", x), ("w", w))
    groups = _groups(caller, x.shape, w.shape)
    (dilation,) = per_dimension(caller, "dilation", dilation, 1, minimum=1)
    check_method(caller, method)
    b = dtypes.check_bias(caller, b, w.shape[-1], x.dtype, dtype)
    memory = extent(w.shape[0], dilation) - 1
    expected = (*x.shape[:-2], memory, x.shape[-1])
    state = _check_state(caller, x, state, expected)

    entries = entries_of(x)
    joined = (*x.shape[:-2], memory + x.shape[-2], x.shape[-1])
    seen = on_explicit_axes(_after, x, state, shape=joined, entries=entries)
    if x.shape[-2] == 0:
        y = jnp.zeros((*x.shape[:-1], w.shape[-1]), dtype)
    else:
        spec = normalise(caller, seen.shape, w.shape, dilation=dilation, groups=groups)
        y = contract("output", seen, w, spec, dtype=dtype, method=method)
    last = partial(lax.slice_in_dim, start_index=x.shape[-2], limit_index=None, axis=-2)
    return dtypes.with_bias(y, b), on_explicit_axes(last, seen, shape=expected, entries=entries)


def _after(x: jax.Array, state: jax.Array) -> jax.Array:
    return jnp.concatenate([state, x], axis=-2)


def _groups(caller: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> int:
    """The number of groups that fits the shapes."""
    if min(*w_shape, x_shape[-1]) < 1:
        raise ValueError(
            f"{caller}: x.shape={x_shape} and w.shape={w_shape} must have channels, and w a length"
        )
    if x_shape[-1] % w_shape[1]:
        raise ValueError(
            f"{caller}: x has {x_shape[-1]} channels, no multiple of the {w_shape[1]} that w takes "
            f"(x.shape={x_shape}, w.shape={w_shape})"
        )
    groups = x_shape[-1] // w_shape[1]
    if w_shape[2] % groups:
        raise ValueError(
            f"{caller}: w.shape={w_shape} takes {w_shape[1]} of the {x_shape[-1]} channels of x, "
            f"which makes groups={groups}; that does not divide the {w_shape[2]} output channels "
            "of w"
        )
    return groups


def _check_state(
    caller: str, x: jax.Array, state: ArrayLike | None, expected: tuple[int, ...]
) -> jax.Array:
    if state is None:
        # zeros placed as x is, on whatever mesh
        nothing = partial(_zeros_before, memory=expected[-2])
        return on_explicit_axes(nothing, x, shape=expected, entries=entries_of(x))
    state = dtypes.as_array(caller, "state", state)
    if state.shape != expected:
        raise ValueError(
            f"{caller}: state.shape={state.shape} must be {expected}, the (K - 1) dilation = "
            f"{expected[-2]} inputs before x (x.shape={x.shape})"
        )
    if state.dtype != x.dtype:
        raise TypeError(
            f"{caller}: state is {state.dtype} but x is {x.dtype}; cast it: "
            f"state.astype(jnp.{x.dtype})"
        )
    return state


def _zeros_before(x: jax.Array, memory: int) -> jax.Array:
    """All of x cut off along time, and `memory` elements put before it."""
    time = (memory, -x.shape[-2], 0)
    return lax.pad(x, dtypes.zero(x.dtype), [*[(0, 0, 0)] * (x.ndim - 2), time, (0, 0, 0)])
