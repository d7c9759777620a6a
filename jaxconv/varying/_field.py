"""The two ways to apply kernels of a grid, patch by patch, and their arrays by cell.

With m outputs along an axis and kernels of k elements, x of m + k - 1 elements:

    gathered:  y[t] = sum over j, a of h_j(t) K_j[a] x[t + a]        m + k - 1 -> m
    spread:    z[p] = sum over j, t of h_j(t) K_j[p - t] y[t]        m -> m + k - 1

Each is the other's adjoint. In a cell only the kernels at its corners have a part, so the patch
that a cell reads is correlated with these, two to the power of the rank, and the results are added
under their hats: as many products as that many plain correlations, however many nodes there are.
All cells' patches have one size, and are taken one after another: a plane and a kernel at a time is
what methods are fastest at, and no array is longer than x but by what patches overlap.
"""

import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._functional.planes import convolve, correlate
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
        """(*wide) -> (cells, *patch), what the outputs of every cell read."""
        return by_windows(x, self._patches)

    def gathered(self, patches: jax.Array, kernels: jax.Array) -> jax.Array:
        """`cut` patches and (*grid, *kernel) -> (*size); linear in each."""

        def cell(arrays: Any) -> jax.Array:
            patch, corners, weights = arrays
            parts = [
                correlate(patch, corner, method=self.method) * weight
                for corner, weight in self._at_corners(corners, weights)
            ]
            return functools.reduce(operator.add, parts)

        y = jax.lax.map(cell, (patches, self._corners(kernels), self._weights(patches.dtype)))
        cells = [line.cells for line in self.lines]
        # (cells, *span) -> (cells, span, cells, span, ...) -> (cells * span, ...)
        order = [axis for n in range(self.rank) for axis in (n, self.rank + n)]
        y = y.reshape(*cells, *y.shape[1:]).transpose(order)
        y = y.reshape([line.cells * line.span for line in self.lines])
        for axis, line in enumerate(self.lines):
            if y.shape[axis] != line.size:
                y = taken(y, line.places, axis, unique=True)
        return y

    def parted(self, y: jax.Array) -> jax.Array:
        """(*size) -> (cells, *span), every cell's own part, zeros beyond its end."""
        cut = by_windows(y, [line.windows() for line in self.lines])
        own = np.ones((), bool)
        for line in self.lines:  # (cells, S) for one axis after another
            own = own[..., None, None] & line.own
        order = [2 * n for n in range(self.rank)] + [2 * n + 1 for n in range(self.rank)]
        own = own.transpose(order).reshape(cut.shape)
        return cut if own.all() else jnp.where(own, cut, jnp.zeros((), cut.dtype))

    def spread(self, parts: jax.Array, kernels: jax.Array) -> jax.Array:
        """`parted` y and (*grid, *kernel) -> (*wide); linear in each."""

        def cell(arrays: Any) -> jax.Array:
            part, corners, weights = arrays
            patches = [
                convolve(part * weight, corner, mode="full", method=self.method)
                for corner, weight in self._at_corners(corners, weights)
            ]
            return functools.reduce(operator.add, patches)

        patches = jax.lax.map(cell, (parts, self._corners(kernels), self._weights(parts.dtype)))
        wide = jax.ShapeDtypeStruct(self.wide, patches.dtype)
        return jax.linear_transpose(self.cut, wide)(patches)[0]

    def constant(self, values: jax.Array) -> jax.Array:
        """(*grid) -> (*size): what a number at each node is between them."""
        for line in self.lines:
            hats = jnp.asarray(line.hats, values.dtype)
            # the first axis goes to the end, once for each axis
            values = jnp.tensordot(values, hats, ((0,), (1,)), precision="highest")
        return values

    @property
    def _patches(self) -> list[np.ndarray]:
        extras = [k - 1 for k in self.kernel]
        return [line.windows(more) for line, more in zip(self.lines, extras, strict=True)]

    def _corners(self, kernels: jax.Array) -> jax.Array:
        """(*grid, *kernel) -> (cells, *kernel, *corners)."""
        for axis, line in enumerate(self.lines):
            # the corners along this axis become the last axis
            ends = [
                jax.lax.slice_in_dim(kernels, corner, corner + line.cells, axis=axis)
                for corner in range(line.corners)
            ]
            kernels = jnp.stack(ends, -1)
        return kernels.reshape(-1, *kernels.shape[self.rank :])

    def _weights(self, dtype: Any) -> list[jax.Array]:
        """For each axis (cells, S, corners), of all cells one after another."""
        number = np.indices([line.cells for line in self.lines]).reshape(self.rank, -1)
        each = zip(self.lines, number, strict=True)
        return [jnp.asarray(line.weights[which], dtype) for line, which in each]

    def _at_corners(
        self, kernels: jax.Array, weights: list[jax.Array]
    ) -> Iterator[tuple[jax.Array, jax.Array]]:
        """A cell's (*kernel, *corners) and (S, corners) an axis -> each corner's kernel and hat."""
        for corner in np.ndindex(*(line.corners for line in self.lines)):
            hat = jnp.ones((1,) * self.rank, kernels.dtype)
            for axis, (along, end) in enumerate(zip(weights, corner, strict=True)):
                shape = [len(along) if other == axis else 1 for other in range(self.rank)]
                hat = hat * along[:, end].reshape(shape)
            yield kernels[(..., *corner)], hat
