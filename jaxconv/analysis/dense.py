"""From a dense layer to a convolution in three steps: reindex, share, truncate.

The steps are those of D2L, chapter 6 ("Dive into Deep Learning", convolutional neural networks). A
dense layer from an image to an image has a weight for each pair of an output and an input position:

    h[i, j] = sum over k, l of W[i, j, k, l] x[k, l]

Counting the input position from the output position, k = i + a and l = j + b, changes no value:

    h[i, j] = sum over a, b of V[i, j, a, b] x[i + a, j + b],  V[i, j, a, b] = W[i, j, i + a, j + b]

| step | assumption | function | weights left |
|---|---|---|---|
| reindex | none | `reindex`, inverse `restore` | V[i, j, a, b] |
| translation invariance | V is the same at every (i, j) | `share`, inverse `spread` | v[a, b] |
| locality | v is zero for offsets beyond delta | `truncate`, `kernel` | (2 delta + 1)^2 |

The remaining weights are the kernel of a cross-correlation. All functions work in any rank: W is
(*out, *in), the output's dimensions first and then as many of the input.

Offsets along a dimension with m outputs and n inputs run from -(m - 1) to n - 1 and are stored from
the smallest: offset a lies at index a + m - 1 of m + n - 1. Where i + a lies outside the input the
entry of V is zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.dtypes import as_array, constant, zero
from jaxconv._core.geometry.spec import per_dimension

__all__ = [
    "dense",
    "is_shift_invariant",
    "kernel",
    "reindex",
    "restore",
    "share",
    "spread",
    "truncate",
]


def dense(x: jax.Array | np.ndarray, W: jax.Array | np.ndarray) -> jax.Array:
    """Apply a dense layer from an image to an image.

    h[i, j] = sum over k, l of W[i, j, k, l] x[k, l]

    Args:
        x: (*in).
        W: (*out, *in) in x's dtype.

    Returns:
        h: (*out), computed at the highest precision.

    Raises:
        ValueError: W has an odd number of dimensions, or does not end in x's shape.

    Example:
        >>> W = jnp.arange(4.0).reshape(1, 1, 2, 2)
        >>> dense(jnp.ones((2, 2)), W)
        Array([[6.]], dtype=float32)

    Source:
        D2L, section 6.1.2.
    """
    x, W = as_array("dense", "x", x), as_array("dense", "W", W)
    _, size = _sizes("dense", "W", W)
    if x.shape != size:
        raise ValueError(f"dense: x.shape={x.shape} must be {size}, the end of W.shape={W.shape}")
    return jnp.tensordot(W, x, axes=x.ndim, precision=jax.lax.Precision.HIGHEST)


def reindex(W: jax.Array | np.ndarray) -> jax.Array:
    """Index the weights of a dense layer by offset instead of input position.

    V[i, j, a, b] = W[i, j, i + a, j + b], zero where (i + a, j + b) lies outside the input

    Args:
        W: (*out, *in), of any dtype.

    Returns:
        V: (*out, *offsets), out + in - 1 offsets per dimension; offset a at index a + out - 1.

    Raises:
        ValueError: W has an odd number of dimensions, or a dimension of size zero.

    Example:
        >>> reindex(jnp.arange(1, 10).reshape(3, 3))
        Array([[0, 0, 1, 2, 3],
               [0, 4, 5, 6, 0],
               [7, 8, 9, 0, 0]], dtype=int32)

    Source:
        D2L, section 6.1.2.
    """
    W = as_array("reindex", "W", W)
    outputs, inputs = _sizes("reindex", "W", W)
    rank = len(outputs)
    # zeros on both sides, so that i + a exists for every offset
    pads = [(0, 0, 0)] * rank + [(m - 1, m - 1, 0) for m in outputs]
    V = jax.lax.pad(W, zero(W.dtype), pads)
    for d, (m, n) in enumerate(zip(outputs, inputs, strict=True)):
        V = _take(V, d, rank + d, np.arange(m)[:, None] + np.arange(m + n - 1))
    return V


def restore(V: jax.Array | np.ndarray) -> jax.Array:
    """Return the inverse of `reindex`: W[i, j, k, l] = V[i, j, k - i, l - j].

    Args:
        V: (*out, *offsets), as `reindex` returns it.

    Returns:
        W: (*out, *in).

    Raises:
        ValueError: V has an odd number of dimensions, or fewer offsets than outputs.

    Example:
        >>> W = jnp.arange(6).reshape(2, 3)
        >>> bool((restore(reindex(W)) == W).all())
        True

    Source:
        D2L, section 6.1.2.
    """
    W = as_array("restore", "V", V)
    outputs, inputs = _offset_sizes("restore", W)
    for d, (m, n) in enumerate(zip(outputs, inputs, strict=True)):
        W = _take(W, d, len(outputs) + d, np.arange(n) - np.arange(m)[:, None] + m - 1)
    return W


def is_shift_invariant(V: jax.Array | np.ndarray, *, tolerance: float = 0.0) -> jax.Array:
    """Return whether every output position has the same weights: V[i, j, a, b] = v[a, b].

    Entries whose offset leads outside the input are not compared: they multiply nothing.

    Args:
        V: (*out, *offsets).
        tolerance: largest absolute difference that counts as equal.

    Returns:
        A boolean scalar.

    Raises:
        ValueError: V has an odd number of dimensions, or fewer offsets than outputs.

    Example:
        >>> toeplitz = jnp.array([[5, 6, 7], [4, 5, 6], [3, 4, 5]])
        >>> bool(is_shift_invariant(reindex(toeplitz)))
        True

    Source:
        D2L, section 6.1.2.1.
    """
    V = as_array("is_shift_invariant", "V", V)
    outputs, inputs = _offset_sizes("is_shift_invariant", V)
    inside = _inside(outputs, inputs)
    # for each offset, the first position from which it stays inside the input
    first = np.argmax(inside.reshape(math.prod(outputs), -1), axis=0)
    flat = V.reshape(math.prod(outputs), -1)
    kernel = jnp.take_along_axis(flat, constant(first[None]), axis=0)
    kernel = kernel.reshape((1,) * len(outputs) + V.shape[len(outputs) :])
    difference = jnp.where(constant(inside), V, kernel) - kernel
    if jnp.issubdtype(V.dtype, jnp.integer):
        tolerance = math.floor(tolerance)  # equivalent for integers, without promotion
    return (jnp.abs(difference) <= tolerance).all()


def share(V: jax.Array | np.ndarray) -> jax.Array:
    """Return the shift-invariant weights nearest to V in least squares.

    v[a, b] = mean of V[i, j, a, b] over the positions (i, j) with (i + a, j + b) inside the input

    Args:
        V: (*out, *offsets), float or complex.

    Returns:
        v: (*offsets), in V's dtype. `spread(v, out)` is the nearest shift-invariant V.

    Raises:
        TypeError: V has an integer dtype.
        ValueError: V has an odd number of dimensions, or fewer offsets than outputs.

    Example:
        >>> share(reindex(jnp.array([[1.0, 5.0], [0.0, 3.0]])))
        Array([0., 2., 5.], dtype=float32)

    Source:
        D2L, section 6.1.2.1.
    """
    V = as_array("share", "V", V)
    outputs, inputs = _offset_sizes("share", V)
    if not jnp.issubdtype(V.dtype, jnp.inexact):
        raise TypeError(f"share: V is {V.dtype}, but means need floats: use V.astype(jnp.float32)")
    inside = _inside(outputs, inputs)
    positions = tuple(range(len(outputs)))
    total = jnp.where(constant(inside), V, zero(V.dtype)).sum(positions)
    return total / constant(inside.sum(positions), V.dtype)


def spread(v: jax.Array | np.ndarray, output_size: Sequence[int]) -> jax.Array:
    """Repeat v at every output position: V[i, j, a, b] = v[a, b], zero outside the input.

    Args:
        v: (*offsets), out + in - 1 along each dimension, as `share` returns it.
        output_size: (*out).

    Returns:
        V: (*out, *offsets).

    Raises:
        TypeError: a size is not an integer.
        ValueError: v has fewer offsets than there are outputs.

    Example:
        >>> restore(spread(jnp.array([3, 4, 5, 6, 7]), (3,)))
        Array([[5, 6, 7],
               [4, 5, 6],
               [3, 4, 5]], dtype=int32)

    Source:
        D2L, section 6.1.2.1.
    """
    v = as_array("spread", "v", v)
    outputs = per_dimension("spread", "output_size", output_size, v.ndim, minimum=1)
    inputs = _inputs("spread", "v", v.shape, outputs, v.shape)
    inside = _inside(outputs, inputs)
    return jnp.where(constant(inside), jnp.broadcast_to(v, inside.shape), zero(v.dtype))


def truncate(V: jax.Array | np.ndarray, delta: int | Sequence[int]) -> jax.Array:
    """Keep local weights: V[i, j, a, b] where |a| <= delta and |b| <= delta, zero elsewhere.

    Args:
        V: (*out, *offsets), of any dtype.
        delta: the largest offset that is kept; one integer or one for each dimension.

    Returns:
        V: the same shape.

    Raises:
        TypeError: delta is not an integer.
        ValueError: delta is negative, or V has fewer offsets than outputs.

    Example:
        >>> restore(truncate(reindex(jnp.ones((4, 4))), 1))
        Array([[1., 1., 0., 0.],
               [1., 1., 1., 0.],
               [0., 1., 1., 1.],
               [0., 0., 1., 1.]], dtype=float32)

    Source:
        D2L, section 6.1.2.2.
    """
    V = as_array("truncate", "V", V)
    outputs, _ = _offset_sizes("truncate", V)
    delta = per_dimension("truncate", "delta", delta, len(outputs), minimum=0)
    near = np.ones((), bool)
    for m, count, largest in zip(outputs, V.shape[len(outputs) :], delta, strict=True):
        near = np.logical_and.outer(near, np.abs(np.arange(count) - (m - 1)) <= largest)
    return jnp.where(constant(near), V, zero(V.dtype))


def kernel(V: jax.Array | np.ndarray, delta: int | Sequence[int]) -> jax.Array:
    """Return the kernel of 2 delta + 1 elements a side that is nearest to a reindexed dense layer.

    k[a + delta, b + delta] = share(V) at offset (a, b), for |a|, |b| <= delta

    If V is shift-invariant and local and has as many outputs as inputs, the dense layer equals
    `correlate(x, k, mode="same")`, which is `conv` with one channel and padding=delta.

    Args:
        V: (*out, *offsets), float or complex.
        delta: the largest offset; one integer or one for each dimension. Offsets that V does not
            have are zero.

    Returns:
        k: 2 delta + 1 elements along each dimension.

    Raises:
        TypeError: V has an integer dtype, or delta is not an integer.
        ValueError: delta is negative, or V has fewer offsets than outputs.

    Example:
        >>> W = jnp.array([[5.0, 6.0, 7.0], [4.0, 5.0, 6.0], [3.0, 4.0, 5.0]])
        >>> kernel(reindex(W), 1)
        Array([4., 5., 6.], dtype=float32)

    Source:
        D2L, section 6.1.2.2.
    """
    V = as_array("kernel", "V", V)
    outputs, inputs = _offset_sizes("kernel", V)
    delta = per_dimension("kernel", "delta", delta, len(outputs), minimum=0)
    v = share(V)
    # offset 0 lies at index m - 1, with n - 1 offsets after it; negative widths cut
    widths = [
        (reach - (m - 1), reach - (n - 1), 0)
        for reach, m, n in zip(delta, outputs, inputs, strict=True)
    ]
    return jax.lax.pad(v, zero(v.dtype), widths)


def _take(array: jax.Array, output: int, axis: int, indices: np.ndarray) -> jax.Array:
    """Gather along `axis` with indices (positions along `output`, gathered)."""
    shape = [1] * array.ndim
    shape[output], shape[axis] = indices.shape
    return jnp.take_along_axis(array, constant(indices.reshape(shape)), axis=axis)


def _inside(outputs: tuple[int, ...], inputs: tuple[int, ...]) -> np.ndarray:
    """(*out, *offsets): whether position + offset lies inside the input."""
    inside = np.ones((), bool)
    for m, n in zip(outputs, inputs, strict=True):
        reached = np.arange(m)[:, None] + np.arange(m + n - 1) - (m - 1)
        inside = np.logical_and.outer(inside, (reached >= 0) & (reached < n))
    # (out, offsets, out, offsets, ...) -> (*out, *offsets)
    return inside.transpose(*range(0, inside.ndim, 2), *range(1, inside.ndim, 2))


def _sizes(caller: str, name: str, array: jax.Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = array.ndim // 2
    if array.ndim % 2 or not array.ndim:
        raise ValueError(
            f"{caller}: {name}.shape={array.shape} must have an even number of dimensions, "
            "the output's first and then as many of the input"
        )
    if min(array.shape) < 1:
        raise ValueError(f"{caller}: {name}.shape={array.shape} has a dimension of size zero")
    return array.shape[:rank], array.shape[rank:]


def _offset_sizes(caller: str, V: jax.Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(*out), (*in) of V (*out, *offsets)."""
    outputs, offsets = _sizes(caller, "V", V)
    return outputs, _inputs(caller, "V", V.shape, outputs, offsets)


def _inputs(
    caller: str,
    name: str,
    shape: tuple[int, ...],
    outputs: tuple[int, ...],
    offsets: tuple[int, ...],
) -> tuple[int, ...]:
    if any(count < m for m, count in zip(outputs, offsets, strict=True)):
        raise ValueError(
            f"{caller}: {name}.shape={shape} has {offsets} offsets for {outputs} outputs, but "
            "m outputs and n inputs have m + n - 1 offsets, at least m; "
            "jaxconv.analysis.dense.reindex makes such an array"
        )
    return tuple(count - m + 1 for m, count in zip(outputs, offsets, strict=True))
