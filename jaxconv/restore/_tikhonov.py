"""Restoration by linear least squares, with the ends of the image as they are: `tikhonov`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from jax.typing import ArrayLike

from jaxconv._core.geometry.scalars import check_count, check_number
from jaxconv._core.geometry.shapes import fast_length
from jaxconv.restore._balance import find_balance, smoothing
from jaxconv.restore._blur import Blur, images, inverse, make_blur, number, transform
from jaxconv.restore._circle import penalty
from jaxconv.restore._differences import smoothness_operator
from jaxconv.restore._wiener import wiener


class Restored(NamedTuple):
    """A restored image, and how well its blur fits what was seen.

    Attributes:
        image: of y's shape.
        residual: y less the blur of the restored image, y's shape: noise, if all went well.
    """

    image: jax.Array
    residual: jax.Array


def tikhonov(
    y: jax.Array | np.ndarray,
    k: jax.Array | np.ndarray,
    *,
    balance: ArrayLike | None = None,
    noise: ArrayLike | None = None,
    order: int = 2,
    steps: int = 100,
    tolerance: float | None = None,
    boundary: str = "unknown",
    flip: bool = False,
    method: str = "auto",
) -> Restored:
    """Undo a blur by least squares with a smooth solution.

    `x = argmin of |correlate(x, k) - y|^2 + balance x . L^order x`, with
    `L x [t] = sum over axes of (2 x[t] - x[t - 1] - x[t + 1])` and no difference at the ends

    by conjugate gradients on `(K' K + balance L^order) x = K' y`, K' the adjoint of the blur,
    which begin at `restore.wiener`'s image, under its own balance if that is larger, and are
    preconditioned by the same map on a circle, whose inverse spectra give. Linear in y for a given
    balance. Derivatives in y, k and balance are those of the solution, found by conjugate gradients
    too, whatever the number of steps was.

    Args:
        y: the blurred image, any rank, float32 or float64.
        k: the blur, of y's rank and dtype, no larger than y: as `jaxconv.learn` finds it and
            `jaxconv.correlate` takes it.
        balance: how much is smoothed, 0 or more; by default `estimate_balance`.
        noise: the standard deviation of y's noise, if it is known, for that estimate.
        order: 1 punishes slopes, 2 bends.
        steps: at most so many of the conjugate gradients.
        tolerance: they end when the error of the equation is below this part of its right side; by
            default 1e-6, or a hundredth of the balance if that is less: what is smoothed by it must
            be larger than the error.
        boundary: what lies beyond the image: "unknown", so that it is found as well, over half a
            kernel; or as in `jaxconv.correlate`: "zeros", "circular", "symmetric", "reflect",
            "replicate".
        flip: whether the blur is the convolution with k, rather than the correlation.
        method: how the blur is computed: "auto" (by sums for kernels of fewer than 200 elements, by
            FFT for others), "fft", or another method's name. They differ in rounding.

    Returns:
        `Restored`, aligned as in `wiener`.

    Raises:
        TypeError: y or k is not floating point, or their dtypes differ.
        ValueError: different ranks, a k larger than y, `order` or `steps` below 1, an unknown
            boundary or method, or both balance and noise.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import correlate, restore
        >>> x = jnp.zeros(32).at[8:16].set(1.0)
        >>> k = jnp.array([0.25, 0.5, 0.25])
        >>> found = restore.tikhonov(correlate(x, k), k, balance=1e-6)
        >>> bool(jnp.allclose(found.image, x[1:-1], atol=0.05))  # y[0] is centred on x[1]
        True

    Source: A. N. Tikhonov and V. Y. Arsenin, "Solutions of Ill-Posed Problems", 1977; M. R.
    Hestenes and E. Stiefel, "Methods of conjugate gradients for solving linear systems", Journal of
    Research of the National Bureau of Standards 49 (6), 1952.
    """
    y, k = images("tikhonov", y=y, k=k)
    check_count("tikhonov", "order", order)
    check_count("tikhonov", "steps", steps)
    if tolerance is not None:
        check_number("tikhonov", "tolerance", tolerance, traced=True)
    balance, noise = smoothing("tikhonov", y, balance, noise)
    tolerance = number("tikhonov", "tolerance", tolerance, y)
    static = {"order": order, "steps": steps, "boundary": boundary, "flip": flip, "method": method}
    return _solved(y, k, balance, noise, tolerance, **static)


@functools.partial(jax.jit, static_argnames=("order", "steps", "boundary", "flip", "method"))
def _solved(
    y: jax.Array,
    k: jax.Array,
    balance: jax.Array | None,
    noise: jax.Array | None,
    tolerance: Any,
    *,
    order: int,
    steps: int,
    boundary: str,
    flip: bool,
    method: str,
) -> Restored:
    blur = make_blur("tikhonov", y.shape, k, boundary=boundary, flip=flip, method=method)
    around = "circular" if boundary == "circular" else "unknown"
    look = {"order": order, "boundary": around}
    smooth: jax.Array = (
        find_balance(y, k, noise, **look, restoration="tikhonov", steps=steps)
        if balance is None
        else balance
    )
    if tolerance is None:
        tolerance = jax.lax.stop_gradient(jnp.minimum(1e-6, 0.01 * smooth))
    # a balance too small for wiener's guess at the ends makes waves, which only many steps undo
    calm = smooth
    if y.size > 1:
        calm = jnp.maximum(smooth, find_balance(y, k, noise, **look, restoration="wiener"))
    start = wiener(y, k, balance=calm, order=order, boundary=around, flip=flip)
    x, _ = cg(
        normal_equations(blur, smooth, order),
        blur.adjoint(y),
        x0=blur.grow(jax.lax.stop_gradient(start)),
        tol=tolerance,
        maxiter=steps,
        M=on_a_circle(blur, jnp.flip(k) if flip else k, smooth, order),
    )
    return Restored(blur.crop(x), y - blur.forward(x))


def normal_equations(
    blur: Blur, balance: jax.Array, order: int
) -> Callable[[jax.Array], jax.Array]:
    """The symmetric map `x -> (K' K + balance L^order) x`."""

    def apply(x: jax.Array) -> jax.Array:
        smooth = jnp.asarray(balance, x.dtype) * smoothness_operator(x, order)
        return blur.adjoint(blur.forward(x)) + smooth

    return apply


def on_a_circle(
    blur: Blur, k: jax.Array, balance: jax.Array, order: int
) -> Callable[[jax.Array], jax.Array]:
    """The inverse of `normal_equations` on a circle that holds x: symmetric and positive."""
    lengths = tuple(map(fast_length, blur.shape))
    spectrum = transform(k, lengths)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    passed = power + balance * penalty(lengths, order, k.dtype)
    passed = jnp.maximum(passed, 1e-6 * jnp.max(passed))  # a mean that k takes out
    passed = jax.lax.stop_gradient(passed)

    def apply(x: jax.Array) -> jax.Array:
        solved = inverse(transform(x, lengths) / passed.astype(spectrum.dtype), lengths)
        return solved[tuple(map(slice, blur.shape))]

    return apply
