"""The normal equations of least squares over an image's windows, solved and differentiated."""

import functools
import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.functional import conv
from jaxconv.learn.gram import embedded, gram, in_double_precision, window_sums
from jaxconv.spec import ConvSpec
from jaxconv.trilinear import contract


class Geometry(NamedTuple):
    """What is fixed before any value is known; hashable."""

    specs: tuple[ConvSpec, ...]
    kernel_shape: tuple[int, ...]
    padding_mode: str
    bias: bool
    tolerance: float
    positions: int

    @property
    def groups(self) -> int:
        """Parts the channels fall into."""
        return self.specs[0].groups

    def grouped(self, kernel: jax.Array) -> jax.Array:
        """(*kernel, i, g * o) -> (g, k * i, o)."""
        out = self.kernel_shape[-1] // self.groups
        return jnp.moveaxis(kernel.reshape(-1, self.groups, out), 1, 0)

    def as_kernel(self, weights: jax.Array) -> jax.Array:
        """(g, k * i, o) -> (*kernel, i, g * o)."""
        return jnp.moveaxis(weights, 0, 1).reshape(self.kernel_shape)

    def convolve(self, x: jax.Array, kernel: jax.Array, number: int) -> jax.Array:
        """Convolve one pair's x."""
        spec = self.specs[number]
        return conv(
            x,
            kernel,
            stride=spec.stride,
            padding=spec.padding,
            dilation=spec.dilation,
            groups=spec.groups,
            padding_mode=self.padding_mode,
        )


class Answer(NamedTuple):
    """`Solution` in the layout with channels, and what its derivative needs."""

    kernel: jax.Array
    bias: jax.Array  # zeros where none is asked for
    residual: jax.Array
    rank: jax.Array
    condition: jax.Array
    std_error: jax.Array
    vectors: jax.Array  # (g, p, p), the eigenvectors as columns
    energies: jax.Array  # (g, p)
    identified: jax.Array  # (g, p)
    inverse: jax.Array  # (g, p, p), of the normal equations


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def solve(geometry: Geometry, xs: Any, ys: Any, ridge: Any) -> Answer:
    """Solve the normal equations in float64.

    Args:
        geometry: of all pairs.
        xs: a tuple of arrays (*batch, *space, in), of one floating dtype.
        ys: a tuple of arrays (*batch, *space', out), of the same.
        ridge: scalar, of the same.

    Returns:
        The answer in that dtype.
    """
    return in_double_precision(functools.partial(_solve_in_double, geometry))(xs, ys, ridge)


