"""Halo exchange along one sharded spatial dimension.

A dimension of n rows is split into D blocks of B = ceil(n / D) rows, its m outputs into D blocks of
Q = ceil(m / D). Device p makes the outputs p Q to (p + 1) Q - 1, for which it reads the window

    p Q stride - lo + l,    0 <= l < (Q - 1) stride + extent

of x as its padding mode extends it. Where Q stride = B this is its own block and a margin on either
side; otherwise the window moves away from the block, a little more on every device. So the exchange
is planned in tables of integers before tracing: `sources` gives the row of x at each place of each
window, `exchange` the rows to send, and `fill` runs the exchange.
"""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry import shapes
from jaxconv._core.geometry.extension import NONE, source_index


@dataclasses.dataclass(frozen=True)
class Line:
    """One spatial dimension of a convolution, in `parts` blocks."""

    size: int
    parts: int
    kernel: int
    stride: int
    dilation: int
    lo: int
    hi: int
    mode: str

    @property
    def outputs(self) -> int:
        """Positions of the kernel: m."""
        return shapes.output_size(
            self.size, self.kernel, self.stride, self.dilation, self.lo, self.hi
        )

    @property
    def block(self) -> int:
        """Rows of x on a device: B."""
        return -(-self.size // self.parts)

    @property
    def output_block(self) -> int:
        """Outputs of a device: Q."""
        return -(-self.outputs // self.parts)

    @property
    def window(self) -> int:
        """Rows that a device reads."""
        return shapes.input_size(self.output_block, self.kernel, self.stride, self.dilation, 0, 0)


class Ring(NamedTuple):
    """The devices along some mesh axes.

    Attributes:
        axes: the mesh axes, the first one the outermost of the parts.
        ordered: the same in the mesh's order, by which `jax.lax.ppermute` counts devices.
        numbers: for each part the number of its device in that order.
    """

    axes: tuple[str, ...]
    ordered: tuple[str, ...]
    numbers: tuple[int, ...]


class Hop(NamedTuple):
    """Rows that travel the same distance around the ring.

    Attributes:
        distance: receiver p is sent rows by device p + distance.
        pairs: (sender, receiver), only those where something is needed.
        length: rows sent.
        starts: where in its block each sender's rows start.
    """

    distance: int
    pairs: tuple[tuple[int, int], ...]
    length: int
    starts: tuple[int, ...]


class Run(NamedTuple):
    """Neighbouring places of the windows, and where each device has them in its rows.

    Attributes:
        rows: (parts, places) indices into the device's own and received rows, or NONE.
        starts: for each device the first of its rows where they are neighbours too, else None.
        masked: whether some places must be set to zero.
    """

    rows: np.ndarray
    starts: tuple[int, ...] | None
    masked: bool


class Exchange(NamedTuple):
    """The plan of a dimension: the rows to send, and how a window is assembled from them."""

    hops: tuple[Hop, ...]
    runs: tuple[Run, ...]


def sources(line: Line) -> np.ndarray:
    """Return the row of x at each place of each device's window: (parts, window), or NONE.

    Example:
        >>> sources(Line(8, 2, 3, 1, 1, 1, 1, "circular"))
        array([[7, 0, 1, 2, 3, 4],
               [3, 4, 5, 6, 7, 0]])
    """
    place = _places(line)
    row = source_index(place, line.size, line.mode)
    read = place < shapes.input_size(
        line.outputs, line.kernel, line.stride, line.dilation, 0, 0
    ) - (line.lo)
    return np.where(read, row, NONE)


def _places(line: Line) -> np.ndarray:
    """Positions of the windows in the extension of x, which begins with row 0: (parts, window)."""
    first = np.arange(line.parts) * line.output_block * line.stride - line.lo
    return first[:, None] + np.arange(line.window)


@functools.lru_cache(maxsize=1024)  # tables of static numbers only
def exchange(line: Line) -> Exchange:
    """Plan the exchange of a dimension."""
    row, block = sources(line), line.block
    device = np.arange(line.parts)[:, None]
    sender = row // block
    distance = sender - device
    if line.mode == "circular":  # the way around the ring that the window takes
        place = _places(line)
        distance = np.where(place < device * block, -(-distance % line.parts), distance)
        distance = np.where(place >= (device + 1) * block, distance % line.parts, distance)
        distance = np.where(sender == device, 0, distance)
    real = row != NONE
    found = np.full(
        row.shape, NONE
    )  # the same rows, as indices into the device's own and received rows
    zeros: list[np.ndarray] = []  # (parts, rows) of each piece: whether it is known to be zero
    hops, offset = [], 0
    filled = np.clip(line.size - np.arange(line.parts) * block, 0, block)
    for step in sorted({0, *map(int, distance[real])}):
        needed = real & (distance == step)
        if step == 0:
            hop = Hop(0, (), block, (0,) * line.parts)
            empty = np.arange(block) >= filled[:, None]
        else:
            hop = _hop(step, needed, row, sender, block)
            empty = np.ones((line.parts, hop.length), bool)
            for source, target in hop.pairs:
                empty[target] = hop.starts[source] + np.arange(hop.length) >= filled[source]
        start = np.asarray(hop.starts)[sender]
        found = np.where(needed, offset + row - sender * block - start, found)
        zeros.append(empty)
        hops.append(hop)
        offset += hop.length
    return Exchange(tuple(hops), _runs(found, np.concatenate(zeros, axis=1)))


def _hop(step: int, needed: np.ndarray, row: np.ndarray, sender: np.ndarray, block: int) -> Hop:
    pairs, first, last = [], {}, {}
    for target in np.flatnonzero(needed.any(axis=1)):
        source = int(sender[target][needed[target]][0])
        local = row[target][needed[target]] - source * block
        pairs.append((source, int(target)))
        first[source], last[source] = int(local.min()), int(local.max())
    length = max(last[source] - first[source] + 1 for source in first)
    # all senders send as many rows as the longest need, from a start where that many fit
    anywhere = min(first.values())  # for devices that send nothing
    starts = tuple(min(first.get(p, anywhere), block - length) for p in range(len(row)))
    return Hop(step, tuple(sorted(pairs)), length, starts)


def _runs(found: np.ndarray, zeros: np.ndarray) -> tuple[Run, ...]:
    """Cut the places into runs within which every device's rows are neighbours.

    Runs of one place (in a mirrored margin) are joined and read by one gather.
    """
    real, place = found != NONE, np.arange(found.shape[1])
    # the last place so far that holds a row, and where the run that it belongs to starts
    last = np.maximum.accumulate(np.where(real, place, -1), axis=1)
    start = np.take_along_axis(found, np.maximum(last, 0), axis=1) - last
    jumps = real[:, 1:] & (last[:, :-1] >= 0) & (start[:, 1:] != start[:, :-1])
    cuts = [0, *(np.flatnonzero(jumps.any(axis=0)) + 1), found.shape[1]]
    runs: list[Run] = []
    for begin, end in itertools.pairwise(cuts):
        run = _run(found[:, begin:end], zeros)
        gathered = run.starts is None or (end - begin == 1 and len(set(run.starts)) > 1)
        if gathered and runs and runs[-1].starts is None:
            runs[-1] = Run(np.concatenate([runs[-1].rows, run.rows], axis=1), None, True)
        else:
            runs.append(Run(run.rows, None, True) if gathered else run)
    return tuple(runs)


def _run(rows: np.ndarray, zeros: np.ndarray) -> Run:
    length, have = rows.shape[1], zeros.shape[1]
    real = rows != NONE
    reads = real.any(axis=1)
    if not reads.any():
        return Run(rows, None, True)
    begin = real.argmax(axis=1)
    starts = np.take_along_axis(rows, begin[:, None], axis=1)[:, 0] - begin
    starts = np.where(
        reads, starts, starts[reads][0]
    )  # a device that reads only zeros takes the start of another
    if starts.min() < 0 or starts.max() + length > have:
        return Run(rows, None, True)
    known = np.stack(
        [line[start : start + length] for line, start in zip(zeros, starts, strict=True)]
    )
    return Run(rows, tuple(map(int, starts)), bool(np.any(~real & ~known)))


def fill(x: jax.Array, line: Line, *, axis: int, ring: Ring) -> jax.Array:
    """Return the device's window, from its block of x and received rows; inside `shard_map`.

    Args:
        x: the device's block, with `line.block` rows along `axis`, those beyond x's end zero.
        line: the dimension.
        axis: of x.
        ring: the devices among which x is sharded along `axis`.
    """
    plan, device = exchange(line), lax.axis_index(ring.axes)
    pieces = []
    for hop in plan.hops:
        piece = _cut(x, hop.starts, hop.length, axis, device)
        pairs = [(ring.numbers[sender], ring.numbers[receiver]) for sender, receiver in hop.pairs]
        pieces.append(lax.ppermute(piece, ring.ordered, pairs) if hop.distance else x)
    pool = pieces[0] if len(pieces) == 1 else lax.concatenate(pieces, axis)
    runs = [_take(pool, run, axis, device) for run in plan.runs]
    return runs[0] if len(runs) == 1 else lax.concatenate(runs, axis)


def _cut(x: jax.Array, starts: tuple[int, ...], length: int, axis: int, device: jax.Array):
    if len(set(starts)) == 1:
        return lax.slice_in_dim(x, starts[0], starts[0] + length, axis=axis)
    return lax.dynamic_slice_in_dim(x, jnp.asarray(starts)[device], length, axis)


def _take(pool: jax.Array, run: Run, axis: int, device: jax.Array) -> jax.Array:
    if run.starts is None:
        # jax fills in zeros for an index beyond the end; a negative one would count from there
        rows = np.where(run.rows == NONE, pool.shape[axis], run.rows)
        return jnp.take(pool, jnp.asarray(rows)[device], axis, mode="fill", fill_value=0)
    taken = _cut(pool, run.starts, run.rows.shape[1], axis, device)
    if not run.masked:
        return taken
    shape = [1] * pool.ndim
    shape[axis] = run.rows.shape[1]
    real = jnp.asarray(run.rows != NONE)[device].reshape(shape)
    return jnp.where(real, taken, jnp.zeros((), pool.dtype))
