"""Restoration in one step, by spectra: `wiener`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv.restore._balance import check, find_balance, smoothing
from jaxconv.restore._blur import images, inverse, transform
from jaxconv.restore._circle import closed, penalty


def wiener(
    y: jax.Array | np.ndarray,
    k: jax.Array | np.ndarray,
    *,
    balance: ArrayLike | None = None,
    noise: ArrayLike | None = None,
    order: int = 2,
    boundary: str = "unknown",
    flip: bool = False,
) -> jax.Array:
    """Undo a blur in one step, as far as the noise allows.

    `X(f) = K(f) Y(f) / (|K(f)|^2 + balance R(f))`, with K, Y the spectra of k and y, and
    `R(f) = (sum over axes of 2 - 2 cos(2 pi f))^order`

    which minimises `|correlate(x, k) - y|^2 + balance x . L^order x` on a circle. What an image has
    in frequencies that the blur has left below the noise stays lost; a mean that k takes out, as
    kernels of edges do, comes out as 0. Linear in y for a given balance, and differentiable in y, k
    and balance.

    Args:
        y: the blurred image, any rank, float32 or float64.
        k: the blur, of y's rank and dtype, no larger than y: as `jaxconv.learn` finds it and
            `jaxconv.correlate` takes it.
        balance: how much is smoothed, 0 or more; by default `estimate_balance` for wiener.
        noise: the standard deviation of y's noise, if it is known, for that estimate.
        order: 1 punishes slopes, 2 bends, as scikit-image's filter does.
        boundary: what lies beyond y. "circular": y goes round, exact for such images. "unknown": y
            is continued over the kernel's size, in straight lines to its opposite ends, so that
            nothing jumps; within half a kernel of the ends the result is a guess, and
            `restore.tikhonov` a better one.
        flip: whether the blur is the convolution with k, rather than the correlation.

    Returns:
        The restored image, y's shape and dtype: the element t of y is centred on
        `k[(n - 1) // 2]`, with flip on `k[n // 2]`, as in mode="same".

    Raises:
        TypeError: y or k is not floating point, or their dtypes differ.
        ValueError: different ranks, a k larger than y, `order` below 1, another boundary, or both
            balance and noise.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import correlate, restore
        >>> x = jnp.zeros(32).at[8:16].set(1.0)
        >>> k = jnp.array([0.25, 0.5, 0.25])
        >>> y = correlate(x, k, mode="same", boundary="circular")
        >>> found = restore.wiener(y, k, balance=1e-6, boundary="circular")
        >>> bool(jnp.abs(found - x).max() < 0.05)
        True

    Source: B. R. Hunt, "The application of constrained least squares estimation to image
    restoration by digital computer", IEEE Transactions on Computers C-22 (9), 1973; for a spectral
    density `a / R` and noise of variance `balance a` it is N. Wiener's filter.
    """
    y, k = images("wiener", y=y, k=k)
    check("wiener", y, k, order, boundary)
    balance, noise = smoothing("wiener", y, balance, noise)
    if flip:
        k = jnp.flip(k)
    return _filtered(y, k, balance, noise, order=order, boundary=boundary)


@functools.partial(jax.jit, static_argnames=("order", "boundary"))
def _filtered(
    y: jax.Array,
    k: jax.Array,
    balance: jax.Array | None,
    noise: jax.Array | None,
    *,
    order: int,
    boundary: str,
) -> jax.Array:
    smooth: jax.Array = (
        find_balance(y, k, noise, order=order, boundary=boundary, restoration="wiener")
        if balance is None
        else balance
    )
    grown, lengths = (y, y.shape) if boundary == "circular" else closed(y, k)
    seen, spectrum = transform(grown, lengths), transform(k, lengths)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    passed = power + smooth * penalty(lengths, order, y.dtype)
    # what neither blur nor penalty knows of, such as the mean under weights that sum to 0
    least = jnp.square(8 * jnp.finfo(y.dtype).eps * jnp.sum(jnp.abs(k)))
    unknown = passed <= least
    passed = jnp.where(unknown, jnp.ones((), y.dtype), passed)
    spectrum = jnp.where(unknown, jnp.zeros((), spectrum.dtype), spectrum)
    x = inverse(seen * spectrum / passed.astype(seen.dtype), lengths)
    # correlating moved the image by the kernel's centre to the start
    x = jnp.roll(x, [-((n - 1) // 2) for n in k.shape], range(k.ndim))
    return x[tuple(map(slice, y.shape))]
