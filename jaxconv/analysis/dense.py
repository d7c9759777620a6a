"""From a dense layer to a convolution, in the chapter's steps: reindex, share, truncate.

A dense layer between planes has one weight for each pair of an output and an input position:

    h[i, j] = sum over k, l of W[i, j, k, l] x[k, l]

Counting the input from the output's own position, k = i + a and l = j + b, changes no number:

    h[i, j] = sum over a, b of V[i, j, a, b] x[i + a, j + b],  V[i, j, a, b] = W[i, j, i + a, j + b]

| step | says | function | leaves |
|---|---|---|---|
| reindex | nothing yet | `reindex`, back with `restore` | V[i, j, a, b] |
| translation invariance | V is the same at every (i, j) | `share`, back with `spread` | v[a, b] |
| locality | v is zero for offsets beyond delta | `truncate`, `kernel` | (2 delta + 1)^2 numbers |

What is left is the kernel of a cross-correlation. Everything here works in any rank: W has the
output's dimensions first and then as many of the input, here (*out, *in).

Offsets along a dimension with m outputs and n inputs run from -(m - 1) to n - 1 and are stored from
the smallest: offset a lies at index a + m - 1 of m + n - 1. An offset that leads outside the input
from some position is stored as zero there.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

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


def dense(x: ArrayLike, W: ArrayLike) -> jax.Array:
    """Apply a dense layer between planes.

    h[i, j] = sum over k, l of W[i, j, k, l] x[k, l]

    Args:
        x: (*in).
        W: (*out, *in) in x's dtype.

    Returns:
        h: (*out), at the device's highest precision.

    Raises:
        ValueError: W has an odd number of dimensions, or does not end in x's shape.

    Example:
        >>> W = jnp.arange(4.0).reshape(1, 1, 2, 2)
        >>> dense(jnp.ones((2, 2)), W)
        Array([[6.]], dtype=float32)

    Source:
        Zhang et al., "Dive into Deep Learning", equation 6.1.1.
    """
    x, W = as_array("dense", "x", x), as_array("dense", "W", W)
    _, size = _sizes("dense", "W", W)
    if x.shape != size:
        raise ValueError(f"dense: x.shape={x.shape} must be {size}, the end of W.shape={W.shape}")
    return jnp.tensordot(W, x, axes=x.ndim, precision=jax.lax.Precision.HIGHEST)


def reindex(W: ArrayLike) -> jax.Array:
    """Count the inputs of a dense layer from each output's own position.

    V[i, j, a, b] = W[i, j, i + a, j + b], zero where (i + a, j + b) lies outside the input

    Args:
        W: (*out, *in), of any dtype.

    Returns:
        V: (*out, *offsets), out + in - 1 offsets a dimension; offset a at index a + out - 1.

    Raises:
        ValueError: W has an odd number of dimensions, or one of size zero.

    Example:
        >>> reindex(jnp.arange(1, 10).reshape(3, 3))
        Array([[0, 0, 1, 2, 3],
               [0, 4, 5, 6, 0],
               [7, 8, 9, 0, 0]], dtype=int32)

    Source:
        Zhang et al., "Dive into Deep Learning", equation 6.1.1.
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


def restore(V: ArrayLike) -> jax.Array:
    """Undo `reindex`, losing nothing: W[i, j, k, l] = V[i, j, k - i, l - j].

    Args:
        V: (*out, *offsets), as `reindex` gives it.

    Returns:
        W: (*out, *in).

    Raises:
        ValueError: V has an odd number of dimensions, or fewer offsets than outputs.

    Example:
        >>> W = jnp.arange(6).reshape(2, 3)
        >>> bool((restore(reindex(W)) == W).all())
        True

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.1.2.
    """
    W = as_array("restore", "V", V)
    outputs, inputs = _offset_sizes("restore", W)
    for d, (m, n) in enumerate(zip(outputs, inputs, strict=True)):
        W = _take(W, d, len(outputs) + d, np.arange(n) - np.arange(m)[:, None] + m - 1)
    return W


