"""How the arrays of one convolution are sharded over a mesh.

Each index class of the trilinear form (`primitive`) is on two of the arrays, so the shardings of x
and w determine all others:

| class | on | sharded as | costs |
|---|---|---|---|
| batch | x, y | in x | nothing |
| space | x, y | in x | a halo |
| channels summed over | x, w | in x, else in w | a sum of partial results (see `cuts`) |
| channels kept | w, y | in w | nothing |
| groups | x, w, y | in x, else in w | nothing |
| kernel | w | not: every device needs the whole | w is gathered if it is sharded |

A mesh axis serves one class: x goes before w.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.partition.halos import Line, Ring

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
        scattered: whether each device keeps its part of the channels of the sum over `summed`, or
            over the parts of split groups.
        cuts: number of parts into which the mesh splits the channels summed over of each group;
            `groups` then shards the parts of all groups.
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
        """How many groups of x a device holds if it computes channels of one of them, else 1."""
        return groups // self.parts(self.groups) if groups > 1 and self.kept else 1

    def parts(self, axes: Axes) -> int:
        """Number of parts of a dimension that is sharded over these mesh axes."""
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

    def ring(self, axes: Axes) -> Ring:
        """Return the devices along some axes, and which of them holds each part."""
        ordered = _ordered(self.mesh, axes)
        numbers = np.arange(self.parts(axes)).reshape([self.mesh.shape[a] for a in ordered])
        numbers = numbers.transpose([ordered.index(a) for a in axes])
        return Ring(axes, ordered, tuple(map(int, numbers.flat)))

    @property
    def operand(self) -> PartitionSpec:
        """Sharding of x, or of y in a transposed convolution."""
        return spec_of((*self.batch, *self.space, self.groups + self.summed))

    @property
    def result(self) -> PartitionSpec:
        """Sharding of y, or of x in a transposed convolution."""
        return spec_of((*self.batch, *self.space, self.made))

    @property
    def made(self) -> Axes:
        """Mesh axes of the result's channels."""
        if self.cuts > 1:
            return self.groups if self.scattered else ()
        return self.groups + (self.summed if self.scattered else self.kept)

    def kernel(self, *, transposed: bool) -> PartitionSpec:
        """Sharding of w; a transposed convolution swaps the roles of its two channel axes."""
        inner, outer = (self.kept, self.summed) if transposed else (self.summed, self.kept)
        # w's last axis holds the groups, in x and in y alike
        return spec_of((*[()] * len(self.space), inner, self.groups + outer))

    @property
    def bias(self) -> PartitionSpec:
        """Sharding of the bias."""
        return spec_of((self.made,))


def parts(mesh: Mesh | AbstractMesh, axes: Axes) -> int:
    """Product of the sizes of some mesh axes."""
    return int(np.prod([mesh.shape[axis] for axis in axes], dtype=int))


def _ordered(mesh: Mesh | AbstractMesh, axes: Axes) -> Axes:
    """Axes in the mesh's order, by which JAX's collectives count devices."""
    return tuple(axis for axis in mesh.axis_names if axis in axes)


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
    """Return the layout of a convolution that follows from the shardings of its operands.

    Args:
        caller: the public function's name, for the messages.
        spec: the geometry.
        mesh: the mesh.
        x: mesh axes of each dimension of x, or of y in a transposed convolution.
        w: mesh axes of each dimension of w.
        x_name: "x" or "y".
        channels: numbers of channels summed over and of channels computed, of all groups.

    Raises:
        ValueError: the mesh axes do not divide the channels.
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
        # one group to each part along these axes; the others split it into parts that are summed
        groups, kept = _grouped(
            mesh, count, groups, channels[1], w=w, taken=(*taken, *own), of=x_name
        )
        even = not kept and channels[1] % parts(mesh, own) == 0
        scattered = bool(within) and even and within == _ordered(mesh, within)
        return Layout(mesh, batch, space, groups, within, kept, scattered)
    summed = own or tuple(axis for axis in other if axis not in taken)
    _check_divides(caller, mesh, summed, channels[0], x_name)
    kept = tuple(axis for axis in made if axis not in taken)
    scattered = bool(summed) and kept == summed == _ordered(mesh, summed)
    scattered = scattered and channels[1] % parts(mesh, kept) == 0
    kept = tuple(axis for axis in kept if axis not in summed)
    if channels[1] % parts(mesh, kept):
        kept = ()
    return Layout(mesh, batch, space, (), summed, kept, scattered)


def _grouped(
    mesh: Any, count: int, groups: Axes, made: int, *, w: Any, taken: Any, of: str
) -> tuple[Axes, Axes]:
    """Return the axes of the groups and of the channels kept, with those that w adds at no cost."""
    rest = tuple(axis for axis in w[-1] if axis not in taken)
    while rest and count % parts(mesh, groups + rest[:1]) == 0:
        groups, rest = groups + rest[:1], rest[1:]
    here = count // parts(mesh, groups)
    if of == "y":  # a transposed convolution computes w's first channels
        rest = tuple(axis for axis in w[-2] if axis not in taken and axis not in groups)
        even = here == 1
    else:
        even = parts(mesh, rest) % here == 0  # each device computes channels of one group
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
    """Return the PartitionSpec, with trailing entries too: explicit meshes need them."""
    return PartitionSpec(
        *(axes[0] if len(axes) == 1 else axes if axes else None for axes in entries)
    )
