"""Unstrided correlations as sums of shifted slices that XLA fuses into one loop.

Large kernels run as a loop over their rows with a few rows unrolled, so that compile time does not
grow with them.
"""

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.methods.residues import Residue

# Terms of one fused sum; more are looped over, because compile time grows with them.
UNROLLED = 64
# Terms that a turn of such a loop adds at most, rows of the kernel together where they are short:
# every turn is a pass over the result, and more weights than these do not stay in registers
# (64x64 on 512 x 512: 36 ms, with 32 terms 41; 1,000 taps on 100,000 elements: 4.0 and 5.0).
# Weights that differ from lane to lane stay there in smaller numbers (depthwise 27x27 on 28 x 28:
# 2.1 of torch's time, with 24 terms 2.3, with 48 3.2; 2 cores of AVX-512 x86, jax 0.10.2, 2026-11).
TOGETHER, TOGETHER_IN_LANES = 24, 12
# Running sums that the terms of a turn are dealt to, since each waits for its last addition: half
# of the time that one running sum takes (31x31, the same machine).
CHAINS = 4
# Elements of a result from which its passes are made block by block, without and with lanes.
BLOCK, BLOCK_IN_LANES = 1 << 18, 1 << 20
# Elements of a piece of a long line, and taps from which lines are cut into such pieces.
SEGMENT, LONG = 4096, 8


class Part(NamedTuple):
    """An unstrided correlation: x (i, n, *space, *lanes), w (i, *kernel, *lanes), its taps."""

    x: jax.Array
    w: jax.Array
    entries: Sequence[Residue]


