"""Sums of taps that read the input as it is: no padded copy of it is made.

A copy is a pass over the array and, where it is large, as many page faults as the result costs:
XLA takes its buffers from the operating system anew at each call. Two ways to do without:

- `terms`: each term is padded by itself, inside the one fused loop. XLA tests for each element
  whether it lies inside; with few taps that vectorises.
- `edged`: of a plane whose rows are as long as its result's, seen as one line of elements, each tap
  is a slice. What it takes from the neighbouring row is masked, a mask a column of the kernel. The
  first and last rows, whose slices would begin or end outside, are written over.

Planes of 512^2 to 4096^2 beside the padded copy (2 AVX-512 cores, jax 0.10.2, 2026-11): `terms`
took 0.49 to 0.74 of the time with 3x3 and 0.38 to 0.77 with 1x2, but 2.4 to 4.2 with 5x5 and 7x7;
`edged` 0.44 to 0.63 with 5x5 and 7x7, but 0.7 to 1.3 with 3x3. With channels as the last axis
`terms` took 0.47 in one dimension, but 1.8 to 4.2 in two and three. `edged` compiles two kernels
more than the copy does: 0.25 s of CPU instead of 0.1 s with 7x7.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Taps up to which each is padded by itself.
FEW = 9
# Channels from which the tests of one dimension stay outside the innermost loop.
WIDE = 16


class Reads(NamedTuple):
    """Along one dimension, entry k of `kernel` reads element t + k dilation - before for output t.

    There are `size` outputs, and zeros are read outside the input's `extent`.
    """

    before: int
    dilation: int
    kernel: int
    extent: int
    size: int

    def shift(self, k: int) -> int:
        """What entry k reads for output 0."""
        return k * self.dilation - self.before


def correlate(x: jax.Array, w: jax.Array, reads: Sequence[Reads]) -> jax.Array | None:
    """Sum the taps if one of the ways serves and pays, or return None.

    Args:
        x: (i, n, *space, *lanes).
        w: (i, *kernel, *lanes).
        reads: one a dimension.
    """
    rank = len(reads)
    lanes, number = x.ndim - 2 - rank, math.prod(w.shape[: 1 + rank])
    wide = rank == 1 and math.prod(jnp.broadcast_shapes(x.shape[3:], w.shape[2:])) >= WIDE
    if number <= FEW and (lanes == 0 or wide):
        return terms(x, w, reads)
    if lanes == 0 and rank == 2 and _edges(reads) is not None:
        return edged(x, w, reads)
    return None


def terms(x: jax.Array, w: jax.Array, reads: Sequence[Reads]) -> jax.Array:
    """Pad each term by itself; shapes as in `correlate`."""
    rank, zero, total = len(reads), jnp.zeros((), x.dtype), None
    for i, *k in itertools.product(*map(range, w.shape[: 1 + rank])):
        pads = [(0, 0, 0)] * (x.ndim - 1)
        for dim, (read, at) in enumerate(zip(reads, k, strict=True), 1):
            shift = read.shift(at)
            pads[dim] = (-shift, read.size - read.extent + shift, 0)
        term = lax.pad(x[i], zero, pads) * w[i, *k]
        total = _plus(total, term)
    assert total is not None  # a kernel has an entry at least
    return total


def edged(x: jax.Array, w: jax.Array, reads: Sequence[Reads]) -> jax.Array:
    """Sum slices of planes (i, n, height, width) seen as lines, then write the edges over."""
    edges = _edges(reads)
    assert edges is not None
    down, along = reads
    (first, last), n, width = edges, x.shape[1], along.size
    lines, zero = lax.reshape(x, (*x.shape[:2], down.extent * width)), jnp.zeros((), x.dtype)
    shape = (n, last - first, width)
    column = lax.broadcasted_iota(jnp.int32, shape, 2)
    y = None
    for j in range(along.kernel):
        part, shift = None, along.shift(j)
        for i, k in itertools.product(range(x.shape[0]), range(down.kernel)):
            start = (first + down.shift(k)) * width + shift
            line = lax.slice(lines, (i, 0, start), (i + 1, n, start + shape[1] * width))
            part = _plus(part, _times(lax.reshape(line, shape), w, (i, k, j)))
        assert part is not None
        if shift:
            inside = column >= -shift if shift < 0 else column < width - shift
            part = lax.select(inside, part, lax.full_like(part, 0))
        y = _plus(y, part)
    assert y is not None
    y = lax.pad(y, zero, [(0, 0, 0), (first, down.size - last, 0), (0, 0, 0)])
    height = max(first, down.size - last)
    return y if height == 0 else _write_edges(y, x, w, reads, height)


def _write_edges(
    y: jax.Array, x: jax.Array, w: jax.Array, reads: Sequence[Reads], height: int
) -> jax.Array:
    """Compute the first and last `height` rows of y."""
    down, along = reads
    n, width = y.shape[0], along.size
    (least, most), (left, right) = _span(down), _span(along)
    last = down.size - height
    ends = [(-s - least, s + height + most - down.extent, 0) for s in (0, last)]
    zero, rest = jnp.zeros((), x.dtype), (-left, right, 0)
    # (2, i, n, rows, columns)
    strips = jnp.stack([lax.pad(x, zero, [(0, 0, 0)] * 2 + [e, rest]) for e in ends])
    shape = (n, height, width)

    def write(edge, y):
        strip, total = lax.dynamic_index_in_dim(strips, edge, 0, keepdims=False), None
        for i, k, j in itertools.product(*map(range, w.shape)):
            top, side = k * down.dilation, j * along.dilation
            part = lax.slice(strip, (i, 0, top, side), (i + 1, n, top + height, side + width))
            total = _plus(total, _times(lax.reshape(part, shape), w, (i, k, j)))
        assert total is not None
        return lax.dynamic_update_slice_in_dim(y, total, edge * last, axis=1)

    # one compiled body for both; and in a loop XLA writes into y where it is
    return lax.fori_loop(0, 2, write, y)


def _times(a: jax.Array, w: jax.Array, at: tuple[int, ...]) -> jax.Array:
    """The product with one entry, traced in few steps: there are many of them."""
    entry = lax.slice(w, at, tuple(k + 1 for k in at))
    return lax.mul(a, lax.broadcast(lax.squeeze(entry, range(w.ndim)), a.shape))


def _plus(total: jax.Array | None, term: jax.Array) -> jax.Array:
    return term if total is None else lax.add(total, term)


def _span(read: Reads) -> tuple[int, int]:
    """The least and the largest shift."""
    return read.shift(0), read.shift(read.kernel - 1)


def _edges(reads: Sequence[Reads]) -> tuple[int, int] | None:
    """The rows from first to last - 1, which no slice of lines ends outside for, or None.

    They must be most rows, and as long in the plane as in the result.
    """
    down, along = reads
    (least, most), (left, right) = map(_span, reads)
    if along.size != along.extent or max(-left, right) > along.size:
        return None
    first = max(0, -least + (left < 0))
    last = min(down.size, down.extent - most - (right > 0))
    return (first, last) if last - first > down.size // 2 else None
