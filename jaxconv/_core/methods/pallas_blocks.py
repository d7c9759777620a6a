"""How a depthwise sum is cut into blocks of a TPU's memory, and how these are filled.

Blocks of rows and columns of one image are read with their halos, from inside the array alone:
Mosaic reads no block that starts before it, and only multiples of 16 columns. So a block may start
later than wanted, and is moved into place, with zeros before it, when it is widened to float32.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.methods.pallas_plan import Side, over

LANES, SUBLANES = 128, 8
# Columns to which blocks are aligned: those of a tile of bfloat16.
ALIGNED = 16
# Columns that are computed at once: eight registers.
AT_ONCE = 64
# Rows that are widened at once, which hides the time that a row waits for its loads.
ROWS = 4
# Bytes of a block with all that belongs to it; a core has 16 MiB for a program by default, of which
# the kernel, or the sums of its gradient, take up to 5 MiB (`pallas.MOST_SPANNED`, `MOST_SUMS`).
BLOCK = 6 << 20


class Block(NamedTuple):
    """A side in blocks of `steps` steps, each of which reads from a multiple of `aligned` on."""

    side: Side
    steps: int
    aligned: int

    @property
    def number(self) -> int:
        """Blocks that cover the side."""
        return -(-self.side.steps // self.steps)

    @property
    def made(self) -> int:
        """Elements of the result in a block."""
        return self.steps * len(self.side.phases)

    @property
    def first(self) -> int:
        """Where block 0 starts to read: at its lowest element, or before it."""
        low, _ = self.side.offsets
        return low // self.aligned * self.aligned

    @property
    def width(self) -> int:
        """Elements that a block reads."""
        _, high = self.side.offsets
        width = (self.steps - 1) * self.side.stride + high - self.first + 1
        return -(-width // self.aligned) * self.aligned

    @property
    def before(self) -> int:
        """The most elements of a block that lie before the array."""
        return min(self.width, max(0, -self.first))

    @property
    def after(self) -> int:
        """The most elements of a block that lie behind the array."""
        return max(0, self._latest + self.width - self.side.read)

    @property
    def _latest(self) -> int:
        return (self.side.read - 1) // self.aligned * self.aligned

    def wanted(self, block: Any) -> Any:
        """Where a block starts to read, inside the array or not."""
        return block * np.int32(self.steps * self.side.stride) + np.int32(self.first)

    def start(self, block: Any) -> Any:
        """Where it starts to read inside the array."""
        return jnp.clip(self.wanted(block), np.int32(0), np.int32(self._latest))


Blocks = tuple[Block, Block]


def cut(sides: tuple[Side, Side], read_dtype: Any, made_dtype: Any) -> Blocks:
    """Return blocks that fit: of as many columns, and then as many rows, as there is room for."""
    rows, columns = sides
    sizes = [jnp.dtype(dtype).itemsize for dtype in (read_dtype, made_dtype)]

    def fits(high, wide):
        blocks = Block(rows, high, 1), Block(columns, wide, ALIGNED)
        return _bytes(blocks, *sizes) <= BLOCK

    wide = _up(columns.steps, ALIGNED)
    while wide > ALIGNED and not fits(1, wide):
        wide = _up(-(-wide // 2), ALIGNED)
    number = 1
    while number < rows.steps and not fits(-(-rows.steps // number), wide):
        number += 1
    return Block(rows, -(-rows.steps // number), 1), Block(columns, wide, ALIGNED)


def _bytes(blocks: Blocks, read_size: int, made_size: int) -> int:
    """Bytes of two blocks of each array, one in use and one on its way, and of x in float32."""
    read = math.prod(block.width for block in blocks)
    made = math.prod(block.made for block in blocks)
    wide = math.prod(widened(blocks))
    return LANES * (2 * read * read_size + 2 * made * made_size + wide * 4)


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def computed(columns: Block) -> int:
    """Steps of a block of columns that need computing, in whole registers."""
    return min(columns.steps, _up(columns.side.steps, SUBLANES))


def widened(blocks: Blocks) -> tuple[int, int]:
    """Return the rows and columns of a block in float32."""
    rows, columns = blocks
    return rows.width, columns.width + columns.before


def reader(blocks: Blocks, lanes: int, place: Callable) -> Any:
    """Return the blocks of x; `place` gives image, row, column and channels of a program's."""
    from jax.experimental import pallas as pl

    rows, columns = blocks

    def index(*at):
        n, i, j, c = place(*at)
        start = pl.multiple_of(columns.start(j), ALIGNED)
        return n, rows.start(i), start, pl.multiple_of(c * np.int32(LANES), LANES)

    sizes = (
        pl.Element(1),
        pl.Element(rows.width, (0, rows.after)),
        pl.Element(columns.width, (0, columns.after)),
        pl.Element(lanes),
    )
    return pl.BlockSpec(sizes, index)


def widen(x_ref: Any, x_wide: Any, blocks: Blocks, at: tuple[Any, Any]) -> None:
    """Fill `x_wide` with what a block reads, and with zeros where that lies outside."""
    from jax.experimental import pallas as pl

    rows, columns = blocks
    lanes = x_wide.shape[-1]
    wanted = [block.wanted(place) for block, place in zip(blocks, at, strict=True)]
    starts = [block.start(place) for block, place in zip(blocks, at, strict=True)]
    moved = jnp.clip(starts[1] - wanted[1], np.int32(0), np.int32(columns.before))
    size = np.int32(columns.side.read)
    real = jnp.where(wanted[1] < size, size - starts[1], np.int32(0))

    def one_row(row):
        here = row + wanted[0]
        seen = jnp.clip(here - starts[0], np.int32(0), np.int32(rows.width - 1))
        inside = (here >= 0) & (here < rows.side.read)
        kept = jnp.where(inside, real, np.int32(0))

        def zeros(first, count, _):
            x_wide[row, pl.ds(first, count), :] = jnp.zeros((count, lanes), jnp.float32)
            return 0

        def copy(first, count, _):
            value = x_ref[0, seen, pl.ds(first, count), :].astype(jnp.float32)
            real = lax.broadcasted_iota(jnp.int32, value.shape, 0) < kept - first
            place = pl.multiple_of(first + moved, ALIGNED)
            x_wide[row, pl.ds(place, count), :] = jnp.where(real, value, 0)
            return 0

        over(columns.before, AT_ONCE, zeros, 0)
        over(columns.width, AT_ONCE, copy, 0)

    def some_rows(first, count, _):
        for row in range(count):
            one_row(first + row)
        return 0

    over(rows.width, ROWS, some_rows, 0)
