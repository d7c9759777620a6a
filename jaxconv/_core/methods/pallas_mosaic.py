"""Depthwise sums as Pallas kernels for TPUs, through Mosaic.

A program has a block of rows and columns of one image and up to 128 channels, which fill a
register's lanes; neighbouring columns fill its sublanes. What a block reads, its halo included, is
widened to float32 once, with zeros where the padding lies, in the core's own memory (VMEM): there a
shifted or strided read of columns costs no more than any other, if it is of 32 bits. So the
device's memory sees each element once, plus the halos.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.methods.pallas_blocks import (
    AT_ONCE,
    LANES,
    SUBLANES,
    computed,
    cut,
    reader,
    widen,
    widened,
)
from jaxconv._core.methods.pallas_plan import Side, element, entry, over, over_entries

# Entries of a kernel's gradient that are summed at once, each in a register.
ENTRIES = 16


def correlate(
    x: jax.Array, w: jax.Array, sides: tuple[Side, Side], *, dtype: Any, interpret: bool = False
) -> jax.Array:
    """Return (n, *made, c) from x (n, *read, c) and w (*kernel, c)."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu

    w = w.astype(jnp.float32)
    n, channels = x.shape[0], x.shape[-1]
    lanes = min(channels, LANES)
    rows, columns = blocks = cut(sides, x.dtype, dtype)
    many = len(columns.side.phases)

    def body(x_ref, w_ref, y_ref, x_wide, y_wide):
        widen(x_ref, x_wide, blocks, (pl.program_id(2), pl.program_id(3)))

        def sums(row, phases, first, count):
            """`count` sums of a row of steps, from step `first` on."""

            def add(k_row, high, k_column, width, total):
                for i, j in itertools.product(range(high), range(width)):
                    at = k_row + i, k_column + j
                    down = row * rows.side.stride + element(phases[0], at[0]) - rows.first
                    right = first * columns.side.stride + element(phases[1], at[1]) - columns.first
                    seen = _strided(right, count, columns.side.stride)
                    k = entry(phases[0], at[0]), pl.ds(entry(phases[1], at[1]), 1)
                    total += x_wide[down, seen, :] * w_ref[*k, :]
                return total

            of_rows, of_columns = phases
            return over_entries(of_rows, of_columns, add, jnp.zeros((count, lanes), jnp.float32))

        def one_row(row, _):
            for row_phase in rows.side.phases:
                made = row * len(rows.side.phases) + row_phase.phase
                for column_phase in columns.side.phases:
                    phases = row_phase, column_phase

                    def some(first, count, _, phases=phases, made=made):
                        value = sums(row, phases, first, count)
                        if many == 1:
                            y_ref[0, made, pl.ds(first, count), :] = value.astype(y_ref.dtype)
                        else:  # every `many`-th column, which wants 32 bits
                            at = _strided(first * many + phases[1].phase, count, many)
                            y_wide[at, :] = value
                        return 0

                    over(computed(columns), AT_ONCE, some, 0)

                def narrow(first, count, _, made=made):
                    at = pl.ds(first, count)
                    y_ref[0, made, at, :] = y_wide[at, :].astype(y_ref.dtype)
                    return 0

                if many > 1:
                    over(computed(columns) * many, AT_ONCE, narrow, 0)
            return 0

        lax.fori_loop(np.int32(0), np.int32(rows.steps), one_row, 0)

    shape = n, rows.side.made, columns.side.made, channels
    entries = math.prod(sum(phase.number for phase in side.phases) for side in sides)
    pairs = n * math.prod(side.steps for side in sides) * entries * channels
    return pl.pallas_call(
        body,
        out_shape=jax.ShapeDtypeStruct(shape, dtype),
        grid=(n, -(-channels // lanes), rows.number, columns.number),
        in_specs=[
            reader(blocks, lanes, lambda n, c, i, j: (n, i, j, c)),
            pl.BlockSpec((*w.shape[:2], lanes), lambda n, c, i, j: (0, 0, c)),
        ],
        out_specs=pl.BlockSpec(
            (1, rows.made, columns.made, lanes), lambda n, c, i, j: (n, i, j, c)
        ),
        scratch_shapes=[
            tpu.VMEM((*widened(blocks), lanes), jnp.float32),
            tpu.VMEM((columns.made if many > 1 else SUBLANES, lanes), jnp.float32),
        ],
        compiler_params=tpu.CompilerParams(dimension_semantics=("parallel",) * 4),
        cost_estimate=_cost(pairs, x, w, jax.ShapeDtypeStruct(shape, dtype)),
        interpret=interpret,
        name="depthwise",
    )(x, w)


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
    rows, columns = blocks = cut(sides, x.dtype, y.dtype)
    phases = rows.side.phases[0], columns.side.phases[0]
    kernel = phases[0].number, phases[1].number
    grid = -(-channels // lanes), n, rows.number, columns.number
    # whether the last of a row's steps that are computed lie behind y
    ragged = columns.side.steps % (columns.steps if columns.number > 1 else SUBLANES) > 0

    def body(x_ref, y_ref, w_ref, x_wide, totals_ref):
        image, i, j = (pl.program_id(axis) for axis in (1, 2, 3))
        widen(x_ref, x_wide, blocks, (i, j))
        begins = (image == 0) & (i == 0) & (j == 0)
        ends = (image == grid[1] - 1) & (i == grid[2] - 1) & (j == grid[3] - 1)

        @pl.when(begins)
        def _():
            totals_ref[...] = jnp.zeros(totals_ref.shape, jnp.float32)

        steps = np.int32(rows.steps)
        if rows.side.steps % rows.steps:
            steps = jnp.minimum(steps, np.int32(rows.side.steps) - i * steps)
        last = np.int32(columns.side.steps) - j * np.int32(columns.steps)

        def some_entries(k_row, high, k_column, width, _):
            def product(value, row, first, move):
                at = [k + m for k, m in zip((k_row, k_column), move, strict=True)]
                down = row * rows.side.stride + element(phases[0], at[0]) - rows.first
                right = first * columns.side.stride + element(phases[1], at[1]) - columns.first
                seen = x_wide[down, _strided(right, len(value), columns.side.stride), :]
                if not ragged:
                    return value * seen
                # nothing is known of what lies behind y, and x is not zero there
                real = lax.broadcasted_iota(jnp.int32, value.shape, 0) < last - first
                return jnp.where(real, value * seen, 0)

            def one_row(row, totals):
                def some(first, count, totals):
                    value = y_ref[0, row, pl.ds(first, count), :].astype(jnp.float32)
                    found = []
                    for total, move in zip(totals, np.ndindex(high, width), strict=True):
                        # (count, lanes) -> (registers, 8, lanes)
                        registers = product(value, row, first, move).reshape(-1, SUBLANES, lanes)
                        found.append(total + registers.sum(0))
                    return tuple(found)

                return over(computed(columns), AT_ONCE, some, totals)

            at = [(k_row + down, k_column + right) for down, right in np.ndindex(high, width)]
            totals = tuple(totals_ref[down, right] for down, right in at)
            totals = lax.fori_loop(np.int32(0), steps, one_row, totals)
            for (down, right), total in zip(at, totals, strict=True):
                totals_ref[down, right] = total
            return 0

        over_entries(*phases, some_entries, 0, most=ENTRIES)

        @pl.when(ends)
        def _():
            w_ref[...] = totals_ref[...].sum(2)

    made = jax.ShapeDtypeStruct((*kernel, channels), jnp.float32)
    w = pl.pallas_call(
        body,
        out_shape=made,
        grid=grid,
        in_specs=[
            reader(blocks, lanes, lambda c, n, i, j: (n, i, j, c)),
            pl.BlockSpec((1, rows.made, columns.made, lanes), lambda c, n, i, j: (n, i, j, c)),
        ],
        out_specs=pl.BlockSpec((*kernel, lanes), lambda c, n, i, j: (0, 0, c)),
        scratch_shapes=[
            tpu.VMEM((*widened(blocks), lanes), jnp.float32),
            tpu.VMEM((*kernel, SUBLANES, lanes), jnp.float32),
        ],
        compiler_params=tpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary", "arbitrary")
        ),
        cost_estimate=_cost(y.size * math.prod(kernel), x, y, made),
        interpret=interpret,
        name="depthwise",
    )(x, y)
    return w.astype(dtype)


def _strided(start: Any, count: int, stride: int) -> Any:
    """Every `stride`-th of some columns."""
    from jax.experimental import pallas as pl

    return pl.ds(start, count) if stride == 1 else pl.ds(start, count, stride=stride)


def _cost(pairs: int, *arrays: Any) -> Any:
    """What XLA counts for a kernel: a product and a sum for each pair, each array moved once."""
    from jax.experimental import pallas as pl

    moved = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)
    return pl.CostEstimate(flops=2 * pairs, bytes_accessed=moved, transcendentals=0)