def is_shift_invariant(V: ArrayLike, *, tolerance: float = 0.0) -> jax.Array:
    """Tell whether every output position has the same weights: V[i, j, a, b] = v[a, b].

    Only positions from which an offset stays inside the input can tell; where it leads outside, the
    weight multiplies nothing.

    Args:
        V: (*out, *offsets).
        tolerance: largest absolute difference that passes for the same.

    Returns:
        A boolean scalar.

    Raises:
        ValueError: V has an odd number of dimensions, or fewer offsets than outputs.

    Example:
        >>> toeplitz = jnp.array([[5, 6, 7], [4, 5, 6], [3, 4, 5]])
        >>> bool(is_shift_invariant(reindex(toeplitz)))
        True

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.1.2.1.
    """
    V = as_array("is_shift_invariant", "V", V)
    outputs, inputs = _offset_sizes("is_shift_invariant", V)
    inside = _inside(outputs, inputs)
    # the first position of each offset that can tell
    first = np.argmax(inside.reshape(math.prod(outputs), -1), axis=0)
    flat = V.reshape(math.prod(outputs), -1)
    kernel = jnp.take_along_axis(flat, constant(first[None]), axis=0)
    kernel = kernel.reshape((1,) * len(outputs) + V.shape[len(outputs) :])
    difference = jnp.where(constant(inside), V, kernel) - kernel
    if jnp.issubdtype(V.dtype, jnp.integer):
        tolerance = math.floor(tolerance)  # the same for whole numbers, and promotes nothing
    return (jnp.abs(difference) <= tolerance).all()


def share(V: ArrayLike) -> jax.Array:
    """Project on translation invariance: the one kernel nearest to V in least squares.

    v[a, b] = mean of V[i, j, a, b] over the positions (i, j) from which (a, b) stays inside

    Args:
        V: (*out, *offsets), float or complex.

    Returns:
        v: (*offsets), in V's dtype. `spread(v, out)` is the nearest shift-invariant V.

    Raises:
        TypeError: V is of integers, whose means are none.
        ValueError: V has an odd number of dimensions, or fewer offsets than outputs.

    Example:
        >>> share(reindex(jnp.array([[1.0, 5.0], [0.0, 3.0]])))
        Array([0., 2., 5.], dtype=float32)

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.1.2.1.
    """
    V = as_array("share", "V", V)
    outputs, inputs = _offset_sizes("share", V)
    if not jnp.issubdtype(V.dtype, jnp.inexact):
        raise TypeError(f"share: V is {V.dtype}, whose means are not; use V.astype(jnp.float32)")
    inside = _inside(outputs, inputs)
    positions = tuple(range(len(outputs)))
    total = jnp.where(constant(inside), V, zero(V.dtype)).sum(positions)
    return total / constant(inside.sum(positions), V.dtype)


def spread(v: ArrayLike, output_size: Sequence[int]) -> jax.Array:
    """Give every output position the same weights: V[i, j, a, b] = v[a, b] inside, zero outside.

    Args:
        v: (*offsets), out + in - 1 of them a dimension, as `share` gives them.
        output_size: (*out).

    Returns:
        V: (*out, *offsets).

    Raises:
        TypeError: a size is no integer.
        ValueError: v has fewer offsets than there are outputs.

    Example:
        >>> restore(spread(jnp.array([3, 4, 5, 6, 7]), (3,)))
        Array([[5, 6, 7],
               [4, 5, 6],
               [3, 4, 5]], dtype=int32)

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.1.2.1.
    """
    v = as_array("spread", "v", v)
    outputs = per_dimension("spread", "output_size", output_size, v.ndim, minimum=1)
    inputs = _inputs("spread", "v", v.shape, outputs, v.shape)
    inside = _inside(outputs, inputs)
    return jnp.where(constant(inside), jnp.broadcast_to(v, inside.shape), zero(v.dtype))


