"""Groups whose summed channels the mesh splits: each part is a group, and the results are added.

With the channels summed over in every group split into r equal parts, s = 0 .. r - 1,

    y[g, o] = sum over s of y'[g, s, o],    y'[g, s, o] = sum over i of x[g, s, i] w[g, s, i, o]

y' is the convolution of the same array x with r groups for each group of y. Devices that hold whole
parts compute their y' without communication, by as many products as before; the sum over s remains.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.partition.layout import Layout


def cut_kernel(w: jax.Array, groups: int, cuts: int) -> jax.Array:
    """Return the kernel of y': (*kernel, in // groups // cuts, groups * cuts * o).

    For the transposed convolution, which sums over w's last axis, it is w itself.
    """
    kernel, (inner, outer) = w.shape[:-2], w.shape[-2:]
    # (*kernel, in // groups, out) -> (*kernel, s, i, g, o) -> (*kernel, i, g, s, o)
    parts = w.reshape(*kernel, cuts, inner // cuts, groups, outer // groups)
    parts = jnp.moveaxis(parts, -4, -2)
    return parts.reshape(*kernel, inner // cuts, cuts * outer)


def add_up(made: jax.Array, place: Layout, groups: int) -> jax.Array:
    """Add up the y' of all devices with parts of the same groups; inside `shard_map`.

    Where every device has one part of one group, the devices of a group sum among themselves and
    each keeps its share of the sum. Otherwise a device embeds its results in zeros of y's size,
    and these are summed.

    Args:
        made: (..., local parts * o), y' of this device.
        place: the layout; its `groups` shard the parts.
        groups: of the whole convolution.

    Returns:
        (..., groups * o / devices) if the layout is scattered, else (..., groups * o).
    """
    axes, last = place.groups, made.ndim - 1
    devices = place.ring(axes)
    ring = devices.numbers
    here = groups * place.cuts // len(ring)
    teams = [ring]
    if here == 1 and place.scattered:
        teams = [ring[n : n + place.cuts] for n in range(0, len(ring), place.cuts)]
    else:
        group = (lax.axis_index(axes) * here + jnp.arange(here)) // place.cuts
        parts = made.reshape(*made.shape[:-1], here, -1)
        shape = (*made.shape[:-1], groups, parts.shape[-1])
        made = jnp.zeros(shape, made.dtype).at[..., group, :].add(parts)
        made = made.reshape(*shape[:-2], -1)
    if not place.scattered:
        return lax.psum(made, axes)
    # the n-th device of a group keeps the n-th share
    return lax.psum_scatter(
        made, devices.ordered, scatter_dimension=last, axis_index_groups=teams, tiled=True
    )
