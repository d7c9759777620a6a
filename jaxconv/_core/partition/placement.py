"""The mesh and the shardings of arrays: how they are found, checked and refused."""

from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxconv._core.geometry.messages import shown
from jaxconv._core.partition.layout import Axes, axes_of


def find_mesh(caller: str, mesh: Any, **arrays: jax.Array) -> Mesh | AbstractMesh:
    """Return the given mesh, or that of the first array with a sharding.

    Raises:
        TypeError: it is not a mesh.
        ValueError: no mesh is set, or its axes are inside `shard_map`.
    """
    if mesh is None:
        known = [s.mesh for array in arrays.values() if (s := sharding(array)) is not None]
        context = jax.sharding.get_abstract_mesh()
        if known:
            mesh = known[0]
        elif not context.empty:
            mesh = context
        else:
            names = " nor ".join(arrays)
            raise ValueError(
                f"{caller}: mesh is not given, and neither {names} knows its own: give mesh=, or "
                "arrays that jax.device_put has put on one"
            )
    if not isinstance(mesh, Mesh | AbstractMesh):
        raise TypeError(
            f"{caller}: mesh={mesh!r} must be a jax.sharding.Mesh, not {type(mesh).__name__}"
        )
    manual = jax.sharding.get_abstract_mesh().manual_axes
    if manual:
        raise ValueError(
            f"{caller}: called inside shard_map over {manual}; call it outside, or "
            "jaxconv.conv on what each device has"
        )
    return mesh


def check_devices(caller: str, mesh: Mesh | AbstractMesh, *arrays: Any) -> None:
    """Raise ValueError if something is to be computed on a mesh without devices."""
    traced = any(isinstance(array, Tracer) for array in arrays)
    if isinstance(mesh, AbstractMesh) and not traced and jax.sharding.get_abstract_mesh().empty:
        raise ValueError(
            f"{caller}: mesh {dict(mesh.shape)} is abstract and has no devices to compute on; give "
            "a jax.sharding.Mesh, or trace the call: jax.eval_shape, or jax.jit(...).lower"
        )


def sharding(array: jax.Array) -> NamedSharding | None:
    """Return an array's sharding if it is known here: that of a tracer only on explicit axes."""
    if isinstance(array, Tracer):
        found = jax.typeof(array).sharding
        return found if AxisType.Explicit in found.mesh.axis_types else None
    found = getattr(array, "sharding", None)  # NumPy arrays have none
    return found if isinstance(found, NamedSharding) else None


def find_spec(
    caller: str, name: str, given: Any, array: jax.Array, mesh: Mesh | AbstractMesh
) -> tuple[Axes, ...]:
    """Return the mesh axes of each dimension, from the argument or from the array itself.

    Raises:
        TypeError: it is not a PartitionSpec.
        ValueError: it does not fit the array or the mesh, or is not given where it must be.
    """
    if given is None:
        found = sharding(array)
        if found is not None and found.mesh.shape == mesh.shape:
            given = found.spec
        elif name == "w":
            given = PartitionSpec()
        else:
            why = (
                "is traced, and jit does not say how it lies on a mesh with auto axes"
                if isinstance(array, Tracer)
                else f"is not on the mesh {dict(mesh.shape)}"
            )
            raise ValueError(
                f"{caller}: {name} {why}; give {name}_spec=, for instance "
                f"PartitionSpec({', '.join(map(repr, mesh.axis_names[:1]))})"
            )
    if not isinstance(given, PartitionSpec):
        raise TypeError(
            f"{caller}: {name}_spec={shown(given)} must be a jax.sharding.PartitionSpec, not "
            f"{type(given).__name__}"
        )
    if given.unreduced:
        raise ValueError(
            f"{caller}: {name} is an unreduced sum over {sorted(given.unreduced)}; use "
            "jax.sharding.reshard to sum it"
        )
    if len(given) > array.ndim:
        raise ValueError(
            f"{caller}: {name}_spec={given} has {len(given)} entries for the {array.ndim} "
            f"dimensions of {name} ({name}.shape={array.shape})"
        )
    entries = tuple(axes_of(entry) for entry in (*given, *[None] * (array.ndim - len(given))))
    used: list[str] = [axis for axes in entries for axis in axes]
    for axis in used:
        if axis not in mesh.shape:
            raise ValueError(
                f"{caller}: {name}_spec={given} names the mesh axis {axis!r}; the mesh has "
                f"{', '.join(map(repr, mesh.axis_names))}"
            )
        if used.count(axis) > 1:
            raise ValueError(f"{caller}: {name}_spec={given} names the mesh axis {axis!r} twice")
    return entries
