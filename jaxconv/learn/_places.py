"""The mesh and the sharding of a run's images, read once before anything is traced."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.partition import layout, placement
from jaxconv._core.partition.plan import Plan

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Place:
    """A mesh with auto axes, and its axes along (*batch, *space) of x; channels are not sharded.

    Without a mesh the images are on one device. On a mesh with explicit axes a loss would have to
    state the sharding of each of its results; so a kernel is learned on the same mesh with auto
    axes (`learning`), and the result is put on the explicit one (`put_back`).
    """

    mesh: Mesh | AbstractMesh | None = None
    axes: tuple[layout.Axes, ...] = ()
    explicit: Mesh | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `jaxconv.parallel.conv`."""
        return {"mesh": self.mesh, "x_spec": self.mesh and layout.spec_of(self.axes)}

    def plan(self, spec: ConvSpec, padding_mode: str) -> Plan:
        """Plan the convolution of x with a kernel that every device has."""
        assert self.mesh is not None
        whole: tuple[layout.Axes, ...] = ((),) * (spec.rank + 2)
        place = layout.lay_out(
            "learn", spec, self.mesh, (*self.axes, ()), whole, x_name="x", channels=(1, 1)
        )
        return Plan("output", spec, place, padding_mode)

    def put_x(self, x: jax.Array) -> jax.Array:
        """Put x on the mesh; not sharded along a size that the mesh does not divide."""
        entries: Any = (a if n % self.parts(a) == 0 else () for n, a in self._along(x))
        return self._put(x, layout.spec_of(tuple(entries)))

    def put_y(self, y: jax.Array) -> jax.Array:
        """Put y on the devices that compute it from x, padded to sizes that the mesh divides."""
        above = [-n % self.parts(axes) for n, axes in self._along(y)]
        if any(above):
            y = (
                y if self.explicit is None else self.put_x(y)
            )  # JAX cannot pad a dimension sharded over explicit axes
            y = jnp.pad(y, [(0, n) for n in above])
        return self._put(y, layout.spec_of(self.axes))

    def put_whole(self, tree: Any) -> Any:
        """Put all of every array on every device."""
        return jax.tree.map(lambda leaf: self._put(leaf, PartitionSpec()), tree)

    def learning(self) -> contextlib.AbstractContextManager[Any]:
        """Replace a mesh with explicit axes, set by `jax.set_mesh`, for the duration."""
        context = jax.sharding.get_abstract_mesh()
        if isinstance(self.mesh, Mesh) and AxisType.Explicit in context.axis_types:
            return jax.set_mesh(self.mesh)
        return contextlib.nullcontext()

    def put_back(self, tree: T) -> T:
        """Put results on the mesh that x came on."""
        if self.explicit is None:
            return tree
        return jax.device_put(tree, NamedSharding(self.explicit, PartitionSpec()))

    def _along(self, array: jax.Array) -> list[tuple[int, layout.Axes]]:
        axes = (*self.axes, *[()] * (array.ndim - len(self.axes)))
        return list(zip(array.shape, axes, strict=True))

    def parts(self, axes: layout.Axes) -> int:
        """Number of parts of a dimension that is sharded over these axes."""
        return layout.parts(self.mesh, axes) if self.mesh else 1

    def _put(self, array: jax.Array, spec: PartitionSpec) -> jax.Array:
        if self.mesh is None:
            return array
        sharding = NamedSharding(self.mesh, spec)
        if isinstance(array, Tracer) or isinstance(self.mesh, AbstractMesh):
            return lax.with_sharding_constraint(array, sharding)
        return jax.device_put(array, sharding)


def cut(y: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Remove the padding of `Place.put_y`: cut the first dimensions to these sizes."""
    return y[tuple(map(slice, shape))]


def find_place(
    caller: str,
    xs: Sequence[jax.Array],
    ys: Sequence[jax.Array],
    mesh: Any,
    x_spec: Any,
) -> Place:
    """Find the mesh and the sharding of images; no mesh, if every device has all of them.

    Args:
        caller: the public function's name, for messages.
        xs: each (*batch, *space, in).
        ys: one for each x and of its rank; its sharding is used if x is not sharded.
        mesh: the caller's argument, None for the arrays' own.
        x_spec: likewise.

    Raises:
        TypeError: mesh or x_spec has the wrong type.
        ValueError: they do not fit x, x's channels are sharded, x is traced on a mesh with
            explicit axes, or there are several images.
    """
    source = next(filter(_is_sharded, (*xs, *ys)), None)
    if source is None and mesh is None and x_spec is None:
        return Place()
    if len(xs) > 1:
        raise ValueError(
            f"{caller}: x is a list of {len(xs)} images, and a mesh is for one; stack images of "
            "one size into a batch, which may be sharded"
        )
    if mesh is not None or x_spec is not None or source is None:
        source = xs[0]
    name = "x" if source is xs[0] else "y"
    mesh = placement.find_mesh(caller, mesh, x=source, y=ys[0])
    entries = placement.find_spec(caller, name, x_spec, source, mesh)
    if entries[-1]:
        raise ValueError(
            f"{caller}: {name}'s channels are sharded over {entries[-1]}, but every device learns "
            "the whole kernel; use jax.sharding.reshard, or x_spec=, to replicate them"
        )
    axes = entries[:-1]
    if all(layout.parts(mesh, each) == 1 for each in axes):
        return Place()
    if AxisType.Explicit not in mesh.axis_types:
        return Place(mesh, axes)
    if isinstance(source, Tracer) or isinstance(mesh, AbstractMesh):
        raise ValueError(
            f"{caller}: x is traced on a mesh with explicit axes; call {caller} outside jit, or on "
            "a mesh with auto axes"
        )
    kinds = (AxisType.Auto,) * len(mesh.axis_names)
    return Place(Mesh(mesh.devices, mesh.axis_names, axis_types=kinds), axes, mesh)


def _is_sharded(array: jax.Array) -> bool:
    """Whether an array with values is sharded over several devices of a mesh."""
    found = None if isinstance(array, Tracer) else placement.sharding(array)
    return found is not None and not found.is_fully_replicated
