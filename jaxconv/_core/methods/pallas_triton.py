"""Depthwise sums as Pallas kernels for GPUs, through Triton.

A program computes a tile of positions by channels. Threads hold 16 bytes of neighbouring channels
each, so that every load is one wide one, and neighbouring programs have neighbouring channels, then
neighbouring positions: rows that several of them read come from caches. A tile is repeated over a
few neighbouring positions whose loads are shared. With 4 taps on a line and 8 such positions each
element is loaded 11 / 8 times, of which memory sees one.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.methods.pallas_plan import Side, element, entry, over_entries

WARPS = 4
THREADS = 32 * WARPS
# Bytes of one load of a thread, and of one read of memory.
WIDE, SECTOR = 16, 32
# Elements of the result that a thread holds for each of its channels.
POSITIONS = 8
# Programs below which a tile is repeated over fewer positions.
PROGRAMS = 1024
# Entries of a kernel's gradient that a program sums.
ENTRIES = 16


def correlate(
    x: jax.Array, w: jax.Array, sides: tuple[Side, Side], *, dtype: Any, interpret: bool = False
) -> jax.Array:
    """Return (n, *made, c) from x (n, *read, c) and w (*kernel, c)."""
    rows, columns = sides
    n, channels = x.shape[0], x.shape[-1]
    tile = _tile(channels, WIDE // x.dtype.itemsize)
    repeats = _repeats(n, sides, tile)
    blocks = [-(-side.steps // repeat) for side, repeat in zip(sides, repeats, strict=True)]
    total = n * math.prod(blocks)
    inside = [side.inside(b * r) for side, b, r in zip(sides, blocks, repeats, strict=True)]

    def body(program, x_ref, w_ref, y_ref):
        q, c = tile.at(program)
        image, *firsts = _split(q, blocks)
        x_rows, w_rows, y_rows = (_Rows(ref, c, tile) for ref in (x_ref, w_ref, y_ref))
        steps = [first * np.int32(r) for first, r in zip(firsts, repeats, strict=True)]
        starts = [step * np.int32(side.stride) for step, side in zip(steps, sides, strict=True)]

        for phases in itertools.product(rows.phases, columns.phases):

            def add(k_row, count, k_column, width, sums, phases=phases):
                """Add some entries of a phase; each element is loaded once for all of them."""
                firsts = [
                    start + element(phase, k)
                    for start, phase, k in zip(starts, phases, (k_row, k_column), strict=True)
                ]

                @functools.cache
                def loaded(down, right):
                    at = firsts[0] + np.int32(down), firsts[1] + np.int32(right)
                    seen = [q < total, *_within(at, sides, inside)]
                    return x_rows.load(_flat(image, at, (rows.read, columns.read)), seen)

                sums = list(sums)
                for i, j in itertools.product(range(count), range(width)):
                    k = entry(phases[0], k_row + i), entry(phases[1], k_column + j)
                    weight = w_rows.load(k[0] * w.shape[1] + k[1])
                    for at, (down, right) in enumerate(np.ndindex(*repeats)):
                        sums[at] += weight * loaded(
                            down * rows.stride + i * phases[0].dilation,
                            right * columns.stride + j * phases[1].dilation,
                        )
                return tuple(sums)

            sums = over_entries(*phases, add, (tile.zeros(),) * math.prod(repeats))
            for value, moves in zip(sums, np.ndindex(*repeats), strict=True):
                at = [
                    (step + np.int32(move)) * np.int32(len(side.phases)) + np.int32(phase.phase)
                    for step, move, side, phase in zip(steps, moves, sides, phases, strict=True)
                ]
                kept = [q < total, *(p < side.made for p, side in zip(at, sides, strict=True))]
                y_rows.store(_flat(image, at, (rows.made, columns.made)), value, kept)

    shape = n * rows.made * columns.made, channels
    y = _call(body, -(-total // tile.positions) * tile.across, shape, dtype, interpret)(
        x.reshape(-1, channels), w.reshape(-1, channels)
    )
    return y.reshape(n, rows.made, columns.made, channels)


def gradient(
    x: jax.Array, y: jax.Array, sides: tuple[Side, Side], *, dtype: Any, interpret: bool = False
) -> jax.Array:
    """Return w (*kernel, c) from x (n, *read, c) and y (n, *made, c).

    Each program sums some entries over a part of the positions; a second kernel adds the parts in
    their order. There are no atomics: every run has the same bits.
    """
    n, channels = x.shape[0], x.shape[-1]
    phases = [side.phases[0] for side in sides]
    sizes = [phase.number for phase in phases]
    made, read = [side.made for side in sides], [side.read for side in sides]
    inside = [side.inside(side.made) for side in sides]
    tile = _tile(channels, 4)
    wide = min(sizes[1], ENTRIES)
    taken = min(sizes[0], ENTRIES // wide), wide
    groups = [-(-size // some) for size, some in zip(sizes, taken, strict=True)]
    total = n * math.prod(made)
    tiles = -(-total // tile.positions)
    programs = tile.across * math.prod(groups)
    each = -(-tiles // min(tiles, -(-PROGRAMS // programs)))
    parts = -(-tiles // each)

    def body(program, x_ref, y_ref, w_ref):
        place, *group = _split(program, groups)
        part = lax.div(place, np.int32(tile.across))
        _, c = tile.at(place)
        x_rows, y_rows, w_rows = (_Rows(ref, c, tile) for ref in (x_ref, y_ref, w_ref))
        ks = [at * np.int32(some) for at, some in zip(group, taken, strict=True)]
        firsts = [element(phase, k) for phase, k in zip(phases, ks, strict=True)]

        def add(i, sums):
            q = (part * np.int32(each) + i) * np.int32(tile.positions)
            q = (q + lax.iota(jnp.int32, tile.positions))[:, None]
            value = y_rows.load(q, [q < total])
            image, *steps = _split(q, made)
            starts = [
                step * np.int32(side.stride) + first
                for step, side, first in zip(steps, sides, firsts, strict=True)
            ]
            found = []
            for sum_, moves in zip(sums, np.ndindex(*taken), strict=True):
                at = [
                    start + np.int32(move * phase.dilation)
                    for start, move, phase in zip(starts, moves, phases, strict=True)
                ]
                seen = [q < total, *_within(at, sides, inside)]
                found.append(sum_ + value * x_rows.load(_flat(image, at, read), seen))
            return tuple(found)

        sums = (tile.zeros(),) * math.prod(taken)
        sums = lax.fori_loop(np.int32(0), np.int32(each), add, sums)
        for value, moves in zip(sums, np.ndindex(*taken), strict=True):
            at = [k + np.int32(move) for k, move in zip(ks, moves, strict=True)]
            kept = [k < size for k, size in zip(at, sizes, strict=True)]
            w_rows.store(_flat(part, at, sizes), jnp.sum(value, 0, keepdims=True), kept)

    shape = parts * math.prod(sizes), channels
    w = _call(body, parts * programs, shape, jnp.float32, interpret)(
        x.reshape(-1, channels), y.reshape(-1, channels)
    )
    return _added(w.reshape(parts, -1), dtype=dtype, interpret=interpret).reshape(*sizes, channels)


def _added(parts: jax.Array, *, dtype: Any, interpret: bool) -> jax.Array:
    """Return the sum (size,) of parts (number, size), in a fixed order."""
    number, size = parts.shape
    if number == 1:
        return parts[0].astype(dtype)
    tile = _Tile(8, 64, -(-size // 64), size)

    def body(program, parts_ref, sum_ref):
        _, c = tile.at(program)
        parts_rows, sum_rows = _Rows(parts_ref, c, tile), _Rows(sum_ref, c, tile)

        def add(i, total):
            at = (i * np.int32(8) + lax.iota(jnp.int32, 8))[:, None]
            return total + parts_rows.load(at, [at < number])

        total = lax.fori_loop(np.int32(0), np.int32(-(-number // 8)), add, tile.zeros())
        sum_rows.store(jnp.zeros((1, 1), jnp.int32), jnp.sum(total, 0, keepdims=True), [])

    return _call(body, tile.across, (1, size), dtype, interpret)(parts)[0]


class _Tile(NamedTuple):
    """What a program computes: positions by channels, of which `across` tiles cover `wanted`."""

    positions: int
    channels: int
    across: int
    wanted: int

    def at(self, program: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the positions (., 1) and the channels of a program."""
        across = np.int32(self.across)
        q = lax.div(program, across) * np.int32(self.positions)
        c = lax.rem(program, across) * np.int32(self.channels)
        q = (q + lax.iota(jnp.int32, self.positions))[:, None]
        return q, c + lax.iota(jnp.int32, self.channels)

    def zeros(self) -> jax.Array:
        """Return sums to start from."""
        return jnp.zeros((self.positions, self.channels), jnp.float32)


