"""How the arrays of one convolution lie on a mesh: every check of it, and every message.

Each index class of the trilinear form (`jaxconv.trilinear`) lives on two of the arrays, so what x
says of batch, space and channels and w of channels determines the layout of the whole:

| class | on | sharded as | costs |
|---|---|---|---|
| batch | x, y | x says | nothing |
| space | x, y | x says | a halo |
| channels summed over | x, w | x says, else w | a sum of partial results (see `cuts`) |
| channels kept | w, y | w says | nothing |
| groups | x, w, y | x says, else w | nothing |
| kernel | w | whole: every device needs the window | w is gathered, where it says otherwise |

A mesh axis serves one class: x's say goes before w's.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxconv.messages import shown
from jaxconv.parallel.halos import Line
from jaxconv.spec import ConvSpec

Axes = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Mesh axes of every dimension of the operands and the result.

    Attributes:
        mesh: the mesh.
        batch: of each batch dimension.
        space: of each spatial dimension.
        groups: of the groups, none where there is one group.
        summed: of the channels summed over.
        kept: of the channels that the kernel makes.
        scattered: whether the sum over `summed`, or over the parts of cut groups, leaves each
            device its part of the channels made.
        cuts: parts that the channels summed over fall into in each group, where the mesh cuts
            groups apart; `groups` shards the parts of all groups then.
    """

    mesh: Mesh | AbstractMesh
    batch: tuple[Axes, ...]
    space: tuple[Axes, ...]
    groups: Axes
    summed: Axes
    kept: Axes
    scattered: bool
    cuts: int = 1

    def picks(self, groups: int) -> int:
        """Groups on a device of which it reads one, since it makes channels of that alone; or 1."""
        return groups // self.parts(self.groups) if groups > 1 and self.kept else 1

    def parts(self, axes: Axes) -> int:
        """Parts that a dimension sharded over these mesh axes falls into."""
        return parts(self.mesh, axes)

    @property
    def devices(self) -> int:
        """Devices of the mesh."""
        return parts(self.mesh, self.mesh.axis_names)

    def lines(self, spec: ConvSpec, mode: str) -> dict[int, Line]:
        """Return the spatial dimensions that are sharded, by number."""
        return {
            n: Line(
                spec.input_size[n],
                self.parts(axes),
                spec.kernel_size[n],
                spec.stride[n],
                spec.dilation[n],
                *spec.padding[n],
                mode,
            )
            for n, axes in enumerate(self.space)
            if self.parts(axes) > 1
        }

    def ring(self, axes: Axes) -> tuple[int, ...]:
        """For each part of such a dimension, its device's number in the mesh's order of axes."""
        ordered = [axis for axis in self.mesh.axis_names if axis in axes]
        numbers = np.arange(self.parts(axes)).reshape([self.mesh.shape[a] for a in ordered])
        return tuple(map(int, numbers.transpose([ordered.index(a) for a in axes]).flat))

    @property
    def operand(self) -> PartitionSpec:
        """Of the array with space that is given."""
        return spec_of((*self.batch, *self.space, self.groups + self.summed))

    @property
    def result(self) -> PartitionSpec:
        """Of the array with space that is made."""
        return spec_of((*self.batch, *self.space, self.made))

    @property
    def made(self) -> Axes:
        """Of its channels."""
        if self.cuts > 1:
            return self.groups if self.scattered else ()
        return self.groups + (self.summed if self.scattered else self.kept)

    def kernel(self, *, transposed: bool) -> PartitionSpec:
        """Of w; for the transposed convolution the roles of its two channel axes are swapped."""
        inner, outer = (self.kept, self.summed) if transposed else (self.summed, self.kept)
        # w's last axis holds the groups, in x and in y alike
        return spec_of((*[()] * len(self.space), inner, self.groups + outer))

    @property
    def bias(self) -> PartitionSpec:
        """Of b."""
        return spec_of((self.made,))


def parts(mesh: Mesh | AbstractMesh, axes: Axes) -> int:
    """Product of the sizes of some mesh axes."""
    return int(np.prod([mesh.shape[axis] for axis in axes], dtype=int))


