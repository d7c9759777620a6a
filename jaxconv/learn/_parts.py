"""One device's part of an image and its output, for the sums of least squares.

A device holds the windows that its own part of the output reads. If the mesh does not divide the
output, the last parts reach beyond its end: `real` and `masks` exclude the padding there.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.spec import ConvSpec
from jaxconv.learn._gram import embedded, window_mask, window_masks
from jaxconv.learn._places import Place


class Part(NamedTuple):
    """The windows of a device.

    Attributes:
        x: (n, *read, in), with margins.
        spec: the geometry of the convolution of x, without padding.
        masks: for each dimension (kernel, read): 1 at the k-th element of a window.
        real: (n, *space', 1), 1 at outputs and 0 at padding; None without padding.
    """

    x: jax.Array
    spec: ConvSpec
    masks: list[Any]
    real: jax.Array | None

    def only(self, array: jax.Array) -> jax.Array:
        """Set padding to zero."""
        return array if self.real is None else array * self.real

    def less(self, mean: jax.Array) -> "Part":
        """Subtract a mean from x, except from images that are padding."""
        x = self.x - mean
        if self.real is not None:
            axes = tuple(range(1, x.ndim))
            x = x * jnp.max(self.real, axes, keepdims=True)
        return self._replace(x=x)


def part_of(
    x: jax.Array,
    batch: tuple[int, ...],
    spec: ConvSpec,
    padding_mode: str,
    place: Place,
    dtype: Any,
) -> Part:
    """Return the windows of this device; call it inside `shard_map` if there is a mesh.

    Args:
        x: the device's part of (*batch, *space, in).
        batch: the batch dimensions of the whole array.
        spec: the geometry of the whole array.
        padding_mode: as in `jaxconv.conv`.
        place: the mesh and the sharding of the whole array.
        dtype: of the result.
    """
    if place.mesh is None:
        window, left = embedded(x.astype(dtype), spec, padding_mode)
        return Part(window, left, window_masks(left, dtype), None)
    plan = place.plan(spec, padding_mode)
    window, left = embedded(plan.window(x).astype(dtype), plan.local, "zeros")
    real, along = jnp.ones((), bool), []
    for size, axes in zip((*batch, *spec.output_size), place.axes, strict=True):
        number = place.parts(axes)
        block = -(-size // number)
        here = lax.axis_index(axes) if axes else jnp.int32(0)
        inside = here * block + jnp.arange(block, dtype=jnp.int32) < size
        real = real[..., None] & jnp.expand_dims(inside, tuple(range(real.ndim)))
        # the number of outputs on each device along these axes, and the index of this device
        along.append(([min(max(size - n * block, 0), block) for n in range(number)], here))
    masks = []
    for dimension, (counts, here) in enumerate(along[len(batch) :]):
        each = [window_mask(left, dimension, dtype, n) for n in counts]
        masks.append(each[0] if len(each) == 1 else jnp.asarray(np.stack(each))[here])
    real = real.reshape(-1, *left.output_size, 1).astype(dtype)
    return Part(window, left, masks, real)
