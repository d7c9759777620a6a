"""The kernel of least squared error, exactly: `solve_kernel`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv._core.geometry.scalars import check_flag, check_number
from jaxconv._core.geometry.spec import Padding
from jaxconv.learn import _checks as checks
from jaxconv.learn._complex import as_complex, as_complex_directions, as_real
from jaxconv.learn._normal import Answer, Geometry, solve
from jaxconv.learn._pairs import Images, read_pairs
from jaxconv.learn._places import cut, find_place
from jaxconv.learn._weights import weighed


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Solution:
    """The kernel of least squared error, and how well the images determine it.

    With `channels=False` no field has the axes `in // groups`, `in` and `out`. Of complex images
    kernel, bias and directions are complex; real and imaginary parts are then counted apart, so
    that rank, d and the pairs of equal energies are twice those of the complex problem, and
    std_error is that of either part.

    Attributes:
        kernel: (*kernel, in // groups, out); of all that fit equally well, the one of least norm.
        bias: (out,), or None without a bias.
        residual: (out,), the remaining sum of squared differences, each times its weight.
        positions: scalar integer, the number of outputs that were used: of weight above 0.
        rank: scalar integer, the number of directions that the images determine.
        condition: scalar, the condition number of the least squares, largest of the groups;
            infinite if the rank is not full.
        std_error: (*kernel, in // groups, out), the standard error of each weight if the remaining
            differences are independent noise, of a variance in proportion to 1 / weight; infinite
            for weights that are not determined. With A the windows used, W the outputs' weights
            and r the degrees of freedom, `std_error ** 2 = s2 diag((A^T W A)^-1)`, where
            `s2 = residual / (positions - r)` and r is the rank, plus 1 with a bias (with a ridge,
            less). Multiplying all weights by one number does not change it.
        directions: (d, *kernel, in), orthonormal; d is the number of one output's weights, over
            all groups.
        energies: (d,), the weighted sum of squares of x convolved with each direction; with a
            bias, after its mean is subtracted.
        identified: (d,), whether the images determine the weight of the direction.
    """

    kernel: jax.Array
    bias: jax.Array | None
    residual: jax.Array
    positions: jax.Array
    rank: jax.Array
    condition: jax.Array
    std_error: jax.Array
    directions: jax.Array
    energies: jax.Array
    identified: jax.Array

    @property
    def free(self) -> np.ndarray:
        """(d - rank, *kernel, in): kernels that can be added in any amount without effect.

        Needs values: not under jit or vmap.
        """
        return np.asarray(self.directions)[~np.asarray(self.identified)]


def solve_kernel(
    x: Images,
    y: Images,
    kernel_size: int | Sequence[int],
    *,
    weights: Images | None = None,
    ridge: jax.typing.ArrayLike = 0.0,
    bias: bool = False,
    channels: bool = False,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    tolerance: float = 1e-12,
    mesh: Mesh | AbstractMesh | None = None,
    x_spec: PartitionSpec | None = None,
) -> Solution:
    """Find the kernel that turns x into y with the least squared error, without descent.

    `kernel, bias = argmin of sum(weights (conv(x, kernel) + bias - y) ** 2)
    + ridge sum(kernel ** 2)`, with the absolute squares of complex numbers

    The normal equations are formed by correlations, in memory for the images and the square of
    one output's weights, and solved by eigendecomposition, with one step of refinement. All of it
    is done in float64, whatever `jax_enable_x64` is: the solve itself adds about 1e-16 times the
    condition number to the relative error of the kernel. The images add more: a relative error of
    e in y, such as 6e-8 of float32 or 1e-3 of 8 bits, becomes one of at most e times the condition
    number; std_error estimates it. Condition numbers above 1e6 count as a lower rank; see
    tolerance.

    Weights are for outputs that are clipped, missing or more certain than others. The windows are
    then formed after all, 8 MB of them at a time, which takes the square of the kernel's weights in
    multiplications for each output. Complex images are solved as twice the real outputs and twice
    the weights.

    Works under `jit`, and under `vmap` over images, targets, weights and ridge. Kernel, bias and
    residual can be differentiated, in x's dtype, in x, y, weights and ridge, without the free
    directions; the other fields are constants.

    An image, or a batch, that is sharded over a mesh stays where it is: every device forms the
    sums over its own windows, after one exchange of halos, and they are added up; the small system
    is solved on every device. The order of the sums, and so their rounding in float64, differs from
    that on one device.

    Args:
        x: (*batch, *space), floating point or complex, or with channels (*batch, *space, in); or a
            list of such images, whose sizes may differ. One image may be sharded, except in its
            channels; complex ones may not.
        y: the outputs, of conv's output size: (*batch, *space') or (*batch, *space', out); one
            for each x, sharded as it is.
        kernel_size: one integer a spatial dimension; one integer alone is the side of a square.
        weights: (*batch, *space'), one for each y: how much each output counts, 0 or more; or
            booleans, which outputs to use. All channels share them; for channels of different
            weights use `jax.vmap` over the outputs. Where they are 0, y may hold NaN, and so may
            the windows of x: `usable_outputs` makes weights of a mask of x.
        ridge: penalty on the squared weights, 0 or more, in squared units of x times positions;
            the bias is not penalised.
        bias: whether to add a constant to y, one an output channel.
        channels: whether the last axes of x and y are channels, as `jaxconv.conv` has them.
        stride: as in `jaxconv.conv`.
        padding: as in `jaxconv.conv`.
        dilation: as in `jaxconv.conv`.
        groups: as in `jaxconv.conv`; needs channels.
        padding_mode: as in `jaxconv.conv`.
        tolerance: directions whose energy is at most this share of the largest are free.
        mesh: as in `fit_kernel`.
        x_spec: as in `fit_kernel`.

    Returns:
        A `Solution` in the images' dtype, at least float32.

    Raises:
        TypeError: x or y is not floating point or complex, or an argument has the wrong type.
        ValueError: shapes and numbers do not make a convolution from x to y, the images are empty
            or hold NaN or infinity in what is used (under jit and the like the kernel is NaN
            then), weights are negative, not finite or all 0, ridge or tolerance is negative or not
            finite, mesh and x_spec do not fit x, complex images are sharded, or a list holds
            sharded images.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv import corr2d
        >>> from jaxconv.learn import solve_kernel
        >>> x = jnp.ones((6, 8)).at[:, 2:6].set(0.0)
        >>> found = solve_kernel(x, corr2d(x, jnp.array([[1.0, -1.0]])), (1, 2))
        >>> print(found.kernel.round(6), found.rank, found.condition.round(3))
        [[ 1. -1.]] 2 2.236
        >>> stripes = solve_kernel(x, corr2d(x, jnp.array([[1.0], [-1.0]])), (2, 1))
        >>> print(stripes.rank, abs(stripes.free).round(3).ravel())  # all rows are equal
        1 [0.707 0.707]
        >>> clipped = jnp.minimum(corr2d(x, jnp.array([[1.0, -1.0]])), 0.5)
        >>> print(solve_kernel(x, clipped, (1, 2), weights=clipped < 0.5).kernel.round(6))
        [[ 1. -1.]]

    Source: Bjorck, Stability analysis of the method of seminormal equations for linear least
    squares problems, Linear Algebra and its Applications 88/89, 1987 (the step of refinement).
    """
    check_flag("solve_kernel", "channels", channels)
    pairs = read_pairs(
        "solve_kernel",
        x,
        y,
        kernel_size,
        channels=channels,
        complexes=True,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )
    check_number("solve_kernel", "ridge", ridge, traced=True)
    check_number("solve_kernel", "tolerance", tolerance, traced=False)
    check_flag("solve_kernel", "bias", bias)
    pairs, ws = weighed(
        "solve_kernel", weights, pairs, channels=channels, padding_mode=padding_mode
    )
    checks.check_finite("solve_kernel", x=pairs.xs, y=pairs.ys)
    place = find_place("solve_kernel", pairs.xs, pairs.ys, mesh, x_spec)
    complexes = jnp.issubdtype(pairs.xs[0].dtype, jnp.complexfloating)
    if complexes:
        if place.mesh is not None:
            raise ValueError(
                "solve_kernel: x is complex, and complex images must be on one device, but these "
                "are sharded; put them on one, as in jax.device_put(x, jax.devices()[0])"
            )
        pairs, ws = as_real(pairs, ws)
    geometry = Geometry(
        pairs.specs,
        pairs.kernel_shape,
        padding_mode,
        bool(bias),
        float(tolerance),
        pairs.positions,
        place,
        2 if complexes else 1,
    )
    with place.learning():
        images = tuple(map(place.put_x, pairs.xs)), tuple(map(place.put_y, pairs.ys))
        ws = None if ws is None else tuple(map(place.put_y, ws))
        ridge = place.put_whole(jnp.asarray(ridge, pairs.xs[0].dtype))
        answer = place.put_back(_compiled(*images, ws, ridge, geometry=geometry))
    kernel, std_error, shift = answer.kernel, lax.stop_gradient(answer.std_error), answer.bias[0]
    directions = _as_kernels(lax.stop_gradient(answer.vectors), geometry)
    if complexes:
        kernel, std_error = as_complex(kernel), jnp.split(std_error, 2, axis=-2)[0]
        shift = lax.complex(*answer.bias)
        directions = as_complex_directions(directions, geometry.groups)
    last = slice(None) if channels else 0
    return Solution(
        kernel=kernel if channels else kernel[..., 0, 0],
        bias=shift[last] if bias else None,
        residual=answer.residual[last],
        positions=answer.positions,
        rank=answer.rank,
        condition=lax.stop_gradient(answer.condition),
        std_error=std_error if channels else std_error[..., 0, 0],
        directions=directions if channels else directions[..., 0],
        energies=lax.stop_gradient(answer.energies).reshape(-1),
        identified=answer.identified.reshape(-1),
    )


@functools.partial(jax.jit, static_argnames="geometry")
def _compiled(
    xs: tuple[jax.Array, ...],
    ys: tuple[jax.Array, ...],
    ws: tuple[jax.Array, ...] | None,
    ridge: jax.Array,
    *,
    geometry: Geometry,
) -> Answer:
    def inside(arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        return tuple(
            cut(array, (*x.shape[: -spec.rank - 1], *spec.output_size))
            for x, array, spec in zip(xs, arrays, geometry.specs, strict=True)
        )

    return solve(geometry, xs, inside(ys), None if ws is None else inside(ws), ridge)


@functools.partial(jax.jit, static_argnames="geometry")
def _as_kernels(vectors: jax.Array, geometry: Geometry) -> jax.Array:
    """(g, k * i, d) -> (g * d, *kernel, g * i), zero in the other groups' channels."""
    size, i = geometry.kernel_shape[:-2], geometry.kernel_shape[-2]
    groups, p = vectors.shape[:2]
    own = jnp.swapaxes(vectors, 1, 2).reshape(groups, p, *size, 1, i)
    mine = jnp.eye(groups, dtype=vectors.dtype)
    mine = mine.reshape(groups, 1, *(1 for _ in size), groups, 1)
    return (own * mine).reshape(groups * p, *size, groups * i)
