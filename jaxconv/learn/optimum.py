"""How far a learned kernel is from the exact answer."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.functional import conv
from jaxconv.learn.fit import Fit
from jaxconv.learn.pairs import Images
from jaxconv.learn.solve import Solution, solve_kernel
from jaxconv.learn.state import pure_state
from jaxconv.spec import Padding


@pure_state
class Distance:
    """Where descent stopped, seen from the optimum.

    Attributes:
        kernel: scalar, the largest absolute difference of a weight, free directions left out.
        excess: scalar, the sum of squared errors above the least there is; never below 0.
        solution: the optimum.
    """

    kernel: jax.Array
    excess: jax.Array
    solution: Solution


def distance_to_optimum(
    fit: Fit,
    x: Images,
    y: Images,
    *,
    channels: bool = False,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Distance:
    """Compare what `fit_kernel`, `recover_kernel` or `fit_conv` learned with the exact answer.

    `excess = sum over directions of energy * (coefficient of fit.kernel - solution.kernel) ** 2`

    which is the difference of the two sums of squared errors, computed without subtracting them.
    The descent itself knows nothing of it: call it afterwards. Under jit and vmap.

    Args:
        fit: learned under a squared error.
        x: what it was learned from.
        y: likewise.
        channels: False for `fit_kernel` and `recover_kernel`, True for `fit_conv`.
        stride: as the fit had it; so are the others.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`.
        groups: as in `jaxconv.conv`.
        padding_mode: as in `jaxconv.conv`.

    Returns:
        A `Distance`; with a bias, excess counts it too.

    Raises:
        TypeError, ValueError: as `solve_kernel` does.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import corr2d, learn
        >>> x = jnp.ones((6, 8)).at[:, 2:6].set(0.0)
        >>> y = corr2d(x, jnp.array([[1.0, -1.0]]))
        >>> fit = learn.fit_kernel(x, y, (1, 2), init=jnp.array([[0.0166553, 0.6072187]]))
        >>> distance = learn.distance_to_optimum(fit, x, y)
        >>> print(distance.kernel.round(4), distance.excess.round(3), fit.final_loss.round(3))
        0.0484 0.07 0.07

    Source: the second-order expansion of a quadratic about its minimum, which is exact.
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
        **geometry,
    )
    difference = fit.kernel - solution.kernel
    if not channels:
        difference = difference[..., None, None]
    # (*kernel, i, g * o) -> (*kernel, g * i, g * o), zero across groups: the directions' layout
    *size, inner, out = difference.shape
    split = difference.reshape(*size, 1, inner, groups, out // groups)
    own = jnp.eye(groups, dtype=split.dtype)[:, None, :, None]
    wide = (split * own).reshape(-1, out)
    directions = solution.directions.reshape(len(solution.directions), -1)
    told = jnp.where(solution.identified[:, None], directions @ wide, 0.0)
    excess = jnp.sum(solution.energies[:, None] * jnp.square(told))
    if fit.bias is not None:
        pairs = zip(x, y, strict=True) if isinstance(x, tuple | list) else [(x, y)]
        excess = excess + _offset(fit, list(pairs), channels, geometry)
    return Distance(kernel=jnp.max(jnp.abs(directions.T @ told)), excess=excess, solution=solution)


def _offset(fit: Fit, pairs: list[Any], channels: bool, geometry: dict[str, Any]) -> jax.Array:
    """What the best bias for this very kernel would take off."""
    assert fit.bias is not None
    total, count = jnp.zeros((), fit.kernel.dtype), 0
    for x, y in pairs:
        x, y = jnp.asarray(x, fit.kernel.dtype), jnp.asarray(y, fit.kernel.dtype)
        if channels:
            left = y - conv(x, fit.kernel, **geometry) - fit.bias
        else:
            left = y[..., None] - conv(x[..., None], fit.kernel[..., None, None], **geometry)
            left = left - fit.bias
        left = left.reshape(-1, left.shape[-1])
        total, count = total + jnp.sum(left, 0), count + len(left)
    return jnp.sum(jnp.square(total)) / count
