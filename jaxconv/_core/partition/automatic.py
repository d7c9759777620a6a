"""Convolutions that partition themselves under plain `jit` over several devices.

XLA's own partitioner computes wrong values and gradients for convolutions (`docs/meshes.md`), so it
is given none. Each contraction is one operation with a partitioning rule of its own: Shardy
propagates shardings by `_rule`; for the shardings it chooses, the callback `partition` makes a plan
and writes one device's program, whose collectives name the axes of the mesh.

A sharding is read as blocks on devices, not as axes of the user's mesh, which a program need not
have. The mesh here has axes of prime sizes, so that a part of a user's axis is an axis too, and
arrays on several meshes of the same devices may meet in one program. All that matters of a device
is its number in the program.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.custom_partitioning import (
    ArrayMapping,
    CompoundFactor,
    SdyShardingRule,
    custom_partitioning,
)
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.partition.cuts import cut_kernel
from jaxconv._core.partition.layout import Axes
from jaxconv._core.partition.plan import Convolve, Plan
from jaxconv._core.partition.settle import settle


class StandIn:
    """A placeholder for a device in a `jax.sharding.Mesh`; jax 0.12 reads these two."""

    platform = device_kind = "stand-in"


@functools.cache
def stand_ins(count: int) -> tuple[StandIn, ...]:
    """Return `count` placeholders for a program's devices, in their order."""
    return tuple(StandIn() for _ in range(count))


def partitioned(
    a: jax.Array,
    b: jax.Array,
    *,
    contraction: Contraction,
    spec: ConvSpec,
    mode: str,
    dtype: Any,
    shape: tuple[int, ...],
    convolve: Convolve,
    devices: Sequence[Any],
) -> jax.Array:
    """Return one contraction, each device making its part of the result.

    Args:
        a: the first operand of the contraction, with any number of batch axes.
        b: the second one.
        contraction: the array to compute.
        spec: the geometry.
        mode: what lies outside x.
        dtype: the result's.
        shape: the result's.
        convolve: that of local arrays, zero outside x.
        devices: the program's, or `stand_ins` for them.
    """
    rank = spec.rank
    channels = {
        "output": lambda: (a.shape[-1], b.shape[-1]),
        "input": lambda: (b.shape[-2] * spec.groups, a.shape[-1]),
        "kernel": lambda: (a.shape[-1], b.shape[-1]),
    }[contraction]()
    batch = a.ndim - rank - 1

    def partition(mesh: Mesh, operands: Any, result: Any) -> Any:
        del mesh  # the user's mesh, or none
        mesh, (first, second, wish) = _read(devices, (*operands, result))
        plan = settle(contraction, spec, mode, mesh, first, second, wish, channels=channels)
        one, two = plan.operands
        if plan.cuts_kernel:
            two = PartitionSpec()

        def local(a: jax.Array, b: jax.Array) -> jax.Array:
            # one device's program, whatever mesh `jax.set_mesh` has set while this is compiled
            with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
                return _local(plan, operands, a, b, convolve, dtype)

        shardings = [NamedSharding(mesh, each) for each in (one, two)]
        return mesh, local, NamedSharding(mesh, plan.result), tuple(shardings)

    # one function a call, since the rules are those of this call; its body never runs on several
    # devices
    @custom_partitioning
    def contract(a, b):
        return lax.full(shape, np.zeros((), dtype))

    rule = _rule(contraction, spec, batch, channels)
    contract.def_partition(partition, sharding_rule=rule, decode_shardings=False)
    return contract(a, b)


def _local(
    plan: Plan, whole: Any, a: jax.Array, b: jax.Array, convolve: Convolve, dtype: Any
) -> jax.Array:
    """One device's program: clear what XLA padded to equal parts, then compute by the plan."""
    place, batch = plan.layout, len(plan.layout.batch)
    space = {batch + n: axes for n, axes in enumerate(place.space)}
    a = _cleared(a, whole[0].shape, place.mesh, space)
    if plan.contraction == "kernel":
        samples = dict(enumerate(place.batch))
        a = _cleared(a, whole[0].shape, place.mesh, samples)
        b = _cleared(b, whole[1].shape, place.mesh, {**samples, **space})
    if plan.cuts_kernel:
        b = cut_kernel(b, plan.spec.groups, place.cuts)
        width = b.shape[-1] // place.parts(place.groups)
        b = lax.dynamic_slice_in_dim(b, lax.axis_index(place.groups) * width, width, axis=-1)
    return plan.compute(a, b, convolve, dtype=dtype)


