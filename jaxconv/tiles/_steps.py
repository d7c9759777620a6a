"""The tiles of one image: their boxes, and the steps that process each: read, compute, write."""

import itertools
import math
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry import shapes
from jaxconv._core.geometry.extension import NONE, source_index
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._files import rasters
from jaxconv._files.axes import Layout
from jaxconv.tiles import _program as program
from jaxconv.tiles._gather import gather

Box = tuple[slice, ...]


class Grid:
    """The boxes of the tiles in the result, and the elements of the image that each reads.

    Tiles are numbered in row-major order, those of one plane of the stack after another.
    """

    def __init__(
        self, spec: ConvSpec, tile: tuple[int, ...], mode: str, stack: tuple[int, ...] = ()
    ) -> None:
        self.spec, self.tile, self.mode, self.stack = spec, tile, mode, stack
        self.counts = tuple(-(-n // t) for n, t in zip(spec.output_size, tile, strict=True))
        self.count = math.prod(stack) * math.prod(self.counts)

    def place(self, number: int) -> tuple[int, ...]:
        """The plane of the stack that a tile belongs to."""
        at = np.unravel_index(number // math.prod(self.counts), self.stack) if self.stack else ()
        return tuple(map(int, at))

    def box(self, number: int) -> Box:
        """The outputs of a tile in its plane."""
        at = np.unravel_index(number % math.prod(self.counts), self.counts)
        return tuple(
            slice(int(i) * t, min((int(i) + 1) * t, n))
            for i, t, n in zip(at, self.tile, self.spec.output_size, strict=True)
        )

    def axes(self, number: int) -> list[np.ndarray]:
        """The indices of the image that a tile's window reads, along each axis.

        All windows have the same size: positions that only outputs beyond the image need are zero.
        """
        spec, axes = self.spec, []
        for n, box in enumerate(self.box(number)):
            stride, span = spec.stride[n], shapes.extent(spec.kernel_size[n], spec.dilation[n])
            start = box.start * stride - spec.padding[n][0]
            stop = start + (box.stop - box.start - 1) * stride + span
            read = source_index(np.arange(start, stop), spec.input_size[n], self.mode)
            missing = (self.tile[n] - (box.stop - box.start)) * stride
            axes.append(np.pad(read, (0, missing), constant_values=NONE))
        return axes


class Work:
    """The three steps of a tile, given by its number."""

    def __init__(
        self,
        image: rasters.Source,
        output: rasters.Target,
        w: np.ndarray,
        b: np.ndarray,
        grid: Grid,
        rule: program.Rule,
        layout: Layout,
        numbers: tuple[float, float, float],
    ) -> None:
        self.image, self.output, self.layout = image, output, layout
        self.grid, self.rule = grid, rule
        full = (program.largest(image.dtype), *numbers, program.largest(rule.dtype))
        self._operands = jnp.asarray(w), jnp.asarray(b), jnp.asarray(full, jnp.float32)

    def read(self, number: int) -> np.ndarray:
        """The window of a tile, as stored, with an axis of channels."""
        at = self.grid.place(number)
        inward, box = self.layout.inward, self.layout.box
        x = gather(lambda space: inward(self.image.read(box(at, space))), self.grid.axes(number))
        if x.dtype == np.float64:  # JAX would warn about it
            with np.errstate(over="ignore"):  # overflow gives infinity
                x = x.astype(np.float32)
        if x.dtype.kind in "iu" and x.dtype.itemsize == 4:
            _check_exact(x)
        return x

    def compute(self, number: int, window: np.ndarray) -> tuple[jax.Array, jax.Array]:
        """The result of a tile, which may not be finished yet."""
        valid = jnp.asarray([s.stop - s.start for s in self.grid.box(number)], jnp.int32)
        return program.run(jnp.asarray(window), *self._operands, valid, rule=self.rule)

    def write(self, number: int, result: tuple[jax.Array, jax.Array]) -> int:
        """Write a tile; return how many of its values the target's dtype cannot hold."""
        box = self.grid.box(number)
        values, clipped = map(np.asarray, result)
        values = values[tuple(slice(s.stop - s.start) for s in box)]
        with np.errstate(over="ignore"):  # overflow of float16 gives infinity
            stored = values.astype(self.rule.dtype, copy=False)
        where = self.layout.box(self.grid.place(number), box)
        self.output.write(where, self.layout.outward(stored))
        if stored.dtype == np.float16:
            clipped = clipped + np.sum(np.isfinite(values) & np.isinf(stored))
        return int(clipped)


def _check_exact(x: np.ndarray) -> None:
    """Refuse integers that float32 changes."""
    changed = x.astype(np.float32).astype(np.int64) != x
    if changed.any():
        raise rasters.ImageError(
            f"source: {np.sum(changed)} of {x.size} {x.dtype} values, such as {x[changed][0]}, are "
            "not exact in float32, in which images are computed; save the image as float32 or "
            "in fewer bits"
        )


def process(work: Work, tiles: Iterable[int], ahead: int) -> Iterable[tuple[int, int]]:
    """Read, compute and write tiles at the same time; yield each, in order, once it is written."""
    waiting = iter(tiles)
    reading: deque[tuple[int, Future]] = deque()
    writing: deque[tuple[int, Future]] = deque()
    with ThreadPoolExecutor(ahead) as readers, ThreadPoolExecutor(ahead) as writers:
        while True:
            for number in itertools.islice(waiting, ahead - len(reading)):
                reading.append((number, readers.submit(work.read, number)))
            if reading and len(writing) < ahead:
                number, window = reading.popleft()
                # dispatched here, waited for in the thread that writes it
                result = work.compute(number, window.result())
                writing.append((number, writers.submit(work.write, number, result)))
            elif writing:
                number, written = writing.popleft()
                yield number, written.result()
            else:
                return
