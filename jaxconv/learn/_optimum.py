"""The distance of a learned kernel from the exact answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv._core.geometry.dtypes import with_bias
from jaxconv._core.geometry.spec import Padding
from jaxconv._functional.convolution import conv
from jaxconv.learn._outcome import Distance, Fit
from jaxconv.learn._pairs import Images
from jaxconv.learn._solve import solve_kernel


def distance_to_optimum(
    fit: Fit,
    x: Images,
    y: Images,
    *,
    channels: bool = False,
    weights: Images | None = None,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    mesh: Mesh | AbstractMesh | None = None,
    x_spec: PartitionSpec | None = None,
) -> Distance:
    """Compare the result of `fit_kernel`, `recover_kernel` or `fit_conv` with the exact answer.

    `excess = sum over directions of energy * (coefficient of fit.kernel - solution.kernel) ** 2`

    which is the difference of the two sums of squared errors, computed without subtracting them:
    the second-order expansion of a quadratic about its minimum is exact. `fit_kernel` and
    `fit_conv` report it with `exact=True`. Works under jit and vmap.

    Args:
        fit: learned under a squared error.
        x: the inputs it was learned from.
        y: the outputs.
        channels: False for `fit_kernel` and `recover_kernel`, True for `fit_conv`.
        weights: as in the fit; so are the following ones.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`.
        groups: as in `jaxconv.conv`.
        padding_mode: as in `jaxconv.conv`.
        mesh: as in `fit_kernel`.
        x_spec: as in `fit_kernel`.

    Returns:
        A `Distance`; excess includes the error of the bias.

    Raises:
        TypeError, ValueError: as `solve_kernel`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import corr2d, learn
        >>> x = jnp.ones((6, 8)).at[:, 2:6].set(0.0)
        >>> y = corr2d(x, jnp.array([[1.0, -1.0]]))
        >>> fit = learn.fit_kernel(x, y, (1, 2), init=jnp.array([[0.0166553, 0.6072187]]))
        >>> distance = learn.distance_to_optimum(fit, x, y)
        >>> print(distance.kernel.round(4), distance.excess.round(3), fit.final_loss.round(3))
        0.0484 0.07 0.07
    """
    geometry: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": padding_mode,
    }
    rank = fit.kernel.ndim - (2 if channels else 0)
    solution = solve_kernel(
        x,
        y,
        fit.kernel.shape[:rank],
        bias=fit.bias is not None,
        channels=channels,
        weights=weights,
        mesh=mesh,
        x_spec=x_spec,
        **geometry,
    )
    difference = fit.kernel.astype(solution.kernel.dtype) - solution.kernel
    if not channels:
        difference = difference[..., None, None]
    # (*kernel, i, g * o) -> (*kernel, g * i, g * o), zero across groups: the directions' layout
    *size, inner, out = difference.shape
    split = difference.reshape(*size, 1, inner, groups, out // groups)
    own = jnp.eye(groups, dtype=split.dtype)[:, None, :, None]
    wide = (split * own[(None,) * len(size)]).reshape(-1, out)
    directions = solution.directions.reshape(len(solution.directions), -1)
    known = jnp.where(solution.identified[:, None], directions @ wide, 0.0)
    excess = jnp.sum(solution.energies[:, None] * jnp.square(known))
    if fit.bias is not None:
        several = isinstance(x, tuple | list)
        xs, ys, ws = (x, y, weights) if several else ([x], [y], [weights])
        pairs = list(zip(xs, ys, [None] * len(xs) if ws is None else ws, strict=True))
        dtype = solution.kernel.dtype
        kernel, bias = fit.kernel.astype(dtype), fit.bias.astype(dtype)
        excess = excess + _offset(kernel, bias, pairs, channels, geometry)
    return Distance(kernel=jnp.max(jnp.abs(directions.T @ known)), excess=excess, solution=solution)


def _offset(
    kernel: jax.Array, bias: jax.Array, pairs: list[Any], channels: bool, geometry: dict[str, Any]
) -> jax.Array:
    """How much the best bias for this kernel would lower the sum of squared errors."""
    total, count = jnp.zeros((), kernel.dtype), 0
    for x, y, weights in pairs:
        x, y = jnp.asarray(x, kernel.dtype), jnp.asarray(y, kernel.dtype)
        x = x if weights is None else jnp.where(jnp.isfinite(x), x, jnp.zeros_like(x))
        if channels:
            left = with_bias(y - conv(x, kernel, **geometry), -bias)
        else:
            left = y[..., None] - conv(x[..., None], kernel[..., None, None], **geometry) - bias
        if weights is None:
            left = left.reshape(-1, left.shape[-1])
            total, count = total + jnp.sum(left, 0), count + len(left)
            continue
        own = jnp.asarray(weights, kernel.dtype)[..., None]
        left = jnp.where(own > 0, own * left, jnp.zeros_like(left))
        total = total + jnp.sum(left.reshape(-1, left.shape[-1]), 0)
        count = count + jnp.sum(own)
    return jnp.sum(jnp.square(total)) / count
