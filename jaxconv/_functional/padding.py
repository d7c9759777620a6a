"""What lies outside an array: boundary extension, and its adjoint.

Their modes are those of every convolution here. They have other names elsewhere, and the same names
other meanings:

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

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.explicit_axes import entries_of, on_explicit_axes
from jaxconv._core.geometry.extension import MODES, Widths, check_widths, extend, fold
from jaxconv._core.geometry.fill_values import check_fill_value
from jaxconv._core.geometry.shapes import Size

__all__ = ["MODES", "extended", "pad", "unpad"]


def pad(
    x: jax.Array | np.ndarray,
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
        axes: the axes that `widths` are for; by default all.
        mode: one of `MODES`.
        fill_value: for `"constant"` what lies outside x: a scalar, which `x.dtype` must hold. It
            may be traced and differentiated.

    Returns:
        x's shape, larger by before + after along each axis, of x's dtype; x itself where every
        width is 0. Linear in x (affine for `"constant"`); its adjoint is `unpad`.

    Raises:
        ValueError: an unknown mode; axes repeated or out of range; as many pairs as axes not given;
            a width that needs more input than there is (the table's last column); widths that leave
            nothing; a `fill_value` that is not a scalar, that x's dtype does not hold, or that is
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
    return extended(x, pairs, mode, fill_value)


def extended(
    x: jax.Array, pairs: Mapping[int, tuple[Size, Size]], mode: str, fill_value: ArrayLike = 0
) -> jax.Array:
    """Extend x as `pad` does, with `pairs` as `check_widths` returns them.

    Args:
        x: any shape and dtype.
        pairs: axis -> (before, after).
        mode: one of `MODES`.
        fill_value: as in `pad`.
    """
    shape = [n + sum(pairs.get(axis, (0, 0))) for axis, n in enumerate(x.shape)]
    traced = isinstance(fill_value, jax.Array)
    arrays = (x, fill_value) if traced else (x,)
    function = partial(extend, pairs=pairs, mode=mode, number=None if traced else fill_value)
    return on_explicit_axes(function, *arrays, shape=shape, entries=entries_of(x))


def unpad(
    y: jax.Array | np.ndarray,
    widths: Widths,
    *,
    axes: Sequence[int] | None = None,
    mode: str = "zeros",
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
        axes: the axes that `widths` are for; by default all.
        mode: one of `MODES`.

    Returns:
        y's shape, smaller by before + after along each axis: the shape of x; of y's dtype, in
        which integers wrap around. y itself where every width is 0.

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
    folded = partial(fold, pairs=pairs, mode=mode)
    return on_explicit_axes(folded, y, shape=shape, entries=entries_of(y))
