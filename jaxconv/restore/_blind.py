"""Restoration when the blur is not known either: `blind`."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.scalars import check_count
from jaxconv.restore._blur import Blur, images, make_blur, number
from jaxconv.restore._richardson_lucy import lucy_step


class BlindlyRestored(NamedTuple):
    """An image and its blur, found together.

    Attributes:
        image: of y's shape, not negative.
        kernel: of the first kernel's shape, not negative, summing to 1.
        misfits: (rounds,), `mean of (y - m)^2 / m` at the end of each round, with m the blur of the
            image at that time.
    """

    image: jax.Array
    kernel: jax.Array
    misfits: jax.Array


def blind(
    y: jax.Array | np.ndarray,
    k: jax.Array | np.ndarray,
    *,
    rounds: int = 20,
    image_steps: int = 30,
    kernel_steps: int = 5,
    background: ArrayLike = 0.0,
    boundary: str = "unknown",
    flip: bool = False,
    method: str = "auto",
) -> BlindlyRestored:
    """Find a sharp image and its blur in turn, from the blurred image and a first kernel.

    `x <- x K'(y / m) / K'(1)` for some steps, then for some others with the image held
    `k <- k X'(y / m) / X'(1)`, divided by its sum; `m = K x + background = X k + background`

    One image cannot tell an image that is sharp from a blur that is narrow, nor where the two are
    centred: what is found depends on the first kernel, on the steps and on what is zero in it,
    which stays zero. It works for few bright points on a dark ground, such as stars or beads.

    Args:
        y: the blurred image, any rank, float32 or float64; negative values count as 0.
        k: the first kernel, not negative, of y's rank and dtype, no larger than y: wider than the
            true one is better than narrower.
        rounds: how often image and kernel are improved.
        image_steps: steps for the image a round. With few the image has not become sharp when the
            kernel has to explain it, and the kernel becomes a point.
        kernel_steps: steps for the kernel a round.
        background: counts that are not of the image, a scalar or of y's shape.
        boundary: as in `restore.richardson_lucy`.
        flip: whether the blur is the convolution with k, rather than the correlation.
        method: as in `restore.richardson_lucy`.

    Returns:
        `BlindlyRestored`.

    Raises:
        TypeError: y or k is not floating point, or their dtypes differ.
        ValueError: different ranks, a k larger than y, `rounds`, `image_steps` or `kernel_steps`
            below 1, or an unknown boundary or method.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import correlate, restore
        >>> x = jnp.zeros(64).at[jnp.array([8, 30, 50])].set(jnp.array([50.0, 80.0, 100.0]))
        >>> true = jnp.array([0.1, 0.6, 0.3])
        >>> y = correlate(x, true, mode="same")
        >>> found = restore.blind(y, jnp.full(3, 1 / 3), rounds=40)
        >>> bool(jnp.allclose(found.kernel, true, atol=1e-3))
        True

    Source: D. A. Fish, A. M. Brinicombe, E. R. Pike and J. G. Walker, "Blind deconvolution by means
    of the Richardson-Lucy algorithm", JOSA A 12 (1), 1995.
    """
    y, k = images("blind", y=y, k=k)
    counts = {"rounds": rounds, "image_steps": image_steps, "kernel_steps": kernel_steps}
    for name, count in counts.items():
        check_count("blind", name, count)
    dark = number("blind", "background", background, y)
    return _found(*(y, k, dark), **counts, boundary=boundary, flip=flip, method=method)


@functools.partial(
    jax.jit,
    static_argnames=("rounds", "image_steps", "kernel_steps", "boundary", "flip", "method"),
)
def _found(
    y: jax.Array,
    k: jax.Array,
    dark: jax.Array,
    *,
    rounds: int,
    image_steps: int,
    kernel_steps: int,
    boundary: str,
    flip: bool,
    method: str,
) -> BlindlyRestored:
    y = jnp.maximum(y, 0)

    def blur_of(k: jax.Array) -> Blur:
        return make_blur("blind", y.shape, k, boundary=boundary, flip=flip, method=method)

    def turn(state: tuple[jax.Array, jax.Array], _: Any):
        x, k = state
        step = lucy_step(blur_of(k), y, dark)
        x, _ = jax.lax.scan(lambda x, _: step(x), x, length=image_steps)

        # what is made is linear in k too; its transpose in k is what a kernel's gradient is
        def made(k: jax.Array) -> jax.Array:
            return blur_of(k).forward(x)

        _, back = jax.vjp(made, k)
        step = lucy_step(Blur(k.shape, y.shape, (), made, lambda y: back(y)[0]), y, dark)
        k, misfits = jax.lax.scan(lambda k, _: step(k), k, length=kernel_steps)
        return (x, k / jnp.sum(k)), misfits[-1]

    first = blur_of(k)
    x = jnp.full(first.shape, jnp.mean(y), y.dtype)
    (x, k), misfits = jax.lax.scan(turn, (x, k / jnp.sum(k)), length=rounds)
    return BlindlyRestored(first.crop(x), k, misfits)
