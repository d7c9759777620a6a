"""The kernel's gradient as running sums over rows of the image, one a kernel entry.

For kernels that see few channels at a time. XLA's CPU reductions over leading axes are slow, and so
is one stacked accumulator; a loop over blocks of rows that carries one (width, groups) accumulator
a tap, as a tuple, stays in the cache and vectorises. Each is summed over the width once, at the end.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.dtypes import accumulation_dtype
from jaxconv.methods.residues import each, phases, tap
from jaxconv.spec import ConvSpec

# Accumulators one loop carries; more taps are looped over from outside.
ACCUMULATORS = 16
# Rows that one step adds up before it touches an accumulator, and the elements worth one row.
ROWS = 8
ROW_ELEMENTS = 4096


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """w[k, g, i, o] = sum over n, t of (x shifted by k)[n, t, g, i] y[n, t, g, o]."""
    del precision  # there is no matrix product whose precision could be lowered
    sums = accumulation_dtype(x, y, dtype)
    parts = phases(_channels_first(x.astype(sums), spec.groups), spec, axis=2)
    y = lax.optimization_barrier(_channels_first(y.astype(sums), spec.groups))
    channels = (next(iter(parts.values())).shape[0], y.shape[0])
    pairs = list(itertools.product(*map(range, channels)))
    if math.prod(spec.kernel_size) * len(pairs) <= ACCUMULATORS:
        taps = [
            (parts[phase][i], y[o], starts)
            for k in itertools.product(*map(range, spec.kernel_size))
            for phase, starts in [tap(k, spec)]
            for i, o in pairs
        ]
        w = jnp.stack(_row_sums(taps, spec.output_size))
        # (taps * i * o, g) -> (*kernel, i, o, g) -> (*kernel, i, g, o)
        w = w.reshape(*spec.kernel_size, *channels, spec.groups)
    else:
        w = _residue_by_residue(parts, y, spec, channels)
    w = jnp.swapaxes(w, -1, -2)
    return w.reshape(*spec.kernel_size, channels[0], spec.groups * channels[1]).astype(dtype)


def _residue_by_residue(parts, y, spec: ConvSpec, channels: tuple[int, int]) -> jax.Array:
    """(*kernel, i, o, g): one compiled loop a residue, mapped over leading taps and channels."""
    w = jnp.zeros((*spec.kernel_size, *channels, spec.groups), y.dtype)
    for entries in each(spec):
        x = parts[tuple(entry.phase for entry in entries)]
        counts = tuple(entry.count for entry in entries)
        inner = counts[-1] if counts[-1] <= ACCUMULATORS else 1
        outer = (*counts[:-1], counts[-1] // inner, *channels)

        def some(position, x=x, entries=entries, inner=inner, outer=outer):
            index = []
            for count in reversed(outer):
                index.append(position % count)
                position = position // count
            o, i, *k = index
            k = [*reversed(k)]
            a = lax.dynamic_index_in_dim(x, i, 0, keepdims=False)
            b = lax.dynamic_index_in_dim(y, o, 0, keepdims=False)
            sizes = [*spec.output_size]
            sizes[-1] += (inner - 1) * entries[-1].dilation
            for dim, (entry, at) in enumerate(zip(entries, k, strict=True)):
                start = entry.offset + at * entry.dilation
                a = lax.dynamic_slice_in_dim(a, start, sizes[dim], axis=1 + dim)
            last = range(0, inner * entries[-1].dilation, entries[-1].dilation)
            lead = [0] * (spec.rank - 1)
            taps = [(a, b, [*lead, start]) for start in last]
            return jnp.stack(_row_sums(taps, spec.output_size))  # (inner, g)

        sums = lax.map(some, jnp.arange(math.prod(outer)))
        # (*counts[:-1], blocks, i, o, inner, g) -> (*counts, i, o, g)
        sums = jnp.moveaxis(sums.reshape(*outer, inner, spec.groups), -2, spec.rank)
        sums = sums.reshape(*counts, *channels, spec.groups)
        w = w.at[tuple(slice(e.first, None, e.step) for e in entries)].set(sums)
    return w


def _row_sums(taps, size: tuple[int, ...]) -> list[jax.Array]:
    """For each (x, y, starts): the sum over n and t of x[n, starts + t, g] y[n, t, g], (g,).

    x is (n, *space, g) and y (n, *size, g).
    """
    groups, rank = taps[0][1].shape[-1], len(size)
    batch = taps[0][1].shape[0]
    lead = (batch, *size[:-2])
    if rank == 1:
        width = max(1, min(size[0], ROW_ELEMENTS // groups))
        blocks = [(0, ROWS, size[0] // (ROWS * width), width)]
        done = ROWS * width * blocks[0][2]
        blocks.append((done, 1, (size[0] - done) // width, width))
        done += width * blocks[1][2]
        blocks.append((done, 1, int(done < size[0]), size[0] - done))
    else:
        height = size[-2]
        rows = next(r for r in range(min(2 * ROWS, height), 0, -1) if height % r == 0)
        rows = rows if rows >= ROWS // 2 else min(ROWS, height)
        blocks = [(0, rows, height // rows, size[-1])]
        blocks.append((height // rows * rows, 1, height % rows, size[-1]))

    totals = [jnp.zeros((groups,), taps[0][1].dtype)] * len(taps)
    for start, rows, count, width in blocks:
        if count == 0 or width == 0:
            continue
        sums = _block_sums(taps, lead, (start, rows, count, width))
        totals = [total + part for total, part in zip(totals, sums, strict=True)]
    return totals


def _block_sums(taps, lead: tuple[int, ...], block) -> list[jax.Array]:
    """`_row_sums` of `count` blocks of `rows` rows of `width` from `start` on."""
    first, rows, count, width = block
    dtype, groups = taps[0][1].dtype, taps[0][1].shape[-1]
    rank = taps[0][1].ndim - 2

    def read(array, starts, index, at):
        """The block's rows: each (width, g)."""
        for position, start in zip(index, starts, strict=False):
            array = lax.dynamic_index_in_dim(array, position + start, 0, keepdims=False)
        if rank == 1:
            array = lax.dynamic_slice_in_dim(array, at + starts[-1], rows * width, axis=0)
            return array.reshape(rows, width, groups)
        array = lax.slice_in_dim(array, starts[-1], starts[-1] + width, axis=1)
        return lax.dynamic_slice_in_dim(array, at + starts[-2], rows, axis=0)

    def step(position, accumulators):
        position, block = position // count, position % count
        index = []
        for size in reversed(lead):
            index.append(position % size)
            position = position // size
        index.reverse()
        at = first + block * rows * (width if rank == 1 else 1)
        added = []
        for total, (x, y, starts) in zip(accumulators, taps, strict=True):
            a = read(x, [0, *starts], index, at)
            b = read(y, [0] * (1 + rank), index, at)
            products = [a[r] * b[r] for r in range(rows)]
            added.append(total + sum(products[1:], products[0]))
        return tuple(added)

    steps = math.prod(lead) * count
    zero = jnp.zeros((width, groups), dtype)
    sums = lax.fori_loop(0, steps, step, (zero,) * len(taps))
    return [jnp.sum(total, axis=0) for total in sums]


def _channels_first(a: jax.Array, groups: int) -> jax.Array:
    """(n, *space, g * c) -> (c, n, *space, g)."""
    return jnp.moveaxis(a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups), -1, 0)
