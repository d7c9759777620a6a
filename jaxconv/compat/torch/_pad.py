"""`pad` of `torch.nn.functional`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxconv._core.geometry import dtypes
from jaxconv._core.geometry.spec import per_dimension
from jaxconv._functional import padding
from jaxconv.compat.torch import _checks as checks

MODES = ("constant", "reflect", "replicate", "circular")


def pad(
    input: jax.Array | np.ndarray,
    pad: Sequence[int],
    mode: str = "constant",
    value: ArrayLike | None = None,
) -> jax.Array:
    """Pad, or crop where a number is negative, as `torch.nn.functional.pad` does.

        constant   1234 -> 99|1234|99        replicate  1234 -> 11|1234|44
        reflect    1234 -> 32|1234|32        circular   1234 -> 34|1234|12

    Args:
        input: (batch, channels, *space), or (channels, *space) unbatched; of any shape for
            "constant".
        pad: (before, after) of the last dimension, then (before, after) of the one before it, and
            so on; for modes other than "constant" of all spatial dimensions, at most three.
        mode: one of the four names above.
        value: the real number that "constant" fills in; None is 0. It may be traced and
            differentiated. For integer inputs its fraction is dropped.

    Returns:
        y: the padded input, in its dtype.

    Raises:
        TypeError: numbers that are not integers, a complex value, or a bool input with "reflect" or
            "replicate".
        ValueError: an unknown mode; numbers that do not fit the input's dimensions; "reflect" or
            "circular" padding wider than the input allows; cropping more than the size; a value
            that the input's dtype cannot represent, or with a mode other than "constant".

    Example:
        >>> pad(jnp.arange(4)[None], (1, 2), "reflect")
        Array([[1, 0, 1, 2, 3, 2, 1]], dtype=int32)
    """
    x = dtypes.as_array("pad", "input", input)
    if mode not in MODES:
        raise ValueError(f"pad: mode={mode!r} is not one of {', '.join(map(repr, MODES))}")
    pairs = _pairs(x.shape, pad)
    if mode == "constant":
        _check_sizes(x.shape, pairs, mode, crop=True)
        axes = tuple(pairs)
        fill = _fill(x.dtype, value)
        return padding.pad(x, [pairs[a] for a in axes], axes=axes, mode=mode, fill_value=fill)
    _check_rank(x.shape, len(pairs), mode)
    if value is not None and (isinstance(value, Tracer) or value != 0):
        raise ValueError(f"pad: value={value!r} is for mode='constant', not for mode={mode!r}")
    if mode != "circular":
        _check_reflected(x, len(pairs), mode)
    _check_sizes(x.shape, pairs, mode, crop=mode == "circular")
    if mode == "circular":
        # torch crops before it wraps, jaxconv.pad after
        crop = [(min(lo, 0), min(hi, 0)) for lo, hi in pairs.values()]
        x = padding.pad(x, crop, axes=tuple(pairs))
        pairs = {axis: (max(lo, 0), max(hi, 0)) for axis, (lo, hi) in pairs.items()}
    return padding.pad(x, list(pairs.values()), axes=tuple(pairs), mode=mode)


def _pairs(shape: tuple[int, ...], pad: Any) -> dict[int, tuple[int, int]]:
    """Map axis to (before, after), from the last axis on."""
    if not isinstance(pad, (list, tuple)) and getattr(pad, "ndim", 0) != 1:
        raise TypeError(f"pad: pad={pad!r} must be a sequence of integers, two for each dimension")
    # with the number of entries as rank, this checks only that they are integers
    numbers = per_dimension("pad", "pad", pad, len(pad))
    if len(numbers) % 2 or len(numbers) > 2 * len(shape):
        raise ValueError(
            f"pad: pad={pad!r} must have two entries for each dimension, at most {2 * len(shape)} "
            f"for input.shape={shape}, not {len(numbers)}"
        )
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return {len(shape) - 1 - i: pair for i, pair in enumerate(pairs)}


def _check_rank(shape: tuple[int, ...], dimensions: int, mode: str) -> None:
    if dimensions not in (1, 2, 3) or len(shape) not in (dimensions + 1, dimensions + 2):
        raise ValueError(
            f"pad: mode={mode!r} pads all of *space in (batch, channels, *space) or (channels, "
            f"*space), one to three dimensions; got {2 * dimensions} numbers for "
            f"input.shape={shape}"
        )


def _check_reflected(x: jax.Array, dimensions: int, mode: str) -> None:
    if x.dtype == jnp.bool_:
        raise TypeError(
            f"pad: input is bool, which torch.nn.functional.pad does not {mode} either; cast it: "
            "input.astype(jnp.uint8)"
        )
    checks.check_not_empty("pad", "input", x.shape, x.shape[-dimensions - 1 :])


def _check_sizes(
    shape: tuple[int, ...], pairs: dict[int, tuple[int, int]], mode: str, *, crop: bool
) -> None:
    """Raise a ValueError for sizes that do not fit; `crop`: padding reads no cropped element."""
    for axis, (lo, hi) in pairs.items():
        size = shape[axis]
        left = size + min(lo, 0) + min(hi, 0)
        where = f"got {(lo, hi)} for axis {axis} of input.shape={shape}"
        if (lo, hi) == (0, 0):
            continue
        if crop and left < 0:
            raise ValueError(f"pad: the numbers crop more than the size; {where}")
        if size + lo + hi < 1:
            raise ValueError(f"pad: the numbers must leave at least 1 element; {where}")
        if mode == "reflect" and max(lo, hi) >= size:
            raise ValueError(f"pad: mode='reflect' needs numbers below the size; {where}")
        if mode == "circular" and max(lo, hi) > left:
            raise ValueError(
                f"pad: mode='circular' needs numbers of at most the size, {left} after cropping; "
                f"{where}"
            )


def _fill(dtype: jnp.dtype, value: Any) -> Any:
    """Return the value after checking that the dtype can represent it."""
    if value is None:
        return 0
    if np.ndim(value) or np.iscomplexobj(value):
        raise TypeError(f"pad: value={value!r} must be one real number")
    if isinstance(value, Tracer):
        return value.astype(dtype)
    if not isinstance(value, (bool, int, float, np.generic, np.ndarray, jax.Array)):
        raise TypeError(f"pad: value={value!r} must be one real number")
    number = value if isinstance(value, (bool, int, float)) else np.asarray(value).item()
    if dtype == jnp.bool_:
        return bool(number)
    if not _represents(dtype, number):
        raise ValueError(f"pad: value={value!r} is out of range for the input's dtype {dtype}")
    if not jnp.issubdtype(dtype, jnp.integer):
        return number
    return int(number)


def _represents(dtype: jnp.dtype, number: float) -> bool:
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        return bool(info.min <= number <= info.max)
    return not math.isfinite(number) or abs(number) <= float(jnp.finfo(dtype).max)