def find_mesh(caller: str, mesh: Any, **arrays: jax.Array) -> Mesh | AbstractMesh:
    """Return the mesh that is given, or that of the first array that knows its own.

    Raises:
        TypeError: what is given is no mesh.
        ValueError: there is none, or its axes are inside `shard_map`.
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
    found = getattr(array, "sharding", None)  # NumPy's arrays have none
    return found if isinstance(found, NamedSharding) else None


def find_spec(
    caller: str, name: str, given: Any, array: jax.Array, mesh: Mesh | AbstractMesh
) -> tuple[Axes, ...]:
    """Return the mesh axes of each dimension, from what is given or from the array itself.

    Raises:
        TypeError: what is given is no PartitionSpec.
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


def lay_out(
    caller: str,
    spec: ConvSpec,
    mesh: Mesh | AbstractMesh,
    x: tuple[Axes, ...],
    w: tuple[Axes, ...],
    *,
    x_name: str,
    channels: tuple[int, int],
) -> Layout:
    """Settle the layout of a convolution from what its operands say.

    Args:
        caller: the public function's name, for the messages.
        spec: the geometry.
        mesh: the mesh.
        x: mesh axes of each dimension of x, or of y in a transposed convolution.
        w: mesh axes of each dimension of w.
        x_name: "x" or "y".
        channels: how many are summed over, how many are made; of all groups together.

    Raises:
        ValueError: the channels do not fall into such parts.
    """
    rank = spec.rank
    *lead, own = x
    batch, space = tuple(lead[: len(lead) - rank]), tuple(lead[len(lead) - rank :])
    taken = {axis for axes in lead for axis in axes}
    other, made = (w[-1], w[-2]) if x_name == "y" else (w[-2], w[-1])
    count = spec.groups
    if count > 1:
        groups = own
        while count % parts(mesh, groups):
            groups = groups[:-1]
        within = own[len(groups) :]
        _check_divides(caller, mesh, own, channels[0], x_name)
        if within and parts(mesh, groups) != count:
            number = parts(mesh, own)
            even = channels[1] % number == 0
            cuts = math.lcm(count, number) // count
            return Layout(mesh, batch, space, own, (), (), even, cuts)
        # one group to a part of these axes, which the others cut into parts that are summed
        groups, kept = _grouped(
            mesh, count, groups, channels[1], w=w, taken=(*taken, *own), of=x_name
        )
        return Layout(mesh, batch, space, groups, within, kept, False)
    summed = own or tuple(axis for axis in other if axis not in taken)
    _check_divides(caller, mesh, summed, channels[0], x_name)
    kept = tuple(axis for axis in made if axis not in taken)
    # jax.lax.psum_scatter counts devices in the mesh's order of axes
    ordered = tuple(axis for axis in mesh.axis_names if axis in summed)
    scattered = bool(summed) and kept == summed == ordered
    scattered = scattered and channels[1] % parts(mesh, kept) == 0
    kept = tuple(axis for axis in kept if axis not in summed)
    if channels[1] % parts(mesh, kept):
        kept = ()
    return Layout(mesh, batch, space, (), summed, kept, scattered)


def _grouped(
    mesh: Any, count: int, groups: Axes, made: int, *, w: Any, taken: Any, of: str
) -> tuple[Axes, Axes]:
    """Return the axes of the groups and of the channels kept, with those that w adds for free."""
    rest = tuple(axis for axis in w[-1] if axis not in taken)
    while rest and count % parts(mesh, groups + rest[:1]) == 0:
        groups, rest = groups + rest[:1], rest[1:]
    here = count // parts(mesh, groups)
    if of == "y":  # the channels that a transposed convolution makes are w's first
        rest = tuple(axis for axis in w[-2] if axis not in taken and axis not in groups)
        even = here == 1
    else:
        even = parts(mesh, rest) % here == 0  # each device makes channels of one group
    return groups, rest if even and made % (count // here * parts(mesh, rest)) == 0 else ()


def _check_divides(caller: str, mesh: Any, axes: Axes, channels: int, name: str) -> None:
    if channels % parts(mesh, axes):
        raise ValueError(
            f"{caller}: {name} has {channels} channels, which {parts(mesh, axes)} devices (mesh "
            f"axes {axes}) do not share evenly"
        )


def axes_of(entry: Any) -> Axes:
    """Return the mesh axes that one entry of a PartitionSpec names."""
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


def spec_of(entries: tuple[Axes, ...]) -> PartitionSpec:
    """Trailing dimensions that are whole are named too: explicit meshes compare them."""
    return PartitionSpec(
        *(axes[0] if len(axes) == 1 else axes if axes else None for axes in entries)
    )
