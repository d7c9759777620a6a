"""The smaller convolution that has the same answer, on one device.

Two things can go before any method sees a problem. Entries at a kernel's ends that meet nothing but
padding, whatever the output, are cut off: a kernel may be many times as large as its image. Leading
dimensions of a volume along which the kernel has one entry (and neither stride nor padding) join
the batch: methods for planes are faster than methods for volumes.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.spec import ConvSpec

# Dimensions that are left when leading ones join the batch.
PLANE = 2


class Simple(NamedTuple):
    """A smaller problem and how its arrays come about.

    Attributes:
        spec: its geometry.
        cut: (before, after) entries of the kernel that are cut off, a dimension.
        folded: leading dimensions that join the batch.
    """

    spec: ConvSpec
    cut: tuple[tuple[int, int], ...]
    folded: int

    def shrink(self, name: str, array: jax.Array) -> jax.Array:
        """Return the smaller problem's array: x or y with one batch axis, or w."""
        if name == "w":
            sizes = array.shape
            kept = (slice(lo, size - hi) for (lo, hi), size in zip(self.cut, sizes, strict=False))
            array = array[tuple(kept)]
            return array.reshape(array.shape[self.folded :])
        lead = 1 + self.folded
        return array.reshape(math.prod(array.shape[:lead]), *array.shape[lead:])

    def grow(self, name: str, array: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Return the whole array of this shape; entries of w that were cut off are zero."""
        if name != "w":
            return array.reshape(shape)
        array = array.reshape((1,) * self.folded + array.shape)
        return lax.pad(
            array, jnp.zeros((), array.dtype), [*((lo, hi, 0) for lo, hi in self.cut), *_NOTHING]
        )


_NOTHING = ((0, 0, 0), (0, 0, 0))  # of the channels


@functools.lru_cache(maxsize=1024)  # every method that might serve asks for it
def simplify(spec: ConvSpec) -> Simple:
    """Return the smallest problem with the same answer.

    Example:
        >>> simplify(ConvSpec((1,), (1,), ((9, 9),), 1, (4,), (19,))).spec.kernel_size
        (7,)
    """
    cut = tuple(_blind_ends(spec, dim) for dim in range(spec.rank))
    kernel = tuple(k - lo - hi for k, (lo, hi) in zip(spec.kernel_size, cut, strict=True))
    padding = tuple(
        (lo - before * d, hi - after * d)
        for (lo, hi), (before, after), d in zip(spec.padding, cut, spec.dilation, strict=True)
    )
    folded = 0
    while spec.rank - folded > PLANE and (
        kernel[folded] == 1 and spec.stride[folded] == 1 and padding[folded] == (0, 0)
    ):
        folded += 1
    smaller = ConvSpec(
        spec.stride[folded:],
        spec.dilation[folded:],
        padding[folded:],
        spec.groups,
        spec.input_size[folded:],
        kernel[folded:],
    )
    return Simple(smaller, cut, folded)


def _blind_ends(spec: ConvSpec, dim: int) -> tuple[int, int]:
    """Entries at both ends along a dimension that see padding only; the last one stays."""
    n, m, lo = spec.input_size[dim], spec.output_size[dim], spec.padding[dim][0]
    k, s, d = spec.kernel_size[dim], spec.stride[dim], spec.dilation[dim]

    def sees(entry: int) -> bool:
        # the first output t with t s + entry d - lo >= 0
        t = max(0, -((entry * d - lo) // s))
        return t < m and t * s + entry * d - lo < n

    before = next((entry for entry in range(k) if sees(entry)), k - 1)
    after = next((entry for entry in range(k - 1 - before) if sees(k - 1 - entry)), k - 1 - before)
    return before, after
