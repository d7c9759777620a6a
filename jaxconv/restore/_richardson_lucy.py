"""Restoration of counts: `richardson_lucy`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.scalars import check_count, check_number
from jaxconv.restore._blur import Blur, images, make_blur, number
from jaxconv.restore._differences import divergence, gradient, lengths


class Deconvolved(NamedTuple):
    """What the steps of Richardson and Lucy come to.

    Attributes:
        image: of y's shape, not negative.
        misfits: (steps,), `mean of (y - m)^2 / m` before each step, with m the blur of the image
            at that step: about 1 where only the noise of counts is left, below 1 where noise is
            fitted too. NaN for steps that were not taken.
        steps: scalar integer, the number of steps taken.
        state: what `start` takes to go on: the image, and what was found beyond its ends.
    """

    image: jax.Array
    misfits: jax.Array
    steps: jax.Array
    state: jax.Array


def richardson_lucy(
    y: jax.Array | np.ndarray,
    k: jax.Array | np.ndarray,
    *,
    steps: int = 30,
    background: ArrayLike = 0.0,
    total_variation: float = 0.0,
    stop: float | None = None,
    start: jax.Array | np.ndarray | None = None,
    boundary: str = "unknown",
    flip: bool = False,
    method: str = "auto",
) -> Deconvolved:
    """Undo a blur of counts, such as photons, step by step; results are never negative.

    `x <- x / (1 - total_variation div(grad x / |grad x|)) * K'(y / (K x + background)) / K'(1)`

    K is the correlation with k and K' its adjoint. Without the first factor each step makes the
    image more likely if y are Poisson counts around `K x + background`. Noise is fitted too in the
    end: few steps are a smooth image, many a sharp and grainy one.

    Args:
        y: the blurred image, any rank, float32 or float64; negative values count as 0.
        k: the blur, not negative, of y's rank and dtype, no larger than y: as `jaxconv.learn` finds
            it and `jaxconv.correlate` takes it.
        steps: the number of steps, or the most of them.
        background: counts that are not of the image, a scalar or of y's shape.
        total_variation: how much edges cost, 0 or more; 0.002 to 0.02 are usual.
        stop: end before the first step whose misfit is at most this: 1 for counts. It is for
            images in counts: others must be divided by the units of one count before. Without it
            the result can be differentiated in reverse.
        start: the image to begin with, of y's shape, or the state of a former result; by default
            even, of y's mean.
        boundary: what lies beyond the image: "unknown", so that it is found as well, over half a
            kernel; or as in `jaxconv.correlate`: "zeros", "circular", "symmetric", "reflect",
            "replicate".
        flip: whether the blur is the convolution with k, rather than the correlation.
        method: how the blur is computed: "auto" (by sums for kernels of fewer than 200 elements, by
            FFT for others), "fft", or another method's name. They differ in rounding; what FFT
            leaves below 1e-6 of y's mean, counts as that.

    Returns:
        `Deconvolved`, aligned as in `restore.wiener`.

    Raises:
        TypeError: y or k is not floating point, or their dtypes differ.
        ValueError: different ranks, a k larger than y, `steps` below 1, `total_variation` below 0,
            a start of another shape, or an unknown boundary or method.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import correlate, restore
        >>> x = jnp.zeros(32).at[jnp.array([8, 16])].set(100.0)
        >>> k = jnp.array([0.25, 0.5, 0.25])
        >>> y = correlate(x, k, mode="same")
        >>> restore.richardson_lucy(y, k, steps=500).image[7:10].round()
        Array([ 0., 100.,  0.], dtype=float32)

    Source: W. H. Richardson, "Bayesian-based iterative method of image restoration", JOSA 62 (1),
    1972; L. B. Lucy, "An iterative technique for the rectification of observed distributions", The
    Astronomical Journal 79, 1974; N. Dey et al., "Richardson-Lucy algorithm with total variation
    regularization for 3D confocal microscope deconvolution", Microscopy Research and Technique 69,
    2006, equation 8; M. Bertero and P. Boccacci, "A simple method for the reduction of boundary
    effects in the Richardson-Lucy approach to image deconvolution", Astronomy and Astrophysics 437,
    2005, for unknown boundaries.
    """
    y, k = images("richardson_lucy", y=y, k=k)
    check_count("richardson_lucy", "steps", steps)
    check_number("richardson_lucy", "total_variation", total_variation, traced=False)
    if stop is not None:
        check_number("richardson_lucy", "stop", stop, traced=False)
    dark = number("richardson_lucy", "background", background, y)
    return _deconvolved(
        *(y, k, dark, number("richardson_lucy", "start", start, y)),
        steps=steps,
        total_variation=float(total_variation),
        stop=None if stop is None else float(stop),
        boundary=boundary,
        flip=flip,
        method=method,
    )


@functools.partial(
    jax.jit, static_argnames=("steps", "total_variation", "stop", "boundary", "flip", "method")
)
def _deconvolved(
    y: jax.Array,
    k: jax.Array,
    dark: jax.Array,
    start: jax.Array | None,
    *,
    steps: int,
    total_variation: float,
    stop: float | None,
    boundary: str,
    flip: bool,
    method: str,
) -> Deconvolved:
    blur = make_blur("richardson_lucy", y.shape, k, boundary=boundary, flip=flip, method=method)
    y = jnp.maximum(y, 0)
    x = _begin(blur, y, start)
    step = lucy_step(blur, y, dark, total_variation)

    if stop is None:
        x, misfits = jax.lax.scan(lambda x, _: step(x), x, length=steps)
        return Deconvolved(blur.crop(x), misfits, jnp.asarray(steps, jnp.int32), x)

    def going(state):
        taken, _, misfits = state
        last = misfits[jnp.maximum(taken - 1, 0)]
        return (taken < steps) & ((taken == 0) | (last > stop))

    def turn(state):
        taken, x, misfits = state
        new, misfit = step(x)
        # the misfit is that of x: if it is low enough, x stays
        return taken + 1, jnp.where(misfit > stop, new, x), misfits.at[taken].set(misfit)

    blank = jnp.full(steps, jnp.nan, y.dtype)
    taken, x, misfits = jax.lax.while_loop(going, turn, (jnp.int32(0), x, blank))
    ended = misfits[taken - 1] <= stop
    return Deconvolved(blur.crop(x), misfits, taken - ended.astype(taken.dtype), x)


def _begin(blur: Blur, y: jax.Array, start: jax.Array | None) -> jax.Array:
    if start is None:
        return jnp.full(blur.shape, jnp.mean(y), y.dtype)
    if start.shape == blur.shape:
        return start
    if start.shape != y.shape:
        raise ValueError(
            f"richardson_lucy: start.shape={start.shape} must be y's, {y.shape}, or that of a "
            f"result's state, {blur.shape}"
        )
    return blur.grow(start)


def lucy_step(
    blur: Blur, y: jax.Array, dark: jax.Array, total_variation: float = 0.0
) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
    """The map from x to the next x, and the misfit of x."""
    seen = blur.adjoint(jnp.ones_like(y))
    # elements that y hardly sees, beyond its ends, have nothing to learn from: they stay
    unseen = seen <= 1e-4 * jnp.max(seen)
    share = jnp.where(unseen, 0, 1 / jnp.where(unseen, 1, seen))
    least = jnp.maximum(1e-6 * jnp.mean(y), jnp.finfo(y.dtype).tiny)

    def step(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        made = jnp.maximum(blur.forward(x) + dark, least)
        misfit = jnp.mean(jnp.square(y - made) / made)
        factor = jnp.where(unseen, 1, jnp.maximum(blur.adjoint(y / made), 0) * share)
        if total_variation:
            slopes = gradient(x)
            # rounded where the image is flat, at a thousandth of its mean
            steep = lengths(slopes, 1e-3 * jnp.mean(x) + 1e-18)
            curved = divergence([slope / steep for slope in slopes])
            factor = factor / jnp.maximum(1 - total_variation * curved, 0.1)
        return x * factor, misfit

    return step
