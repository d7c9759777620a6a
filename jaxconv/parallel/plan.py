"""One sharded convolution whose static facts are settled: the program that each device runs.

On its own part of x each device makes the window that its part of y reads (`Plan.window`: halos
along sharded dimensions, the padding mode along the others), and convolves that without padding.
The transposed convolution does the transpose of each, in the other order. Gradients are JAX's own:
the transpose of a permute is the permute back, that of sharing w a sum over those who share it.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxconv import padding as extension
from jaxconv.parallel.cuts import add_up, cut_kernel
from jaxconv.parallel.halos import Line, fill
from jaxconv.parallel.layout import Layout, axes_of, spec_of
from jaxconv.spec import ConvSpec
from jaxconv.trilinear import contract


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that is fixed about one call: what is computed, on which device."""

    contraction: str
    spec: ConvSpec
    layout: Layout
    mode: str

    @property
    def kernel_spec(self) -> PartitionSpec:
        """How w lies on the mesh."""
        return self.layout.kernel(transposed=self.contraction == "input")

    @property
    def cuts_kernel(self) -> bool:
        """Whether w is rearranged for groups that are cut apart."""
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
        """What the local convolution reads, from the device's part of x."""
        if (here := self.layout.picks(self.spec.groups)) > 1:
            width, kept = x.shape[-1] // here, self.layout.kept
            number = lax.axis_index(kept) * here // self.layout.parts(kept)
            x = lax.dynamic_slice_in_dim(x, number * width, width, axis=-1)
        for axis, line in self.lines.items():
            names = self.layout.space[axis + self.spec.rank + 1]
            x = fill(x, line, axis=x.ndim + axis, names=names, ring=self.layout.ring(names))
        if not self.whole:
            return x
        return extension.pad(x, tuple(self.whole.values()), axes=tuple(self.whole), mode=self.mode)

    def fold(self, window: jax.Array) -> jax.Array:
        """The transpose of `window`: what falls on other devices' parts is sent there and added."""
        rank = self.spec.rank
        sizes = [*window.shape[: -rank - 1], *self.spec.input_size, window.shape[-1]]
        for axis, line in self.lines.items():
            sizes[axis] = line.block
        # zeros that vary over the mesh as the window does; only their shape is used
        like = jnp.broadcast_to(jnp.zeros_like(window[..., :1].sum(dtype=window.dtype)), sizes)
        return jax.linear_transpose(self.window, like)(window)[0]

    def placed(self, operand: jax.Array, w: jax.Array, b: jax.Array | None) -> tuple[Any, ...]:
        """Put the operands on the mesh where this is not done by jit."""
        lead = (*self.layout.batch, *self.layout.space)
        entries = list(self.layout.operand)
        for n, axes in enumerate(lead):
            if operand.shape[n] % self.layout.parts(axes):
                entries[n] = None  # padded later, and sharded then
        return (
            self._put(operand, PartitionSpec(*entries)),
            self._put(w, PartitionSpec() if self.cuts_kernel else self.kernel_spec),
            None if b is None else self._put(b, self.layout.bias),
        )

    def bias_alone(self, shape: tuple[int, ...], b: jax.Array | None, dtype: Any) -> jax.Array:
        """Return the result of an operand without elements: shard_map does not take those."""
        made = self._put(jnp.zeros(shape, dtype), spec_of(((),) * len(shape)))
        return made if b is None else made + self._put(b, spec_of(((),))).astype(dtype)

    def _put(self, array: jax.Array, spec: PartitionSpec) -> jax.Array:
        mesh = self.layout.mesh
        if isinstance(array, Tracer) or isinstance(mesh, AbstractMesh):
            return _on_explicit_axes(array, mesh, spec)
        return jax.device_put(array, NamedSharding(mesh, spec))


@partial(jax.jit, static_argnames=("plan", "dtype", "method", "policy", "precision"))
def run(operand, w, b, *, plan: Plan, dtype, **numerics):
    """Compute the whole result from operands that `Plan.placed` has put on the mesh."""
    place, rank = plan.layout, plan.spec.rank
    counts = [place.parts(axes) for axes in (*place.batch, *place.space)]
    batch = operand.shape[: -rank - 1]
    above = [-n % count for n, count in zip(operand.shape[:-1], counts, strict=True)]
    if any(above):
        operand = jnp.pad(operand, [*((0, n) for n in above), (0, 0)])
        operand = _on_explicit_axes(operand, place.mesh, place.operand)
    if plan.cuts_kernel:
        w = cut_kernel(w, plan.spec.groups, place.cuts)
        w = _on_explicit_axes(w, place.mesh, plan.kernel_spec)
    made = jax.shard_map(
        partial(_local, plan=plan, dtype=dtype, **numerics),
        mesh=place.mesh,
        in_specs=(place.operand, plan.kernel_spec, place.bias),
        out_specs=place.result,
    )(operand, w, b)
    space = plan.spec.output_size if plan.contraction == "output" else plan.spec.input_size
    shape = (*batch, *space, made.shape[-1])
    if shape == made.shape:
        return made
    # an array has equal parts: what is cut to another size must be whole
    entries = [
        e if n == m else None for e, n, m in zip(place.result, shape, made.shape, strict=True)
    ]
    made = _on_explicit_axes(made, place.mesh, PartitionSpec(*entries))
    return lax.slice(made, [0] * made.ndim, shape)


def _local(operand, w, b, *, plan: Plan, dtype, **numerics):
    """Compute one device's part of the result."""
    place = plan.layout
    if plan.contraction == "output":
        made = contract("output", plan.window(operand), w, plan.local, dtype=dtype, **numerics)
    else:
        made = contract("input", operand, w, plan.local, dtype=dtype, **numerics)
    # shares of a sum are smaller than what is summed: they send the smaller halo
    if place.cuts > 1:
        made = add_up(made, place, plan.spec.groups)
    elif place.scattered:
        made = lax.psum_scatter(made, place.summed, scatter_dimension=made.ndim - 1, tiled=True)
    if plan.contraction == "input":
        made = plan.fold(made)
    if place.summed and not place.scattered:
        made = lax.psum(made, place.summed)
    return made if b is None else made + b.astype(dtype)


def _on_explicit_axes(array: jax.Array, mesh: Mesh | AbstractMesh, spec: PartitionSpec):
    """Shard the array so along the mesh's explicit axes; on auto axes jit finds the way."""
    types = zip(mesh.axis_names, mesh.axis_types, strict=True)
    explicit = {name for name, kind in types if kind == AxisType.Explicit}
    if not explicit:
        return array
    entries = tuple(tuple(a for a in axes_of(entry) if a in explicit) for entry in spec)
    return jax.sharding.reshard(array, NamedSharding(mesh, spec_of(entries)))
