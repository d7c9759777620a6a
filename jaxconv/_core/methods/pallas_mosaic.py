"""Depthwise sums as Pallas kernels for TPUs, through Mosaic.

A program has a block of rows and columns of one image and up to 128 channels, which fill a
register's lanes; neighbouring columns fill its sublanes. What a block reads, its halo included, is
widened to float32 once, with zeros where the padding lies, in memory of the core (VMEM): there a
shifted or strided read of columns costs no more than another, as long as it is of 32 bits. So each
element comes from the device's memory once, plus the halo of its block.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.methods.pallas_plan import Side, over, over_entries

LANES = 128
# Columns to which blocks are aligned: those of a tile of bfloat16.
ALIGNED = 16
# Columns of a register in float32, and those that are summed at once: eight registers.
SUBLANES, AT_ONCE = 8, 64
# Bytes of a block with all that belongs to it; a core has 16 MiB for a program by default.
BLOCK = 6 << 20
# Entries of a kernel's gradient that are summed at once, in a register each.
ENTRIES = 16


class _Block(NamedTuple):
    """A side in blocks of `steps` steps, which read `width` elements from a multiple of `aligned`.

    `shift` elements before the first are within the reach of some block.
    """

    side: Side
    steps: int
    aligned: int

    @property
    def first(self) -> int:
        """Where block 0 starts to read: at its lowest element, or before it."""
        low, _ = self.side.offsets
        return low // self.aligned * self.aligned

    @property
    def width(self) -> int:
        _, high = self.side.offsets
        width = (self.steps - 1) * self.side.stride + high - self.first + 1
        return -(-width // self.aligned) * self.aligned

    @property
    def number(self) -> int:
        return -(-self.side.steps // self.steps)

    @property
    def made(self) -> int:
        return self.steps * len(self.side.phases)

    @property
    def shift(self) -> int:
        return min(self.width, max(0, -self.first))

    @property
    def latest(self) -> int:
        """The last place where a block may start to read."""
        return (self.side.read - 1) // self.aligned * self.aligned

    @property
    def after(self) -> int:
        """Elements behind the last that a block may reach."""
        return max(0, self.latest + self.width - self.side.read)

    def wanted(self, block: Any) -> Any:
        """Where a block starts to read, inside or not."""
        return block * np.int32(self.steps * self.side.stride) + np.int32(self.first)

    def start(self, block: Any) -> Any:
        """Where it starts to read inside."""
        start = jnp.clip(self.wanted(block), np.int32(0), np.int32(self.latest))
        return lax.div(start, np.int32(self.aligned)) * np.int32(self.aligned)


def correlate(
    x: jax.Array, w: jax.Array, sides: tuple[Side, Side], *, dtype: Any, interpret: bool = False
) -> jax.Array:
    """Return (n, *made, c) from x (n, *read, c) and w (*kernel, c)."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu

    n, channels = x.shape[0], x.shape[-1]
    lanes = min(channels, LANES)
    sizes = x.dtype.itemsize, jnp.dtype(dtype).itemsize
    rows, columns = blocks = _blocks(sides, lambda *blocks: _bytes(blocks, sizes))
    phases = len(columns.side.phases)
    wide = min(columns.steps, -(-columns.side.steps // SUBLANES) * SUBLANES)

    def body(x_ref, w_ref, y_ref, x_wide, row_wide):
        _widen(x_ref, x_wide, blocks, pl.program_id(2), pl.program_id(3))

        def sums(row, row_phase, column_phase, first, count):
            """The sums of one row, `count` columns from step `first`."""

            def add(k_row, high, k_column, width, total):
                for i, j in itertools.product(range(high), range(width)):
                    k = [
                        phase.first + phase.step * (first_k + at)
                        for phase, first_k, at in zip(
                            (row_phase, column_phase), (k_row, k_column), (i, j), strict=True
                        )
                    ]
                    at = [
                        phase.offset + phase.dilation * (first_k + at) - block.first
                        for phase, first_k, at, block in zip(
                            (row_phase, column_phase),
                            (k_row, k_column),
                            (i, j),
                            blocks,
                            strict=True,
                        )
                    ]
                    seen = _columns(first * columns.side.stride + at[1], count, columns.side.stride)
                    element = x_wide[row * rows.side.stride + at[0], seen, :]
                    total += element * w_ref[k[0], pl.ds(k[1], 1), :]
                return total

            zeros = jnp.zeros((count, lanes), jnp.float32)
            return over_entries(row_phase, column_phase, add, zeros)

        def one_row(row, _):
            for row_phase in rows.side.phases:
                at = row * len(rows.side.phases) + row_phase.phase
                for column_phase in columns.side.phases:

                    def some(
                        first, count, _, row_phase=row_phase, column_phase=column_phase, at=at
                    ):
                        value = sums(row, row_phase, column_phase, first, count)
                        if phases == 1:
                            y_ref[0, at, pl.ds(first, count), :] = value.astype(y_ref.dtype)
                        else:
                            made = _columns(first * phases + column_phase.phase, count, phases)
                            row_wide[made, :] = value
                        return 0

                    over(wide, AT_ONCE, some, 0)
                if phases > 1:

                    def narrow(first, count, _, at=at):
                        seen = pl.ds(first, count)
                        y_ref[0, at, seen, :] = row_wide[seen, :].astype(y_ref.dtype)
                        return 0

                    over(wide * phases, AT_ONCE, narrow, 0)
            return 0

        lax.fori_loop(np.int32(0), np.int32(rows.steps), one_row, 0)

    entries = math.prod(sum(phase.number for phase in side.phases) for side in sides)
    steps = math.prod(side.steps for side in sides)
    pairs = n * steps * entries * channels
    y_shape = n, rows.side.made, columns.side.made, channels
    call = pl.pallas_call(
        body,
        cost_estimate=_cost(pairs, (x.shape, x.dtype), (w.shape, jnp.float32), (y_shape, dtype)),
        out_shape=jax.ShapeDtypeStruct(y_shape, dtype),
        grid=(n, -(-channels // lanes), rows.number, columns.number),
        in_specs=[
            _read(blocks, lanes, lambda n, c, i, j: (n, i, j, c)),
            pl.BlockSpec((*w.shape[:2], lanes), lambda n, c, i, j: (0, 0, c)),
        ],
        out_specs=pl.BlockSpec(
            (1, rows.made, columns.made, lanes), lambda n, c, i, j: (n, i, j, c)
        ),
        scratch_shapes=[
            tpu.VMEM((rows.width, columns.width + columns.shift, lanes), jnp.float32),
            tpu.VMEM((columns.made if phases > 1 else SUBLANES, lanes), jnp.float32),
        ],
        compiler_params=tpu.CompilerParams(dimension_semantics=("parallel",) * 4),
        interpret=interpret,
        name="depthwise",
    )
    return call(x, w.astype(jnp.float32))


def gradient(
    x: jax.Array, y: jax.Array, sides: tuple[Side, Side], *, dtype: Any, interpret: bool = False
) -> jax.Array:
    """Return w (*kernel, c) from x (n, *read, c) and y (n, *made, c).

    The blocks of a channel come one after another, and add to the same sums.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu

    n, channels = x.shape[0], x.shape[-1]
    lanes = min(channels, LANES)
    sizes = x.dtype.itemsize, y.dtype.itemsize
    rows, columns = blocks = _blocks(sides, lambda *blocks: _bytes(blocks, sizes))
    entries = rows.side.phases[0], columns.side.phases[0]
    kernel = entries[0].number, entries[1].number
    grid = -(-channels // lanes), n, rows.number, columns.number
    wide = min(columns.steps, -(-columns.side.steps // SUBLANES) * SUBLANES)
    ragged = columns.side.steps % (columns.steps if columns.number > 1 else SUBLANES) > 0

    def body(x_ref, y_ref, w_ref, x_wide, total_ref):
        n_, i_, j_ = (pl.program_id(axis) for axis in (1, 2, 3))
        begins = (n_ == 0) & (i_ == 0) & (j_ == 0)
        ends = (n_ == grid[1] - 1) & (i_ == grid[2] - 1) & (j_ == grid[3] - 1)
        _widen(x_ref, x_wide, blocks, i_, j_)

        @pl.when(begins)
        def _():
            total_ref[...] = jnp.zeros(total_ref.shape, jnp.float32)

        there = np.int32(rows.steps)
        if rows.side.steps % rows.steps:
            there = jnp.minimum(there, rows.side.steps - i_ * rows.steps)
        last = columns.side.steps - j_ * columns.steps

        def some_entries(k_row, high, k_column, width, _):
            def one_row(row, totals):
                def some(first, count, totals):
                    value = y_ref[0, row, pl.ds(first, count), :].astype(jnp.float32)
                    real = lax.broadcasted_iota(jnp.int32, value.shape, 0) < last - first
                    found = []
                    for total, (i, j) in zip(totals, np.ndindex(high, width), strict=True):
                        at = [
                            entry.offset + entry.dilation * (k + move) - block.first
                            for entry, k, move, block in zip(
                                entries, (k_row, k_column), (i, j), blocks, strict=True
                            )
                        ]
                        stride = columns.side.stride
                        seen = _columns(first * stride + at[1], count, stride)
                        product = value * x_wide[row * rows.side.stride + at[0], seen, :]
                        # of what lies beyond y nothing is known, nor of what x has there
                        product = jnp.where(real, product, 0) if ragged else product
                        product = product.reshape(count // SUBLANES, SUBLANES, lanes)
                        found.append(total + product.sum(0))
                    return tuple(found)

                return over(wide, AT_ONCE, some, totals)

            at = [(k_row + i, k_column + j) for i, j in np.ndindex(high, width)]
            totals = tuple(total_ref[row, column] for row, column in at)
            totals = lax.fori_loop(np.int32(0), there, one_row, totals)
            for (row, column), total in zip(at, totals, strict=True):
                total_ref[row, column] = total
            return 0

        over_entries(*entries, some_entries, 0, most=ENTRIES)

        @pl.when(ends)
        def _():
            w_ref[...] = total_ref[...].sum(2)

    w = pl.pallas_call(
        body,
        cost_estimate=_cost(
            y.size * math.prod(kernel),
            (x.shape, x.dtype),
            (y.shape, y.dtype),
            ((*kernel, channels), jnp.float32),
        ),
        out_shape=jax.ShapeDtypeStruct((*kernel, channels), jnp.float32),
        grid=grid,
        in_specs=[
            _read(blocks, lanes, lambda c, n, i, j: (n, i, j, c)),
            pl.BlockSpec((1, rows.made, columns.made, lanes), lambda c, n, i, j: (n, i, j, c)),
        ],
        out_specs=pl.BlockSpec((*kernel, lanes), lambda c, n, i, j: (0, 0, c)),
        scratch_shapes=[
            tpu.VMEM((rows.width, columns.width + columns.shift, lanes), jnp.float32),
            tpu.VMEM((*kernel, SUBLANES, lanes), jnp.float32),
        ],
        compiler_params=tpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary", "arbitrary")
        ),
        interpret=interpret,
        name="depthwise",
    )(x, y)
    return w.astype(dtype)


def _columns(start: Any, count: int, stride: int) -> Any:
    from jax.experimental import pallas as pl

    return pl.ds(start, count) if stride == 1 else pl.ds(start, count, stride=stride)


def _read(blocks: tuple[_Block, _Block], lanes: int, place: Callable) -> Any:
    """The blocks of x with their halos; `place` gives image, row, column and channel of a block."""
    from jax.experimental import pallas as pl

    rows, columns = blocks

    def index(*at):
        n, i, j, c = place(*at)
        start = pl.multiple_of(columns.start(j), columns.aligned)
        return n, rows.start(i), start, pl.multiple_of(c * np.int32(LANES), LANES)

    sizes = (
        pl.Element(1),
        pl.Element(rows.width, (0, rows.after)),
        pl.Element(columns.width, (0, columns.after)),
        pl.Element(lanes),
    )
    return pl.BlockSpec(sizes, index)


def _widen(x_ref: Any, x_wide: Any, blocks: tuple[_Block, _Block], i: Any, j: Any) -> None:
    """Fill x_wide with what a block reads, zeros where it lies outside."""
    from jax.experimental import pallas as pl

    rows, columns = blocks
    lanes = x_wide.shape[-1]
    wanted = [block.wanted(at) for block, at in zip(blocks, (i, j), strict=True)]
    starts = [block.start(at) for block, at in zip(blocks, (i, j), strict=True)]
    # columns before the first are left out of x_ref, those behind the last are not real
    shift = jnp.clip(starts[1] - wanted[1], 0, columns.shift)
    real = jnp.where(wanted[1] < columns.side.read, columns.side.read - starts[1], 0)

    def one_row(row, _):
        at = row + wanted[0]
        some = (at >= 0) & (at < rows.side.read)
        seen = jnp.clip(at - starts[0], 0, rows.width - 1)
        here = jnp.where(some, real, 0)
        if columns.shift:

            def zeros(first, count, _):
                x_wide[row, pl.ds(first, count), :] = jnp.zeros((count, lanes), jnp.float32)
                return 0

            over(columns.shift, AT_ONCE, zeros, 0)

        def copy(first, count, _):
            value = x_ref[0, seen, pl.ds(first, count), :].astype(jnp.float32)
            inside = lax.broadcasted_iota(jnp.int32, value.shape, 0) < here - first
            place = pl.multiple_of(first + shift, ALIGNED)
            x_wide[row, pl.ds(place, count), :] = jnp.where(inside, value, 0)
            return 0

        over(columns.width, AT_ONCE, copy, 0)
        return 0

    lax.fori_loop(np.int32(0), np.int32(rows.width), one_row, 0)


def _blocks(
    sides: tuple[Side, Side], bytes_of: Callable[[_Block, _Block], int]
) -> tuple[_Block, _Block]:
    """The largest blocks that fit: of many columns, then of many rows, all about as large."""
    rows, columns = sides
    wide = -(-columns.steps // ALIGNED) * ALIGNED
    while wide > ALIGNED and bytes_of(_Block(rows, 1, 1), _Block(columns, wide, ALIGNED)) > BLOCK:
        wide = -(-wide // 2 // ALIGNED) * ALIGNED
    taken = _Block(columns, wide, ALIGNED)
    number = 1
    while (
        number < rows.steps and bytes_of(_Block(rows, -(-rows.steps // number), 1), taken) > BLOCK
    ):
        number += 1
    return _Block(rows, -(-rows.steps // number), 1), taken


def _bytes(blocks: tuple[_Block, _Block], sizes: tuple[int, int]) -> int:
    """Two blocks of each array, for the next one is read while one is computed, and x in float32."""
    read = math.prod(block.width for block in blocks)
    made = math.prod(block.made for block in blocks)
    wide = blocks[0].width * (blocks[1].width + blocks[1].shift)
    return LANES * (2 * read * sizes[0] + 2 * made * sizes[1] + wide * 4)


def _cost(pairs: int, *arrays: tuple[tuple[int, ...], Any]) -> Any:
    """What XLA counts for a kernel: a product and a sum for each pair, each array moved once."""
    from jax.experimental import pallas as pl

    moved = sum(math.prod(shape) * jnp.dtype(dtype).itemsize for shape, dtype in arrays)
    return pl.CostEstimate(flops=2 * pairs, bytes_accessed=moved, transcendentals=0)
