"""The kernel of least squared error, exactly: `solve_kernel`."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from jaxconv._core.geometry.spec import Padding
from jaxconv.learn import _checks as checks
from jaxconv.learn._normal import Answer, Geometry, solve
from jaxconv.learn._pairs import Images, read_pairs
from jaxconv.learn._places import cut, find_place


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Solution:
    """The kernel of least squared error, and how well the images determine it.

    With `channels=False` no field has the axes `in // groups`, `in` and `out`.

    Attributes:
        kernel: (*kernel, in // groups, out); of all that fit equally well, the one of least norm.
        bias: (out,), or None without a bias.
        residual: (out,), the remaining sum of squared differences.
        rank: scalar integer, the number of directions that the images determine.
        condition: scalar, the condition number of the least squares, largest of the groups;
            infinite if the rank is not full.
        std_error: (*kernel, in // groups, out), the standard error of each weight if the remaining
            differences are independent noise; infinite for weights that are not determined.
        directions: (d, *kernel, in), orthonormal; d is the number of one output's weights, over
            all groups.
        energies: (d,), the sum of squares of x convolved with each direction; with a bias, after
            its mean is subtracted.
        identified: (d,), whether the images determine the weight of the direction.
    """

    kernel: jax.Array
    bias: jax.Array | None
    residual: jax.Array
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

    `kernel, bias = argmin of sum((conv(x, kernel) + bias - y) ** 2) + ridge sum(kernel ** 2)`

    The normal equations are formed by correlations, in memory for the images and the square of
    one output's weights, and solved by eigendecomposition, with one step of refinement. All of it
    is done in float64, whatever `jax_enable_x64` is: the solve itself adds about 1e-16 times the
    condition number to the relative error of the kernel. The images add more: a relative error of
    e in y, such as 6e-8 of float32 or 1e-3 of 8 bits, becomes one of at most e times the condition
    number; std_error estimates it. Condition numbers above 1e6 count as a lower rank; see
    tolerance.

    Works under `jit`, and under `vmap` over images, targets and ridge. Kernel, bias and residual
    can be differentiated, in x's dtype, in x, y and ridge, without the free directions; the other
    fields are constants.

    An image, or a batch, that is sharded over a mesh stays where it is: every device forms the
    sums over its own windows, after one exchange of halos, and they are added up; the small system
    is solved on every device. The order of the sums, and so their rounding in float64, differs from
    that on one device.

    Args:
        x: (*batch, *space), floating point, or with channels (*batch, *space, in); or a list of
            such images, whose sizes may differ. One image may be sharded, except in its channels.
        y: the outputs, of conv's output size: (*batch, *space') or (*batch, *space', out); one
            for each x, sharded as it is.
        kernel_size: one integer a spatial dimension; one integer alone is the side of a square.
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
        TypeError: x or y is not floating point, or an argument has the wrong type.
        ValueError: shapes and numbers do not make a convolution from x to y, the images are empty
            or hold NaN or infinity (under jit and the like the kernel is NaN then), ridge or
            tolerance is negative or not finite, mesh and x_spec do not fit x, or a list holds
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

    Source: Bjorck, Stability analysis of the method of seminormal equations for linear least
    squares problems, Linear Algebra and its Applications 88/89, 1987 (the step of refinement).
    """
    checks.check_flag("solve_kernel", "channels", channels)
    pairs = read_pairs(
        "solve_kernel",
        x,
        y,
        kernel_size,
        channels=channels,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )
    checks.check_number("solve_kernel", "ridge", ridge, traced=True)
    checks.check_number("solve_kernel", "tolerance", tolerance, traced=False)
    checks.check_flag("solve_kernel", "bias", bias)
    checks.check_finite("solve_kernel", x=pairs.xs, y=pairs.ys)
    place = find_place("solve_kernel", pairs.xs, pairs.ys, mesh, x_spec)
    geometry = Geometry(
        pairs.specs,
        pairs.kernel_shape,
        padding_mode,
        bool(bias),
        float(tolerance),
        pairs.positions,
        place,
    )
    with place.learning():
        images = tuple(map(place.put_x, pairs.xs)), tuple(map(place.put_y, pairs.ys))
        ridge = place.put_whole(jnp.asarray(ridge, pairs.xs[0].dtype))
        answer = place.put_back(_compiled(*images, ridge, geometry=geometry))
    directions = _as_kernels(lax.stop_gradient(answer.vectors), geometry)
    last = slice(None) if channels else 0
    return Solution(
        kernel=answer.kernel if channels else answer.kernel[..., 0, 0],
        bias=answer.bias[last] if bias else None,
        residual=answer.residual[last],
        rank=answer.rank,
        condition=lax.stop_gradient(answer.condition),
        std_error=lax.stop_gradient(answer.std_error if channels else answer.std_error[..., 0, 0]),
        directions=directions if channels else directions[..., 0],
        energies=lax.stop_gradient(answer.energies).reshape(-1),
        identified=answer.identified.reshape(-1),
    )


@functools.partial(jax.jit, static_argnames="geometry")
def _compiled(
    xs: tuple[jax.Array, ...],
    ys: tuple[jax.Array, ...],
    ridge: jax.Array,
    *,
    geometry: Geometry,
) -> Answer:
    ys = tuple(
        cut(y, (*x.shape[: -spec.rank - 1], *spec.output_size))
        for x, y, spec in zip(xs, ys, geometry.specs, strict=True)
    )
    return solve(geometry, xs, ys, ridge)


@functools.partial(jax.jit, static_argnames="geometry")
def _as_kernels(vectors: jax.Array, geometry: Geometry) -> jax.Array:
    """(g, k * i, d) -> (g * d, *kernel, g * i), zero in the other groups' channels."""
    size, i = geometry.kernel_shape[:-2], geometry.kernel_shape[-2]
    groups, p = vectors.shape[:2]
    own = jnp.swapaxes(vectors, 1, 2).reshape(groups, p, *size, 1, i)
    mine = jnp.eye(groups, dtype=vectors.dtype)
    mine = mine.reshape(groups, 1, *(1 for _ in size), groups, 1)
    return (own * mine).reshape(groups * p, *size, groups * i)
