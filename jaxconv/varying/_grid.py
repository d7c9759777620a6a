"""An even grid of nodes over an array, the hats between them, and the cells that they bound.

Along an axis of n elements, node j of g lies at element `j (n - 1) / (g - 1)`, so that the first
and the last element are nodes. Its hat is 1 there and falls to 0 at its two neighbours, in a
straight line; at every element the hats sum to 1. A single node has the hat 1 everywhere. Cell c is
what lies from node c on, before node c + 1 (the last cell has its end too): in it two hats are
not 0.

Cells differ in size by one element at most. Arrays by cell have the size of the largest, S; in
others the last element is the next cell's first, and its weights are 0.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.messages import shown


class Line(NamedTuple):
    """The nodes along one axis; all that is returned is NumPy's.

    Attributes:
        size: number of elements, n.
        nodes: number of nodes, g; 1, or at least 2 of at most n.
    """

    size: int
    nodes: int

    @property
    def cells(self) -> int:
        """Number of cells."""
        return max(self.nodes - 1, 1)

    @property
    def corners(self) -> int:
        """Number of hats in a cell that are not 0."""
        return min(self.nodes, 2)

    @property
    def starts(self) -> np.ndarray:
        """(cells,), the first element of each cell."""
        return -(-np.arange(self.cells) * (self.size - 1) // self.cells)

    @property
    def span(self) -> int:
        """S, the number of elements of the largest cell, which the last one is."""
        return (self.size - 1) // self.cells + 1

    def windows(self, more: int = 0) -> np.ndarray:
        """(cells, S + more), the elements from each start, of an axis of n + more elements."""
        return self.starts[:, None] + np.arange(self.span + more)

    @property
    def places(self) -> np.ndarray:
        """(n,), where each element lies in the flat (cells, S)."""
        element = np.arange(self.size)
        cell = np.searchsorted(self.starts, element, side="right") - 1
        return cell * self.span + element - self.starts[cell]

    @property
    def weights(self) -> np.ndarray:
        """(cells, S, corners), the hats of the nodes that bound a cell, 0 beyond its end."""
        if self.nodes == 1:
            return np.ones((1, self.size, 1))
        element = self.windows()
        ends = np.append(self.starts[1:], self.size)[:, None]
        # in integers, so that nodes that are elements have 0 and 1 exactly
        above = element * self.cells - np.arange(self.cells)[:, None] * (self.size - 1)
        share = above / (self.size - 1)
        return np.where((element < ends)[..., None], np.stack([1 - share, share], -1), 0.0)

    @property
    def hats(self) -> np.ndarray:
        """(n, g), every hat at every element."""
        if self.nodes == 1:
            return np.ones((self.size, 1))
        away = np.arange(self.size)[:, None] * self.cells - np.arange(self.nodes) * (self.size - 1)
        return np.maximum(0.0, 1 - np.abs(away) / (self.size - 1))

    @property
    def reaches(self) -> tuple[np.ndarray, np.ndarray]:
        """(g, N) twice, elements around each node and its hat there: all where it is not 0."""
        ends = np.append(self.starts, self.size)
        node = np.arange(self.nodes)
        first = ends[np.maximum(node - 1, 0)]
        last = ends[np.minimum(node + 1, self.cells)]
        every = first[:, None] + np.arange((last - first).max())
        inside = every < self.size
        every = np.minimum(every, self.size - 1)
        return every, np.where(inside, self.hats[every, node[:, None]], 0.0)


def lines_of(caller: str, name: str, shape: Sequence[int], grid: Sequence[int]) -> tuple[Line, ...]:
    """Return the nodes along every axis.

    Raises:
        ValueError: an axis has no node, or more than elements.
    """
    for axis, (size, nodes) in enumerate(zip(shape, grid, strict=True)):
        if not 1 <= nodes <= size:
            raise ValueError(
                f"{caller}: grid={tuple(grid)} must have from 1 to {size} nodes along axis {axis} "
                f"of {name} ({name}.shape={tuple(shape)})"
            )
    return tuple(map(Line, shape, grid))


def split(
    caller: str, kernels: jax.Array, rank: int, name: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the grid and the kernel's size of kernels (*grid, *kernel).

    Raises:
        ValueError: the rank is not twice that of `name`, or an axis is empty.
    """
    if not rank or kernels.ndim != 2 * rank:
        raise ValueError(
            f"{caller}: kernels.shape={kernels.shape} must be (*grid, *kernel), "
            f"{2 * rank} axes for the {rank} of {name}"
        )
    if 0 in kernels.shape:
        raise ValueError(f"{caller}: kernels is empty (kernels.shape={kernels.shape})")
    return kernels.shape[:rank], kernels.shape[rank:]