def _solve_in_double(geometry: Geometry, xs: Any, ys: Any, ridge: Any) -> Answer:
    dtype = ys[0].dtype
    ridge = ridge.astype(jnp.float64)
    pads = [pad for spec in geometry.specs for pair in spec.padding for pad in pair]
    windows, specs = [], []
    for x, spec in zip(xs, geometry.specs, strict=True):
        window, left = embedded(x.astype(jnp.float64), spec, geometry.padding_mode)
        windows.append(window)
        specs.append(left)
    ys = [
        y.astype(jnp.float64).reshape(-1, *y.shape[-s.rank - 1 :])
        for y, s in zip(ys, specs, strict=True)
    ]
    x_mean, y_mean = jnp.zeros(windows[0].shape[-1]), jnp.zeros(ys[0].shape[-1])
    if geometry.bias:
        y_mean = _mean(ys)
        if geometry.padding_mode != "zeros" or max(pads) <= 0:
            # a margin of zeros must stay zero; elsewhere a constant goes over into the bias
            x_mean = _mean(windows)
        windows, ys = [x - x_mean for x in windows], [y - y_mean for y in ys]
    count = geometry.positions

    def transposed(arrays: list[jax.Array]) -> jax.Array:
        parts = (
            contract("kernel", x, a, s, dtype=jnp.float64)
            for x, a, s in zip(windows, arrays, specs, strict=True)
        )
        return geometry.grouped(_total(parts))

    def errors(weights: jax.Array, shift: jax.Array) -> list[jax.Array]:
        kernel = geometry.as_kernel(weights)
        return [
            y - contract("output", x, kernel, s, dtype=jnp.float64) - shift
            for x, y, s in zip(windows, ys, specs, strict=True)
        ]

    matrix = _total(gram(x, s) for x, s in zip(windows, specs, strict=True))
    sums = _total(window_sums(x, s) for x, s in zip(windows, specs, strict=True))
    if geometry.bias:
        matrix = matrix - sums[:, :, None] * sums[:, None, :] / count
    energies, vectors = jnp.linalg.eigh(matrix)
    energies = jnp.maximum(energies, 0.0)
    largest = energies[:, -1:]
    identified = energies > geometry.tolerance * largest
    told = jnp.where(identified, 1.0, 0.0)
    # the inner where keeps a division by zero out of what is not used
    inverse_energies = told / jnp.where(identified, energies + ridge, 1.0)
    inverse = jnp.einsum("gpd,gd,gqd->gpq", vectors, inverse_energies, vectors)

    def step_for(left: list[jax.Array], weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The step of weights and bias to the solution, exact but for rounding."""
        total = _total(jnp.sum(e.reshape(-1, e.shape[-1]), 0) for e in left)
        slope = transposed(left) - ridge * weights
        if geometry.bias:
            slope = slope - sums[:, :, None] * total.reshape(geometry.groups, 1, -1) / count
        step = jnp.einsum("gpq,gqo->gpo", inverse, slope)
        if not geometry.bias:
            return step, jnp.zeros_like(total)
        moved = jnp.einsum("gp,gpo->go", sums, step).reshape(-1)
        return step, (total - moved) / count

    per_group = geometry.kernel_shape[-1] // geometry.groups
    weights, shift = step_for(ys, jnp.zeros((*matrix.shape[:2], per_group)))
    refinement = step_for(errors(weights, shift), weights)
    weights, shift = weights + refinement[0], shift + refinement[1]
    residual = _total(
        jnp.sum(jnp.square(e).reshape(-1, e.shape[-1]), 0) for e in errors(weights, shift)
    )
    taken = jnp.einsum("gio,gi->go", _by_channel(weights, geometry), _split(x_mean, geometry))
    # what an estimate of the noise has left after the weights and the bias
    used = jnp.sum(energies * inverse_energies, -1, keepdims=True) + int(geometry.bias)
    noise = residual.reshape(geometry.groups, -1) / jnp.maximum(count - used, 0.0)
    spread = jnp.einsum("gpd,gd->gp", jnp.square(vectors), energies * jnp.square(inverse_energies))
    open_part = jnp.einsum("gpd,gd->gp", jnp.square(vectors), 1.0 - told)
    spread = jnp.where((open_part > 1e-12) & (ridge == 0), jnp.inf, spread)
    variance = jnp.where(
        jnp.isinf(spread)[:, :, None], jnp.inf, spread[:, :, None] * noise[:, None]
    )
    smallest = jnp.where(identified.all(-1), energies[:, 0], 0.0)
    condition = jnp.max(jnp.sqrt(largest[:, 0] / smallest))
    return Answer(
        kernel=geometry.as_kernel(weights).astype(dtype),
        bias=(shift + y_mean - taken.reshape(-1)).astype(dtype),
        residual=residual.astype(dtype),
        rank=jnp.sum(identified, dtype=jnp.int32),
        condition=jnp.where(largest.max() > 0, condition, jnp.inf).astype(dtype),
        std_error=geometry.as_kernel(jnp.sqrt(variance)).astype(dtype),
        vectors=vectors.astype(dtype),
        energies=energies.astype(dtype),
        identified=identified,
        inverse=inverse.astype(dtype),
    )


@solve.defjvp
def _solve_jvp(geometry: Geometry, primals: Any, tangents: Any) -> tuple[Answer, Answer]:
    """Differentiate the normal equations: inverse times the change of slope at the solution."""
    answer = solve(geometry, *primals)
    kernel, inverse, count = answer.kernel, answer.inverse, geometry.positions

    def conditions(xs: Any, ys: Any, ridge: Any) -> tuple[Any, Any]:
        """What is zero at the solution: the slopes in kernel and bias."""

        def half_loss(kernel: jax.Array, bias: jax.Array) -> jax.Array:
            parts = [
                jnp.sum(jnp.square(y - geometry.convolve(x, kernel, n) - bias))
                for n, (x, y) in enumerate(zip(xs, ys, strict=True))
            ]
            return (_total(parts) + ridge * jnp.sum(jnp.square(kernel))) / 2

        return jax.grad(half_loss, (0, 1))(kernel, answer.bias)

    def moments(xs: Any) -> tuple[jax.Array, jax.Array]:
        pieces = [
            embedded(x, spec, geometry.padding_mode)
            for x, spec in zip(xs, geometry.specs, strict=True)
        ]
        sums = _total(window_sums(x, s) for x, s in pieces)
        matrix = _total(gram(x, s) for x, s in pieces)
        if geometry.bias:
            matrix = matrix - sums[:, :, None] * sums[:, None, :] / count
        return sums, matrix

    _, (slope, bias_slope) = jax.jvp(conditions, primals, tangents)
    (sums, _), (_, matrix_change) = jax.jvp(moments, primals[:1], tangents[:1])
    slope = geometry.grouped(slope)
    if geometry.bias:
        per_group = bias_slope.reshape(geometry.groups, 1, -1)
        slope = slope - sums[:, :, None] * per_group / count
    step = -jnp.einsum("gpq,gqo->gpo", inverse, slope)
    kernel_change = geometry.as_kernel(step)
    bias_change = jnp.zeros_like(answer.bias)
    if geometry.bias:
        moved = jnp.einsum("gp,gpo->go", sums, step).reshape(-1)
        bias_change = -(bias_slope + moved) / count
    matrix_change = matrix_change + tangents[2] * jnp.eye(
        matrix_change.shape[-1], dtype=inverse.dtype
    )

    def residual(xs: Any, ys: Any, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        left = [
            jnp.square(y - geometry.convolve(x, kernel, n) - bias)
            for n, (x, y) in enumerate(zip(xs, ys, strict=True))
        ]
        return _total(jnp.sum(e.reshape(-1, e.shape[-1]), 0) for e in left)

    _, residual_change = jax.jvp(
        residual,
        (*primals[:2], kernel, answer.bias),
        (*tangents[:2], kernel_change, bias_change),
    )
    change = jax.tree.map(_no_change, answer)._replace(
        kernel=kernel_change,
        bias=bias_change,
        residual=residual_change,
        inverse=-inverse @ matrix_change @ inverse,
    )
    return answer, change


def _no_change(array: jax.Array) -> Any:
    if jnp.issubdtype(array.dtype, jnp.floating):
        return jnp.zeros_like(array)
    return np.zeros(array.shape, jax.dtypes.float0)


def _mean(arrays: list[jax.Array]) -> jax.Array:
    flat = [a.reshape(-1, a.shape[-1]) for a in arrays]
    return _total(jnp.sum(a, 0) for a in flat) / sum(len(a) for a in flat)


def _split(channels: jax.Array, geometry: Geometry) -> jax.Array:
    return channels.reshape(geometry.groups, -1)


def _by_channel(weights: jax.Array, geometry: Geometry) -> jax.Array:
    """(g, k * i, o) -> (g, i, o), summed over the kernel's positions."""
    i = geometry.kernel_shape[-2]
    return jnp.sum(weights.reshape(weights.shape[0], -1, i, weights.shape[-1]), 1)


def _total(parts: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, parts)
