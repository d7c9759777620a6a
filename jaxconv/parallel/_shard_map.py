"""Convolution on a mesh by `shard_map`, with given layouts.

Gradients are JAX's own: the transpose of a permute is the permute in the opposite direction, that
of sharing w between devices is a sum over them.
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


def put_on_mesh(
    plan: Plan, operand: jax.Array, w: jax.Array, b: jax.Array | None
) -> tuple[Any, ...]:
    """Put the operands on the mesh; under jit this is done for explicit axes only."""
    layout = plan.layout
    entries = list(layout.operand)
    for n, axes in enumerate((*layout.batch, *layout.space)):
        if operand.shape[n] % layout.parts(axes):
            entries[n] = None  # `run` pads this dimension and shards it
    return (
        _put(operand, layout.mesh, PartitionSpec(*entries)),
        _put(w, layout.mesh, PartitionSpec() if plan.cuts_kernel else plan.kernel_spec),
        None if b is None else _put(b, layout.mesh, layout.bias),
    )


def empty_sum(plan: Plan, shape: tuple[int, ...], b: jax.Array | None, dtype: Any) -> jax.Array:
    """Return zeros plus bias: shard_map does not accept operands without elements."""
    mesh = plan.layout.mesh
    zeros = _put(jnp.zeros(shape, dtype), mesh, spec_of(((),) * len(shape)))
    return zeros if b is None else zeros + _put(b, mesh, spec_of(((),))).astype(dtype)


@partial(jax.jit, static_argnames=("plan", "dtype", "method", "policy", "precision"))
def run(operand, w, b, *, plan: Plan, dtype, **numerics):
    """Compute the whole result from the operands that `put_on_mesh` returns."""
    layout, rank = plan.layout, plan.spec.rank
    counts = [layout.parts(axes) for axes in (*layout.batch, *layout.space)]
    batch = operand.shape[: -rank - 1]
    missing = [-n % count for n, count in zip(operand.shape[:-1], counts, strict=True)]
    if any(missing):
        operand = jnp.pad(operand, [*((0, n) for n in missing), (0, 0)])
        operand = _reshard_explicit(operand, layout.mesh, layout.operand)
    if plan.cuts_kernel:
        w = cut_kernel(w, plan.spec.groups, layout.cuts)
        w = _reshard_explicit(w, layout.mesh, plan.kernel_spec)
    result = jax.shard_map(
        partial(_local, plan=plan, dtype=dtype, **numerics),
        mesh=layout.mesh,
        in_specs=(layout.operand, plan.kernel_spec, layout.bias),
        out_specs=layout.result,
    )(operand, w, b)
    space = plan.spec.output_size if plan.contraction == "output" else plan.spec.input_size
    shape = (*batch, *space, result.shape[-1])
    if shape == result.shape:
        return result
    # JAX's arrays have equal parts: a dimension that is cropped cannot be sharded
    entries = [
        e if n == m else None for e, n, m in zip(layout.result, shape, result.shape, strict=True)
    ]
    result = _reshard_explicit(result, layout.mesh, PartitionSpec(*entries))
    return lax.slice(result, [0] * result.ndim, shape)


def _local(operand, w, b, *, plan: Plan, dtype, **numerics):
    """Compute one device's part of the result."""

    def convolve(contraction, a, b, spec, dtype):
        return contract(contraction, a, b, spec, dtype=dtype, **numerics)

    result = plan.compute(operand, w, convolve, dtype=dtype)
    return result if b is None else result + b.astype(dtype)


def _put(array: jax.Array, mesh: Mesh | AbstractMesh, spec: PartitionSpec) -> jax.Array:
    if isinstance(array, Tracer) or isinstance(mesh, AbstractMesh):
        return _reshard_explicit(array, mesh, spec)
    return jax.device_put(array, NamedSharding(mesh, spec))


def _reshard_explicit(array: jax.Array, mesh: Mesh | AbstractMesh, spec: PartitionSpec):
    """Shard the array along the mesh's explicit axes; on auto axes jit chooses the sharding."""
    types = zip(mesh.axis_names, mesh.axis_types, strict=True)
    explicit = {name for name, kind in types if kind == AxisType.Explicit}
    if not explicit:
        return array
    entries = tuple(tuple(a for a in axes_of(entry) if a in explicit) for entry in spec)
    return jax.sharding.reshard(array, NamedSharding(mesh, spec_of(entries)))