def truncate(V: ArrayLike, delta: int | Sequence[int]) -> jax.Array:
    """Keep what is local: V[i, j, a, b] where |a| <= delta and |b| <= delta, zero elsewhere.

    Args:
        V: (*out, *offsets), of any dtype.
        delta: the largest offset that is kept; one integer or one a dimension.

    Returns:
        V: the same shape.

    Raises:
        TypeError: delta is no integer.
        ValueError: delta is negative, or V has fewer offsets than outputs.

    Example:
        >>> restore(truncate(reindex(jnp.ones((4, 4))), 1))
        Array([[1., 1., 0., 0.],
               [1., 1., 1., 0.],
               [0., 1., 1., 1.],
               [0., 0., 1., 1.]], dtype=float32)

    Source:
        Zhang et al., "Dive into Deep Learning", section 6.1.2.2.
    """
    V = as_array("truncate", "V", V)
    outputs, _ = _offset_sizes("truncate", V)
    rank = len(outputs)
    delta = per_dimension("truncate", "delta", delta, rank, minimum=0)
    near = np.ones((1,) * rank, bool)
    for d, (m, reach) in enumerate(zip(outputs, delta, strict=True)):
        offsets = np.arange(V.shape[rank + d]) - (m - 1)
        shape = [1] * rank
        shape[d] = -1
        near = near & (np.abs(offsets) <= reach).reshape(shape)
    return jnp.where(constant(near), V, zero(V.dtype))


def kernel(V: ArrayLike, delta: int | Sequence[int]) -> jax.Array:
    """Turn a reindexed dense layer into the nearest kernel of 2 delta + 1 elements a side.

    k[a + delta, b + delta] = share(V) at offset (a, b), for |a|, |b| <= delta

    A layer with as many outputs as inputs becomes `correlate(x, k, mode="same")`, which is
    `conv` of one channel with padding=delta: exactly where V was shift-invariant and local.

    Args:
        V: (*out, *offsets), float or complex.
        delta: the largest offset; one integer or one a dimension. Offsets that V has not are zero.

    Returns:
        k: 2 delta + 1 elements a dimension.

    Raises:
        TypeError: V is of integers, or delta is no integer.
        ValueError: delta is negative, or V has fewer offsets than outputs.

    Example:
        >>> W = jnp.array([[5.0, 6.0, 7.0], [4.0, 5.0, 6.0], [3.0, 4.0, 5.0]])
        >>> kernel(reindex(W), 1)
        Array([4., 5., 6.], dtype=float32)

    Source:
        Zhang et al., "Dive into Deep Learning", equation 6.1.3.
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
    """Gather along `axis`, by other indices (output, taken) at each position along `output`."""
    shape = [1] * array.ndim
    shape[output], shape[axis] = indices.shape
    return jnp.take_along_axis(array, constant(indices.reshape(shape)), axis=axis)


def _inside(outputs: tuple[int, ...], inputs: tuple[int, ...]) -> np.ndarray:
    """(*out, *offsets): whether the offset leads from the position to an input."""
    rank = len(outputs)
    inside = np.ones((1,) * (2 * rank), bool)
    for d, (m, n) in enumerate(zip(outputs, inputs, strict=True)):
        reached = np.arange(m)[:, None] + np.arange(m + n - 1) - (m - 1)
        shape = [1] * (2 * rank)
        shape[d], shape[rank + d] = reached.shape
        inside = inside & ((reached >= 0) & (reached < n)).reshape(shape)
    return inside


def _sizes(caller: str, name: str, array: jax.Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rank = array.ndim // 2
    if array.ndim % 2 or not array.ndim:
        raise ValueError(
            f"{caller}: {name}.shape={array.shape} must have the output's dimensions and then as "
            "many more, (*out, *in): an even number of them"
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
