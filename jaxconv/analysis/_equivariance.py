"""Equivariance: whether a shift of the input shifts the output and changes nothing else.

f is equivariant to a shift S if f(S x) = S f(x). For convolutions this depends on padding and
stride:

| convolution with | equivariant to | otherwise f(S x) and S f(x) differ |
|---|---|---|
| circular padding | every circular shift | |
| other padding | no shift | where a window covers padding, before or after the shift |
| no padding | every shift, compared where both outputs exist (wrap=False) | |
| stride s | multiples of s | everywhere |
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.spec import per_dimension

Function = Callable[[jax.Array], jax.Array]


def equivariance_map(
    f: Function,
    x: jax.Array | np.ndarray,
    shift: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    axes: Sequence[int] = (0, 1),
    wrap: bool = True,
) -> jax.Array:
    """Return |f(S x) - S f(x)| at every output: zero where f is equivariant.

    e = |f(S x) - S' f(x)|, S rolls x by `shift` along `axes`, S' rolls f(x) by shift / stride

    Args:
        f: a function of x to an array with the same axes, such as a layer or a whole model.
        x: an array with spatial dimensions at `axes`, such as (H, W) or (H, W, channels).
        shift: elements of x to shift by, positive or negative; one integer or one for each axis.
        stride: stride of f: elements of x between neighbouring outputs; one integer or one for each
            axis.
        axes: the axes to shift along, the same in x and f(x).
        wrap: compare with f(x) shifted circularly. False compares only the outputs whose
            counterpart is not shifted out, as a function without padding needs.

    Returns:
        Absolute differences with the shape of f(x), at the positions of S' f(x); with wrap=False
        shorter by |shift| / stride along each of `axes`.

    Raises:
        TypeError: an argument is not an integer where one is needed.
        ValueError: `axes` are not axes of x and f(x); `shift` is not a multiple of `stride`; with
            wrap, the size of f(x) is not that of x divided by stride; without wrap, the shift is as
            large as f(x).

    Example:
        With zero padding the outputs differ at the borders, and where the shift moved them to.

        >>> from jaxconv import correlate
        >>> x, k = jnp.array([3.0, 1, 4, 1, 5, 9]), jnp.ones(3)
        >>> f = lambda x: correlate(x, k, mode="same")
        >>> equivariance_map(f, x, 2, axes=(0,))
        Array([1., 3., 9., 0., 0., 5.], dtype=float32)

    Source:
        Cohen and Welling (2016), "Group Equivariant Convolutional Networks", section 3; D2L,
        section 6.1.1.
    """
    caller = "equivariance_map"
    x = as_array(caller, "x", x)
    axes, stride = _axes_and_stride(caller, x, stride, axes)
    shift = per_dimension(caller, "shift", shift, len(axes))
    if any(move % step for move, step in zip(shift, stride, strict=True)):
        raise ValueError(
            f"{caller}: shift={shift} must be a multiple of stride={stride}: other shifts have no "
            "counterpart in the output; equivariance_error takes them"
        )
    y = f(x)
    _check_output(caller, x, y, stride, axes, wrap)
    steps = tuple(move // step for move, step in zip(shift, stride, strict=True))
    return _difference(caller, y, f(jnp.roll(x, shift, axes)), steps, axes, wrap)


def equivariance_error(
    f: Function,
    x: jax.Array | np.ndarray,
    shifts: Sequence[int | Sequence[int]],
    *,
    stride: int | Sequence[int] = 1,
    axes: Sequence[int] = (0, 1),
    wrap: bool = True,
) -> jax.Array:
    """Measure the largest |f(S x) - S f(x)| for each of several shifts: zero for an equivariant f.

    error = max |f(S x) - S' f(x)|, S rolls x by a shift, S' rolls f(x) by shift / stride

    A shift that is not a multiple of `stride` has no S': shift / stride is rounded down
    and up, and the smaller of the errors is returned.

    Args:
        f: as in `equivariance_map`.
        x: as in `equivariance_map`.
        shifts: a sequence of shifts, each as in `equivariance_map`.
        stride: as in `equivariance_map`.
        axes: as in `equivariance_map`.
        wrap: as in `equivariance_map`.

    Returns:
        (len(shifts),) errors in the unit of f(x): zero for an equivariant f, or rounding errors if
        the order of its additions depends on the position.

    Raises:
        TypeError: as `equivariance_map`.
        ValueError: as `equivariance_map`, but any shift is allowed.

    Example:
        Every second element is equivariant to even shifts only.

        >>> x = jnp.array([3.0, 1, 4, 1, 5, 9])
        >>> equivariance_error(lambda x: x[::2], x, [0, 1, 2, 3], stride=2, axes=(0,))
        Array([0., 4., 0., 4.], dtype=float32)

    Source:
        Zhang (2019), "Making Convolutional Networks Shift-Invariant Again", section 3.
    """
    caller = "equivariance_error"
    x, shifts = as_array(caller, "x", x), list(shifts)
    axes, stride = _axes_and_stride(caller, x, stride, axes)
    moves = [per_dimension(caller, "shift", shift, len(axes)) for shift in shifts]
    if not moves:
        raise ValueError(f"{caller}: shifts={shifts} must name at least one shift")
    y = f(x)
    _check_output(caller, x, y, stride, axes, wrap)

    def error(shift: tuple[int, ...]) -> jax.Array:
        moved = f(jnp.roll(x, shift, axes))
        rounded = ({move // s, -(-move // s)} for move, s in zip(shift, stride, strict=True))
        differences = [
            _difference(caller, y, moved, steps, axes, wrap).max()
            for steps in itertools.product(*rounded)
        ]
        return jnp.stack(differences).min()

    return jnp.stack([error(shift) for shift in moves])


def _difference(
    caller: str,
    y: jax.Array,
    moved: jax.Array,
    steps: tuple[int, ...],
    axes: tuple[int, ...],
    wrap: bool,
) -> jax.Array:
    difference = jnp.abs(moved - jnp.roll(y, steps, axes))
    if wrap:
        return difference
    for axis, step in zip(axes, steps, strict=True):
        size = difference.shape[axis]
        if abs(step) >= size:
            raise ValueError(
                f"{caller}: a shift of the output by {step} leaves none of its {size} elements to "
                f"compare along axis {axis}; use smaller shifts, or wrap=True"
            )
        # after a shift forward the wrapped elements are at the front
        start, stop = max(step, 0), size + min(step, 0)
        difference = jax.lax.slice_in_dim(difference, start, stop, axis=axis)
    return difference


def _axes_and_stride(
    caller: str, x: jax.Array, stride: int | Sequence[int], axes: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    axes = tuple(operator.index(axis) for axis in axes)
    if any(not -x.ndim <= axis < x.ndim for axis in axes) or not axes:
        raise ValueError(f"{caller}: axes={axes} must name axes of x (x.shape={x.shape})")
    # negative axes would mean other axes in an output of another rank
    axes = tuple(axis % x.ndim for axis in axes)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{caller}: axes={axes} names an axis twice")
    return axes, per_dimension(caller, "stride", stride, len(axes), minimum=1)


def _check_output(
    caller: str,
    x: jax.Array,
    y: jax.Array,
    stride: tuple[int, ...],
    axes: tuple[int, ...],
    wrap: bool,
) -> None:
    if np.ndim(y) <= max(axes):
        raise ValueError(f"{caller}: f(x).shape={np.shape(y)} does not have the axes {axes} of x")
    for axis, step in zip(axes, stride, strict=True):
        if wrap and y.shape[axis] * step != x.shape[axis]:
            raise ValueError(
                f"{caller}: along axis {axis} x has {x.shape[axis]} elements, not stride={step} "
                f"times the {y.shape[axis]} of f(x), so a circular shift of x is not one of f(x); "
                "use wrap=False, or padding that keeps the size"
            )
