"""The kernel's gradient as running sums over rows of the image, one a kernel entry.

For kernels that see few channels at a time. XLA's CPU reductions over leading axes are slow, and so
is one stacked accumulator; a loop over blocks of rows that carries one (n, width, groups)
accumulator a tap, as a tuple, stays in the cache. Each is summed over the width once, at the end.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods.residues import each, phases, tap
from jaxconv._core.methods.terms import Terms, common

# x (n, *space, g), y (n, *space', g) and where in x the tap starts.
Tap = tuple[jax.Array, jax.Array, Sequence[int]]

# Accumulators that one loop carries; an outer loop serves more taps.
ACCUMULATORS = 16
# Rows that one step sums before it updates an accumulator, and elements that count as one row.
ROWS = 8
ROW_ELEMENTS = 65536


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """w[k, g, i, o] = sum over n, t of (x shifted by k)[n, t, g, i] y[n, t, g, o]."""
    del precision  # for matrix products, and there are none here
    sums = accumulation_dtype(x, y, dtype)
    parts = phases(_channels_first(x.astype(sums), spec.groups), spec, axis=2)
    y = _channels_first(y.astype(sums), spec.groups)
    channels = (next(iter(parts.values())).shape[0], y.shape[0])
    pairs = list(itertools.product(*map(range, channels)))
    if math.prod(spec.kernel_size) * len(pairs) <= ACCUMULATORS:
        inputs = {phase: [part[i] for i in range(channels[0])] for phase, part in parts.items()}
        outputs = [y[o] for o in range(channels[1])]
        taps = [
            (inputs[phase][i], outputs[o], starts)
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
        counts = tuple(entry.number for entry in entries)
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


def _row_sums(taps: Sequence[Tap], size: tuple[int, ...]) -> list[jax.Array]:
    """For each tap the sum over n and t of x[n, starts + t, g] y[n, t, g], (g,)."""
    _, y, _ = taps[0]
    groups, rank = y.shape[-1], len(size)
    if rank == 1:
        # pieces of the only dimension serve as rows
        width = max(1, min(size[0], ROW_ELEMENTS // max(1, groups * y.shape[0])))
        pieces = size[0] // width
        blocks = [_Block(0, ROWS, pieces // ROWS, width)]
        blocks.append(_Block(pieces // ROWS * ROWS * width, 1, pieces % ROWS, width))
        blocks.append(_Block(pieces * width, 1, 1, size[0] % width))
    else:
        height, width = size[-2:]
        # Two blocks at least: of one, XLA unrolls the loop, and each tap copies what it reads. With
        # 14 rows that took 0.7 to 0.8 of the time, but 3 to 5.5 times as long to compile and 2.5 to
        # 3 times the memory (3x3 of 512 channels, 7x7 of 384; 2 AVX-512 cores, 2026-11).
        most = min(2 * ROWS, max(height // 2, 1))
        rows = max(r for r in range(1, most + 1) if height % r == 0)
        rows = rows if rows >= ROWS // 2 else min(ROWS, height)
        blocks = [_Block(0, rows, height // rows, width)]
        blocks.append(_Block(height // rows * rows, 1, height % rows, width))
    totals = [jnp.zeros((groups,), y.dtype)] * len(taps)
    for block in blocks:
        if y.shape[0] > 0 and block.number > 0 and block.width > 0:
            sums = _block_sums(taps, size[:-2], block)
            totals = [total + part for total, part in zip(totals, sums, strict=True)]
    return totals


class _Block(NamedTuple):
    """`number` blocks of `rows` rows of `width` positions, from position `first` on."""

    first: int
    rows: int
    number: int
    width: int


def _block_sums(taps: Sequence[Tap], lead: tuple[int, ...], block: _Block) -> list[jax.Array]:
    """`_row_sums` of these blocks; `lead` is the size of the dimensions before the rows."""
    first, rows, count, width = block
    y = taps[0][1]
    rank = y.ndim - 2
    height = rows * width if rank == 1 else rows
    arrays: list[jax.Array] = []
    for array in itertools.chain.from_iterable((x, b) for x, b, _ in taps):
        if not any(array is other for other in arrays):
            arrays.append(array)

    def place(array):
        return next(n for n, other in enumerate(arrays) if other is array)

    def step(position, accumulators):
        position, at = position // count, first + position % count * height
        index = []
        for size in reversed(lead):
            index.append(position % size)
            position = position // size
        index.reverse()
        # Copied out once: then the taps are slices at fixed places, which vectorise.
        copies = lax.optimization_barrier(
            [_neighbourhood(array, y, [*index, at], height) for array in arrays]
        )
        added = []
        for total, (x, b, starts) in zip(accumulators, taps, strict=True):
            seen = _rows(copies[place(x)], starts, rows, width)
            answers = _rows(copies[place(b)], (0,) * rank, rows, width)
            products = [p * q for p, q in zip(seen, answers, strict=True)]
            added.append(total + sum(products[1:], products[0]))
        return tuple(added)

    zero = jnp.zeros((y.shape[0], width, y.shape[-1]), y.dtype)
    sums = lax.fori_loop(0, math.prod(lead) * count, step, (zero,) * len(taps))
    # NumPy would widen sums of integers
    return [jnp.sum(total, axis=(0, 1), dtype=total.dtype) for total in sums]


def _neighbourhood(array: jax.Array, y: jax.Array, index: Sequence[Any], height: int) -> jax.Array:
    """The elements that the taps of one block read: (n, 1, .., height, [width], g) and beyond."""
    for axis, start in enumerate(index, 1):
        size = height if axis == len(index) else 1
        beyond = array.shape[axis] - y.shape[axis]
        array = lax.dynamic_slice_in_dim(array, start, size + beyond, axis=axis)
    return array


def _rows(block: jax.Array, starts: Sequence[int], rows: int, width: int) -> list[jax.Array]:
    """The rows of one tap, each (n, width, g)."""
    for start in starts[:-2]:
        block = block[:, start]
    if len(starts) == 1:
        first = [starts[0] + row * width for row in range(rows)]
        return [block[:, start : start + width] for start in first]
    top, left = starts[-2:]
    return [block[:, top + row, left : left + width] for row in range(rows)]


def _channels_first(a: jax.Array, groups: int) -> jax.Array:
    """(n, *space, g * c) -> (c, n, *space, g)."""
    return jnp.moveaxis(a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups), -1, 0)


def row_terms(problem: Problem) -> Terms:
    """Return the terms of a loop over rows with an accumulator for each entry of the kernel."""
    spec, work = problem.spec, common(problem)["work"]
    kernel, pairs = math.prod(spec.kernel_size), problem.inputs * problem.outputs
    width = spec.output_size[-1] * problem.batch
    return {
        "work / min(groups, 16)": work / min(spec.groups, 16),
        "rows * kernel": math.prod(spec.output_size[:-1]) * kernel,
        "kernel * in * out": kernel * pairs,
        "accumulators": kernel * pairs * width * spec.groups,
        "work if looped": work if kernel * pairs > ACCUMULATORS else 0.0,
    }
