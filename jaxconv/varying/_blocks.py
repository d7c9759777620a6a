"""The preconditioner of the joint normal equations: each node's own, and how nodes overlap.

What a node j contributes to the matrix, `sum over t of h_j(t)^2 w(t) x[t + a] x[t + b]`, is for
hats that change slowly over a kernel's size about the autocorrelation of `h_j sqrt(w) x` at the lag
`b - a`: a Toeplitz matrix that needs one FFT a node, and is never negative. With its Cholesky
factor L_j, and the overlaps of the hats `M[j, i] = sum h_j h_i / sqrt(sum h_j^2 sum h_i^2)`, the
matrix is about `L M L^T`, in the mean if x has the same statistics everywhere; that is inverted.
"""

import functools
import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.shapes import fast_length
from jaxconv.varying._field import by_windows, taken
from jaxconv.varying._grid import Line
from jaxconv.varying._system import Problem

# What is added to a node's matrix as a share of its diagonal, so that rounding leaves it positive.
FLOOR = 1e-12


class Blocks(NamedTuple):
    """Applies the inverse.

    Attributes:
        factors: (nodes, u, u), the inverses of L_j, lower triangular; u unknowns a node.
        overlaps: for each axis (g, g), the inverse of M along it, NumPy's.
        energies: (nodes,), the mean over a of `sum over t of h_j(t)^2 w(t) x[t + a]^2`.
        known: (nodes,), whether the equations say anything about a node.
    """

    factors: jax.Array
    overlaps: tuple[np.ndarray, ...]
    energies: jax.Array
    known: jax.Array

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.factors)

    def solve(self, unknowns: Any) -> Any:
        """Apply the inverse to a tree of arrays (*grid, ...); 0 for nodes that are not known."""
        leaves, tree = jax.tree.flatten(unknowns)
        flat = jnp.concatenate([leaf.reshape(self.nodes, -1) for leaf in leaves], 1)
        known = self.known.astype(flat.dtype)[:, None]
        flat = known * jnp.einsum("jab,jb->ja", self.factors, flat, precision="highest")
        grid = [len(overlap) for overlap in self.overlaps]
        mixed = flat.reshape(*grid, -1)
        for axis, overlap in enumerate(self.overlaps):
            mixed = jnp.tensordot(
                jnp.asarray(overlap, mixed.dtype), mixed, ((1,), (axis,)), precision="highest"
            )
            mixed = jnp.moveaxis(mixed, 0, axis)
        flat = known * mixed.reshape(flat.shape)
        flat = jnp.einsum("jab,ja->jb", self.factors, flat, precision="highest")
        ends = np.cumsum([leaf.size // self.nodes for leaf in leaves])[:-1]
        parts = jnp.split(flat, ends, 1)
        parts = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(tree, parts)

    @property
    def variances(self) -> jax.Array:
        """(nodes, u), the diagonal of the inverse; infinite for nodes that are not known."""
        diagonal = np.ones(())
        for overlap in self.overlaps:
            diagonal = np.multiply.outer(diagonal, np.diagonal(overlap))
        found = jnp.sum(jnp.square(self.factors), 1) * jnp.asarray(diagonal.reshape(-1, 1))
        return jnp.where(self.known[:, None], found, jnp.inf)


def make_blocks(problem: Problem, x: jax.Array, weights: jax.Array, ridge: jax.Array) -> Blocks:
    """Return the preconditioner of a `Problem`, in float64."""
    model = problem.model
    lines, kernel = model.field.lines, model.field.kernel
    if model.at == "output":
        wide = model.extended(x)
        energies = _box_means(jnp.square(wide), kernel) * weights
        start = [(k - 1) // 2 for k in kernel]
        seen = wide[tuple(slice(a, a + m) for a, m in zip(start, model.out, strict=True))]
        share = jnp.sqrt(weights)
    else:
        # the outputs that each element of x reaches, in the layout of mode="full"
        before = [k - 1 - pair[0] for k, pair in zip(kernel, model.pads, strict=True)]
        ends = zip(before, model.field.wide, model.out, strict=True)
        full = jnp.pad(weights, [(b, n - b - m) for b, n, m in ends])
        share = jnp.sqrt(_box_means(full, kernel))
        energies = jnp.square(share * x)
        seen = x
    reaches = [line.reaches for line in lines]
    number = np.indices(model.field.grid).reshape(len(lines), -1)
    # for each axis the hats (nodes, N) of all nodes, one after another
    hats = [jnp.asarray(hat[which]) for (_, hat), which in zip(reaches, number, strict=True)]

    def factor(node: Any) -> tuple[jax.Array, jax.Array]:
        share, seen, energies, *alongs = node
        hat = functools.reduce(
            operator.mul, [_along(h, n, len(lines)) for n, h in enumerate(alongs)]
        )
        energy, share = jnp.sum(jnp.square(hat) * energies), hat * share
        matrix = _matrix(share * seen, share if problem.bias else None, kernel, flip=model.flip)
        # the centre's energy is far below the mean where only a margin of the node sees anything
        centre = matrix[0, 0]
        more = ridge + FLOOR * energy + jnp.maximum(0.0, energy - 2 * centre)
        more = jnp.where(more > 0, more, 1.0)
        size = len(matrix)
        added = jnp.full(size, more)
        if problem.bias:
            last = matrix[-1, -1]
            added = added.at[-1].set(FLOOR * last + jnp.where(last > 0, 0.0, 1.0))
        lower = jnp.linalg.cholesky(matrix + jnp.diag(added))
        unit = jnp.eye(size, dtype=x.dtype)
        return jax.scipy.linalg.solve_triangular(lower, unit, lower=True), energy

    windows = [index for index, _ in reaches]
    images = [by_windows(image, windows) for image in (share, seen, energies)]
    factors, energies = jax.lax.map(factor, (*images, *hats))
    overlaps = tuple(map(_inverse_overlap, lines))
    return Blocks(factors, overlaps, energies, (energies > 0) | (ridge > 0))


def _matrix(
    patch: jax.Array, share: jax.Array | None, kernel: tuple[int, ...], *, flip: bool
) -> jax.Array:
    """The Toeplitz matrix of a node's patch (*any), with a bias bordered by the bias' part."""
    lengths = [fast_length(n + k - 1) for n, k in zip(patch.shape, kernel, strict=True)]
    axes = tuple(range(patch.ndim))
    # not rfftn: jax 0.12 has no inverse of it for float64 on GPUs outside of `enable_x64`
    # (findings/jax_irfft2_of_float64.sh)
    spectrum = jnp.fft.fftn(patch, lengths, axes)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    found = jnp.fft.ifftn(power, lengths, axes).real
    for axis, (k, length) in enumerate(zip(kernel, lengths, strict=True)):
        lag = (np.arange(k) - np.arange(k)[:, None]) % length
        # (..., this axis, ...) -> (..., k, k, ...), the new axes after those of the axes before
        found = taken(found, lag.reshape(-1), 2 * axis)
        shape = found.shape
        found = found.reshape(*shape[: 2 * axis], k, k, *shape[2 * axis + 1 :])
    size = math.prod(kernel)
    order = [2 * n for n in axes] + [2 * n + 1 for n in axes]
    matrix = found.transpose(order).reshape(size, size)
    if share is None:
        return matrix
    product = jnp.fft.fftn(share, lengths, axes).conj() * spectrum
    cross = jnp.fft.ifftn(product, lengths, axes).real
    for axis, (k, length) in enumerate(zip(kernel, lengths, strict=True)):
        entry = np.arange(k)[::-1] if flip else np.arange(k)
        cross = taken(cross, (entry - (k - 1) // 2) % length, axis)
    cross = cross.reshape(size, 1)
    corner = jnp.sum(jnp.square(share)).reshape(1, 1)
    return jnp.block([[matrix, cross], [cross.T, corner]])


def _box_means(x: jax.Array, kernel: tuple[int, ...]) -> jax.Array:
    """Return the means over all windows of the kernel's size."""
    for axis, k in enumerate(kernel):
        window = [k if other == axis else 1 for other in range(x.ndim)]
        zero = np.zeros((), x.dtype)
        x = jax.lax.reduce_window(x, zero, jax.lax.add, window, (1,) * x.ndim, "valid")
    return x / math.prod(kernel)


def _along(hat: jax.Array, axis: int, rank: int) -> jax.Array:
    """(N,) -> (1, ..., N, ..., 1)."""
    return hat.reshape([len(hat) if other == axis else 1 for other in range(rank)])


def _inverse_overlap(line: Line) -> np.ndarray:
    overlap = line.hats.T @ line.hats
    scale = np.sqrt(np.diagonal(overlap))
    return np.linalg.inv(overlap / scale / scale[:, None])
