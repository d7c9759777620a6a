"""Checks of OpenCV's arguments: images, depths, borders, sizes, anchors and numbers."""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxconv._core.geometry.dtypes import as_array
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.shapes import below
from jaxconv.compat.cv2._constants import (
    BORDER_ISOLATED,
    BORDER_WRAP,
    BORDERS,
    CV_8U,
    CV_16S,
    CV_16U,
    CV_32F,
    CV_32S,
    CV_64F,
    DEPTHS,
)

# depth of the source -> depths of the result
FILTERED: Mapping[int, Sequence[int]] = {
    CV_8U: (CV_8U, CV_16U, CV_16S, CV_32F, CV_64F),
    CV_16U: (CV_16U, CV_32F, CV_64F),
    CV_16S: (CV_16S, CV_32F, CV_64F),
    CV_32F: (CV_32F, CV_64F),
    CV_64F: (CV_64F,),
}
# sums over windows and their means, of 32-bit integers too
SUMMED: Mapping[int, Sequence[int]] = {
    CV_8U: (CV_8U, CV_16U, CV_16S, CV_32S, CV_32F, CV_64F),
    CV_16U: (CV_16U, CV_32S, CV_32F, CV_64F),
    CV_16S: (CV_16S, CV_32S, CV_32F, CV_64F),
    CV_32S: (CV_32S, CV_32F, CV_64F),
    CV_32F: (CV_32F, CV_64F),
    CV_64F: (CV_64F,),
}
_INT = 2**31  # of integers that JAX has without `jax.enable_x64`
_DEPTH_OF = {dtype: depth for depth, (_, dtype) in DEPTHS.items()}


def image(
    caller: str, src: Any, ddepth: Any, dst: Any, depths: Mapping[int, Sequence[int]] = FILTERED
) -> tuple[jax.Array, np.dtype]:
    """Return the source as an array (H, W) or (H, W, channels), and the result's dtype.

    Raises:
        TypeError: `src` is not an array of a dtype in `depths`, or `dst` is given.
        ValueError: another shape, no pixels, or a `ddepth` that `depths` does not have.
    """
    if dst is not None and not hasattr(dst, "shape"):
        raise TypeError(
            f"{caller}: dst must be None, not {dst!r}; dst comes before the arguments that may "
            "be left out in Python, so give them by name, such as borderType=cv2.BORDER_REPLICATE"
        )
    if dst is not None:
        raise TypeError(
            f"{caller}: dst must be None, since JAX's arrays do not change; use the array that is "
            f"returned: dst = {caller}(...)"
        )
    x = as_array(caller, "src", src)
    # that of NumPy's float64, too, where JAX has 32 bits
    given = np.dtype(getattr(src, "dtype", x.dtype)).name
    depth = _DEPTH_OF.get(given, -1)
    if depth not in depths:
        names = _listed([DEPTHS[each][1] for each in depths])
        raise TypeError(f"{caller}: src is {given} but must be {names}; cast it: src.astype(...)")
    if x.ndim not in (2, 3):
        raise ValueError(
            f"{caller}: src must be (height, width) or (height, width, channels), got shape "
            f"{x.shape}; for a batch use jax.vmap"
        )
    if any(below(n, 1) for n in x.shape):
        raise ValueError(f"{caller}: src is empty (src.shape={x.shape})")
    wanted = integer(caller, "ddepth", ddepth)
    if wanted != -1 and wanted not in depths[depth]:
        names = _listed([f"cv2.{DEPTHS[each][0]}" for each in depths[depth]])
        raise ValueError(
            f"{caller}: ddepth={_named(wanted)} for src of {given} must be -1 (the same), {names}"
        )
    dtype = DEPTHS[depth if wanted == -1 else wanted][1]
    return x, jax.dtypes.canonicalize_dtype(dtype)


def border(caller: str, border_type: Any, *, wrap: bool = False) -> str:
    """Return the mode of `jaxconv.pad` for a border type.

    Raises:
        TypeError: it is not an integer.
        ValueError: there is no such border, or it is BORDER_WRAP where `wrap` is False.
    """
    number = integer(caller, "borderType", border_type) & ~BORDER_ISOLATED
    if number in BORDERS and (wrap or number != BORDER_WRAP):
        return BORDERS[number][1]
    allowed = [f"cv2.{name}" for each, (name, _) in BORDERS.items() if wrap or each != BORDER_WRAP]
    name = f"cv2.{BORDERS[number][0]}" if number in BORDERS else shown(border_type)
    way = ""
    if number == BORDER_WRAP:
        way = "; for a circular image pad it first: jaxconv.pad(..., mode='circular')"
    raise ValueError(f"{caller}: borderType={name} must be {_listed(allowed)}{way}")


