"""How much a restoration must smooth: `estimate_balance`, and `noise_level`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.scalars import check_count, check_number
from jaxconv.restore._blur import images, inverse, number, transform
from jaxconv.restore._circle import closed, penalty, reflected, tapered

# At most so many frequencies are looked at to estimate a balance, evenly spread; balances between
# these powers of ten are tried, in so many steps, and then in smaller ones around the best.
FREQUENCIES, POWERS, STEPS, ROUNDS = 1 << 16, (-12.0, 4.0), 33, 3
# The error from the ends is found for these powers of ten times the largest |K|^2, and between them
# by straight lines in logarithms.
ENDS = (-6.0, -4.5, -3.0, -2.0, -1.0, 0.0, 1.5)
RESTORATIONS = ("tikhonov", "wiener")


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
    least_noise: ArrayLike | None = None,
    order: int = 2,
    boundary: str = "unknown",
    restoration: str = "tikhonov",
    steps: int = 100,
) -> jax.Array:
    """Estimate from a blurred image how much its restoration must be smoothed.

    The balance b of the least expected error, where everything that a restoration makes larger
    counts as noise: that of y, what is wrong in the ends, and the rounding of the computation:

    `b = argmin of sum over f of (a R (b / t)^2 + n / t^2)`, `t = |K|^2 + b R`

    - a is the strength of the image, whose spectral density is taken to be `a / R(f)`,
      `R(f) = (sum over axes of 2 - 2 cos(2 pi f))^order`; the frequency 0 is left out. Photographs
      fall off between orders 1 and 2; with 2 fewer waves are left beside their edges.
    - n is `s^2 |K|^2 + r^2` for `restore.tikhonov`, with s the noise of y and r the rounding of
      `K' K x`: `r = eps rms(y) sum(|k|)`, eps that of y's dtype; `(s^2 + r^2) |K|^2` for
      `restore.wiener`, with `r = eps rms(y)`.
    - The ends that `restore.wiener` guesses are wrong: added is the mean square, over y, of what
      the filter makes of the difference between two guesses, straight lines and reflections that
      fade into each other. On a circle it is 0.
    - a and s are those under which y is most likely: the minimum of
      `sum over f of log v(f) + |Y(f)|^2 / v(f)`, `v = a |K|^2 / R + s^2`.

    If the noise of y is all there is, b is `s^2 / a`.

    Args:
        y: the blurred image, any rank, float32 or float64.
        k: the blur, of y's rank and dtype.
        noise: the standard deviation s of the noise, in y's units, if it is known.
        least_noise: a lower bound of s where it is not known. Rounding to multiples of q makes
            noise of `q / sqrt(12)`: 0.29 in an image of whole levels.
        order: as above.
        boundary: what lies beyond y: "circular", or "unknown", where y fades out at its ends.
        restoration: "tikhonov" or "wiener", which the balance is for.
        steps: of tikhonov: its balance is at least `(6 / steps)^2` of that for wiener, where both
            are far apart. n steps of conjugate gradients leave `2 exp(-2 n / sqrt(c))` of an error
            at a condition number c: 1e-5 at `c = (n / 6)^2`.

    Returns:
        A scalar above 0 of y's dtype, between 1e-12 and 1e4. It counts as a constant: its
        derivative is 0.

    Raises:
        TypeError: y or k is not floating point, or their dtypes differ.
        ValueError: different ranks, a k larger than y, fewer than 2 elements, `order` below 1,
            another boundary or restoration, or both noise and least_noise.

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
    caller = "estimate_balance"
    y, k = images(caller, y=y, k=k)
    check(caller, y, k, order, boundary)
    if restoration not in RESTORATIONS:
        raise ValueError(
            f"{caller}: restoration={shown(restoration)} must be 'tikhonov' or 'wiener'"
        )
    _, noise = smoothing(caller, y, None, noise)
    if least_noise is not None:
        check_number(caller, "least_noise", least_noise, traced=True)
        if noise is not None:
            raise ValueError(
                f"{caller}: least_noise is for a noise that is not known; give one of the two"
            )
    check_count(caller, "steps", steps)
    least = number(caller, "least_noise", least_noise, y)
    static = {"order": order, "boundary": boundary, "restoration": restoration, "steps": steps}
    return find_balance(y, k, noise, least, **static)


