"""The normal equations of least squares over an image's windows, solved and differentiated."""

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from jaxconv import parallel
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.dtypes import in_double_precision, with_bias
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._functional.convolution import conv
from jaxconv.learn._parts import Part, part_of
from jaxconv.learn._places import Place

R = TypeVar("R")


class Geometry(NamedTuple):
    """What is fixed before a solve is compiled; hashable."""

    specs: tuple[ConvSpec, ...]
    kernel_shape: tuple[int, ...]
    padding_mode: str
    bias: bool
    tolerance: float
    positions: int
    place: Place = Place()
    halves: int = 1  # 2 for complex images, whose real and imaginary parts are a leading axis

    @property
    def groups(self) -> int:
        """Number of groups of channels."""
        return self.specs[0].groups

    def grouped(self, kernel: jax.Array) -> jax.Array:
        """(*kernel, i, g * o) -> (g, k * i, o)."""
        out = self.kernel_shape[-1] // self.groups
        return jnp.moveaxis(kernel.reshape(-1, self.groups, out), 1, 0)

    def as_kernel(self, weights: jax.Array) -> jax.Array:
        """(g, k * i, o) -> (*kernel, i, g * o)."""
        return jnp.moveaxis(weights, 0, 1).reshape(self.kernel_shape)

    def convolve(self, x: jax.Array, kernel: jax.Array, number: int) -> jax.Array:
        """Convolve the x of one pair."""
        spec = self.specs[number]
        geometry: dict[str, Any] = {
            "stride": spec.stride,
            "padding": spec.padding,
            "dilation": spec.dilation,
            "groups": spec.groups,
            "padding_mode": self.padding_mode,
        }
        if self.place.mesh is None:
            return conv(x, kernel, **geometry)
        return parallel.conv(x, kernel, **geometry, **self.place.arguments)

    def parts(self, xs: Any, ws: Any, shapes: Any, dtype: Any) -> list[Part]:
        """Return the windows of every x, on each device those of its own part."""
        ws = [None] * len(xs) if ws is None else ws
        return [
            part_of(x, shape[: -spec.rank - 1], spec, self.padding_mode, self.place, dtype, w)
            for x, w, shape, spec in zip(xs, ws, shapes, self.specs, strict=True)
        ]

    def shifted(self, array: jax.Array, bias: jax.Array) -> jax.Array:
        """Add a bias (halves, out) to an array (..., out)."""
        if self.halves == 1:
            return with_bias(array, bias[0])
        halves = array.reshape(self.halves, -1, array.shape[-1])
        return (halves + bias[:, None]).reshape(array.shape)

    def by_half(self, array: jax.Array) -> jax.Array:
        """(..., c) -> (halves, c): sum over the positions of each half."""
        return jnp.sum(array.reshape(self.halves, -1, array.shape[-1]), 1)

    def split(self, sums: jax.Array) -> jax.Array:
        """(halves, g * o) -> (halves, g, o)."""
        return sums.reshape(self.halves, self.groups, -1)

    def centred(self, matrix: jax.Array, sums: jax.Array, count: Any) -> jax.Array:
        """Return the Gram matrix of the windows less their means, if there is a bias."""
        if not self.bias:
            return matrix
        return matrix - jnp.einsum("hgp,hgq->gpq", sums, sums, precision="highest") / count

    def total(self, parts: Iterable[jax.Array]) -> jax.Array:
        """Sum over all pairs, and over the devices of the mesh."""
        total = functools.reduce(operator.add, parts)
        axes = tuple(axis for axes in self.place.axes for axis in axes)
        return lax.psum(total, axes) if axes else total

    def moments(self, parts: list[Part]) -> tuple[jax.Array, jax.Array]:
        """Sum the windows (halves, g, p), and the products of their entries (g, p, p)."""
        sums, products = zip(*(part.moments(self.halves) for part in parts), strict=True)
        return self.total(sums), self.total(products)

    def on_devices(self, function: Callable[..., R], *images: Any) -> R:
        """Call a function of trees of images, on each device with its part of them."""
        place = self.place
        if place.mesh is None:
            return function(*images)
        placed = jax.tree.map(place.put_y, images)
        spec = place.arguments["x_spec"]
        return jax.shard_map(
            function, mesh=place.mesh, in_specs=(spec,) * len(images), out_specs=PartitionSpec()
        )(*placed)