def kernel_at(
    kernels: jax.Array | np.ndarray, position: jax.Array | np.ndarray, shape: Sequence[int]
) -> jax.Array:
    """Return the kernel at a place, interpolated between the nodes.

    `K(p) = sum over nodes j of h_j(p) K_j`, h_j(p) the product over axes of
    `max(0, 1 - |p (g - 1) / (n - 1) - j|)`; 1 along an axis with one node

    Args:
        kernels: (*grid, *kernel), floating point or complex.
        position: (..., rank) in elements, 0 the first, along the axes in their order; places
            beyond the first and last element count as these.
        shape: n, of the array that the grid lies over: of the input with at="input", of the output
            with at="output".

    Returns:
        (..., *kernel), in kernels' dtype.

    Raises:
        TypeError: kernels or position is not an array of numbers.
        ValueError: the ranks of kernels, position and shape do not fit, or the grid has more nodes
            than elements.

    Example:
        >>> kernels = jnp.array([[0.0, 1.0], [1.0, 0.0]])  # two nodes, kernels of two elements
        >>> kernel_at(kernels, [25.0], (101,))
        Array([0.25, 0.75], dtype=float32)
    """
    kernels = as_array("kernel_at", "kernels", kernels)
    position = as_array("kernel_at", "position", position)
    shape = tuple(shape)
    grid, _ = split("kernel_at", kernels, len(shape), "shape")
    lines = lines_of("kernel_at", "the array", shape, grid)
    if position.ndim < 1 or position.shape[-1] != len(shape):
        raise ValueError(
            f"kernel_at: position.shape={position.shape} must end with {len(shape)}, one "
            f"coordinate an axis of shape={shape}"
        )
    return _kernel_at(kernels, position, lines)


def inexact(caller: str, name: str, array: jax.Array) -> jax.Array:
    """Return an array that is floating point or complex.

    Raises:
        TypeError: it has another dtype.
    """
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        raise TypeError(
            f"{caller}: {name} must be floating point or complex, got {name}.dtype={array.dtype}: "
            f"convert it, as in {name}.astype('float32')"
        )
    return array


def sizes(caller: str, name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Return one integer of 1 or more an axis from one for all, or one each.

    Raises:
        ValueError: it is not such.
    """
    found = (value,) * rank if isinstance(value, int | np.integer) else tuple(value)
    if len(found) != rank or not all(isinstance(n, int | np.integer) and n >= 1 for n in found):
        raise ValueError(
            f"{caller}: {name}={shown(value)} must be an integer of 1 or more, or one for each of "
            f"the {rank} axes of x"
        )
    return tuple(map(int, found))


@functools.partial(jax.jit, static_argnames="lines")
def _kernel_at(kernels: jax.Array, position: jax.Array, lines: tuple[Line, ...]) -> jax.Array:
    real = jnp.finfo(kernels.dtype).dtype
    where = position.shape[:-1]
    places = position.reshape(-1, len(lines)).astype(real)
    rest = math.prod(kernels.shape[len(lines) :])
    found = jnp.broadcast_to(kernels.reshape(1, -1), (len(places), kernels.size))
    for axis, line in enumerate(lines):
        at = jnp.clip(places[:, axis], 0, line.size - 1)
        place = at[:, None] * (line.cells / max(line.size - 1, 1))
        hats = jnp.maximum(0.0, 1.0 - jnp.abs(place - jnp.arange(line.nodes, dtype=real)[None]))
        hats = jnp.ones_like(hats) if line.nodes == 1 else hats
        hats = hats.astype(kernels.dtype)
        # (places, nodes of this axis, all that follows)
        found = found.reshape(len(places), line.nodes, found.shape[1] // line.nodes)
        found = jnp.sum(hats[:, :, None] * found, axis=1)
    assert found.shape[1] == rest
    return found.reshape(*where, *kernels.shape[len(lines) :])
