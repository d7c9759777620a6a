"""What lies outside an array: boundary extension, and its adjoint.

A mode extends x, of size n along an axis, to every index p; `pad` cuts out the window
`-before <= p < n + after` of that extension. `E(p)` is the index of x that p reads:

| mode | picture | E(p) outside x | widths |
|---|---|---|---|
| `"zeros"` | 00 1234 00 | none, reads 0 | any |
| `"constant"` | 99 1234 99 | none, reads `fill_value` | any |
| `"reflect"` | 32 1234 32 | -p before, 2(n - 1) - p after | below n |
| `"symmetric"` | 21 1234 43 | -p - 1 before, 2n - 1 - p after | at most n |
| `"replicate"` | 11 1234 44 | 0 before, n - 1 after | any, n >= 1 |
| `"circular"` | 34 1234 12 | p + n before, p - n after | at most n |

The same modes have other names elsewhere, and the same names other meanings:

| here | numpy.pad | torch pad | scipy.ndimage filters | scipy.signal | OpenCV BORDER_ |
|---|---|---|---|---|---|
| `zeros` | constant | constant, zeros | constant | fill | CONSTANT |
| `constant` | constant | constant | constant | fill | CONSTANT |
| `reflect` | reflect | reflect | mirror | | REFLECT_101 |
| `symmetric` | symmetric | | reflect, grid-mirror | symm | REFLECT |
| `replicate` | edge | replicate | nearest | | REPLICATE |
| `circular` | wrap | circular | wrap, grid-wrap | wrap | WRAP |

A negative width crops. The window is cut from the extension of all of x, so what is cropped at one
end may still be read by the margin at the other: `pad([1, 2, 3, 4], [(-1, 2)], mode="circular")` is
`[2, 3, 4, 1, 2]`. torch does the same except for circular, where it crops first.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array, constant, zero
from jaxconv._core.geometry.explicit_axes import entries_of, on_explicit_axes
from jaxconv._core.geometry.fill_values import check_fill_value
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.shapes import Size, as_size, below, largest

__all__ = ["MODES", "check_fill_value", "check_widths", "pad", "unpad"]

Widths = Sequence[Sequence[Size]]


def pad(
    x: ArrayLike,
    widths: Widths,
    *,
    axes: Sequence[int] | None = None,
    mode: str = "zeros",
    fill_value: ArrayLike = 0,
) -> jax.Array:
    """Extend x beyond its ends by the rule of a mode.

    `y[p] = x[E(p - before)]` along each axis, with E from this module's table; the axes one after
    another, so that a corner is the extension of an extension.

        zeros      1234 -> 00|1234|00        symmetric  1234 -> 21|1234|43
        constant   1234 -> 99|1234|99        replicate  1234 -> 11|1234|44
        reflect    1234 -> 32|1234|32        circular   1234 -> 34|1234|12

    Args:
        x: any shape and dtype; axes that are not padded may be empty.
        widths: one (before, after) pair of ints for each of `axes`; negative ones crop.
        axes: the axes that `widths` speaks of; by default all, from the first.
        mode: one of `MODES`.
        fill_value: for `"constant"` what lies outside x: a scalar, which `x.dtype` must hold. It
            may be traced and differentiated.

    Returns:
        x's shape, larger by before + after along each axis, of x's dtype; x itself where every
        width is 0. Linear in x (affine for `"constant"`); its adjoint is `unpad`.

    Raises:
        ValueError: an unknown mode; axes repeated or out of range; as many pairs as axes not given;
            a width that needs more input than there is (the table's last column); widths that leave
            nothing; a `fill_value` that is no scalar, that x's dtype does not hold, or that is
            given with another mode than `"constant"`.
        TypeError: widths that are not ints.

    Example:
        >>> x = jnp.array([1, 2, 3, 4])
        >>> for mode in MODES:
        ...     print(f"{mode:10}", pad(x, [(2, 2)], mode=mode))
        zeros      [0 0 1 2 3 4 0 0]
        constant   [0 0 1 2 3 4 0 0]
        reflect    [3 2 1 2 3 4 3 2]
        symmetric  [2 1 1 2 3 4 4 3]
        replicate  [1 1 1 2 3 4 4 4]
        circular   [3 4 1 2 3 4 1 2]

    Source: G. Strang and T. Nguyen, Wavelets and Filter Banks, Wellesley-Cambridge Press, 1996,
    chapter 8 (`symmetric` and `reflect` are its half-point and whole-point symmetric extensions).
    """
    x = as_array("pad", "x", x)
    pairs = check_widths("pad", x.shape, widths, axes=axes, mode=mode)
    check_fill_value("pad", x.dtype, fill_value, mode)
    pairs = {axis: pair for axis, pair in pairs.items() if pair != (0, 0)}
    if not pairs:
        return x
    shape = [n + sum(pairs.get(axis, (0, 0))) for axis, n in enumerate(x.shape)]
    traced = isinstance(fill_value, jax.Array)
    arrays = (x, fill_value) if traced else (x,)
    extend = partial(_extend, pairs=pairs, mode=mode, number=None if traced else fill_value)
    return on_explicit_axes(extend, *arrays, shape=shape, entries=entries_of(x))


def _extend(
    x: jax.Array,
    fill: jax.Array | None = None,
    *,
    pairs: dict[int, tuple[Size, Size]],
    mode: str,
    number: Any,
) -> jax.Array:
    if mode in _FILLED:
        configuration = [(*pairs.get(axis, (0, 0)), 0) for axis in range(x.ndim)]
        if fill is None:
            value = zero(x.dtype) if mode == "zeros" else constant(number, x.dtype)
            return lax.pad(x, value, configuration)
        fill = fill.astype(x.dtype)
        # jax 0.10.2 cannot transpose lax.pad in the padding value alone
        inside = lax.pad(jnp.ones(x.shape, bool), np.False_, configuration)
        return jnp.where(inside, lax.pad(x, zero(x.dtype), configuration), fill)
    for axis, pair in pairs.items():
        size = x.shape[axis]
        before, after = (largest(width, 0) for width in pair)
        head, tail = _MARGINS[mode](x, axis, before, after)
        x = lax.concatenate([m for m in (head, x, tail) if m.shape[axis] != 0], axis)
        # only now crop: the margin at one end reads what is cropped at the other
        start = before - pair[0]
        x = lax.slice_in_dim(x, start, start + size + sum(pair), axis=axis)
    return x


def unpad(
    y: ArrayLike, widths: Widths, *, axes: Sequence[int] | None = None, mode: str = "zeros"
) -> jax.Array:
    """Fold the margins back in: the adjoint of `pad` with the same widths, axes and mode.

    `x[q] = sum of y[p] over all p with E(p - before) = q`, so that `<pad(x), y> = <x, unpad(y)>`,
    with `<a, b> = sum(a * b)`: nothing is conjugated. A cropped end (negative width) returns as
    zeros, a filled margin contributes nothing.

        zeros      ab|cdef|gh -> c      d      e      f
        constant   ab|cdef|gh -> c      d      e      f
        reflect    ab|cdef|gh -> c      d+b+h  e+a+g  f
        symmetric  ab|cdef|gh -> c+b    d+a    e+h    f+g
        replicate  ab|cdef|gh -> c+b+a  d      e      f+g+h
        circular   ab|cdef|gh -> c+g    d+h    e+a    f+b

    Transposed convolution with a padding mode is this after the transposed convolution onto the
    padded input, since the convolution is `pad` followed by one without padding.

    Args:
        y: an array as `pad` returns it, of a numeric dtype.
        widths: one (before, after) pair of ints for each of `axes`, as given to `pad`.
        axes: the axes that `widths` speaks of; by default all, from the first.
        mode: one of `MODES`.

    Returns:
        y's shape, smaller by before + after along each axis: the shape of x; of y's dtype. y itself
        where every width is 0.

    Raises:
        ValueError: an unknown mode; axes repeated or out of range; as many pairs as axes not given;
            widths that `pad` refuses for an input of the size that would be returned.
        TypeError: widths that are not ints, or y boolean, which has no sum.

    Example:
        >>> y = jnp.array([1, 10, 100, 100, 100, 100, 1, 10])
        >>> for mode in MODES:
        ...     print(f"{mode:10}", unpad(y, [(2, 2)], mode=mode))
        zeros      [100 100 100 100]
        constant   [100 100 100 100]
        reflect    [100 120 102 100]
        symmetric  [110 101 110 101]
        replicate  [111 100 100 111]
        circular   [101 110 101 110]

    Source: the transpose of the matrix that `pad` multiplies x with, one row (p) of which has its
    single 1 in column E(p - before).
    """
    y = as_array("unpad", "y", y)
    if y.dtype == jnp.bool_:
        raise TypeError("unpad: y must be numeric, since margins are summed, got bool")
    pairs = check_widths("unpad", y.shape, widths, axes=axes, mode=mode, padded=True)
    pairs = {axis: pair for axis, pair in pairs.items() if pair != (0, 0)}
    if not pairs:
        return y
    shape = [n - sum(pairs.get(axis, (0, 0))) for axis, n in enumerate(y.shape)]
    fold = partial(_fold, pairs=pairs, mode=mode)
    return on_explicit_axes(fold, y, shape=shape, entries=entries_of(y))


def _fold(y: jax.Array, *, pairs: dict[int, tuple[Size, Size]], mode: str) -> jax.Array:
    if mode in _FILLED:
        negated = {axis: (-before, -after, 0) for axis, (before, after) in pairs.items()}
        return lax.pad(y, zero(y.dtype), [negated.get(axis, (0, 0, 0)) for axis in range(y.ndim)])
    for axis, pair in pairs.items():
        size = y.shape[axis] - sum(pair)
        before, after = (largest(width, 0) for width in pair)
        place = partial(_place, axis)
        y = place(y, before - pair[0], before + size + after)  # undo the crop
        head = lax.slice_in_dim(y, 0, before, axis=axis)
        tail = lax.slice_in_dim(y, before + size, None, axis=axis)
        y = lax.slice_in_dim(y, before, before + size, axis=axis)
        for piece, start in _FOLDS[mode](head, tail, axis, size):
            if piece.shape[axis] != 0:
                y = y + place(piece, start, size)
    return y


def check_widths(
    caller: str,
    shape: Sequence[Size],
    widths: Widths,
    *,
    axes: Sequence[int] | None = None,
    mode: str = "zeros",
    padded: bool = False,
    argument: str = "mode",
) -> dict[int, tuple[Size, Size]]:
    """Check widths against a shape and a mode, before anything is traced.

    A width w at an end of an axis of size n needs w < n to reflect, w <= n for symmetric and
    circular, n >= 1 to replicate; and n + before + after >= 1 unless both are 0.

    Args:
        caller: the function that the messages name.
        shape: of the array that has the axes.
        widths: one (before, after) pair of ints for each of `axes`.
        axes: non-negative or negative axes of `shape`; by default all.
        mode: one of `MODES`.
        padded: whether `shape` is that after padding (`unpad`) and not before (`pad`).
        argument: what the caller's user calls `mode`.

    Returns:
        axis -> (before, after), axes non-negative, in the order given.

    Raises:
        ValueError: see `pad`.
        TypeError: widths that are not ints.

    Example:
        >>> check_widths("conv", (2, 3, 5), [(0, 0), (1, 2)], axes=(1, -1), mode="reflect")
        {1: (0, 0), 2: (1, 2)}
    """
    if mode not in MODES:
        raise ValueError(f"{caller}: {argument} must be one of {', '.join(MODES)}; got {mode!r}")
    rank, shape = len(shape), tuple(shape)
    try:
        given = tuple(range(rank)) if axes is None else tuple(map(operator.index, axes))
    except TypeError:
        raise TypeError(f"{caller}: axes must be a sequence of integers, got {axes!r}") from None
    if not all(-rank <= axis < rank for axis in given):
        raise ValueError(
            f"{caller}: axes must be in [{-rank}, {rank}) for shape {shape}, got {given}"
        )
    counted = tuple(axis % rank for axis in given)
    if len(set(counted)) != len(counted):
        raise ValueError(f"{caller}: axes must differ from each other, got {given}")
    pairs = _pairs(caller, widths, counted)
    for axis, pair in pairs.items():
        if pair == (0, 0):
            continue
        size = shape[axis] - sum(pair) if padded else shape[axis]
        where = f"axis {axis} of size {shape[axis]} (shape {shape})"
        if below(size, 0):
            raise ValueError(f"{caller}: widths must be within the size, got {pair} for {where}")
        if below(size + sum(pair), 1):
            raise ValueError(
                f"{caller}: widths must leave at least 1 element, got {pair} for {where}"
            )
        if mode in _LIMITS:
            rule, least = _LIMITS[mode]
            needed = [least(width) for width in pair if not below(width, 1)]
            if any(below(size, least) for least in needed):
                source = f"{size}, left of {where}" if padded else where
                raise ValueError(
                    f"{caller}: {argument}={mode!r} needs {rule}, got widths {pair} for {source}"
                )
            if unknown := [least for least in needed if not below(least - 1, size)]:
                raise ValueError(
                    f"{caller}: {argument}={mode!r} needs {rule}, which is not known of {where}; "
                    f"give jax.export.symbolic_shape the constraint '{size} >= {unknown[0]}'"
                )
    return pairs


def _pairs(caller: str, widths: Any, axes: tuple[int, ...]) -> dict[int, tuple[Size, Size]]:
    rule = f"{caller}: widths must be one (before, after) pair of ints for each of the axes {axes}"
    try:
        listed = [tuple(pair) for pair in widths]
    except TypeError:
        raise ValueError(f"{rule}, got {shown(widths)}") from None
    if len(listed) != len(axes) or any(len(pair) != 2 for pair in listed):
        raise ValueError(f"{rule}, got {shown(widths)}")
    try:
        ints = [(as_size(before), as_size(after)) for before, after in listed]
    except TypeError:
        raise TypeError(f"{rule}, got {shown(widths)}") from None
    return dict(zip(axes, ints, strict=True))


def _place(axis: int, piece: jax.Array, start: Size, size: Size) -> jax.Array:
    """The piece at `start` of an axis of `size`, zeros around it."""
    configuration = [(0, 0, 0)] * piece.ndim
    configuration[axis] = (start, size - start - piece.shape[axis], 0)
    return lax.pad(piece, zero(piece.dtype), configuration)


def _edge(x: jax.Array, axis: int, index: int, width: int) -> jax.Array:
    edge = lax.slice_in_dim(x, index, index + 1, axis=axis)
    return jnp.broadcast_to(edge, (*x.shape[:axis], width, *x.shape[axis + 1 :]))


def _reflect(x: jax.Array, axis: int, before: int, after: int, *, skip: int):
    # skip = 1 leaves the edge out (reflect), 0 repeats it (symmetric)
    size = x.shape[axis]
    head = lax.slice_in_dim(x, skip, skip + before, axis=axis)
    tail = lax.slice_in_dim(x, size - skip - after, size - skip, axis=axis)
    return lax.rev(head, (axis,)), lax.rev(tail, (axis,))


def _replicate(x: jax.Array, axis: int, before: int, after: int):
    return _edge(x, axis, 0, before), _edge(x, axis, x.shape[axis] - 1, after)


def _circular(x: jax.Array, axis: int, before: int, after: int):
    size = x.shape[axis]
    head = lax.slice_in_dim(x, size - before, size, axis=axis)
    return head, lax.slice_in_dim(x, 0, after, axis=axis)


def _fold_reflect(head: jax.Array, tail: jax.Array, axis: int, size: int, *, skip: int):
    yield lax.rev(head, (axis,)), skip
    yield lax.rev(tail, (axis,)), size - skip - tail.shape[axis]


def _fold_replicate(head: jax.Array, tail: jax.Array, axis: int, size: int):
    yield jnp.sum(head, axis, keepdims=True, dtype=head.dtype), 0
    yield jnp.sum(tail, axis, keepdims=True, dtype=tail.dtype), size - 1


def _fold_circular(head: jax.Array, tail: jax.Array, axis: int, size: int):
    yield head, size - head.shape[axis]
    yield tail, 0


_FILLED = ("zeros", "constant")
# mode -> (x, axis, before, after) -> what stands before x and what after it
_MARGINS: dict[str, Callable[..., Any]] = {
    "reflect": partial(_reflect, skip=1),
    "symmetric": partial(_reflect, skip=0),
    "replicate": _replicate,
    "circular": _circular,
}
# mode -> (head, tail, axis, size) -> the margins as they are added to x, each with its place
_FOLDS: dict[str, Callable[..., Any]] = {
    "reflect": partial(_fold_reflect, skip=1),
    "symmetric": partial(_fold_reflect, skip=0),
    "replicate": _fold_replicate,
    "circular": _fold_circular,
}
# mode -> the rule in words, and the least size that a width takes
_LIMITS: dict[str, tuple[str, Callable[[Size], Size]]] = {
    "reflect": ("widths below the size", lambda width: width + 1),
    "symmetric": ("widths of at most the size", lambda width: width),
    "replicate": ("at least 1 element", lambda width: 1),
    "circular": ("widths of at most the size", lambda width: width),
}
MODES: tuple[str, ...] = (*_FILLED, *_MARGINS)
