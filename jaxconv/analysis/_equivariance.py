"""How far a function of an image is from moving its output as its input is moved.

f is equivariant to a shift S if f(S x) = S f(x). A convolution is, up to two effects that the
functions here measure:

| what | equivariant to | fails |
|---|---|---|
| circular padding | every shift round the image | nowhere |
| zero padding (and every other mode) | no shift | where an output sees a margin, or did before |
| no padding | every shift that does not wrap | nowhere (with wrap=False) |
| stride s | multiples of s | at other shifts, all over the image |
"""

import itertools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.spec import per_dimension

Function = Callable[[jax.Array], jax.Array]


def equivariance_map(
    f: Function,
    x: ArrayLike,
    shift: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    axes: Sequence[int] = (0, 1),
    wrap: bool = True,
) -> jax.Array:
    """Show at every output how far f(S x) is from S f(x): zero where f is equivariant.

    e = |f(S x) - S' f(x)|, S rolls x by `shift` along `axes`, S' rolls f(x) by shift / stride

    Args:
        f: a function of x to an array with the same axes, such as a layer or a whole model.
        x: an array with spatial dimensions at `axes`, such as (H, W) or (H, W, channels).
        shift: elements of x to move by, negative ones included; one integer or one an axis.
        stride: elements of x from one output to the next; one integer or one an axis.
        axes: the axes to move along, the same in x and f(x).
        wrap: whether what f(x) loses at one end is expected at the other. False leaves out the
            outputs whose counterpart does not exist, which f without padding needs.

    Returns:
        Absolute differences with the shape of f(x), or with wrap=False shorter by |shift| / stride
        along each of `axes`: the outputs that have a counterpart, in the place of S' f(x).

    Raises:
        TypeError: a number is no integer.
        ValueError: axes that x or f(x) has not; a shift that `stride` does not divide; with wrap, a
            size of f(x) that is not x's divided by stride; without, a shift as large as f(x).

    Example:
        Zero padding fails where the image's ends have moved to, and at its ends.

        >>> from jaxconv import correlate
        >>> x, k = jnp.array([3.0, 1, 4, 1, 5, 9]), jnp.ones(3)
        >>> f = lambda x: correlate(x, k, mode="same")
        >>> equivariance_map(f, x, 2, axes=(0,))
        Array([1., 3., 9., 0., 0., 5.], dtype=float32)

    Source:
        Cohen and Welling (2016), "Group Equivariant Convolutional Networks", section 3;
        Zhang et al., "Dive into Deep Learning", section 6.1.1.
    """
    caller = "equivariance_map"
    x = as_array("equivariance_map", "x", x)
    axes, shift, stride = _normalise(caller, x, shift, stride, axes)
    if any(move % step for move, step in zip(shift, stride, strict=True)):
        raise ValueError(
            f"{caller}: shift={shift} must be a multiple of stride={stride}: other shifts have no "
            "counterpart in the output; equivariance_error takes them"
        )
    y, moved = f(x), f(jnp.roll(x, shift, axes))
    _check_output(caller, x, y, stride, axes, wrap)
    steps = tuple(move // step for move, step in zip(shift, stride, strict=True))
    return _difference(caller, y, moved, steps, axes, wrap)


def equivariance_error(
    f: Function,
    x: ArrayLike,
    shifts: Sequence[int | Sequence[int]],
    *,
    stride: int | Sequence[int] = 1,
    axes: Sequence[int] = (0, 1),
    wrap: bool = True,
) -> jax.Array:
    """Measure how far f is from moving its output as its input is moved, for several shifts.

    error = max |f(S x) - S' f(x)|, S rolls x by a shift, S' rolls f(x) by shift / stride

    A shift that `stride` does not divide has no S'; of the whole shifts on both sides of
    shift / stride, the one with the smaller error counts.

    Args:
        f: as in `equivariance_map`.
        x: as in `equivariance_map`.
        shifts: as many shifts, each as in `equivariance_map`.
        stride: as in `equivariance_map`.
        axes: as in `equivariance_map`.
        wrap: as in `equivariance_map`.

    Returns:
        (len(shifts),) errors in the unit of f(x), zero for an equivariant f (up to rounding, if f
        adds the same numbers in another order at another place).

    Raises:
        TypeError: a number is no integer.
        ValueError: as `equivariance_map`, but any shift is allowed.

    Example:
        Every second element is equivariant to even shifts only.

        >>> x = jnp.array([3.0, 1, 4, 1, 5, 9])
        >>> equivariance_error(lambda x: x[::2], x, [0, 1, 2, 3], stride=2, axes=(0,))
        Array([0., 4., 0., 4.], dtype=float32)

    Source:
        As `equivariance_map`; for strides, Zhang (2019), "Making Convolutional Networks
        Shift-Invariant Again", section 3.
    """
    caller = "equivariance_error"
    x = as_array("equivariance_error", "x", x)
    y = None
    errors = []
    for entry in shifts:
        where, shift, step = _normalise(caller, x, entry, stride, axes)
        if y is None:
            y = f(x)
            _check_output(caller, x, y, step, where, wrap)
        moved = f(jnp.roll(x, shift, where))
        candidates = itertools.product(
            *({move // s, -(-move // s)} for move, s in zip(shift, step, strict=True))
        )
        errors.append(
            jnp.stack(
                [_difference(caller, y, moved, c, where, wrap).max() for c in candidates]
            ).min()
        )
    if not errors:
        raise ValueError(f"{caller}: shifts={shifts} must name at least one shift")
    return jnp.stack(errors)


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
                f"{caller}: a shift of the output by {step} leaves nothing of its {size} elements "
                f"to compare along axis {axis}; give smaller shifts, or wrap=True"
            )
        # what has been rolled round is at the front after a shift forward
        start, stop = max(step, 0), size + min(step, 0)
        difference = jax.lax.slice_in_dim(difference, start, stop, axis=axis)
    return difference


def _normalise(
    caller: str, x: jax.Array, shift: int | Sequence[int], stride: int | Sequence[int], axes
) -> tuple[tuple[int, ...], ...]:
    axes = tuple(operator.index(axis) for axis in axes)
    if any(not -x.ndim <= axis < x.ndim for axis in axes) or not axes:
        raise ValueError(f"{caller}: axes={axes} must name axes of x (x.shape={x.shape})")
    # counted from the end they would mean other axes in an output of another rank
    axes = tuple(axis % x.ndim for axis in axes)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{caller}: axes={axes} names an axis twice")
    shift = per_dimension(caller, "shift", shift, len(axes))
    return axes, shift, per_dimension(caller, "stride", stride, len(axes), minimum=1)


def _check_output(
    caller: str,
    x: jax.Array,
    y: jax.Array,
    stride: tuple[int, ...],
    axes: tuple[int, ...],
    wrap: bool,
) -> None:
    if np.ndim(y) <= max(axes):
        raise ValueError(f"{caller}: f(x).shape={np.shape(y)} has not the axes {axes} of x")
    for axis, step in zip(axes, stride, strict=True):
        if wrap and y.shape[axis] * step != x.shape[axis]:
            raise ValueError(
                f"{caller}: f(x) has {y.shape[axis]} elements along axis {axis} and x "
                f"{x.shape[axis]}, not stride={step} times as many, so a shift round x is none "
                "round f(x); use wrap=False, or padding that keeps the size"
            )
