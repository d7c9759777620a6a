"""One contraction with its sizes, and the smaller problem with the same answer, on one device.

Two things can go before any method sees a problem. Entries at a kernel's ends that meet nothing but
padding, whatever the output, are cut off: a kernel may be many times as large as its image. Leading
dimensions of a volume along which the kernel has one entry join the batch, with the positions that
a stride reads: methods for planes are faster than methods for volumes.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.geometry.dtypes import working_dtype
from jaxconv._core.geometry.shapes import outputs_inside
from jaxconv._core.geometry.spec import Contraction, ConvSpec

# Dimensions that are left when leading ones join the batch.
PLANE = 2


class Problem(NamedTuple):
    """One contraction with all static facts about it.

    Attributes:
        contraction: the array to compute: "output" is y, "input" x, "kernel" w.
        spec: the geometry.
        batch: the batch axes' sizes multiplied.
        inputs: input channels in a group.
        outputs: output channels in a group.
        dtype: the operands' common dtype, or that of the sums where it is beyond float32.
        platform: "cpu", "gpu" or "tpu": what `jax.default_backend()` and `Device.platform` say.
        device_kind: what `Device.device_kind` says, such as "TPU v5 lite"; "" for every kind, for
            CPUs, and where it is unknown.
    """

    contraction: Contraction
    spec: ConvSpec
    batch: int
    inputs: int
    outputs: int
    dtype: str
    platform: str
    device_kind: str = ""

    @classmethod
    def of(
        cls,
        contraction: Contraction,
        a: Any,
        b: Any,
        spec: ConvSpec,
        *,
        dtype: Any,
        platform: str,
        device_kind: str = "",
    ) -> Problem:
        """Return the problem of two operands, arrays or abstract values.

        Args:
            contraction: the array to compute: "output" is y, "input" x, "kernel" w.
            a: x or y, with any number of batch axes.
            b: w, or y where the kernel is left out.
            spec: the geometry.
            dtype: the result's dtype.
            platform: as in the class.
            device_kind: as in the class.
        """
        batch = math.prod(a.shape[: -spec.rank - 1])
        if contraction == "input":
            inputs, outputs = b.shape[-2], a.shape[-1] // spec.groups
        else:
            inputs, outputs = a.shape[-1] // spec.groups, b.shape[-1] // spec.groups
        works_in = working_dtype(a, b, dtype)
        return cls(contraction, spec, batch, inputs, outputs, str(works_in), platform, device_kind)

    @property
    def reduced(self) -> Problem:
        """The reduced problem, which methods get on one CPU."""
        reduction = reduce(self.spec)
        batch = self.batch * math.prod(self.spec.output_size[: reduction.folded])
        return self._replace(spec=reduction.spec, batch=batch)


class Reduction(NamedTuple):
    """A reduced problem and the array transforms to and from it.

    Attributes:
        spec: its geometry.
        cut: (before, after) entries of the kernel that are cut off, a dimension.
        read: positions of the input that are read, a dimension; none stands for all.
        folded: leading dimensions that join the batch.
    """

    spec: ConvSpec
    cut: tuple[tuple[int, int], ...]
    read: tuple[range, ...]
    folded: int

    def shrink(self, name: str, array: jax.Array) -> jax.Array:
        """Return the reduced problem's array, from x or y with one batch axis, or w."""
        if name == "w":
            sizes = array.shape
            kept = (slice(lo, size - hi) for (lo, hi), size in zip(self.cut, sizes, strict=False))
            array = array[tuple(kept)]
            return array.reshape(array.shape[self.folded :])
        if name == "x" and self.read:
            start, stop, step = zip(*((r.start, r.stop, r.step) for r in self.read), strict=True)
            n, c = array.shape[0], array.shape[-1]
            array = lax.slice(array, (0, *start, 0), (n, *stop, c), (1, *step, 1))
        lead = 1 + self.folded
        return array.reshape(math.prod(array.shape[:lead]), *array.shape[lead:])

    def grow(self, name: str, array: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Return the array of the original problem: zero where nothing was computed."""
        rank = len(self.read)
        if name == "y" or not self.read:
            return array.reshape(shape)
        if name == "w":
            array = array.reshape((1,) * self.folded + array.shape)
            return _spread(array, [*((lo, hi, 0) for lo, hi in self.cut), _ALL, _ALL])
        array = array.reshape(math.prod(shape[: -rank - 1]), *map(len, self.read), shape[-1])
        sizes = shape[-rank - 1 : -1]
        around = [(r.start, n - r.stop, r.step - 1) for n, r in zip(sizes, self.read, strict=True)]
        return _spread(array, [_ALL, *around, _ALL]).reshape(shape)


_ALL = (0, 0, 0)


def _spread(array: jax.Array, config: list[tuple[int, int, int]]) -> jax.Array:
    return lax.pad(array, jnp.zeros((), array.dtype), config)


@functools.lru_cache(maxsize=1024)
def reduce(spec: ConvSpec) -> Reduction:
    """Return the smallest problem with the same answer; one of symbolic sizes as it is.

    Example:
        >>> reduce(ConvSpec((1,), (1,), ((9, 9),), 1, (4,), (19,))).spec.kernel_size
        (7,)
        >>> strided = ConvSpec((2, 1, 1), (1,) * 3, ((0, 0),) * 3, 1, (9, 8, 8), (1, 3, 3))
        >>> reduce(strided).read
        (range(0, 9, 2), range(0, 8), range(0, 8))
    """
    if spec.is_symbolic:  # nothing is known to be blind, or read
        return Reduction(spec, ((0, 0),) * spec.rank, (), 0)
    cut = tuple(_blind_ends(spec, dim) for dim in range(spec.rank))
    kernel = tuple(k - lo - hi for k, (lo, hi) in zip(spec.kernel_size, cut, strict=True))
    padding = tuple(
        (lo - before * d, hi - after * d)
        for (lo, hi), (before, after), d in zip(spec.padding, cut, spec.dilation, strict=True)
    )
    read = [range(n) for n in spec.input_size]
    folded = 0
    while spec.rank - folded > PLANE and kernel[folded] == 1:
        first, s = -padding[folded][0], spec.stride[folded]
        seen = range(first, first + (spec.output_size[folded] - 1) * s + 1, s)
        if first < 0 or seen.stop > spec.input_size[folded]:
            break  # some of the output is padding
        read[folded] = seen
        folded += 1
    smaller = ConvSpec(
        spec.stride[folded:],
        tuple(1 if k == 1 else d for k, d in zip(kernel, spec.dilation, strict=True))[folded:],
        padding[folded:],
        spec.groups,
        spec.input_size[folded:],
        kernel[folded:],
    )
    return Reduction(smaller, cut, tuple(read), folded)


def _blind_ends(spec: ConvSpec, dim: int) -> tuple[int, int]:
    """How many entries at both ends along a dimension see padding only; one entry always stays."""
    n, m, lo = spec.input_size[dim], spec.output_size[dim], spec.padding[dim][0]
    k, s, d = spec.kernel_size[dim], spec.stride[dim], spec.dilation[dim]

    def sees(entry: int) -> bool:
        return bool(outputs_inside(n, m, s, entry * d - lo))

    before = next((entry for entry in range(k) if sees(entry)), k - 1)
    after = next((entry for entry in range(k - 1 - before) if sees(k - 1 - entry)), k - 1 - before)
    return before, after
