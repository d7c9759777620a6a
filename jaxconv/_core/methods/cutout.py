"""Windows of an array that are zero outside it, for loops over blocks without a padded copy."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Window(NamedTuple):
    """Along one axis: `size` elements from `start` on, a traced int32 from `least` to `most`."""

    start: jax.Array
    size: int
    least: int
    most: int


def cutout(a: jax.Array, windows: Mapping[int, Window]) -> jax.Array:
    """Take the windows of some axes, and the others whole.

    Args:
        a: any array.
        windows: by axis; they may begin and end outside the array.
    """
    zero = np.int32(0)  # literals would be int64 where 64-bit types are on
    inside: list[jax.Array | np.int32] = [zero] * a.ndim
    places: list[jax.Array | np.int32] = [zero] * a.ndim
    taken, sizes, pads = list(a.shape), list(a.shape), [(0, 0, 0)] * a.ndim
    for axis, (start, size, least, most) in windows.items():
        sizes[axis], taken[axis] = size, min(size, a.shape[axis])
        last = a.shape[axis] - taken[axis]
        at = lax.clamp(zero, start, np.int32(last)) if least < 0 or most > last else start
        before = max(-least, 0)
        inside[axis], places[axis] = at, np.int32(before) - (at - start)
        pads[axis] = (before, size - taken[axis] + max(most - last, 0), 0)
    block = lax.dynamic_slice(a, inside, taken, allow_negative_indices=False)
    if all(pad == (0, 0, 0) for pad in pads):
        return block
    block = lax.pad(block, jnp.zeros((), a.dtype), pads)
    return lax.dynamic_slice(block, places, sizes, allow_negative_indices=False)