class _Rows:
    """An array (positions, channels) in memory, at the channels of a program."""

    def __init__(self, ref: Any, c: jax.Array, tile: _Tile):
        self.ref, self.c = ref, c
        self.real = [] if tile.wanted % tile.channels == 0 else [c < tile.wanted]

    def load(self, at: Any, seen: list[Any] | None = None) -> jax.Array:
        """Return elements in float32, zero where not all of `seen` is true.

        One position has a row of channels, positions (., 1) have one each.
        """
        from jax.experimental.pallas import triton

        ref = self.ref.at[at, self.c] if seen is None else self.ref.at[at, self.c[None, :]]
        mask = self._mask(seen)
        other = None if mask is None else 0
        return triton.load(ref, mask=mask, other=other).astype(jnp.float32)

    def store(self, at: jax.Array, value: jax.Array, kept: list[Any]) -> None:
        """Store value where all of `kept` is true."""
        from jax.experimental.pallas import triton

        mask = self._mask(kept)
        if mask is not None:
            # outside the array: the interpreter writes what is there where the mask is false
            at = jnp.where(mask, at, np.int32(self.ref.shape[0]))
        triton.store(self.ref.at[at, self.c[None, :]], value.astype(self.ref.dtype), mask=mask)

    def _mask(self, seen: list[Any] | None) -> jax.Array | None:
        if seen is None:
            return self.real[0] if self.real else None
        masks = [*seen, *(real[None, :] for real in self.real)]
        return functools.reduce(lambda a, b: a & b, masks) if masks else None