@functools.partial(jax.jit, static_argnames=("order", "boundary", "restoration", "steps"))
def find_balance(
    y: jax.Array,
    k: jax.Array,
    noise: jax.Array | None,
    least_noise: jax.Array | None = None,
    *,
    order: int,
    boundary: str,
    restoration: str,
    steps: int = 100,
) -> jax.Array:
    """`estimate_balance` of what is checked."""
    y, k = jax.lax.stop_gradient((y, k))
    if y.size < 2:
        raise ValueError("estimate_balance: needs at least 2 elements; give a balance")
    seen = y if boundary == "circular" else tapered(y)
    power, passed, rough = _spectra(seen, k, order)
    rounding = jnp.finfo(y.dtype).eps * jnp.sqrt(jnp.mean(jnp.square(y)))
    # an even image, which has neither noise nor strength, is as if it were noise
    least = jnp.maximum(jnp.square(rounding), 1e6 * jnp.finfo(y.dtype).tiny)
    if noise is None and least_noise is not None:
        least = jnp.maximum(least, jnp.square(least_noise))
    ratio, variance = _most_likely(power, passed / rough, noise, least)
    strength = variance / ratio

    def best(spoilt: jax.Array, more: Callable[[jax.Array], Any] = lambda exponent: 0.0):
        def error(exponent: jax.Array) -> jax.Array:
            balance = 10.0**exponent
            lost = rough * jnp.square(balance)
            errors = (lost + spoilt / strength) / jnp.square(passed + balance * rough)
            return jnp.mean(errors) + more(exponent) / strength

        return 10.0 ** _least(error, y.dtype)

    wrong = _wrong_ends(y, k, order) if boundary == "unknown" else lambda exponent: 0.0
    found = best((variance + jnp.square(rounding)) * passed, wrong)
    if restoration == "tikhonov":
        spoilt = variance * passed + jnp.square(rounding * jnp.sum(jnp.abs(k)))
        found = jnp.maximum(best(spoilt), found * (6 / steps) ** 2)
    return jax.lax.stop_gradient(found)


def _wrong_ends(y: jax.Array, k: jax.Array, order: int) -> Callable[[jax.Array], jax.Array]:
    """The mean squared error of `wiener` by its guess at the ends, of a balance's exponent."""
    ends, lengths = closed(y, k)
    wrong, spectrum = transform(reflected(y, k) - ends, lengths), transform(k, lengths)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    rough, centre = penalty(lengths, order, y.dtype), [-((n - 1) // 2) for n in k.shape]

    def error(exponent: jax.Array) -> jax.Array:
        passed = jnp.maximum(power + 10.0**exponent * rough, jnp.finfo(y.dtype).tiny)
        x = inverse(wrong * spectrum / passed.astype(wrong.dtype), lengths)
        x = jnp.roll(x, centre, range(k.ndim))[tuple(map(slice, y.shape))]
        return jnp.log(jnp.mean(jnp.square(x)) + jnp.finfo(y.dtype).tiny)

    at = jnp.log10(jnp.max(power)) + jnp.asarray(ENDS, y.dtype)
    errors = jax.lax.map(error, at)
    return lambda exponent: jnp.exp(jnp.interp(exponent, at, errors))


def _spectra(y: jax.Array, k: jax.Array, order: int) -> tuple[jax.Array, ...]:
    """`|Y|^2` by number of elements, `|K|^2` and R, at some of the frequencies."""
    seen, spectrum = transform(y, y.shape), transform(k, y.shape)
    step = -(-seen.size // FREQUENCIES)
    step += step % 2 == 0  # an odd step meets all columns

    def some(values: jax.Array) -> jax.Array:
        return values.reshape(-1)[step // 2 or 1 :: step]

    def energy(values: jax.Array) -> jax.Array:
        return jnp.square(values.real) + jnp.square(values.imag)

    rough = some(penalty(y.shape, order, y.dtype))
    return energy(some(seen)) / math.prod(y.shape), energy(some(spectrum)), rough


def _most_likely(
    power: jax.Array, shape: jax.Array, noise: jax.Array | None, least: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The most likely `s^2 / a` and `s^2`, by profile likelihood; `s^2` is at least `least`."""

    def variance(exponent: jax.Array) -> tuple[jax.Array, jax.Array]:
        over = shape * 10.0**-exponent + 1  # v / s^2
        found = jnp.mean(power / over) if noise is None else jnp.square(noise)
        return over, jnp.maximum(found, least)

    def cost(exponent: jax.Array) -> jax.Array:
        over, own = variance(exponent)
        return jnp.mean(jnp.log(over) + power / (own * over)) + jnp.log(own)

    best = _least(cost, power.dtype)
    return 10.0**best, variance(best)[1]


def _least(cost: Callable[[jax.Array], jax.Array], dtype: jnp.dtype) -> jax.Array:
    """The exponent of the least cost, over a grid that is refined."""
    low, high = POWERS
    best = jnp.zeros((), dtype)
    for _ in range(ROUNDS):
        tried = best + jnp.linspace(low, high, STEPS).astype(dtype)
        best = tried[jnp.argmin(jax.lax.map(cost, tried))]
        width = (high - low) / (STEPS - 1)
        low, high = -width, width
    return jnp.clip(best, *POWERS)


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


def check(caller: str, y: jax.Array, k: jax.Array, order: int, boundary: str) -> None:
    if boundary not in ("unknown", "circular"):
        raise ValueError(
            f"{caller}: boundary={shown(boundary)} must be 'unknown' or 'circular'; "
            "restore.tikhonov takes the others"
        )
    if any(a > n for a, n in zip(k.shape, y.shape, strict=True)):
        raise ValueError(f"{caller}: k.shape={k.shape} is larger than y.shape={y.shape}")
    check_count(caller, "order", order)
