"""Carrying out a plan on a mesh by `shard_map`, with layouts that are given.

Gradients are JAX's own: the transpose of a permute is the permute back, that of sharing w a sum
over those who share it.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.partition.cuts import cut_kernel
from jaxconv._core.partition.layout import axes_of, spec_of
from jaxconv._core.partition.plan import Plan


def placed(plan: Plan, operand: jax.Array, w: jax.Array, b: jax.Array | None) -> tuple[Any, ...]:
    """Put the operands on the mesh where this is not done by jit."""
    place = plan.layout
    entries = list(place.operand)
    for n, axes in enumerate((*place.batch, *place.space)):
        if operand.shape[n] % place.parts(axes):
            entries[n] = None  # padded later, and sharded then
    return (
        _put(operand, place.mesh, PartitionSpec(*entries)),
        _put(w, place.mesh, PartitionSpec() if plan.cuts_kernel else plan.kernel_spec),
        None if b is None else _put(b, place.mesh, place.bias),
    )


def bias_alone(plan: Plan, shape: tuple[int, ...], b: jax.Array | None, dtype: Any) -> jax.Array:
    """Return the result of an operand without elements: shard_map does not take those."""
    mesh = plan.layout.mesh
    made = _put(jnp.zeros(shape, dtype), mesh, spec_of(((),) * len(shape)))
    return made if b is None else made + _put(b, mesh, spec_of(((),))).astype(dtype)


@partial(jax.jit, static_argnames=("plan", "dtype", "method", "policy", "precision"))
def run(operand, w, b, *, plan: Plan, dtype, **numerics):
    """Compute the whole result from operands that `placed` has put on the mesh."""
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

    def convolve(contraction, a, b, spec, dtype):
        return contract(contraction, a, b, spec, dtype=dtype, **numerics)

    made = plan.compute(operand, w, convolve, dtype=dtype)
    return made if b is None else made + b.astype(dtype)


def _put(array: jax.Array, mesh: Mesh | AbstractMesh, spec: PartitionSpec) -> jax.Array:
    if isinstance(array, Tracer) or isinstance(mesh, AbstractMesh):
        return _on_explicit_axes(array, mesh, spec)
    return jax.device_put(array, NamedSharding(mesh, spec))


def _on_explicit_axes(array: jax.Array, mesh: Mesh | AbstractMesh, spec: PartitionSpec):
    """Shard the array so along the mesh's explicit axes; on auto axes jit finds the way."""
    types = zip(mesh.axis_names, mesh.axis_types, strict=True)
    explicit = {name for name, kind in types if kind == AxisType.Explicit}
    if not explicit:
        return array
    entries = tuple(tuple(a for a in axes_of(entry) if a in explicit) for entry in spec)
    return jax.sharding.reshard(array, NamedSharding(mesh, spec_of(entries)))
