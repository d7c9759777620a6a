"""The layout of one contraction that follows from the shardings XLA gives its arrays.

Each index class of the trilinear form is sharded as in the first of its arrays that is sharded
there: x or y for batch and space, the arrays that have them for channels, and last the result,
whose sharding costs nothing where an operand is not sharded. A mesh axis serves one class. Channels
that do not divide equally are gathered along the last of their axes.
"""

import dataclasses
import math
from collections.abc import Sequence

from jax.sharding import Mesh

from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.partition.layout import Axes, Layout, lay_out, parts
from jaxconv._core.partition.plan import Plan

Entries = Sequence[Axes]


def settle(
    contraction: Contraction,
    spec: ConvSpec,
    mode: str,
    mesh: Mesh,
    a: Entries,
    b: Entries,
    made: Entries,
    *,
    channels: tuple[int, int],
) -> Plan:
    """Return the plan of a contraction for the shardings of its arrays.

    Args:
        contraction: the array to compute.
        spec: the geometry of the whole.
        mode: what lies outside x.
        mesh: the mesh.
        a: mesh axes of each dimension of the first operand.
        b: of the second.
        made: of the result, as XLA prefers it.
        channels: numbers of channels of x and of y, of all groups.
    """
    settled = _kernel if contraction == "kernel" else _layer
    return Plan(contraction, spec, settled(contraction, spec, mesh, a, b, made, channels), mode)


def _layer(
    contraction: Contraction,
    spec: ConvSpec,
    mesh: Mesh,
    a: Entries,
    w: Entries,
    made: Entries,
    channels: tuple[int, int],
) -> Layout:
    """`output` and `input`: from an array with space to one with space."""
    inner, outer = (w[-2], w[-1]) if contraction == "output" else (w[-1], w[-2])
    summed, kept = channels if contraction == "output" else channels[::-1]
    lead, taken = _lead(a, made)
    own = _dividing(mesh, _without(a[-1], taken), summed)
    free = {*taken, *own}
    if spec.groups == 1:
        inner = _dividing(mesh, _without(inner, free), summed)
        adding = own or inner
        outer = _dividing(mesh, _without(outer, taken), kept)
        wish = _without(made[-1], taken)
        if (
            wish == adding or not outer
        ):  # parts of the sum, or channels that only w is sharded along
            outer = _dividing(mesh, wish if wish == adding else _without(wish, adding), kept)
    elif not own:  # w's last axis holds the groups, in x and in y alike
        last = w[-1] or made[-1]
        last = _without(last, free)
        inner, outer = (w[-2], last) if contraction == "output" else (last, w[-2])
        inner, outer = _without(inner, free), _without(outer, free)
    ends = (inner, outer) if contraction == "output" else (outer, inner)
    layout = lay_out(
        "conv",
        spec,
        mesh,
        (*lead, own),
        (*[()] * spec.rank, *ends),
        x_name="x" if contraction == "output" else "y",
        channels=(summed, kept),
    )
    if layout.scattered and layout.cuts == 1 and made[-1] != layout.made:
        return dataclasses.replace(
            layout, scattered=False
        )  # the result is not asked to be scattered
    return layout


def _kernel(
    contraction: Contraction,
    spec: ConvSpec,
    mesh: Mesh,
    x: Entries,
    y: Entries,
    made: Entries,
    channels: tuple[int, int],
) -> Layout:
    """`kernel`: each device sums over its part of batch and space, and these sums are added up."""
    del contraction
    lead, taken = _lead(x, y)
    own, other = _without(x[-1], taken), _without(y[-1], taken)
    inputs, outputs = (count // spec.groups for count in channels)
    groups: Axes = ()
    if spec.groups > 1:
        said = own or other or _without(made[-1], taken)
        groups = _dividing(mesh, said, spec.groups)
        own, other = _without(own, groups), _without(other, groups)
        if parts(mesh, groups) != spec.groups:  # a device holds parts of several groups
            own = other = ()
    alone = spec.groups in (1, parts(mesh, groups))
    summed = _dividing(mesh, own, inputs)
    other = _without(other, summed)
    kept = _dividing(mesh, other, outputs)
    if alone:  # slicing an operand that is not sharded costs nothing
        used = {*taken, *groups, *own, *other}
        if not own:
            summed = _dividing(mesh, _without(made[-2], used), inputs)
        if not other:
            kept = _dividing(mesh, _without(made[-1], {*used, *summed}), outputs)
    rank = spec.rank
    batch, space = tuple(lead[: len(lead) - rank]), tuple(lead[len(lead) - rank :])
    return Layout(mesh, batch, space, groups, summed, kept, scattered=False)


def _lead(first: Entries, second: Entries) -> tuple[list[Axes], set[str]]:
    """Axes of batch and space, of the first array, else of the second; and the set of them."""
    said = {axis for axes in first for axis in axes}
    lead: list[Axes] = []
    for own, wish in zip(first[:-1], second[:-1], strict=True):
        lead.append(own or _without(wish, said))
        said |= set(lead[-1])
    return lead, {axis for axes in lead for axis in axes}


def _without(axes: Axes, taken: set[str] | Axes) -> Axes:
    return tuple(axis for axis in axes if axis not in taken)


def _dividing(mesh: Mesh, axes: Axes, count: int) -> Axes:
    """The first axes that divide `count` equally."""
    while axes and count % math.prod(mesh.shape[axis] for axis in axes):
        axes = axes[:-1]
    return axes
