"""Meshes with explicit axes: operations that JAX's own sharding rules refuse there."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def on_explicit_axes(
    function: Callable[..., jax.Array],
    *arrays: jax.Array,
    shape: Sequence[int],
    entries: Sequence[Any],
) -> jax.Array:
    """Return function(*arrays), on a mesh with explicit axes too.

    There the function is partitioned automatically. Its result is sharded by `entries`: each mesh
    axis along the first dimension that names it, none along a dimension that it does not divide.

    Args:
        function: a function of the arrays to one array.
        arrays: its arguments; the mesh is that of the first.
        shape: of the result.
        entries: of the result's `PartitionSpec`, one a dimension.
    """
    mesh = jax.typeof(arrays[0]).sharding.mesh
    if AxisType.Explicit not in mesh.axis_types:
        return function(*arrays)
    used: set[str] = set()
    kept = []
    for entry, size in zip(entries, shape, strict=True):
        axes = set(entry if isinstance(entry, tuple) else (entry,)) - {None}
        divides = size % math.prod(mesh.shape[axis] for axis in axes) == 0
        kept.append(entry if divides and not axes & used else None)
        used |= axes
    inside: Any = jax.sharding.auto_axes(
        function, out_sharding=NamedSharding(mesh, PartitionSpec(*kept))
    )
    return inside(*arrays)


def entries_of(array: jax.Array) -> list[Any]:
    """Return the entries of an array's `PartitionSpec`, one a dimension, as its type has them."""
    return list(jax.typeof(array).sharding.spec)
