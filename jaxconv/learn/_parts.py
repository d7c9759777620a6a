"""One device's part of an image and its output, for the sums of least squares.

A device holds the windows that its own part of the output reads. If the mesh does not divide the
output, the last parts reach beyond its end: `real` and `masks` exclude the padding there.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.dtypes import with_bias
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv.learn._gram import embedded, gram, window_mask, window_masks, window_sums
from jaxconv.learn._places import Place
from jaxconv.learn._weighted import weighted_gram, weighted_sums


class Part(NamedTuple):
    """The windows of a device.

    Attributes:
        x: (n, *read, in), with margins.
        spec: the geometry of the convolution of x, without padding.
        masks: for each dimension (kernel, read): 1 at the k-th element of a window.
        real: (n, *space', 1), 1 at outputs and 0 at padding; None without padding.
        weights: (n, *space', 1), 0 at padding; None if all outputs count once.
    """

    x: jax.Array
    spec: ConvSpec
    masks: list[Any]
    real: jax.Array | None
    weights: jax.Array | None = None

    def only(self, array: jax.Array) -> jax.Array:
        """Set padding to zero."""
        return array if self.real is None else array * self.real

    def weighted(self, array: jax.Array) -> jax.Array:
        """Multiply by the weights."""
        return array if self.weights is None else array * self.weights

    def moments(self, halves: int) -> tuple[jax.Array, jax.Array]:
        """Sum the windows (halves, g, p), and the products of their entries (g, p, p)."""
        if self.weights is None:
            sums = [window_sums(x, self.spec, self.masks) for x in jnp.split(self.x, halves)]
            return jnp.stack(sums), gram(self.x, self.spec, self.masks)
        both = zip(jnp.split(self.x, halves), jnp.split(self.weights, halves), strict=True)
        sums = [weighted_sums(x, self.spec, weights) for x, weights in both]
        return jnp.stack(sums), weighted_gram(self.x, self.spec, self.weights)

    def less(self, mean: jax.Array) -> "Part":
        """Subtract a mean from x, except from images that are padding."""
        x = with_bias(self.x, -mean)
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
    weights: jax.Array | None = None,
) -> Part:
    """Return the windows of this device; call it inside `shard_map` if there is a mesh.

    Args:
        x: the device's part of (*batch, *space, in).
        batch: the batch dimensions of the whole array.
        spec: the geometry of the whole array.
        padding_mode: as in `jaxconv.conv`.
        place: the mesh and the sharding of the whole array.
        dtype: of the result.
        weights: the device's part of (*batch, *space', 1), 0 at padding; or None.
    """
    if weights is not None:
        weights = weights.astype(dtype).reshape(-1, *weights.shape[-spec.rank - 1 :])
    if place.mesh is None:
        window, left = embedded(x.astype(dtype), spec, padding_mode)
        return Part(window, left, window_masks(left, dtype), None, weights)
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
    return Part(window, left, masks, real, weights)
