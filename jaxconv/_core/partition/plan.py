"""One device's part of a convolution: what it reads from others, computes, and sums with them.

From its block of x each device makes the window that its part of y reads (`Plan.window`: halos
along sharded dimensions, the padding mode along the others). `output` convolves it without padding,
`kernel` correlates it with the device's part of y, and `input` convolves first and then applies the
transpose of `window` (`Plan.fold`). Last come the sums over devices.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.extension import extend
from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.partition.cuts import add_up
from jaxconv._core.partition.halos import Line, fill
from jaxconv._core.partition.layout import Axes, Layout

# (contraction, a, b, spec, dtype) -> the third array, of one device
Convolve = Callable[[Contraction, jax.Array, jax.Array, ConvSpec, Any], jax.Array]


@dataclasses.dataclass(frozen=True)
class Plan:
    """One contraction on a mesh: its geometry and its layout."""

    contraction: Contraction
    spec: ConvSpec
    layout: Layout
    mode: str

    @property
    def operands(self) -> tuple[PartitionSpec, PartitionSpec]:
        """How the two operands lie on the mesh."""
        if self.contraction == "kernel":
            return self.layout.operand, self.layout.result
        return self.layout.operand, self.kernel_spec

    @property
    def result(self) -> PartitionSpec:
        """How the result lies on the mesh."""
        return self.kernel_spec if self.contraction == "kernel" else self.layout.result

    @property
    def kernel_spec(self) -> PartitionSpec:
        """How w lies on the mesh."""
        return self.layout.kernel(transposed=self.contraction == "input")

    @property
    def cuts_kernel(self) -> bool:
        """Whether w is rearranged for groups that the mesh splits."""
        return self.layout.cuts > 1 and self.contraction == "output"

    @property
    def lines(self) -> dict[int, Line]:
        """The sharded spatial dimensions, by their axis counted from the end."""
        lines = self.layout.lines(self.spec, self.mode)
        return {dimension - self.spec.rank - 1: line for dimension, line in lines.items()}

    @property
    def whole(self) -> dict[int, tuple[int, int]]:
        """Padding of the dimensions that are not sharded, where its mode is not zeros."""
        pads = {d - self.spec.rank - 1: pair for d, pair in enumerate(self.spec.padding)}
        return {a: p for a, p in pads.items() if a not in self.lines and self.mode != "zeros"}

    @property
    def local(self) -> ConvSpec:
        """The convolution of one device: of its window, with its groups."""
        spec, lines, rank = self.spec, self.lines, self.spec.rank
        sizes, pads = list(spec.input_size), list(spec.padding)
        for axis, (lo, hi) in self.whole.items():
            sizes[axis + rank + 1] += lo + hi
            pads[axis + rank + 1] = (0, 0)
        for axis, line in lines.items():
            sizes[axis + rank + 1], pads[axis + rank + 1] = line.window, (0, 0)
        place = self.layout
        groups = spec.groups * place.cuts // place.parts(place.groups) // place.picks(spec.groups)
        return dataclasses.replace(
            spec, input_size=tuple(sizes), padding=tuple(pads), groups=groups
        )

    def window(self, x: jax.Array) -> jax.Array:
        """Return the input of the local convolution, from the device's block of x."""
        if (here := self.layout.picks(self.spec.groups)) > 1:
            width, kept = x.shape[-1] // here, self.layout.kept
            number = lax.axis_index(kept) * here // self.layout.parts(kept)
            x = lax.dynamic_slice_in_dim(x, number * width, width, axis=-1)
        for axis, line in self.lines.items():
            ring = self.layout.ring(self.layout.space[axis + self.spec.rank + 1])
            x = fill(x, line, axis=x.ndim + axis, ring=ring)
        if not self.whole:
            return x
        return extend(x, pairs=self.whole, mode=self.mode)

    def fold(self, window: jax.Array) -> jax.Array:
        """Apply the transpose of `window`: rows of other devices are sent there and added."""
        rank = self.spec.rank
        sizes = [*window.shape[: -rank - 1], *self.spec.input_size, window.shape[-1]]
        for axis, line in self.lines.items():
            sizes[axis] = line.block
        # zeros that vary over the mesh as the window does; only their shape is used
        like = jnp.broadcast_to(jnp.zeros_like(window[..., :1].sum(dtype=window.dtype)), sizes)
        return jax.linear_transpose(self.window, like)(window)[0]

    def compute(self, a: jax.Array, b: jax.Array, convolve: Convolve, *, dtype: Any) -> jax.Array:
        """Return the device's part of the result, from its parts of the operands.

        Where a dimension does not divide into equal parts, elements beyond its end must be zero
        along space, and for the kernel's gradient along the batch.

        Args:
            a: x, or y in `input`.
            b: w, or y in `kernel`; for split groups the device's part of
                `cuts.cut_kernel`.
            convolve: the convolution of one device.
            dtype: the result's. Sums of several devices' parts are rounded to it once.
        """
        place = self.layout
        shared = self._summed_over()
        adds = bool(shared) or place.cuts > 1 or (self.contraction == "input" and self.lines)
        sums = accumulation_dtype(a, b, dtype) if adds else dtype
        if self.contraction != "input":
            a = self.window(a)
        made = convolve(self.contraction, a, b, self.local, sums)
        # after a scattered sum the channels are fewer, and so is the halo to send
        if place.cuts > 1:
            made = add_up(made, place, self.spec.groups)
        elif place.scattered:
            made = lax.psum_scatter(made, shared, scatter_dimension=made.ndim - 1, tiled=True)
        if self.contraction == "input":
            made = self.fold(made)
        if shared and place.cuts == 1 and not place.scattered:
            made = lax.psum(made, shared)
        return made.astype(dtype)

    def _summed_over(self) -> Axes:
        """The mesh axes whose devices compute parts of one sum."""
        if self.contraction != "kernel":
            return self.layout.summed
        return tuple(axis for axes in (*self.layout.batch, *self.layout.space) for axis in axes)
