"""The weighted Gram matrix of an image's windows, from blocks of windows.

With a weight for each window the sums of `_gram` no longer depend on the shift alone:

    (A^T W A)[(k, i), (l, j)] = sum over n, t of w[n, t] x[n, t s + k d, i] x[n, t s + l d, j]

So the rows of A are formed after all, a block of at most `BLOCK` numbers at a time, and each block
adds its product to the sum: p ** 2 multiplications a window, in memory for a block and the matrix.
Sums are in the dtype of x, which is float64 in all callers.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import ConvSpec

BLOCK = 2**20  # numbers in a block of windows, 8 MB in float64


def weighted_sums(x: jax.Array, spec: ConvSpec, weights: jax.Array) -> jax.Array:
    """Sum every entry of the windows, times the window's weight, over all windows.

    Args:
        x: (n, *space, in), from `embedded`.
        spec: from `embedded`.
        weights: (n, *space', 1), of x's dtype.

    Returns:
        (groups, prod(kernel_size) * in // groups), kernel-major, of x's dtype.
    """
    each = jnp.broadcast_to(weights, (*weights.shape[:-1], spec.groups))
    sums = contract("kernel", x, each, spec, dtype=x.dtype)
    # (*kernel, i, g) -> (g, k * i)
    return sums.reshape(-1, spec.groups).T


def weighted_gram(x: jax.Array, spec: ConvSpec, weights: jax.Array) -> jax.Array:
    """Sum the products of every two entries of a window, times its weight, over all windows.

    Args:
        x: (n, *space, in), from `embedded`.
        spec: from `embedded`.
        weights: (n, *space', 1), of x's dtype.

    Returns:
        (groups, p, p) with p = prod(kernel_size) * in // groups, kernel-major, of x's dtype.
    """
    entries = math.prod(spec.kernel_size) * x.shape[-1]
    if not weights.size:
        own = entries // spec.groups
        return jnp.zeros((spec.groups, own, own), x.dtype)
    block = block_size(weights.shape[:-1], entries)
    counts = [-(-n // b) for n, b in zip(weights.shape, block, strict=False)]
    steps = (1, *spec.stride)
    spare = [c * b - n for c, b, n in zip(counts, block, weights.shape, strict=False)]
    # windows beyond the end have weight 0
    weights = jnp.pad(weights, [*((0, n) for n in spare), (0, 0)])
    x = jnp.pad(x, [*((0, n * s) for n, s in zip(spare, steps, strict=True)), (0, 0)])
    reach = [
        (b - 1) * s + extent(k, d)
        for b, s, k, d in zip(block[1:], spec.stride, spec.kernel_size, spec.dilation, strict=True)
    ]

    @jax.checkpoint  # else a derivative would store the windows of all blocks
    def product(number: jax.Array) -> jax.Array:
        first = number * jnp.asarray(block, jnp.int32)
        zero = jnp.zeros((), first.dtype)
        corner = (*(first * jnp.asarray(steps, jnp.int32)), zero)
        part = lax.dynamic_slice(x, corner, (block[0], *reach, x.shape[-1]))
        rows = _windows(part, spec, block[1:])
        own = lax.dynamic_slice(weights, (*first, zero), (*block, 1)).reshape(-1, 1, 1)
        return jnp.einsum("mgp,mgq->gpq", own * rows, rows, precision="highest")

    numbers = np.array(list(itertools.product(*map(range, counts))), np.int32)
    total = product(jnp.asarray(numbers[0]))
    if len(numbers) == 1:
        return total
    return lax.scan(
        lambda total, number: (total + product(number), None), total, jnp.asarray(numbers[1:])
    )[0]


def block_size(outputs: Sequence[int], numbers: int) -> tuple[int, ...]:
    """The size of a block of windows: whole rows, planes and images as far as they fit.

    Args:
        outputs: (n, *space'), how many windows there are.
        numbers: in one window, over all groups.

    Example:
        >>> block_size((3, 512, 510), 25)
        (1, 82, 510)
    """
    room, block = max(BLOCK // numbers, 1), []
    for size in reversed(outputs):
        block.append(min(size, room))
        room = max(room // block[-1], 1)
    return tuple(reversed(block))


def _windows(x: jax.Array, spec: ConvSpec, count: Sequence[int]) -> jax.Array:
    """(n, *reach, in) -> (n * prod(count), groups, prod(kernel_size) * in // groups)."""
    geometry = zip(spec.kernel_size, spec.dilation, spec.stride, count, strict=True)
    for dimension, (size, gap, step, number) in enumerate(geometry):
        axis = 1 + dimension
        shifted = [
            lax.slice_in_dim(x, k * gap, k * gap + (number - 1) * step + 1, step, axis=axis)
            for k in range(size)
        ]
        # (n, *count, *reach, *kernel, in): one dimension after another
        x = jnp.stack(shifted, axis=-2)
    # (n, *count, *kernel, g * i) -> (m, k, g, i) -> (m, g, k * i)
    x = x.reshape(-1, math.prod(spec.kernel_size), spec.groups, x.shape[-1] // spec.groups)
    return jnp.swapaxes(x, 1, 2).reshape(x.shape[0], spec.groups, -1)
