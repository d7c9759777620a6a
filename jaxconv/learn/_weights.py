"""Weights of outputs: which outputs count, and values that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.spec import Padding, normalise
from jaxconv._functional.convolution import conv
from jaxconv.learn._checks import LEFT_OUT
from jaxconv.learn._pairs import Pairs, size_tuple


def usable_outputs(
    good: jax.Array,
    kernel_size: int | Sequence[int],
    *,
    channels: bool = False,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    padding_mode: str = "zeros",
) -> jax.Array:
    """Find the outputs of a convolution whose windows read no bad element of x.

    `usable[t] = all over k (and channels) of good[t stride + k dilation - lo]`

    As `weights=` it leaves the other outputs out. A margin of zeros is good; one that repeats x is
    as good as what it repeats.

    Args:
        good: (*batch, *space), or with channels (*batch, *space, in): False, or 0, at bad elements
            of x, such as `jnp.isfinite(x)` or `x < 255`.
        kernel_size: as in `solve_kernel`.
        channels: whether the last axis is channels; all of them must be good.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`.
        padding_mode: as in `jaxconv.conv`.

    Returns:
        (*batch, *space'), booleans.

    Raises:
        TypeError: good is not an array of numbers or booleans.
        ValueError: shapes and numbers do not make a convolution.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv.learn import solve_kernel, usable_outputs
        >>> x = jnp.asarray([1.0, 3.0, jnp.nan, 2.0, 5.0, 4.0, 1.0])
        >>> y = x[1:] - x[:-1]
        >>> weights = usable_outputs(jnp.isfinite(x), (2,))
        >>> print(weights.astype(int))
        [1 0 0 1 1 1]
        >>> print(solve_kernel(x, y, (2,), weights=weights).kernel.round(4))
        [-1.  1.]
    """
    caller = "usable_outputs"
    size = size_tuple(caller, kernel_size)
    good = as_array(caller, "good", good)
    if good.ndim < len(size) + channels:
        layout = "(*batch, *space, channels)" if channels else "(*batch, *space)"
        raise ValueError(
            f"{caller}: good must be {layout} with {len(size)} spatial dimensions, as "
            f"kernel_size={size} has, got good.shape={good.shape}"
        )
    bad = lax.eq(good, jnp.zeros_like(good))
    bad = bad.any(-1, keepdims=True) if channels else bad[..., None]
    bad = bad.astype(jnp.float32)
    geometry: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    spec = normalise(caller, bad.shape, (*size, 1, 1), **geometry)
    count = conv(
        bad,
        jnp.ones((*size, 1, 1), jnp.float32),
        stride=spec.stride,
        padding=spec.padding,
        dilation=spec.dilation,
        padding_mode=padding_mode,
        precision="highest",
    )
    return count[..., 0] < 0.5


def weighed(
    caller: str, weights: Any, pairs: Pairs, *, channels: bool, padding_mode: str
) -> tuple[Pairs, tuple[jax.Array, ...] | None]:
    """Check weights, and set what they leave out to zero.

    Args:
        caller: the public function's name, for messages.
        weights: None, or (*batch, *space') for each pair: one array, or a list of them.
        pairs: the images; what no output of weight above 0 depends on may be NaN or infinite.
        channels: whether the caller's arrays have channels, for messages.
        padding_mode: as in `jaxconv.conv`.

    Returns:
        The pairs with zeros in the place of values that are NaN or infinite or, in y, of weight 0;
        and the weights, each (*batch, *space', 1) of the images' dtype, or None. Where values are
        unknown (under jit) and an output of weight above 0 depends on one that is NaN, it is NaN.

    Raises:
        TypeError: weights do not hold real numbers.
        ValueError: they have other shapes, are negative or not finite, are 0 everywhere, or an
            output of weight above 0 is missing.
    """
    if weights is None:
        return pairs, None
    several = isinstance(weights, tuple | list)
    given = tuple(weights) if several else (weights,)
    if len(given) != len(pairs.ys):
        raise ValueError(
            f"{caller}: y has {len(pairs.ys)} images and weights {len(given)}; give one array of "
            "weights for each y"
        )
    xs, ys, ws = [], [], []
    for x, y, w, spec in zip(pairs.xs, pairs.ys, given, pairs.specs, strict=True):
        w = as_array(caller, "weights", w)
        if jnp.issubdtype(w.dtype, jnp.complexfloating):
            raise TypeError(
                f"{caller}: weights must hold real numbers, got weights.dtype={w.dtype}"
            )
        if w.shape != y.shape[:-1]:
            kind = "y without its channels" if channels else "y"
            raise ValueError(
                f"{caller}: weights.shape={w.shape}, but {kind} is {y.shape[:-1]}; give one weight "
                "for each output" + (", which all its channels share" if channels else "")
            )
        w = w.astype(jnp.finfo(y.dtype).dtype)[..., None]
        if _known(w) and not bool(((w >= 0) & (w < jnp.inf)).all()):
            raise ValueError(f"{caller}: weights must be 0 or more, and finite")
        x, y = _without_missing(caller, x, y, w, spec, padding_mode)
        xs, ys, ws = [*xs, x], [*ys, y], [*ws, w]
    if all(map(_known, ws)) and not any(bool((w > 0).any()) for w in ws):
        raise ValueError(f"{caller}: weights are 0 everywhere, so that no output is used")
    return pairs._replace(xs=tuple(xs), ys=tuple(ys)), tuple(ws)


def _without_missing(
    caller: str, x: jax.Array, y: jax.Array, w: jax.Array, spec: Any, padding_mode: str
) -> tuple[jax.Array, jax.Array]:
    used = w > 0
    if _known(y) and _known(w) and bool((used & ~jnp.isfinite(y)).any()):
        raise ValueError(
            f"{caller}: y has values that are NaN or infinite where weights are above 0; leave "
            f"them out by weights={LEFT_OUT['y']}"
        )
    y = jnp.where(used, y, jnp.zeros_like(y))
    good = jnp.isfinite(x)
    if _known(x) and bool(good.all()):
        return x, y
    usable = usable_outputs(
        good,
        spec.kernel_size,
        channels=True,
        stride=spec.stride,
        padding=spec.padding,
        dilation=spec.dilation,
        padding_mode=padding_mode,
    )[..., None]
    if _known(x) and _known(w) and bool((used & ~usable).any()):
        raise ValueError(
            f"{caller}: x has values that are NaN or infinite in windows of weight above 0; leave "
            f"these out by weights={LEFT_OUT['x']}"
        )
    y = jnp.where(used & ~usable, jnp.full_like(y, jnp.nan), y)
    return jnp.where(good, x, jnp.zeros_like(x)), y


def _known(array: jax.Array) -> bool:
    return not isinstance(array, Tracer)
