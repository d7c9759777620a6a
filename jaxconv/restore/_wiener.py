"""Restoration in one step, by spectra: `wiener`, and what it needs to know of noise and image."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.scalars import check_count, check_number
from jaxconv._core.geometry.shapes import fast_length
from jaxconv.restore._blur import images, inverse, number, transform

# At most so many frequencies are looked at to estimate a balance, evenly spread; balances between
# these powers of ten are tried, in so many steps, and then in smaller ones around the best.
FREQUENCIES, POWERS, STEPS, ROUNDS = 1 << 16, (-8.0, 4.0), 25, 3


def noise_level(y: jax.Array | np.ndarray) -> jax.Array:
    """Estimate the standard deviation of white noise in an image.

    `median(|d|) / (0.6745 sqrt(6)^rank)`, d = y correlated with (1, -2, 1) along every axis

    What is straight along any axis does not count, so that of an image's content only its finest
    corners and textures do; they make the estimate too large where they fill half of the image.

    Args:
        y: any shape with at least 3 elements along each axis, floating point.

    Returns:
        A scalar of y's dtype, in y's units.

    Raises:
        TypeError: not floating point.
        ValueError: fewer than 3 elements along an axis.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv import restore
        >>> ramp = jnp.arange(100.0)[:, None] + jnp.arange(100.0)
        >>> noise = 0.5 * jax.random.normal(jax.random.key(0), ramp.shape)
        >>> restore.noise_level(ramp + noise).round(2)
        Array(0.5, dtype=float32)

    Source: J. Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding
    64 (2), 1996, for the mask; D. L. Donoho, "De-noising by soft-thresholding", IEEE Transactions
    on Information Theory 41 (3), 1995, for the median.
    """
    (y,) = images("noise_level", y=y)
    if min(y.shape) < 3:
        raise ValueError(f"noise_level: needs 3 elements along each axis, got y.shape={y.shape}")
    return _noise_level(y)


@jax.jit
def _noise_level(y: jax.Array) -> jax.Array:
    rank = y.ndim
    for axis in range(rank):
        y = jnp.diff(y, n=2, axis=axis)
    return jnp.median(jnp.abs(y)) / (0.6744897501960817 * math.sqrt(6.0) ** rank)


def estimate_balance(
    y: jax.Array | np.ndarray,
    k: jax.Array | np.ndarray,
    *,
    noise: ArrayLike | None = None,
    order: int = 2,
    boundary: str = "unknown",
) -> jax.Array:
    """Estimate from a blurred image how much its restoration must be smoothed.

    The balance under which y is most likely, if its spectrum is that of a random image of the
    spectral density `a / R(f)`, blurred by k, with white noise of the variance `s^2`:

    `balance = s^2 / a`, the minimum over a and s of
    `sum over f of log v(f) + |Y(f)|^2 / v(f)`, `v = a |K|^2 / R + s^2`

    R is `R(f) = (sum over axes of 2 - 2 cos(2 pi f))^order`, the frequency 0 is left out.
    Photographs fall off between orders 1 and 2; with 2 fewer waves are left beside their edges.

    Args:
        y: the blurred image, any rank, float32 or float64.
        k: the blur, of y's rank and dtype.
        noise: the standard deviation s of the noise, in y's units, if it is known.
        order: as above.
        boundary: what lies beyond y: "circular", or "unknown", where y fades out at its ends.

    Returns:
        A scalar above 0 of y's dtype, between 1e-8 and 1e4. It counts as a constant: its derivative
        is 0.

    Raises:
        TypeError: y or k is not floating point, or their dtypes differ.
        ValueError: different ranks, a k larger than y, fewer than 2 elements, `order` below 1, or
            another boundary.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv import restore
        >>> x = jnp.cumsum(jax.random.normal(jax.random.key(0), (4096,)))
        >>> y = x + 2.0 * jax.random.normal(jax.random.key(1), x.shape)
        >>> k = jnp.ones(1)
        >>> restore.estimate_balance(y, k, order=1).round()  # 2^2 of noise by 1^2 of the steps
        Array(4., dtype=float32)

    Source: R. Molina, A. K. Katsaggelos and J. Mateos, "Bayesian and regularization methods for
    hyperparameter estimation in image restoration", IEEE Transactions on Image Processing 8 (2),
    1999; D. J. Field, "Relations between the statistics of natural images and the response
    properties of cortical cells", JOSA A 4 (12), 1987, for the spectra of photographs.
    """
    y, k = images("estimate_balance", y=y, k=k)
    _check("estimate_balance", y, k, order, boundary)
    _, noise = smoothing("estimate_balance", y, None, noise)
    return _balance(y, k, noise, order, boundary)


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
        balance: how much is smoothed, 0 or more; by default `estimate_balance`.
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
    _check("wiener", y, k, order, boundary)
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
    smooth = _balance(y, k, noise, order, boundary) if balance is None else balance
    grown, lengths = (y, y.shape) if boundary == "circular" else _closed(y, k)
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


def smoothing(
    caller: str, y: jax.Array, balance: ArrayLike | None, noise: ArrayLike | None
) -> tuple[jax.Array | None, jax.Array | None]:
    """Return a balance and a noise in y's dtype, each None where it is not given.

    Raises:
        TypeError: not a number.
        ValueError: both, several numbers, or one that is negative or not finite.
    """
    if balance is not None and noise is not None:
        raise ValueError(f"{caller}: noise is for the estimate of a balance; give one of the two")
    for name, value in (("balance", balance), ("noise", noise)):
        if value is not None:
            check_number(caller, name, value, traced=True)
    return number(caller, "balance", balance, y), number(caller, "noise", noise, y)


def _check(caller: str, y: jax.Array, k: jax.Array, order: int, boundary: str) -> None:
    if boundary not in ("unknown", "circular"):
        raise ValueError(
            f"{caller}: boundary={shown(boundary)} must be 'unknown' or 'circular'; "
            "restore.tikhonov takes the others"
        )
    if any(a > n for a, n in zip(k.shape, y.shape, strict=True)):
        raise ValueError(f"{caller}: k.shape={k.shape} is larger than y.shape={y.shape}")
    check_count(caller, "order", order)


def _closed(y: jax.Array, k: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
    """Continue y after its ends so that it closes to a circle, by a straight line along each axis.

    Returns:
        y with elements more at each axis' end, at least as many as k has less one, and its shape.
    """
    lengths = tuple(fast_length(n + a - 1) for n, a in zip(y.shape, k.shape, strict=True))
    for axis, (n, m) in enumerate(zip(y.shape, lengths, strict=True)):
        shape = [1] * y.ndim
        shape[axis] = m - n
        if m == n:
            continue
        share = jnp.asarray(np.arange(1, m - n + 1) / (m - n + 1), y.dtype).reshape(shape)
        first, last = (jax.lax.slice_in_dim(y, at, at + 1, axis=axis) for at in (0, n - 1))
        y = jnp.concatenate([y, last + share * (first - last)], axis)
    return y, lengths


def penalty(lengths: tuple[int, ...], order: int, dtype: jnp.dtype) -> jax.Array:
    """R at the frequencies of `transform`."""
    total = np.zeros(())
    for axis, m in enumerate(lengths):
        count = m // 2 + 1 if axis == len(lengths) - 1 else m
        along = 2 - 2 * np.cos(2 * np.pi * np.arange(count) / m)
        shape = [1] * len(lengths)
        shape[axis] = count
        total = total + along.reshape(shape)
    return jnp.asarray(total**order, dtype)


def _tapered(y: jax.Array) -> jax.Array:
    """The image less its mean, fading out at its ends, at the same power: its ends do not jump."""
    window = jnp.ones((), y.dtype)
    for axis, n in enumerate(y.shape):
        shape = [1] * y.ndim
        shape[axis] = n
        along = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2  # Hann's
        along = along / np.sqrt(np.mean(along**2))
        window = window * jnp.asarray(along, y.dtype).reshape(shape)
    return (y - jnp.sum(window * y) / jnp.sum(window)) * window


@functools.partial(jax.jit, static_argnames=("order", "boundary"))
def _balance(
    y: jax.Array, k: jax.Array, noise: jax.Array | None, order: int, boundary: str
) -> jax.Array:
    """`estimate_balance`: profile likelihoods over a grid that is refined."""
    y, k = jax.lax.stop_gradient((y, k))
    if y.size < 2:
        raise ValueError("estimate_balance: needs at least 2 elements; give a balance")
    lengths = y.shape
    seen = transform(y if boundary == "circular" else _tapered(y), lengths)
    spectrum = transform(k, lengths)
    step = -(-seen.size // FREQUENCIES)
    step += step % 2 == 0  # an odd step meets all columns

    def some(values: jax.Array) -> jax.Array:
        return values.reshape(-1)[step // 2 or 1 :: step]

    def energy(values: jax.Array) -> jax.Array:
        return jnp.square(values.real) + jnp.square(values.imag)

    power = energy(some(seen)) / math.prod(lengths)
    passed = energy(some(spectrum)) / some(penalty(lengths, order, power.dtype))
    variance = None if noise is None else jnp.square(noise)

    def cost(exponent: jax.Array) -> jax.Array:
        shape = passed * 10.0**-exponent + 1  # v / s^2
        if variance is not None:
            return jnp.mean(jnp.log(shape) + power / (variance * shape))
        return jnp.mean(jnp.log(shape)) + jnp.log(jnp.mean(power / shape))

    low, high = POWERS
    best = jnp.zeros((), power.dtype)
    for _ in range(ROUNDS):
        tried = best + jnp.linspace(low, high, STEPS).astype(power.dtype)
        best = tried[jnp.argmin(jax.lax.map(cost, tried))]
        width = (high - low) / (STEPS - 1)
        low, high = -width, width
    return jax.lax.stop_gradient(10.0 ** jnp.clip(best, *POWERS))
