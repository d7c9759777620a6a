"""How the images of a run lie on a mesh: what `jaxconv.parallel` needs to know, once and for all.

The learning functions take sharded images as they take others. Which devices have which part is
read from x before anything is traced, and is static from then on.
"""

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
    """A mesh, whose axes are auto, and its axes along (*batch, *space) of x; channels are whole.

    Without a mesh the images are one device's, and stay as they are. On explicit axes a loss would
    have to say how each of its results lies, so what is learned there is learned on the same mesh
    with auto axes (`learning`) and put back (`put_back`).
    """

    mesh: Mesh | AbstractMesh | None = None
    axes: tuple[layout.Axes, ...] = ()
    explicit: Mesh | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What `jaxconv.parallel.conv` is told."""
        return {"mesh": self.mesh, "x_spec": self.mesh and layout.spec_of(self.axes)}

    def plan(self, spec: ConvSpec, padding_mode: str) -> Plan:
        """Settle the convolution of such an x with a kernel that every device has."""
        assert self.mesh is not None
        whole: tuple[layout.Axes, ...] = ((),) * (spec.rank + 2)
        place = layout.lay_out(
            "learn", spec, self.mesh, (*self.axes, ()), whole, x_name="x", channels=(1, 1)
        )
        return Plan("output", spec, place, padding_mode)

    def put_x(self, x: jax.Array) -> jax.Array:
        """Put x on the mesh; whole along a size that the mesh does not divide."""
        entries: Any = (a if n % self.parts(a) == 0 else () for n, a in self._along(x))
        return self._put(x, layout.spec_of(tuple(entries)))

    def put_y(self, y: jax.Array) -> jax.Array:
        """Put y where x's windows make it, with zeros up to sizes that the mesh divides."""
        above = [-n % self.parts(axes) for n, axes in self._along(y)]
        if any(above):
            y = y if self.explicit is None else self.put_x(y)  # JAX pads no sharded dimension there
            y = jnp.pad(y, [(0, n) for n in above])
        return self._put(y, layout.spec_of(self.axes))

    def put_whole(self, tree: Any) -> Any:
        """Give every device all of it."""
        return jax.tree.map(lambda leaf: self._put(leaf, PartitionSpec()), tree)

    def learning(self) -> contextlib.AbstractContextManager[Any]:
        """Where `jax.set_mesh` is in force with explicit axes, leave it for a while."""
        context = jax.sharding.get_abstract_mesh()
        if isinstance(self.mesh, Mesh) and AxisType.Explicit in context.axis_types:
            return jax.set_mesh(self.mesh)
        return contextlib.nullcontext()

    def put_back(self, tree: T) -> T:
        """Put what was learned on the mesh that x came on."""
        if self.explicit is None:
            return tree
        return jax.device_put(tree, NamedSharding(self.explicit, PartitionSpec()))

    def _along(self, array: jax.Array) -> list[tuple[int, layout.Axes]]:
        axes = (*self.axes, *[()] * (array.ndim - len(self.axes)))
        return list(zip(array.shape, axes, strict=True))

    def parts(self, axes: layout.Axes) -> int:
        """Parts of a dimension that lies along these axes."""
        return layout.parts(self.mesh, axes) if self.mesh else 1

    def _put(self, array: jax.Array, spec: PartitionSpec) -> jax.Array:
        if self.mesh is None:
            return array
        sharding = NamedSharding(self.mesh, spec)
        if isinstance(array, Tracer) or isinstance(self.mesh, AbstractMesh):
            return lax.with_sharding_constraint(array, sharding)
        return jax.device_put(array, sharding)


def cut(y: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Without what `Place.put_y` added, to the sizes of its first dimensions."""
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
    source = next(filter(_in_parts, (*xs, *ys)), None)
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
            "the whole kernel; use jax.sharding.reshard, or x_spec=, to make them whole"
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


def _in_parts(array: jax.Array) -> bool:
    """Whether an array with values lies in parts on several devices of a mesh."""
    found = None if isinstance(array, Tracer) else placement.sharding(array)
    return found is not None and not found.is_fully_replicated
