"""Boundary extension: which element of x lies at a position, for every padding mode.

A mode extends x, of size n along an axis, to every position p. `E(p)` is the index of x that lies
there; what a kernel, a halo or a tile reads outside x follows from it, and nothing else says it.

| mode | picture | E(p) outside x | widths |
|---|---|---|---|
| `"zeros"` | 00 1234 00 | none, reads 0 | any |
| `"constant"` | 99 1234 99 | none, reads the fill value | any |
| `"reflect"` | 32 1234 32 | -p before, 2(n - 1) - p after | below n |
| `"symmetric"` | 21 1234 43 | -p - 1 before, 2n - 1 - p after | at most n |
| `"replicate"` | 11 1234 44 | 0 before, n - 1 after | any, n >= 1 |
| `"circular"` | 34 1234 12 | p + n before, p - n after | at most n |
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.dtypes import constant, zero
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.shapes import Size, as_size, below, largest

Widths = Sequence[Sequence[Size]]
# An affine map of positions to indices: E(p) = start + step p.
Side = Callable[[Size], tuple[Size, int]]

NONE = -1
"""The index of a position outside x that reads no element of it."""


class Mode(NamedTuple):
    """How x goes on beyond its ends.

    Attributes:
        before: size -> (start, step) of E(p) = start + step p for p < 0.
        after: the same for p >= size.
        rule: which widths it allows, in words.
        least: width -> the smallest size that allows it.
    """

    before: Side
    after: Side
    rule: str
    least: Callable[[Size], Size]


EXTENSIONS: Mapping[str, Mode] = {
    "reflect": Mode(
        lambda n: (0, -1),
        lambda n: (2 * (n - 1), -1),
        "widths below the size",
        lambda width: width + 1,
    ),
    "symmetric": Mode(
        lambda n: (-1, -1),
        lambda n: (2 * n - 1, -1),
        "widths of at most the size",
        lambda width: width,
    ),
    "replicate": Mode(
        lambda n: (0, 0), lambda n: (n - 1, 0), "at least 1 element", lambda width: 1
    ),
    "circular": Mode(
        lambda n: (n, 1),
        lambda n: (-n, 1),
        "widths of at most the size",
        lambda width: width,
    ),
}
MODES: tuple[str, ...] = ("zeros", "constant", *EXTENSIONS)

# What NumPy, SciPy, OpenCV and others call them where their name has no other meaning here.
ELSEWHERE = {
    **dict.fromkeys(("zero", "fill"), "zeros"),
    **dict.fromkeys(("mirror", "reflect101", "reflect_101"), "reflect"),
    **dict.fromkeys(("symm", "grid-mirror"), "symmetric"),
    **dict.fromkeys(("edge", "nearest"), "replicate"),
    **dict.fromkeys(("wrap", "grid-wrap", "periodic"), "circular"),
}


def source_index(position: np.ndarray, size: int, mode: str) -> np.ndarray:
    """Return E(p), the index of the element of x that lies at each position.

    Args:
        position: integers, 0 at the first element of x; any shape.
        size: n, the number of elements of x along the axis.
        mode: one of `MODES`.

    Returns:
        Indices of `position`'s shape: `NONE` where nothing is read. Beyond the widths that a mode
        allows it is applied again, until the index is one of x.

    Example:
        >>> for mode in MODES:
        ...     print(f"{mode:10}", source_index(np.arange(-2, 6), 4, mode))
        zeros      [-1 -1  0  1  2  3 -1 -1]
        constant   [-1 -1  0  1  2  3 -1 -1]
        reflect    [2 1 0 1 2 3 2 1]
        symmetric  [1 0 0 1 2 3 3 2]
        replicate  [0 0 0 1 2 3 3 3]
        circular   [2 3 0 1 2 3 0 1]
    """
    if mode not in EXTENSIONS:
        return np.where((position >= 0) & (position < size), position, NONE)
    index = np.zeros_like(position) if size <= 1 else position
    (start, step), (end_start, end_step) = (side(size) for side in EXTENSIONS[mode][:2])
    while ((index < 0) | (index >= size)).any() and size > 1:
        index = np.where(index < 0, start + step * index, index)
        index = np.where(index >= size, end_start + end_step * index, index)
    return index


def extend(
    x: jax.Array,
    fill: jax.Array | None = None,
    *,
    pairs: Mapping[int, tuple[Size, Size]],
    mode: str,
    number: Any = 0,
) -> jax.Array:
    """Return x with (before, after) elements more along some axes; nothing is checked.

    Args:
        x: any shape and dtype.
        fill: for "constant" a traced scalar to fill with, instead of `number`.
        pairs: axis -> (before, after), negative ones crop; see `check_widths`.
        mode: one of `MODES`.
        number: for "constant", the number to fill with.
    """
    if mode not in EXTENSIONS:
        configuration = [(0, 0, 0)] * x.ndim
        for axis, pair in pairs.items():
            configuration[axis] = (*pair, 0)
        if fill is None:
            value = zero(x.dtype) if mode == "zeros" else constant(number, x.dtype)
            return lax.pad(x, value, configuration)
        fill = fill.astype(x.dtype)
        # jax 0.10.2 cannot transpose lax.pad in the padding value alone
        inside = lax.pad(jnp.ones(x.shape, bool), np.False_, configuration)
        return jnp.where(inside, lax.pad(x, zero(x.dtype), configuration), fill)
    for axis, pair in pairs.items():
        size = x.shape[axis]
        margins = []
        for first, width, side in _margins(pair, size, mode):
            start, step = side(size)
            low, taken = _read(first, width, start, step)
            margin = lax.slice_in_dim(x, low, low + taken, axis=axis)
            if step == 0:
                shape = list(x.shape)
                shape[axis] = width
                margin = jnp.broadcast_to(margin, shape)
            margins.append(lax.rev(margin, (axis % x.ndim,)) if step < 0 else margin)
        head, tail = margins
        x = lax.concatenate([m for m in (head, x, tail) if m.shape[axis] != 0], axis % x.ndim)
        # only now crop: the margin at one end reads what is cropped at the other
        first = largest(pair[0], 0) - pair[0]
        x = lax.slice_in_dim(x, first, first + size + sum(pair), axis=axis)
    return x


def fold(y: jax.Array, *, pairs: Mapping[int, tuple[Size, Size]], mode: str) -> jax.Array:
    """Apply the adjoint of `extend` to y: margins are added to what they were read from."""
    if mode not in EXTENSIONS:
        configuration = [(0, 0, 0)] * y.ndim
        for axis, (before, after) in pairs.items():
            configuration[axis] = (-before, -after, 0)
        return lax.pad(y, zero(y.dtype), configuration)
    for axis, pair in pairs.items():
        size = y.shape[axis] - sum(pair)
        before, after = (largest(width, 0) for width in pair)
        y = _place(y, axis, before - pair[0], before + size + after)  # undo the crop
        x = lax.slice_in_dim(y, before, before + size, axis=axis)
        for first, width, side in _margins(pair, size, mode):
            if width == 0:
                continue
            start, step = side(size)
            margin = lax.slice_in_dim(y, before + first, before + first + width, axis=axis)
            if step == 0:
                margin = jnp.sum(margin, axis, keepdims=True, dtype=y.dtype)
            elif step < 0:
                margin = lax.rev(margin, (axis % y.ndim,))
            x = x + _place(margin, axis, _read(first, width, start, step)[0], size)
        y = x
    return y


def _margins(pair: tuple[Size, Size], size: Size, mode: str) -> list[tuple[Size, Size, Side]]:
    """First position, width and rule of the two margins."""
    before, after = (largest(width, 0) for width in pair)
    extension = EXTENSIONS[mode]
    return [(-before, before, extension.before), (size, after, extension.after)]


def _read(first: Size, width: Size, start: Size, step: int) -> tuple[Size, Size]:
    """The lowest index that a margin reads, and how many elements: one where it repeats one."""
    if step == 0:
        return start, 1
    return (start + first if step > 0 else start - first - width + 1), width


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
        caller: the public function's name, for the messages.
        shape: of the array that has the axes.
        widths: one (before, after) pair of ints for each of `axes`.
        axes: non-negative or negative axes of `shape`; by default all.
        mode: one of `MODES`.
        padded: whether `shape` is that after padding (`unpad`) and not before (`pad`).
        argument: the name that the public function gives `mode`.

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
        raise ValueError(
            f"{caller}: {argument} must be one of {', '.join(MODES)}; got {mode!r}"
            f"{name_here(mode, MODES)}"
        )
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
    check_sizes(caller, shape, pairs, mode=mode, padded=padded, argument=argument)
    return pairs


def name_here(mode: Any, allowed: Sequence[str]) -> str:
    """Return a hint for messages: what a mode of other libraries is called here, if it is allowed.

    Example:
        >>> name_here("mirror", MODES)
        "; 'mirror' is 'reflect' here"
    """
    here = ELSEWHERE.get(mode.lower()) if isinstance(mode, str) else None
    return f"; {mode!r} is {here!r} here" if here in allowed else ""


def check_sizes(
    caller: str,
    shape: Sequence[Size],
    pairs: Mapping[int, tuple[Size, Size]],
    *,
    mode: str,
    padded: bool = False,
    argument: str = "mode",
) -> None:
    """Check that the sizes allow the widths of `pairs`, as `check_widths` returns them."""
    shape = tuple(shape)
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
        if mode in EXTENSIONS:
            rule, least = EXTENSIONS[mode].rule, EXTENSIONS[mode].least
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


def _place(piece: jax.Array, axis: int, start: Size, size: Size) -> jax.Array:
    """The piece at `start` of an axis of `size`, zeros around it."""
    configuration = [(0, 0, 0)] * piece.ndim
    configuration[axis] = (start, size - start - piece.shape[axis], 0)
    return lax.pad(piece, zero(piece.dtype), configuration)