def _tile(channels: int, vector: int) -> _Tile:
    """As many channels as a warp holds, or fewer where most of the last tile would be empty."""
    most = min(32 * vector, 1 << (channels - 1).bit_length())  # a power of 2
    sizes = [min(most, max(vector, SECTOR // 4))]
    while sizes[-1] < most:
        sizes.append(2 * sizes[-1])
    covered = {size: -(-channels // size) * size for size in sizes}
    full = [size for size in sizes if 8 * covered[size] <= 9 * channels]
    size = max(full) if full else min(sizes, key=lambda size: covered[size])
    return _Tile(max(1, THREADS * vector // size), size, covered[size] // size, channels)


def _repeats(n: int, sides: tuple[Side, Side], tile: _Tile) -> tuple[int, int]:
    """How many neighbouring rows and columns a tile is repeated over, while programs are enough."""
    rows, columns = sides
    high, wide = (POSITIONS // 2, 2) if rows.steps > 1 else (1, POSITIONS)

    def programs(high, wide):
        positions = n * -(-rows.steps // high) * -(-columns.steps // wide)
        return -(-positions // tile.positions) * tile.across

    while high * wide > 1 and programs(high, wide) < PROGRAMS:
        high, wide = (high // 2, wide) if high >= wide else (high, wide // 2)
    return high, wide


def _split(q: jax.Array, sizes: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(number, row, column) of a flat position."""
    rows, columns = (np.int32(size) for size in sizes)
    rest = lax.div(q, columns)
    return lax.div(rest, rows), lax.rem(rest, rows), lax.rem(q, columns)


def _flat(number: Any, at: Any, sizes: Any) -> jax.Array:
    """Undo `_split`."""
    return (number * np.int32(sizes[0]) + at[0]) * np.int32(sizes[1]) + at[1]


def _within(at: Any, sides: tuple[Side, Side], inside: list[tuple[bool, bool]]) -> list[jax.Array]:
    """Whether a row and a column lie inside what is read, where that is not known."""
    found = []
    for place, side, (before, after) in zip(at, sides, inside, strict=True):
        if not before:
            found.append(place >= 0)
        if not after:
            found.append(place < side.read)
    return found


def _call(body: Callable, programs: int, shape: tuple[int, int], dtype: Any, interpret: bool):
    """Run `body(program, *refs)` as so many programs."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    return pl.pallas_call(
        lambda *refs: body(pl.program_id(0), *refs),
        out_shape=jax.ShapeDtypeStruct(shape, dtype),
        grid=(programs,),
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=1),
        interpret=interpret,
        name="depthwise",
    )