def correlate_lines(parts: Sequence[Part], size: int) -> jax.Array:
    """Correlate long lines without lanes, cut into shorter ones: XLA runs one row on one thread."""
    reach = max(part.x.shape[2] for part in parts) - size
    number = size // max(SEGMENT, reach)
    if number < 2:
        return correlate(parts, (size,))
    length, cut = -(-size // number), []
    for x, w, entries in parts:
        lines = lax.pad(
            x,
            jnp.zeros((), x.dtype),
            [(0, 0, 0)] * 2 + [(0, (number + 1) * length - x.shape[2], 0)],
        ).reshape(*x.shape[:2], number + 1, length)
        lines = jnp.concatenate([lines[:, :, :-1], lines[:, :, 1:, :reach]], axis=-1)
        lines = lax.optimization_barrier(lines.reshape(x.shape[0], -1, length + reach))
        cut.append(Part(lines, w, entries))
    return correlate(cut, (length,)).reshape(-1, number * length)[:, :size]


def correlate(parts: Sequence[Part], size: tuple[int, ...]) -> jax.Array:
    """The sum of unstrided correlations, (n, *size, *lanes).

    Several passes over a result that is larger than the caches are made block by block of rows or
    images; the last block begins early enough to be whole.
    """
    x, w, _ = parts[0]
    rank, number = len(size), x.shape[1]
    lanes = jnp.broadcast_shapes(x.shape[2 + rank :], w.shape[1 + rank :])

    def block(image: Any, row: Any, images: int, rows: int) -> jax.Array:
        total = None
        for x, w, entries in parts:
            starts = [image, *(entry.offset for entry in entries)]
            starts[1] = starts[1] + row
            total = _add(total, Part(x, w, entries), starts, (images, rows, *size[1:]))
        assert total is not None  # a kernel has an entry at least
        return total

    width = math.prod((*size[1:], *lanes))
    passes = sum(
        loops(part.w.shape[1 : 1 + rank], part.w.shape[0], bool(lanes)).passes for part in parts
    )
    most = BLOCK_IN_LANES if lanes else BLOCK
    if passes == 1 or number * size[0] * width <= most:
        return block(0, 0, number, size[0])
    images = _even(number, most // (size[0] * width))
    rows = _even(size[0], most // width) if images == 1 else size[0]
    down = -(-size[0] // rows)

    def step(position, total):
        image = jnp.minimum(position // down * images, number - images)
        row = jnp.minimum(position % down * rows, size[0] - rows)
        starts = (image, row, *[0] * (total.ndim - 2))
        found = block(image, row, images, rows)
        return lax.dynamic_update_slice(total, found, starts, allow_negative_indices=False)

    zeros = jnp.zeros((number, *size, *lanes), x.dtype)
    return lax.fori_loop(0, -(-number // images) * down, step, zeros)


def _add(
    total: jax.Array | None, part: Part, starts: Sequence[Any], shape: tuple[int, ...]
) -> jax.Array:
    """Add an unstrided correlation to `total`.

    Args:
        total: (*shape, *lanes), or None for zero.
        part: the correlation.
        starts: which image and elements of x the first tap reads.
        shape: images and spatial shape of the result.
    """
    x, w, entries = part
    rank = len(entries)
    channels, counts = w.shape[0], w.shape[1 : 1 + rank]
    lanes = jnp.broadcast_shapes(x.shape[2 + rank :], w.shape[1 + rank :])
    looped, each_channel, pieces, passes = loops(counts, channels, bool(lanes))
    row, rows = looped - 1, 1
    if looped:
        rows, more = divmod(counts[row], pieces)
        if more:  # the first turns add up a row more
            whole = more * (rows + 1)
            first, last = jnp.split(w, [whole], axis=1 + row)
            total = _add(total, Part(x, first, entries), starts, shape)
            after = [*starts]
            after[1 + row] = after[1 + row] + whole * entries[row].dilation
            return _add(total, Part(x, last, entries), after, shape)

    def taps(total, w, channel, starts):
        """Add the taps of w, the first of which reads x at `channel` and `starts`."""
        terms = []
        for i in range(w.shape[0]):
            for tap in itertools.product(*map(range, w.shape[1 : 1 + rank])):
                places = [
                    s + k * e.dilation for s, k, e in zip(starts[1:], tap, entries, strict=True)
                ]
                term, weight = _cut(x, [channel + i, starts[0], *places], shape), w[i, *tap]
                if weight.ndim:  # of lanes, not a single number
                    weight = lax.broadcast_to_rank(weight, term.ndim)
                terms.append(term * weight)
        found = added(terms)
        return found if total is None else total + found

    if passes == 1:
        return taps(total, w, 0, starts)

    def turn(position):
        """The weights of one turn, and the channel and elements of x that they meet."""
        channel, weights, at = 0, w, [*starts]
        if each_channel:
            channel, position = position % channels, position // channels
            weights = lax.dynamic_index_in_dim(weights, channel, 0)
        for dim in reversed(range(looped)):
            taken = rows if dim == row else 1
            count = counts[dim] // taken
            k, position = position % count * taken, position // count
            at[1 + dim] = at[1 + dim] + k * entries[dim].dilation
            weights = lax.dynamic_slice_in_dim(weights, k, taken, axis=1 + dim)
        return weights, channel, at

    def step(position, state):
        total, weights = state
        _, channel, at = turn(position)
        after, _, _ = turn(jnp.minimum(position + 1, passes - 1))
        return taps(total, weights, channel, at), after

    if total is None:
        total = jnp.zeros((*shape, *lanes), x.dtype)
    # Weights are carried from the turn before: XLA would fuse their dynamic slice into the sum,
    # whose loop then reads the slice's place again for each element and is not vectorised.
    return lax.fori_loop(0, passes, step, (total, turn(0)[0]))[0]


def _cut(x: jax.Array, starts: Sequence[Any], shape: tuple[int, ...]) -> jax.Array:
    """(*shape, *lanes) of x (i, n, *space, *lanes), fused into what reads it."""
    lanes = x.shape[1 + len(shape) :]
    if all(isinstance(start, int) for start in starts):
        ends = [start + n for start, n in zip(starts, (1, *shape), strict=True)]
        return lax.slice(x, [*starts, *[0] * len(lanes)], [*ends, *lanes])[0]
    starts = [*starts, *[0] * len(lanes)]
    return lax.dynamic_slice(x, starts, (1, *shape, *lanes), allow_negative_indices=False)[0]


def added(terms: Sequence[jax.Array]) -> jax.Array:
    """The sum as `CHAINS` running sums that are then added up.

    One running sum waits for each of its additions before the next.
    """
    chains = [
        functools.reduce(operator.add, terms[c::CHAINS]) for c in range(min(CHAINS, len(terms)))
    ]
    while len(chains) > 1:
        pairs = (chains[c : c + 2] for c in range(0, len(chains), 2))
        chains = [functools.reduce(operator.add, pair) for pair in pairs]
    return chains[0]


def _even(number: int, most: int) -> int:
    """The size of the fewest parts of `number` that have at most `most`, as even as can be."""
    return -(-number // -(-number // max(1, min(number, most))))


class Loops(NamedTuple):
    """What is looped over.

    Attributes:
        looped: leading kernel dimensions.
        each_channel: whether the channels too.
        pieces: turns that the last of those dimensions takes.
        passes: turns in all.
    """

    looped: int
    each_channel: bool
    pieces: int
    passes: int


def loops(counts: Sequence[int], channels: int, lanes: bool) -> Loops:
    """Say what a correlation of so many kernel entries and channels loops over.

    Args:
        counts: kernel entries along each dimension.
        channels: how many are summed.
        lanes: whether the result has channels.
    """
    most = TOGETHER_IN_LANES if lanes else TOGETHER
    for unrolled in (channels, 1):
        for looped in range(len(counts) + 1):
            terms = math.prod(counts[looped:]) * unrolled
            if terms <= (most if looped else UNROLLED):
                each_channel, pieces = unrolled < channels, 1
                if looped:
                    pieces = -(-counts[looped - 1] // (1 if each_channel else most // terms))
                passes = math.prod(counts[: max(looped - 1, 0)]) * pieces
                passes *= channels if each_channel else 1
                return Loops(looped, each_channel, pieces, passes)
    raise AssertionError("one term is few enough")
