"""Correlation and convolution with a kernel that varies from place to place."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.dispatch.arguments import check_method
from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.extension import MODES, check_sizes, name_here
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.spec import resolve_padding
from jaxconv._functional.padding import extended
from jaxconv.varying._field import Field
from jaxconv.varying._grid import inexact, lines_of, split

Mode = Literal["valid", "same", "same_lower", "full"]
At = Literal["output", "input"]
_MODES = ("valid", "same", "same_lower", "full")
BOUNDARIES = tuple(mode for mode in MODES if mode != "constant")


class Model(NamedTuple):
    """How kernels and an input make an output, all that is static; hashable.

    Attributes:
        field: the grid, the kernels' size and the method.
        at: the array that the grid lies over, "output" or "input".
        pads: (before, after) along each axis.
        boundary: what lies outside x.
        flip: whether it is convolution.
        size: of x.
    """

    field: Field
    at: str
    pads: tuple[tuple[int, int], ...]
    boundary: str
    flip: bool
    size: tuple[int, ...]

    @property
    def out(self) -> tuple[int, ...]:
        """Size of y."""
        sizes = zip(self.size, self.field.kernel, self.pads, strict=True)
        return tuple(n + sum(pair) - k + 1 for n, k, pair in sizes)

    def extended(self, x: jax.Array) -> jax.Array:
        """Return x with the elements beyond its ends that the outputs read."""
        return extended(x, dict(enumerate(self.pads)), self.boundary)

    def prepared(self, x: jax.Array) -> jax.Array:
        """Return x by cells, which does not depend on the kernels; linear."""
        if self.at == "input":
            return self.field.parted(x)
        return self.field.cut(self.extended(x))

    def applied(self, cells: jax.Array, kernels: jax.Array) -> jax.Array:
        """From `prepared` x and (*grid, *kernel) to y; linear in each."""
        reverse = self.flip == (self.at == "output")
        last = range(self.field.rank, 2 * self.field.rank)
        kernels = jnp.flip(kernels, last) if reverse else kernels
        if self.at == "output":
            return self.field.gathered(cells, kernels)
        y = self.field.spread(cells, kernels)
        starts = [
            k - 1 - before for k, (before, _) in zip(self.field.kernel, self.pads, strict=True)
        ]
        return y[tuple(slice(a, a + m) for a, m in zip(starts, self.out, strict=True))]


def make_model(
    caller: str,
    size: Sequence[int],
    grid: Sequence[int],
    kernel: Sequence[int],
    *,
    at: str,
    mode: str,
    boundary: str,
    flip: bool,
    method: str = "auto",
) -> Model:
    """Return the model of an input's size.

    Raises:
        ValueError: an unknown name, or sizes that do not fit.
    """
    size, kernel = tuple(size), tuple(kernel)
    check_method(caller, method)
    for name, value, names in (
        ("at", at, ("output", "input")),
        ("mode", mode, _MODES),
        ("boundary", boundary, BOUNDARIES),
    ):
        if value not in names:
            raise ValueError(
                f"{caller}: {name}={shown(value)} must be one of {', '.join(map(repr, names))}"
                f"{name_here(value, names)}"
            )
    if 0 in size:
        raise ValueError(f"{caller}: x is empty (x.shape={size})")
    if mode == "valid" and any(n < k for n, k in zip(size, kernel, strict=True)):
        raise ValueError(
            f"{caller}: kernels of {kernel} are larger than x.shape={size}; use mode='same' or "
            "mode='full', which pad x"
        )
    if at == "input" and boundary != "zeros":
        raise ValueError(
            f"{caller}: boundary={boundary!r} needs at='output': with at='input' what lies outside "
            f"x has no place on the grid; extend x itself, jaxconv.pad(x, ..., mode={boundary!r})"
        )
    ones = (1,) * len(size)
    pads = resolve_padding(caller, mode, size, kernel, stride=ones, dilation=ones)
    check_sizes(caller, size, dict(enumerate(pads)), mode=boundary, argument="boundary")
    out = [n + sum(pair) - k + 1 for n, k, pair in zip(size, kernel, pads, strict=True)]
    over = size if at == "input" else out
    lines = lines_of(caller, "x" if at == "input" else "the output", over, grid)
    return Model(Field(lines, kernel, method), at, pads, boundary, flip, size)


def correlate(
    x: jax.Array | np.ndarray,
    kernels: jax.Array | np.ndarray,
    *,
    at: At = "output",
    mode: Mode = "valid",
    boundary: str = "zeros",
    method: str = "auto",
) -> jax.Array:
    """Cross-correlate an array with a kernel that varies smoothly from place to place.

    | at | y | kernel of the place of |
    |---|---|---|
    | "output" | `y[t] = sum over j of h_j(t) correlate(x, K_j)[t]` | the output |
    | "input" | `y = sum over j of correlate(h_j x, K_j)` | the input |

    The kernels K_j belong to the nodes j of an even grid over the output or the input, the first
    and last elements included. Between nodes they are interpolated: the hats h_j fall from 1 at
    node j to 0 at its neighbours, in straight lines along every axis, and sum to 1; `kernel_at`
    returns the kernel of a place.

    at="output" is a filter that adapts to the place: the kernel that matches one image to another,
    or a locally connected layer with interpolated weights. With at="input" every point of x is
    spread by the kernel at its own place, as a lens does: `convolve` with at="input" is what
    astronomers call a varying point-spread function. The kernel of each place may then be measured
    from the image of one star or bead there, and its sum is the part of the light that arrives.

    The cost hardly depends on the number of nodes: every cell between nodes is a patch that is
    correlated with the kernels at its corners, 2^rank plain correlations of x in all, and some more
    where patches overlap (measured in docs/learning.md). Linear in x and in kernels. The transpose
    in x is `jax.linear_transpose`, by patches too; of mode="valid" it is `convolve` with the other
    `at` and mode="full". With equal kernels at all nodes, or one node, the result is that of
    `jaxconv.correlate` up to rounding, not bit for bit.

    Args:
        x: any rank, floating point or complex; for several arrays use `jax.vmap`.
        kernels: (*grid, *kernel), twice as many axes as x, in x's dtype; a grid of 1 along an axis
            is one without variation along it.
        at: the array that the grid lies over: "output", or "input".
        mode: "valid", "same", "same_lower" or "full", as in `jaxconv.correlate`.
        boundary: what lies outside x: "zeros", with at="output" also "reflect", "symmetric",
            "replicate" or "circular", as in `jaxconv.pad`.
        method: as in `jaxconv.correlate`, for the patches; "fft" is for large kernels.

    Returns:
        y: n - k + 1, n or n + k - 1 elements along each axis, by mode; in x's dtype, at the
        device's highest precision.

    Raises:
        TypeError: the dtypes differ, or are not floating point or complex.
        ValueError: shapes, grid, mode, boundary, at or method do not fit.

    Example:
        Averages of two elements at the one end, the first of the two at the other.

        >>> x = jnp.array([0.0, 8.0, 0.0, 8.0, 0.0, 8.0])
        >>> correlate(x, jnp.array([[0.5, 0.5], [1.0, 0.0]]))
        Array([4., 5., 2., 7., 0.], dtype=float32)

    Source: C. Alard, "Image subtraction using a space-varying kernel", Astronomy and Astrophysics
    Supplement 144, 2000, for kernels at the output's place; J. G. Nagy and D. P. O'Leary,
    "Restoring images degraded by spatially variant blur", SIAM Journal on Scientific Computing 19,
    1998, for interpolated kernels by patches; M. Hirsch et al., "Efficient filter flow for
    space-variant multiframe blind deconvolution", CVPR 2010, for kernels at the input's place.
    """
    return _called("correlate", x, kernels, at, mode, boundary, method)


def convolve(
    x: jax.Array | np.ndarray,
    kernels: jax.Array | np.ndarray,
    *,
    at: At = "output",
    mode: Mode = "valid",
    boundary: str = "zeros",
    method: str = "auto",
) -> jax.Array:
    """Convolve an array with a kernel that varies: `correlate` with every kernel reversed.

    `y = sum over j of convolve(h_j x, K_j)` for at="input": a point of light at s becomes
    `K(s)` around s, with K(s) what `kernel_at` returns: the kernels are images of points

    Args:
        x: as in `correlate`.
        kernels: as in `correlate`.
        at: as in `correlate`.
        mode: as in `correlate`.
        boundary: as in `correlate`.
        method: as in `correlate`.

    Returns:
        y: as in `correlate`.

    Raises:
        TypeError: as in `correlate`.
        ValueError: as in `correlate`.

    Example:
        Two stars: the image of the one in the middle is halfway between those of the ends.

        >>> stars = jnp.zeros(9).at[jnp.array([1, 4])].set(jnp.array([0.0, 8.0]))
        >>> points = jnp.array([[0.0, 1.0, 0.0], [0.25, 0.25, 0.5]])
        >>> convolve(stars, points, at="input", mode="same")
        Array([0., 0., 0., 1., 5., 2., 0., 0., 0.], dtype=float32)

    Source: as in `correlate`.
    """
    return _called("convolve", x, kernels, at, mode, boundary, method)


def _called(
    caller: str,
    x: jax.Array | np.ndarray,
    kernels: jax.Array | np.ndarray,
    at: str,
    mode: str,
    boundary: str,
    method: str,
) -> jax.Array:
    x, kernels = (
        inexact(caller, name, dtypes.as_array(caller, name, value))
        for name, value in (("x", x), ("kernels", kernels))
    )
    dtypes.result_dtype(caller, ("x", x), ("kernels", kernels))
    grid, size = split(caller, kernels, x.ndim, "x")
    model = make_model(
        caller,
        x.shape,
        grid,
        size,
        at=at,
        mode=mode,
        boundary=boundary,
        flip=caller == "convolve",
        method=method,
    )
    return _applied(x, kernels, model)


@functools.partial(jax.jit, static_argnames="model")
def _applied(x: jax.Array, kernels: jax.Array, model: Any) -> jax.Array:
    return model.applied(model.prepared(x), kernels)
