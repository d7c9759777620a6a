"""How a vmapped axis enters the index class that its arrays share, and leaves it again.

n is shared by x and y, i by x and w, o by w and y, and g by all three.
"""

import jax.numpy as jnp


class _Join:
    """How an axis in front of an array enters one of its channel axes, and leaves it again."""

    def __init__(self, place):
        self._place = place  # array's name -> (axis it enters, whether groups stay in front of it)

    def merge(self, name, array, spec):
        axis, inside_groups = self._place[name]
        size, shape = array.shape[0], array.shape[1:]
        groups = spec.groups if inside_groups else 1
        # (v, ..., g * c, ...) -> (..., g, v, c, ...) -> (..., g * v * c, ...)
        at = len(shape) + axis
        split = (*shape[:at], groups, shape[at] // groups, *shape[at + 1 :])
        array = jnp.moveaxis(array.reshape(size, *split), 0, at + 1)
        return array.reshape(*shape[:at], size * shape[at], *shape[at + 1 :])

    def split(self, name, array, spec, size):
        axis, inside_groups = self._place[name]
        groups = spec.groups if inside_groups else 1
        at = array.ndim + axis
        channels = array.shape[at] // (groups * size)
        array = array.reshape(*array.shape[:at], groups, size, channels, *array.shape[at + 1 :])
        array = jnp.moveaxis(array, at + 1, 0)
        shape = array.shape
        return array.reshape(*shape[: at + 1], groups * channels, *shape[at + 3 :])


class _JoinBatch:
    """The n class: any number of batch axes is allowed, so the axis stays where it is."""

    def merge(self, name, array, spec):
        del name, spec
        return array

    def split(self, name, array, spec, size):
        del name, spec, size
        return array


JOIN_GROUP = _Join({"x": (-1, False), "w": (-1, False), "y": (-1, False)})
JOINS = {
    frozenset("xy"): _JoinBatch(),
    frozenset("xw"): _Join({"x": (-1, True), "w": (-2, False)}),
    frozenset("wy"): _Join({"w": (-1, True), "y": (-1, True)}),
}