class Answer(NamedTuple):
    """`Solution` in the layout with channels, and the arrays that its derivative needs."""

    kernel: jax.Array
    bias: jax.Array  # (halves, out), zeros without a bias
    residual: jax.Array
    positions: jax.Array  # scalar integer, outputs of weight above 0
    rank: jax.Array
    condition: jax.Array
    std_error: jax.Array
    vectors: jax.Array  # (g, p, p), the eigenvectors as columns
    energies: jax.Array  # (g, p)
    identified: jax.Array  # (g, p)
    inverse: jax.Array  # (g, p, p), of the normal equations


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def solve(geometry: Geometry, xs: Any, ys: Any, ws: Any, ridge: Any) -> Answer:
    """Solve the normal equations in float64.

    Args:
        geometry: of all pairs.
        xs: a tuple of arrays (*batch, *space, in), all of one floating dtype.
        ys: a tuple of arrays (*batch, *space', out), of the same dtype.
        ws: a tuple of arrays (*batch, *space', 1), of the same dtype; None if all outputs count
            once.
        ridge: scalar, of the same dtype.

    Returns:
        The answer in that dtype.
    """

    def in_double(xs: Any, ys: Any, ws: Any, ridge: Any) -> Answer:
        shapes = tuple(x.shape for x in xs)
        whole = functools.partial(_solve_in_double, geometry, shapes, ridge)
        return geometry.on_devices(whole, xs, ys, ws)

    return in_double_precision(in_double)(xs, ys, ws, ridge)


