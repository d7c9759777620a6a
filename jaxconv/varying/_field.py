"""The two ways to apply kernels of a grid, patch by patch, and their arrays by cell.

With m outputs along an axis and kernels of k elements, x of m + k - 1 elements:

    gathered:  y[t] = sum over j, a of h_j(t) K_j[a] x[t + a]        m + k - 1 -> m
    spread:    z[p] = sum over j, t of h_j(t) K_j[p - t] y[t]        m -> m + k - 1

Each is the other's adjoint. In a cell only the kernels at its corners have a part, so the patch
that a cell reads is correlated with these, two to the power of the rank, and the results are added
under their hats: as many products as that many plain correlations, however many nodes there are.
All cells' patches have one size, and are one batch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._functional.convolution import conv, conv_transpose
from jaxconv.varying._grid import Line


def taken(x: jax.Array, index: np.ndarray, axis: int, *, unique: bool = False) -> jax.Array:
    """Return elements of x along an axis, by indices that are within it.

    What clamps indices breaks where 64-bit types are enabled for a part of a program only.
    """
    at = (*(slice(None),) * axis, index.astype(np.int32))
    return x.at[at].get(mode="promise_in_bounds", unique_indices=unique)


def by_windows(x: jax.Array, windows: Sequence[np.ndarray]) -> jax.Array:
    """Cut windows from x: all combinations of those along each axis.

    Args:
        x: any shape.
        windows: for each axis (windows, elements), the indices of the elements.

    Returns:
        (all windows, *elements).
    """
    rank = x.ndim
    for axis, index in enumerate(windows):
        flat = index.reshape(-1)
        if not np.array_equal(flat, np.arange(x.shape[axis])):
            x = taken(x, flat, axis)
    x = x.reshape([n for index in windows for n in index.shape])
    order = [2 * n for n in range(rank)] + [2 * n + 1 for n in range(rank)]
    return x.transpose(order).reshape(-1, *(index.shape[1] for index in windows))


class Field(NamedTuple):
    """Where kernels apply, all that is static; hashable.

    Attributes:
        lines: the nodes along each axis; the sizes are those of the array that the hats lie over.
        kernel: size of the kernels.
        method: as in `jaxconv.conv`.
    """

    lines: tuple[Line, ...]
    kernel: tuple[int, ...]
    method: str = "auto"

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.lines)

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of nodes along each axis."""
        return tuple(line.nodes for line in self.lines)

    @property
    def size(self) -> tuple[int, ...]:
        """Of the array that the hats lie over."""
        return tuple(line.size for line in self.lines)

    @property
    def wide(self) -> tuple[int, ...]:
        """Of the array on the kernels' other side, `size + kernel - 1`."""
        return tuple(n + k - 1 for n, k in zip(self.size, self.kernel, strict=True))

    def cut(self, x: jax.Array) -> jax.Array:
        """(*wide) -> (cells, *patch, 1), what the outputs of every cell read."""
        extras = [k - 1 for k in self.kernel]
        windows = [line.windows(more) for line, more in zip(self.lines, extras, strict=True)]
        return by_windows(x, windows)[..., None]

    def gathered(self, patches: jax.Array, kernels: jax.Array) -> jax.Array:
        """`cut` patches and (*grid, *kernel) -> (*size); linear in each."""
        settings: Any = {"method": self.method, "precision": jax.lax.Precision.HIGHEST}
        y = jax.vmap(lambda x, w: conv(x, w, **settings))(patches, self._corners(kernels))
        cells = tuple(line.cells for line in self.lines)
        spans, corners = (
            tuple(getattr(line, name) for line in self.lines) for name in ("span", "corners")
        )
        y = y.reshape(*cells, *spans, *corners)
        y = jnp.sum(y * self._weights(y.dtype), tuple(range(2 * self.rank, 3 * self.rank)))
        # (*cells, *spans) -> (cells, span, cells, span, ...) -> (cells * span, ...)
        order = [axis for n in range(self.rank) for axis in (n, self.rank + n)]
        y = y.transpose(order).reshape([c * s for c, s in zip(cells, spans, strict=True)])
        for axis, line in enumerate(self.lines):
            if y.shape[axis] != line.size:
                y = taken(y, line.places, axis, unique=True)
        return y

    def weighed(self, y: jax.Array) -> jax.Array:
        """(*size) -> (cells, *span, corners), every cell's own part under its hats."""
        cut = by_windows(y, [line.windows() for line in self.lines])
        own = np.ones((), bool)
        for line in self.lines:  # (cells, S) for one axis after another
            own = own[..., None, None] & line.own
        order = [2 * n for n in range(self.rank)] + [2 * n + 1 for n in range(self.rank)]
        own = own.transpose(order).reshape(cut.shape)
        if not own.all():
            cut = jnp.where(own, cut, jnp.zeros((), cut.dtype))
        weights = self._weights(y.dtype)
        cut = cut.reshape(*weights.shape[: 2 * self.rank], *(1,) * self.rank) * weights
        return cut.reshape(*own.shape, -1)

    def spread(self, weighed: jax.Array, kernels: jax.Array) -> jax.Array:
        """`weighed` parts and (*grid, *kernel) -> (*wide); linear in each."""
        settings: Any = {"method": self.method, "precision": jax.lax.Precision.HIGHEST}
        apply = jax.vmap(lambda y, w: conv_transpose(y, w, **settings))
        patches = apply(weighed, self._corners(kernels))[..., 0]
        extras = [k - 1 for k in self.kernel]
        windows = [line.windows(more) for line, more in zip(self.lines, extras, strict=True)]
        cutting = jax.linear_transpose(
            lambda x: by_windows(x, windows), jax.ShapeDtypeStruct(self.wide, patches.dtype)
        )
        return cutting(patches)[0]

    def constant(self, values: jax.Array) -> jax.Array:
        """(*grid) -> (*size): what a number at each node is between them."""
        for line in self.lines:
            hats = jnp.asarray(line.hats, values.dtype)
            # the first axis goes to the end, once for each axis
            values = jnp.tensordot(values, hats, ((0,), (1,)), precision="highest")
        return values

    def _corners(self, kernels: jax.Array) -> jax.Array:
        """(*grid, *kernel) -> (cells, *kernel, 1, corners)."""
        for axis, line in enumerate(self.lines):
            # the corners along this axis become the last axis
            ends = [
                jax.lax.slice_in_dim(kernels, corner, corner + line.cells, axis=axis)
                for corner in range(line.corners)
            ]
            kernels = jnp.stack(ends, -1)
        return kernels.reshape(-1, *self.kernel, 1, np.prod([n.corners for n in self.lines]))

    def _weights(self, dtype: Any) -> jax.Array:
        """(*cells, *spans, *corners)."""
        weights = jnp.ones((1,) * (3 * self.rank), dtype)
        for axis, line in enumerate(self.lines):
            shape = [1] * (3 * self.rank)
            shape[axis :: self.rank] = line.weights.shape
            weights = weights * jnp.asarray(line.weights.reshape(shape), dtype)
        return weights