def _cleared(
    array: jax.Array, sizes: tuple[int, ...], mesh: Any, along: dict[int, Axes]
) -> jax.Array:
    """The device's block, with zeros beyond the end of dimensions that do not divide equally."""
    for axis, axes in along.items():
        count = math.prod(mesh.shape[name] for name in axes)
        if sizes[axis] % count == 0:
            continue
        block = array.shape[axis]
        place = lax.axis_index(axes) * block + lax.broadcasted_iota(np.int32, array.shape, axis)
        array = jnp.where(place < sizes[axis], array, jnp.zeros((), array.dtype))
    return array


def _rule(
    contraction: Contraction, spec: ConvSpec, batch: int, channels: tuple[int, int]
) -> SdyShardingRule:
    """The Shardy rule: which dimensions of the three arrays are sharded alike."""
    samples = [f"n{axis}" for axis in range(batch)]
    space = [f"s{axis}" for axis in range(spec.rank)]
    entries = [f"k{axis}" for axis in range(spec.rank)]
    inputs, outputs = (count // spec.groups for count in channels)
    sizes: dict[str, int] = {}

    def within(name: str, size: int) -> Any:
        if spec.groups == 1:
            return name
        if size == 1:
            return "g"
        sizes.update(g=spec.groups)
        return CompoundFactor("g", name)

    arrays = {
        "x": ArrayMapping(*samples, *space, within("i", inputs)),
        "w": ArrayMapping(*entries, "i", within("o", outputs)),
        "y": ArrayMapping(*samples, *space, within("o", outputs)),
    }
    if spec.groups > 1:
        if outputs > 1:
            sizes.update(o=outputs)
        if "g" in (within("i", inputs), within("o", outputs)):
            sizes.pop("g", None)  # known from the dimension that it is alone in
    order = {"output": "xwy", "input": "ywx", "kernel": "xyw"}[contraction]
    summed = {"output": ["i"], "input": ["o"], "kernel": [*samples, *space]}[contraction]
    if contraction == "input" and spec.groups > 1 and outputs == 1:
        summed = []
    return SdyShardingRule(
        tuple(arrays[name] for name in order[:2]),
        (arrays[order[2]],),
        reduction_factors=tuple(summed),
        need_replication_factors=tuple(entries),
        permutation_factors=() if contraction == "kernel" else tuple(space),
        **sizes,
    )


def _read(devices: Sequence[Any], arrays: Sequence[Any]) -> tuple[Mesh, list[tuple[Axes, ...]]]:
    """Return a mesh of prime axes, and the axes of each dimension of each array.

    Of the possible orders of the primes, the one for which most arrays are sharded along whole
    axes. An array that is sharded otherwise, or has no elements, counts as not sharded.
    """
    readings = []
    for sizes in dict.fromkeys(itertools.permutations(_primes(len(devices)))):
        found = [_axes(array, devices, sizes) for array in arrays]
        readings.append((sum(axes is None for axes in found), sizes, found))
    _, sizes, found = min(readings, key=lambda reading: reading[0])
    mesh = Mesh(np.array(devices).reshape(sizes), [_name(axis) for axis in range(len(sizes))])
    if any(0 in array.shape for array in arrays):
        found = [None] * len(arrays)
    whole = (((),) * len(array.shape) for array in arrays)
    return mesh, [axes or none for axes, none in zip(found, whole, strict=True)]


def _name(axis: int) -> str:
    return f"part{axis}"


def _primes(number: int) -> list[int]:
    found, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found


def _axes(array: Any, devices: Sequence[Any], sizes: tuple[int, ...]) -> tuple[Axes, ...] | None:
    """Mesh axes of each dimension, outermost first, or None if the blocks follow no axes."""
    rank, count = len(array.shape), len(devices)
    if array.sharding is None or rank == 0:
        return ((),) * rank
    # the number of each device's block, had the dimension as many elements as devices
    blocks = array.sharding.devices_indices_map((count,) * rank)
    found = []
    for dimension in range(rank):
        ends = [blocks[device][dimension].indices(count) for device in devices]
        first, last, _ = ends[0]
        number = np.array([start for start, *_ in ends]) // (last - first)
        axes = _digits(number.reshape(sizes))
        if axes is None:
            return None
        found.append(axes)
    return tuple(found)


def _digits(numbers: np.ndarray) -> Axes | None:
    """The axes whose coordinates are the digits of an array of numbers, or None."""
    steps = {}
    for axis in range(numbers.ndim):
        corner = [0] * numbers.ndim
        corner[axis] = 1
        if step := int(numbers[tuple(corner)] - numbers.flat[0]):
            steps[axis] = step
    ordered = sorted(steps, key=lambda axis: -steps[axis])
    expected, size = np.zeros_like(numbers), 1
    for axis in reversed(ordered):
        shape = [1] * numbers.ndim
        shape[axis] = numbers.shape[axis]
        expected = expected + size * np.arange(numbers.shape[axis]).reshape(shape)
        size *= numbers.shape[axis]
    return tuple(map(_name, ordered)) if np.array_equal(expected, numbers) else None
