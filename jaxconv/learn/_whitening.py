"""Whitening: gradients rescaled so that all directions of a kernel are learned at one speed.

The squared error's curvature in the kernel is the covariance of the image's windows. On the
photograph `camera` the curvature of a 3x3 kernel's steepest direction is 1,500 times that of the
flattest one. The steepest limits the rate of plain gradient descent, which so hardly moves in the
others. Multiplied by the inverse covariance, the error in every direction shrinks by the same
factor a step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxconv._core.geometry.dtypes import as_array, constant, refuse_masked
from jaxconv._core.geometry.spec import ConvSpec, normalise
from jaxconv.learn._gram import embedded, gram, window_sums
from jaxconv.learn._pairs import Images, size_tuple
from jaxconv.learn._weighted import weighted_gram, weighted_sums


def window_covariance(
    x: Images, kernel_size: int | Sequence[int], *, weights: Images | None = None
) -> np.ndarray:
    """Average the products of every two pixels in a window of the kernel's size.

    `C[(a, b), (c, d)] = mean over i, j of x[..., i + a, j + b] * x[..., i + c, j + d]`

    With weights `sum(weights products) / sum(weights)`. Over all windows of all images.

    Args:
        x: planes (*batch, H, W), usually with their mean subtracted; or a list of them.
        kernel_size: (h, w), or h for a square.
        weights: (*batch, H - h + 1, W - w + 1), for each window how much it counts, or a list.

    Returns:
        (h * w, h * w) float64, symmetric; half the Hessian of the mean squared error.

    Raises:
        ValueError: kernel_size is not made of integers of 1 or more, or weights have other shapes.

    Example:
        >>> import numpy as np
        >>> from jaxconv import learn
        >>> learn.window_covariance(np.array([[1.0, -1.0, 1.0]]), (1, 2))
        array([[ 1., -1.],
               [-1.,  1.]])

    Source: Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series, 1949.
    """
    return window_moments(x, kernel_size, weights=weights)[1]


def window_moments(
    x: Images, kernel_size: int | Sequence[int], *, weights: Images | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Average the entries of windows (h * w,), and the products of every two of them."""
    shape = size_tuple("window_covariance", kernel_size)
    several = isinstance(x, tuple | list)
    xs = list(x) if several else [x]
    ws: Any = [None] * len(xs) if weights is None else list(weights) if several else [weights]
    size = math.prod(shape)
    sums, products, count = np.zeros(size), np.zeros((size, size)), 0.0
    for plane, weight in zip(xs, ws, strict=True):
        refuse_masked("window_covariance", "x", plane)
        with jax.enable_x64(True):  # a float64 array keeps its digits
            planes = jnp.asarray(np.asarray(plane), jnp.float64)[..., None]
            spec = normalise("window_covariance", planes.shape, (*shape, 1, 1))
            outputs = (*planes.shape[: -len(shape) - 1], *spec.output_size)
            if weight is not None and np.shape(weight) != outputs:
                raise ValueError(
                    f"window_covariance: weights.shape={np.shape(weight)}, but the windows of x "
                    f"are {outputs}; give one weight for each window"
                )
            each = None if weight is None else jnp.asarray(np.asarray(weight), jnp.float64)
            own = _moments(planes, each, spec=spec)
            sums, products = sums + np.asarray(own[0]), products + np.asarray(own[1])
            count += math.prod(outputs) if each is None else float(jnp.sum(each))
    return sums / count, products / count


@functools.partial(jax.jit, static_argnames="spec")
def _moments(
    planes: jax.Array, weights: jax.Array | None, *, spec: ConvSpec
) -> tuple[jax.Array, jax.Array]:
    x, left = embedded(planes, spec, "zeros")
    if weights is None:
        return window_sums(x, left)[0], gram(x, left)[0]
    weights = weights.reshape(-1, *spec.output_size, 1)
    return weighted_sums(x, left, weights)[0], weighted_gram(x, left, weights)[0]


def seen_directions(covariance: np.ndarray) -> int:
    """Count the directions of a kernel that an image with this covariance determines.

    `#{eigenvalues of C above 1e-6 of the largest}`

    Args:
        covariance: (h * w, h * w), from `window_covariance`.

    Returns:
        From 0 to h * w. If it is below h * w, several kernels fit equally well.

    Example:
        >>> import numpy as np
        >>> from jaxconv import learn
        >>> learn.seen_directions(np.array([[1.0, -1.0], [-1.0, 1.0]]))
        1
    """
    values = np.linalg.eigvalsh(covariance)
    return int(np.sum(_seen(values)))


def _seen(values: np.ndarray) -> np.ndarray:
    # float32 gradients have about 7 digits: in flatter directions rounding would dominate
    return values > 1e-6 * max(values[-1], 0.0)


class WhitenState(NamedTuple):
    """The inverse covariance, in the state so that a checkpoint holds the numbers of the run."""

    inverse: jax.Array


def whiten(covariance: np.ndarray, means: np.ndarray | None = None) -> optax.GradientTransformation:
    """Multiply the kernel's gradient by the inverse covariance of the image's windows.

    `g <- C^-1 g`; directions that the image does not determine get 0. The bias's gradient is
    unchanged; or, with the means m of the windows' entries, both together are multiplied by the
    inverse of `[[C, m], [m^T, 1]]`. Outputs that are selected by weights may have windows whose
    entries differ in mean, and then a kernel and its bias are learned at one speed only together.

    Args:
        covariance: (h * w, h * w), from `window_covariance`.
        means: (h * w,), the (weighted) means of the windows' entries; for runs with a bias.

    Returns:
        A gradient transformation for `optax.chain(whiten(C), optax.sgd(...))`: with the mean
        squared error a rate of r shrinks the kernel's error by 1 - 2 r a step.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from jaxconv import learn
        >>> transform = learn.whiten(np.diag([4.0, 0.5]))
        >>> gradient = (jnp.array([[4.0, 1.0]]), None)
        >>> updates, _ = transform.update(gradient, transform.init(gradient))
        >>> print(updates[0])
        [[1. 2.]]
    """
    if means is not None:
        above = np.column_stack([covariance, means])
        covariance = np.vstack([above, np.append(means, 1.0)])
    values, vectors = np.linalg.eigh(covariance)
    seen = _seen(values)
    inverse = (vectors[:, seen] / values[seen]) @ vectors[:, seen].T

    def init(params: Any) -> WhitenState:
        kernel = as_array("whiten", "the kernel", params[0])
        return WhitenState(constant(inverse, kernel.dtype))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        gradient, bias = updates
        kernel = as_array("whiten", "the kernel's gradient", gradient)
        # (h, w) -> (h * w,), the covariance's order; then the bias
        flat = kernel.reshape(-1)
        if means is None:
            return ((state.inverse @ flat).reshape(kernel.shape), bias), state
        whitened = state.inverse @ jnp.append(flat, bias)
        return (whitened[:-1].reshape(kernel.shape), whitened[-1]), state

    return optax.GradientTransformation(init, update)
