"""Kernels that vary from place to place, from an input and its output: `fit`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array, one
from jaxconv._core.geometry.scalars import check_count, check_flag, check_number
from jaxconv.varying._apply import At, Mode, make_model
from jaxconv.varying._grid import lines_of, sizes
from jaxconv.varying._normal import Answer, solve
from jaxconv.varying._system import Problem


class VaryingFit(NamedTuple):
    """Kernels of all nodes, and how well the images determine them.

    Attributes:
        kernels: (*grid, *kernel), for `varying.correlate`, with flip for `varying.convolve`.
        bias: (*grid), a constant at each node of the same grid over the output, interpolated in the
            same way; None without a bias.
        residual: scalar, the remaining weighted sum of squared differences.
        std_error: (*grid, *kernel), an estimate of the standard error of each weight, if the
            remaining differences are independent noise whose variance is inverse to `weights`;
            infinite at nodes that nothing is known about.
        energies: (*grid), the mean over a of `sum over t of h_j(t)^2 w(t) x[t + a]^2`: how much
            light there is to see a node's kernel by, in squared units of x; 0 where nothing is
            known.
        steps: scalar integer, the steps of conjugate gradients.
        error: scalar, an estimate of the relative distance from the solution in what the outputs
            show; above the tolerance if the steps did not suffice.
    """

    kernels: jax.Array
    bias: jax.Array | None
    residual: jax.Array
    std_error: jax.Array
    energies: jax.Array
    steps: jax.Array
    error: jax.Array


def fit(
    x: jax.Array | np.ndarray,
    y: jax.Array | np.ndarray,
    kernel_size: int | Sequence[int],
    *,
    grid: int | Sequence[int],
    at: At = "output",
    mode: Mode = "valid",
    boundary: str = "zeros",
    flip: bool = False,
    weights: jax.Array | np.ndarray | None = None,
    ridge: ArrayLike = 0.0,
    bias: bool = False,
    tolerance: float = 1e-6,
    steps: int = 200,
) -> VaryingFit:
    """Find the kernels of all nodes of a grid that turn x into y with the least squared error.

    `kernels, bias = argmin of sum over t of w(t) (varying.correlate(x, kernels)[t] + bias(t) -
    y[t])^2 + ridge sum(kernels^2)`

    One joint least squares of all nodes, in one compiled call: neighbours share what lies between
    them, so that every output counts once, and nothing is cut into patches that are fitted on their
    own. With x an image of all stars, from `point_sources`, and at="input", flip=True, the kernels
    are the point-spread function at each node.

    By conjugate gradients on the normal equations, whose matrix is never formed. They begin with
    the single kernel of least error, found in the same way, and are preconditioned by the local
    autocorrelation of x at each node and the overlap of the hats. Most steps are made in float32;
    what they leave is computed in float64, whatever `jax_enable_x64` is, and so are further steps
    where float32 leads no further.

    What the images do not determine stays as it is in the single kernel: a node with no data, such
    as a corner without stars, has the kernel of the whole image, and an infinite `std_error`. With
    a ridge above 0 the minimum is one point, and is found: such nodes are zeros.

    Works under `jit`, and under `vmap`. Kernels, bias and residual have gradients in x, y, weights
    and ridge, in reverse mode, by one more solve; the other fields are constants.

    Args:
        x: of rank 1 to 3, float32 or float64; for several images of one field put zeros between
            them, or use `jax.vmap`.
        y: the output, of the size that `mode` gives, in x's dtype.
        kernel_size: one integer an axis, or one for all.
        grid: number of nodes along each axis, or one for all; at most the elements there.
        at: the array that the grid lies over, as in `varying.correlate`.
        mode: as in `varying.correlate`.
        boundary: as in `varying.correlate`.
        flip: whether y is the convolution, as `varying.convolve` computes it: with at="input" the
            kernels are then images of points.
        weights: w, of y's shape, 0 or more, floating point or bool: 0 or False leaves an output
            out, whatever it holds, NaN included; one over the variance of the noise weighs counts
            rightly. By default 1.
        ridge: penalty on the squared weights of the kernels, 0 or more, in squared units of x times
            outputs.
        bias: whether to add a constant at each node, such as the background of the sky.
        tolerance: of `error`, at which it stops.
        steps: at most so many steps.

    Returns:
        A `VaryingFit` in x's dtype.

    Raises:
        TypeError: x, y or weights are not floating point of one dtype, or an argument has the wrong
            type.
        ValueError: shapes and numbers do not fit, weights are negative, or x, y or weights hold
            NaN or infinity that counts (under jit and the like the kernels are NaN then).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxconv import varying
        >>> x = jax.random.normal(jax.random.key(0), (300,))
        >>> true = jnp.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])  # at three nodes
        >>> found = varying.fit(x, varying.correlate(x, true), 2, grid=3)
        >>> print(abs(found.kernels.round(4)))
        [[0.5 0.5]
         [1.  0. ]
         [0.  1. ]]

    Source: C. Alard and R. H. Lupton, "A method for optimal image subtraction", The Astrophysical
    Journal 503, 1998, for kernels from two images by least squares; C. Alard, "Image subtraction
    using a space-varying kernel", Astronomy and Astrophysics Supplement 144, 2000, for kernels that
    vary, fitted jointly.
    """
    x, y = (_floating(name, as_array("fit", name, value)) for name, value in (("x", x), ("y", y)))
    if y.dtype != x.dtype:
        raise TypeError(f"fit: x is {x.dtype} and y is {y.dtype}; call y.astype(x.dtype)")
    if not 1 <= x.ndim <= 3 or y.ndim != x.ndim:
        raise ValueError(
            f"fit: x and y must have the same 1, 2 or 3 axes, got x.shape={x.shape} and "
            f"y.shape={y.shape}; for several pairs use jax.vmap"
        )
    check_flag("fit", "flip", flip)
    check_flag("fit", "bias", bias)
    check_number("fit", "ridge", ridge, traced=True)
    check_number("fit", "tolerance", tolerance, traced=False)
    check_count("fit", "steps", steps)
    model = make_model(
        "fit",
        x.shape,
        sizes("fit", "grid", grid, x.ndim),
        sizes("fit", "kernel_size", kernel_size, x.ndim),
        at=at,
        mode=mode,
        boundary=boundary,
        flip=flip,
    )
    if y.shape != model.out:
        raise ValueError(
            f"fit: y.shape={y.shape} must be {model.out}, for x.shape={x.shape}, kernels of "
            f"{model.field.kernel} and mode={mode!r}{_other_mode(x, y, model.field.kernel)}"
        )
    if bias:
        lines_of("fit", "y", y.shape, model.field.grid)
    shares = _weights(weights, y)
    _check_values(x, y, shares)
    problem = Problem(model, bias, float(tolerance), steps)
    answer = _compiled(
        x, y, shares, as_array("fit", "ridge", ridge).astype(x.dtype), problem=problem
    )
    return VaryingFit(*answer)._replace(bias=answer.bias if bias else None)


@functools.partial(jax.jit, static_argnames="problem")
def _compiled(
    x: jax.Array, y: jax.Array, weights: jax.Array, ridge: jax.Array, *, problem: Problem
) -> Answer:
    y = jnp.where(weights > 0, y, jnp.zeros((), y.dtype))
    return solve(problem, x, y, weights, ridge)


def _floating(name: str, array: jax.Array) -> jax.Array:
    if array.dtype not in (jnp.float32, jnp.float64):
        raise TypeError(
            f"fit: {name} must be float32 or float64, got {name}.dtype={array.dtype}: convert it, "
            f"as in {name}.astype('float32')"
        )
    return array


def _weights(weights: jax.Array | np.ndarray | None, y: jax.Array) -> jax.Array:
    if weights is None:
        return jnp.broadcast_to(one(y.dtype), y.shape)
    found = as_array("fit", "weights", weights)
    if found.shape != y.shape:
        raise ValueError(
            f"fit: weights.shape={found.shape} must be y.shape={y.shape}, one weight an output"
        )
    if found.dtype == jnp.bool_:
        return found.astype(y.dtype)
    return _floating("weights", found).astype(y.dtype)


def _other_mode(x: jax.Array, y: jax.Array, kernel: tuple[int, ...]) -> str:
    for mode, sign in (("valid", -1), ("same", 0), ("full", 1)):
        if y.shape == tuple(n + sign * (k - 1) for n, k in zip(x.shape, kernel, strict=True)):
            return f"; it is that of mode={mode!r}"
    return ""


def _check_values(x: jax.Array, y: jax.Array, weights: jax.Array) -> None:
    """Check what is known of the values: nothing is of what is traced."""
    known: dict[str, Any] = {
        name: np.asarray(array)  # not an operation of a program that is traced
        for name, array in (("x", x), ("y", y), ("weights", weights))
        if not isinstance(array, Tracer)
    }
    if "weights" in known and (known["weights"] < 0).any():
        raise ValueError("fit: weights must be 0 or more; 0 leaves an output out")
    if {"y", "weights"} <= known.keys():
        known["y"] = known["y"][known["weights"] > 0]
    elif "y" in known:
        known.pop("y")  # which of them count is not known
    for name, array in known.items():
        if not np.isfinite(array).all():
            way = "; give weights=jnp.isfinite(y) to leave such outputs out" * (name == "y")
            raise ValueError(f"fit: {name} has values that are NaN or infinite{way}")