def _solve_in_double(
    geometry: Geometry, shapes: Any, ridge: Any, xs: Any, ys: Any, ws: Any
) -> Answer:
    dtype = ys[0].dtype
    ridge = ridge.astype(jnp.float64)
    pads = [pad for spec in geometry.specs for pair in spec.padding for pad in pair]
    parts, total = geometry.parts(xs, ws, shapes, jnp.float64), geometry.total
    ys = [
        y.astype(jnp.float64).reshape(-1, *y.shape[-part.spec.rank - 1 :])
        for y, part in zip(ys, parts, strict=True)
    ]
    used, weight = _used(geometry, parts)
    count = weight / geometry.halves  # the sum of one half's weights

    def sum_weighted(arrays: list[jax.Array]) -> jax.Array:
        """The weighted sums of each half, (halves, out)."""
        pairs = zip(parts, arrays, strict=True)
        return total(geometry.by_half(part.weighted(array)) for part, array in pairs)

    x_mean = jnp.zeros(xs[0].shape[-1])
    y_mean = jnp.zeros((geometry.halves, ys[0].shape[-1]))
    if geometry.bias:
        y_mean = sum_weighted(ys) / count
        if geometry.padding_mode != "zeros" or max(pads) <= 0:
            # a margin of zeros must stay zero. Without one a constant can be subtracted from x,
            # because the bias makes up for it; the mean keeps the numbers small
            sizes = (jnp.full(1, part.x.size // part.x.shape[-1], x_mean.dtype) for part in parts)
            x_mean = total(_sum(part.x) for part in parts) / total(sizes)
        parts = [part.less(x_mean) for part in parts]
        ys = [part.only(geometry.shifted(y, -y_mean)) for part, y in zip(parts, ys, strict=True)]

    def transposed(arrays: list[jax.Array]) -> jax.Array:
        found = (
            contract("kernel", part.x, part.weighted(array), part.spec, dtype=jnp.float64)
            for part, array in zip(parts, arrays, strict=True)
        )
        return geometry.grouped(total(found))

    def errors(weights: jax.Array, shift: jax.Array) -> list[jax.Array]:
        kernel = geometry.as_kernel(weights)
        return [
            part.only(
                y
                - geometry.shifted(
                    contract("output", part.x, kernel, part.spec, dtype=jnp.float64), shift
                )
            )
            for part, y in zip(parts, ys, strict=True)
        ]

    sums, matrix = geometry.moments(parts)
    matrix = geometry.centred(matrix, sums, count)
    energies, vectors = jnp.linalg.eigh(matrix)
    energies = jnp.maximum(energies, 0.0)
    largest = energies[:, -1:]
    identified = energies > geometry.tolerance * largest
    known = jnp.where(identified, 1.0, 0.0)
    # the inner where avoids a division by zero, which would spoil derivatives
    inverse_energies = known / jnp.where(identified, energies + ridge, 1.0)
    inverse = jnp.einsum("gpd,gd,gqd->gpq", vectors, inverse_energies, vectors)

    def step_for(left: list[jax.Array], weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The step of weights and bias to the solution, exact up to rounding."""
        offset = sum_weighted(left)
        slope = transposed(left) - ridge * weights
        if geometry.bias:
            slope = slope - jnp.einsum("hgp,hgo->gpo", sums, geometry.split(offset)) / count
        step = jnp.einsum("gpq,gqo->gpo", inverse, slope)
        if not geometry.bias:
            return step, jnp.zeros_like(offset)
        moved = jnp.einsum("hgp,gpo->hgo", sums, step).reshape(offset.shape)
        return step, (offset - moved) / count

    per_group = geometry.kernel_shape[-1] // geometry.groups
    weights, shift = step_for(ys, jnp.zeros((*matrix.shape[:2], per_group)))
    refinement = step_for(errors(weights, shift), weights)
    weights, shift = weights + refinement[0], shift + refinement[1]
    squares = [jnp.square(each) for each in errors(weights, shift)]
    residual = jnp.sum(sum_weighted(squares), 0)
    taken = jnp.einsum("gio,gi->go", _by_channel(weights, geometry), _split(x_mean, geometry))
    # degrees of freedom of the weights and the bias
    freedom = jnp.sum(energies * inverse_energies, -1, keepdims=True)
    freedom = freedom + geometry.halves * int(geometry.bias)
    noise = residual.reshape(geometry.groups, -1) / jnp.maximum(used - freedom, 0.0)
    spread = jnp.einsum("gpd,gd->gp", jnp.square(vectors), energies * jnp.square(inverse_energies))
    open_part = jnp.einsum("gpd,gd->gp", jnp.square(vectors), 1.0 - known)
    spread = jnp.where((open_part > 1e-12) & (ridge == 0), jnp.inf, spread)
    variance = jnp.where(
        jnp.isinf(spread)[:, :, None], jnp.inf, spread[:, :, None] * noise[:, None]
    )
    smallest = jnp.where(identified.all(-1), energies[:, 0], 0.0)
    condition = jnp.max(jnp.sqrt(largest[:, 0] / smallest))
    return Answer(
        kernel=geometry.as_kernel(weights).astype(dtype),
        bias=(shift + y_mean - taken.reshape(1, -1)).astype(dtype),
        residual=residual.astype(dtype),
        positions=jnp.asarray(used / geometry.halves, jnp.int32),
        rank=jnp.sum(identified, dtype=jnp.int32),
        condition=jnp.where(largest.max() > 0, condition, jnp.inf).astype(dtype),
        std_error=geometry.as_kernel(jnp.sqrt(variance)).astype(dtype),
        vectors=vectors.astype(dtype),
        energies=energies.astype(dtype),
        identified=identified,
        inverse=inverse.astype(dtype),
    )


def _used(geometry: Geometry, parts: list[Part]) -> tuple[Any, Any]:
    """The number of outputs of weight above 0, and the sum of all weights."""
    given = [part.weights for part in parts if part.weights is not None]
    if not given:
        return geometry.positions, geometry.positions
    used = geometry.total(jnp.sum(w > 0, dtype=w.dtype) for w in given)
    return used, geometry.total(map(jnp.sum, given))


@solve.defjvp
def _solve_jvp(geometry: Geometry, primals: Any, tangents: Any) -> tuple[Answer, Answer]:
    """Differentiate the normal equations: inverse times the change of slope at the solution."""
    answer = solve(geometry, *primals)
    kernel, inverse, given = answer.kernel, answer.inverse, primals[2]
    count = geometry.positions if given is None else sum(map(jnp.sum, given))
    count = count / geometry.halves

    def squares(xs: Any, ys: Any, ws: Any, kernel: jax.Array, bias: jax.Array) -> list[jax.Array]:
        """The weighted squares of the errors."""
        found = []
        for n, (x, y) in enumerate(zip(xs, ys, strict=True)):
            left = jnp.square(y - geometry.shifted(geometry.convolve(x, kernel, n), bias))
            found.append(left if ws is None else left * ws[n])
        return found

    def conditions(xs: Any, ys: Any, ws: Any, ridge: Any) -> tuple[Any, Any]:
        """The slopes in kernel and bias, which are zero at the solution."""

        def half_loss(kernel: jax.Array, bias: jax.Array) -> jax.Array:
            parts = map(jnp.sum, squares(xs, ys, ws, kernel, bias))
            return (sum(parts) + ridge * jnp.sum(jnp.square(kernel))) / 2

        return jax.grad(half_loss, (0, 1))(kernel, answer.bias)

    def moments(xs: Any, ws: Any) -> tuple[jax.Array, jax.Array]:
        shapes = tuple(x.shape for x in xs)
        sums, matrix = geometry.on_devices(
            lambda xs, ws: geometry.moments(geometry.parts(xs, ws, shapes, inverse.dtype)), xs, ws
        )
        whole = geometry.positions if ws is None else sum(map(jnp.sum, ws))
        return sums, geometry.centred(matrix, sums, whole / geometry.halves)

    _, (slope, bias_slope) = jax.jvp(conditions, primals, tangents)
    # (xs, ws), without ys between them
    (sums, _), (_, matrix_change) = jax.jvp(moments, primals[:3:2], tangents[:3:2])
    slope = geometry.grouped(slope)
    if geometry.bias:
        slope = slope - jnp.einsum("hgp,hgo->gpo", sums, geometry.split(bias_slope)) / count
    step = -jnp.einsum("gpq,gqo->gpo", inverse, slope)
    kernel_change = geometry.as_kernel(step)
    bias_change = jnp.zeros_like(answer.bias)
    if geometry.bias:
        moved = jnp.einsum("hgp,gpo->hgo", sums, step).reshape(bias_slope.shape)
        bias_change = -(bias_slope + moved) / count
    one = jnp.eye(matrix_change.shape[-1], dtype=inverse.dtype)
    matrix_change = matrix_change + tangents[3] * one[None]

    def residual(*arguments: Any) -> jax.Array:
        return sum(map(_sum, squares(*arguments)), jnp.zeros_like(answer.residual))

    _, residual_change = jax.jvp(
        residual,
        (*primals[:3], kernel, answer.bias),
        (*tangents[:3], kernel_change, bias_change),
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


def _sum(array: jax.Array) -> jax.Array:
    """Sum over all axes but the channels."""
    return jnp.sum(array.reshape(-1, array.shape[-1]), 0)


def _split(channels: jax.Array, geometry: Geometry) -> jax.Array:
    return channels.reshape(geometry.groups, -1)


def _by_channel(weights: jax.Array, geometry: Geometry) -> jax.Array:
    """(g, k * i, o) -> (g, i, o), summed over the kernel's positions."""
    i = geometry.kernel_shape[-2]
    return jnp.sum(weights.reshape(weights.shape[0], -1, i, weights.shape[-1]), 1)
