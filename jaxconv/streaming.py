"""Convolution of a sequence that arrives in pieces."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxconv.functional import conv
from jaxconv.shapes import extent
from jaxconv.spec import per_dimension


def causal_conv1d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    *,
    state: ArrayLike | None = None,
    dilation: int = 1,
    method: str = "auto",
) -> tuple[jax.Array, jax.Array]:
    """Convolve a sequence so that no output sees the future, and carry what the next piece needs.

    y[t] = b + sum over k of x[t - (K - 1 - k) dilation] w[k], where x before the first element is
    what `state` remembers (zeros to begin with).

    Feeding a sequence in pieces of any length, each with the state the last one returned, gives the
    same outputs as feeding it at once.

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
        ValueError: the shapes do not fit.

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
    x, w = jnp.asarray(x), jnp.asarray(w)
    if w.ndim != 3 or x.ndim < 2:
        raise ValueError(
            f"{caller}: x must be (*batch, time, in) and w (K, in // groups, out), got "
            f"x.shape={x.shape}, w.shape={w.shape}"
        )
    if min(w.shape) < 1 or x.shape[-1] % w.shape[1]:
        raise ValueError(
            f"{caller}: x has {x.shape[-1]} channels, no multiple of the {w.shape[1]} that w takes "
            f"(x.shape={x.shape}, w.shape={w.shape})"
        )
    (dilation,) = per_dimension(caller, "dilation", dilation, 1, minimum=1)
    groups = x.shape[-1] // w.shape[1]
    memory = extent(w.shape[0], dilation) - 1
    expected = (*x.shape[:-2], memory, x.shape[-1])
    state = jnp.zeros(expected, x.dtype) if state is None else jnp.asarray(state)
    if state.shape != expected or state.dtype != x.dtype:
        raise ValueError(
            f"{caller}: state is {state.dtype}{state.shape}, but x ({x.dtype}{x.shape}) and w "
            f"({w.shape}) need {x.dtype}{expected}"
        )
    seen = jnp.concatenate([state, x], axis=-2)
    if x.shape[-2] == 0:
        y = conv(
            jnp.zeros_like(x, shape=(*x.shape[:-2], memory + 1, x.shape[-1])),
            w,
            b,
            dilation=dilation,
            groups=groups,
            method=method,
        )[..., :0, :]
    else:
        y = conv(seen, w, b, dilation=dilation, groups=groups, method=method)
    return y, seen[..., seen.shape[-2] - memory :, :]
