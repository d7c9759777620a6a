"""A strided convolution as several unstrided ones, one a residue of positions modulo the stride.

Output t and kernel entry k meet the element t s + k d of the padded input. Entries with the same
remainder of k d modulo s read only the elements of that remainder: every s-th, which is an input of
its own, with a kernel of its own and stride 1. Its slices are contiguous, unlike strided slices
of x.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.geometry.spec import ConvSpec


class Residue(NamedTuple):
    """The kernel's entries of one remainder, along one dimension.

    Entry number j is k = first + j step; it reads element t + offset + j dilation of the elements
    that leave the remainder `phase`.
    """

    phase: int
    first: int
    step: int
    number: int
    offset: int
    dilation: int


def residues(kernel: int, stride: int, dilation: int) -> list[Residue]:
    """Split a kernel along one dimension.

    >>> residues(3, 2, 1)[0]
    Residue(phase=0, first=0, step=2, number=2, offset=0, dilation=1)
    """
    common = math.gcd(stride, dilation)
    step = stride // common
    return [
        Residue(
            first * dilation % stride,
            first,
            step,
            -(-(kernel - first) // step),
            first * dilation // stride,
            dilation // common,
        )
        for first in range(min(step, kernel))
    ]


def each(spec: ConvSpec) -> Iterator[tuple[Residue, ...]]:
    """Every combination of residues, one a dimension."""
    dimensions = zip(spec.kernel_size, spec.stride, spec.dilation, strict=True)
    return itertools.product(*(residues(*dimension) for dimension in dimensions))


def tap(k: Sequence[int], spec: ConvSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which remainder kernel entry k reads, and from which of its elements on, a dimension."""
    places = [at * d for at, d in zip(k, spec.dilation, strict=True)]
    phase = tuple(place % s for place, s in zip(places, spec.stride, strict=True))
    return phase, tuple(place // s for place, s in zip(places, spec.stride, strict=True))


def reach(spec: ConvSpec) -> tuple[int, ...]:
    """Elements of one remainder that the kernel reaches beyond its first, a dimension."""
    return tuple(
        (k - 1) * d // s
        for k, s, d in zip(spec.kernel_size, spec.stride, spec.dilation, strict=True)
    )


def subkernel(w: jax.Array, entries: Sequence[Residue], *, axis: int) -> jax.Array:
    """The part of w that holds these entries; its kernel dimensions start at `axis`."""
    every = (slice(entry.first, None, entry.step) for entry in entries)
    return w[(slice(None),) * axis + tuple(every)]


def phases(x: jax.Array, spec: ConvSpec, *, axis: int) -> dict[tuple[int, ...], jax.Array]:
    """Pad x and split it: the elements of each remainder that a kernel entry reads.

    Args:
        x: its spatial dimensions start at `axis`.
        spec: the geometry.
        axis: the first spatial dimension.

    Returns:
        an array a remainder, of spatial shape output_size + reach.
    """
    whole = tuple(m + q for m, q in zip(spec.output_size, reach(spec), strict=True))
    if math.prod(spec.stride) == 1 and whole == spec.input_size and not any(map(any, spec.padding)):
        return {(0,) * spec.rank: x}  # a barrier would copy it
    pads = [(0, 0, 0)] * x.ndim
    for dim, (n, m, s, (lo, _)) in enumerate(
        zip(spec.input_size, whole, spec.stride, spec.padding, strict=True)
    ):
        pads[axis + dim] = (lo, m * s - n - lo, 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), pads)
    parts = {}
    for entries in each(spec):
        phase = tuple(entry.phase for entry in entries)
        every = (slice(p, None, s) for p, s in zip(phase, spec.stride, strict=True))
        parts[phase] = x[(slice(None),) * axis + tuple(every)]
    # materialised once: fused into each tap, the padding would be computed again for each
    return lax.optimization_barrier(parts)


def turned(spec: ConvSpec) -> ConvSpec:
    """Return the unstrided geometry that computes x from y with the flipped kernel."""
    pads = []
    for n, m, k, d, (lo, _) in zip(
        spec.input_size,
        spec.output_size,
        spec.kernel_size,
        spec.dilation,
        spec.padding,
        strict=True,
    ):
        before = (k - 1) * d - lo
        pads.append((before, n + (k - 1) * d - m - before))
    return ConvSpec(
        spec.stride, spec.dilation, tuple(pads), spec.groups, spec.output_size, spec.kernel_size
    )


def interleave(parts: dict[tuple[int, ...], jax.Array], spec: ConvSpec, *, axis: int) -> jax.Array:
    """Undo `phases`: an array of spatial shape input_size from one a remainder.

    Remainders that no kernel entry reads are zero, and so is what lies beyond the last output.
    """
    shape = next(iter(parts.values())).shape
    if all(s == 1 for s in spec.stride):
        (x,) = parts.values()
    else:
        zeros = jnp.zeros(shape, next(iter(parts.values())).dtype)
        stacked = jnp.stack([parts.get(phase, zeros) for phase in _remainders(spec)], axis)
        # (before, s0 s1 .., m0, m1, .., after) -> (before, m0, s0, m1, s1, .., after)
        rank = spec.rank
        stacked = stacked.reshape(*shape[:axis], *spec.stride, *shape[axis:])
        order = [axis + d + r for d in range(rank) for r in (rank, 0)]
        tail = range(axis + 2 * rank, stacked.ndim)
        stacked = stacked.transpose(*range(axis), *order, *tail)
        sizes = (m * s for m, s in zip(shape[axis:], spec.stride, strict=False))
        x = stacked.reshape(*shape[:axis], *sizes, *shape[axis + rank :])
    crop = [(0, 0, 0)] * x.ndim
    for dim, (n, (lo, _)) in enumerate(zip(spec.input_size, spec.padding, strict=True)):
        crop[axis + dim] = (-lo, n + lo - x.shape[axis + dim], 0)
    return lax.pad(x, jnp.zeros((), x.dtype), crop)


def _remainders(spec: ConvSpec) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, spec.stride))
