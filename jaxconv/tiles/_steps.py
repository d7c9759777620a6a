"""The tiles of one image: where they lie, and the three steps that each goes through."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry import shapes
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._files import rasters
from jaxconv.tiles import _gather as windows
from jaxconv.tiles import _program as program

Box = tuple[slice, ...]


class Grid:
    """Where the tiles lie in the result, and what each reads of the image."""

    def __init__(self, spec: ConvSpec, tile: tuple[int, ...], mode: str) -> None:
        self.spec, self.tile, self.mode = spec, tile, mode
        self.counts = tuple(-(-n // t) for n, t in zip(spec.output_size, tile, strict=True))
        self.count = math.prod(self.counts)

    def box(self, number: int) -> Box:
        """The outputs of a tile, row-major by its number."""
        at = np.unravel_index(number, self.counts)
        return tuple(
            slice(int(i) * t, min((int(i) + 1) * t, n))
            for i, t, n in zip(at, self.tile, self.spec.output_size, strict=True)
        )

    def axes(self, number: int) -> list[np.ndarray]:
        """The indices of the image that a tile's window reads, along each axis.

        The windows of all tiles have one size: those beyond the image read zeros.
        """
        spec, axes = self.spec, []
        for n, box in enumerate(self.box(number)):
            stride, span = spec.stride[n], shapes.extent(spec.kernel_size[n], spec.dilation[n])
            start = box.start * stride - spec.padding[n][0]
            stop = start + (box.stop - box.start - 1) * stride + span
            read = windows.sources(start, stop, spec.input_size[n], self.mode)
            missing = (self.tile[n] - (box.stop - box.start)) * stride
            axes.append(np.pad(read, (0, missing), constant_values=windows.NONE))
        return axes


class Work:
    """The three steps of a tile, each by its number."""

    output: rasters.Target

    def __init__(
        self,
        image: rasters.Source,
        w: np.ndarray,
        b: np.ndarray,
        grid: Grid,
        rule: program.Rule,
        channels: bool,
        numbers: tuple[float, float],
    ) -> None:
        self.image, self.grid, self.rule, self.channels = image, grid, rule, channels
        full = (program.largest(image.dtype), *numbers, program.largest(rule.dtype))
        self._operands = jnp.asarray(w), jnp.asarray(b), jnp.asarray(full, jnp.float32)

    def read(self, number: int) -> np.ndarray:
        """The window of a tile, as stored, with an axis of channels."""
        x = windows.gather(self.image.read, self.grid.axes(number))
        if x.dtype == np.float64:  # which JAX would warn of
            x = x.astype(np.float32)
        return x if self.channels else x[..., None]

    def compute(self, number: int, window: np.ndarray) -> tuple[jax.Array, jax.Array]:
        """The result of a tile, which may still be being computed."""
        valid = jnp.asarray([s.stop - s.start for s in self.grid.box(number)], jnp.int32)
        return program.run(jnp.asarray(window), *self._operands, valid, rule=self.rule)

    def write(self, number: int, result: tuple[jax.Array, jax.Array]) -> int:
        """Write a tile; return how many values were clipped once it is on the disk."""
        box = self.grid.box(number)
        values, clipped = map(np.asarray, result)
        values = values[tuple(slice(s.stop - s.start) for s in box)]
        values = values if self.channels else values[..., 0]
        with np.errstate(over="ignore"):  # what float16 cannot hold is infinite
            self.output.write(box, values.astype(self.rule.dtype, copy=False))
        return int(clipped)