def anchored(caller: str, anchor: Any, size: Sequence[int]) -> tuple[int, int]:
    """Return the anchor as (row, column) in a kernel of `size` (rows, columns).

    Raises:
        TypeError: it is not two integers.
        ValueError: it lies outside the kernel.
    """
    point = _pair(caller, "anchor", anchor, "(x, y)")
    found = [n // 2 if a == -1 else a for a, n in zip(reversed(point), size, strict=True)]
    if not all(0 <= a < n for a, n in zip(found, size, strict=True)):
        rows, columns = size
        raise ValueError(
            f"{caller}: anchor={shown(anchor)} must lie inside the kernel of {columns} columns and "
            f"{rows} rows: x from 0 to {columns - 1}, y from 0 to {rows - 1}, or -1 for the middle"
        )
    return found[0], found[1]


def window(caller: str, ksize: Any) -> tuple[int, int]:
    """Return (rows, columns) of a window given as (width, height).

    Raises:
        TypeError: it is not two integers.
        ValueError: one is below 1.
    """
    columns, rows = _pair(caller, "ksize", ksize, "(width, height)")
    if columns < 1 or rows < 1:
        raise ValueError(f"{caller}: ksize={shown(ksize)} must be (width, height) of 1 or more")
    return rows, columns


def widths(caller: str, ksize: Any) -> tuple[int, int]:
    """Return (width, height) as they are given.

    Raises:
        TypeError: it is not two integers.
    """
    return _pair(caller, "ksize", ksize, "(width, height)")


def integer(caller: str, name: str, value: Any) -> int:
    """Return an argument as an integer.

    Raises:
        TypeError: it is not one, or it is traced.
    """
    try:
        return operator.index(value)
    except TypeError:
        traced = isinstance(value, Tracer)
        way = ", but is traced here; under jax.jit name it in static_argnames" if traced else ""
        raise TypeError(
            f"{caller}: {name}{'' if traced else f'={shown(value)}'} must be a fixed integer{way}"
        ) from None


def number(caller: str, name: str, value: Any) -> Any:
    """Return an argument as a float, or as it is if it is traced.

    Raises:
        TypeError: it is not a real number.
        ValueError: it is an array of several, or not finite.
    """
    # without a way to the device and back, and in float64
    plain = isinstance(value, float | np.floating) or (type(value) is int and abs(value) < _INT)
    known = float(value) if plain else _number_of_array(caller, name, value)
    if isinstance(known, float) and not math.isfinite(known):
        raise ValueError(f"{caller}: {name}={shown(value)} must be finite")
    return known


def _number_of_array(caller: str, name: str, value: Any) -> Any:
    array = as_array(caller, name, value)
    if array.ndim or not (
        jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    ):
        raise TypeError(f"{caller}: {name}={shown(value)} must be one real number")
    if isinstance(value, Tracer):
        return value
    return float(jax.device_get(value))


def weights(caller: str, name: str, kernel: Any) -> Any:
    """Return a kernel of real numbers: an array of JAX's as it is, all else in NumPy's float64.

    Raises:
        TypeError: it is not real.
        ValueError: it is empty.
    """
    k = as_array(caller, name, kernel)
    if jnp.issubdtype(k.dtype, jnp.complexfloating):
        raise TypeError(f"{caller}: {name} must be real, got {k.dtype}")
    if k.size == 0:
        raise ValueError(f"{caller}: {name} is empty ({name}.shape={k.shape})")
    return k if isinstance(kernel, jax.Array) else np.array(kernel, np.float64)


def floating(caller: str, ktype: Any) -> np.dtype:
    """Return the dtype of a kernel, for CV_32F or CV_64F.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is another depth.
    """
    depth = integer(caller, "ktype", ktype)
    if depth not in (CV_32F, CV_64F):
        raise ValueError(f"{caller}: ktype={_named(depth)} must be cv2.CV_32F or cv2.CV_64F")
    return np.dtype(DEPTHS[depth][1])


def _pair(caller: str, name: str, value: Any, form: str) -> tuple[int, int]:
    try:
        first, second = value
        return operator.index(first), operator.index(second)
    except (TypeError, ValueError):
        raise TypeError(f"{caller}: {name}={shown(value)} must be two integers {form}") from None


def _named(depth: int) -> str:
    return f"cv2.{DEPTHS[depth][0]}" if depth in DEPTHS else str(depth)


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
