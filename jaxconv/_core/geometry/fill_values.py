"""Checks of `fill_value`, the number outside an array under the mode "constant"."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_fill_value(
    caller: str, dtype: np.dtype, fill_value: Any, mode: str, *, argument: str = "mode"
) -> None:
    """Check a fill value against a dtype and a mode, before anything is traced.

    Args:
        caller: the public function's name, for the messages.
        dtype: of the array that is padded.
        fill_value: the scalar, which may be traced.
        mode: one of `MODES`; all but "constant" take no fill value but 0.
        argument: the name that the public function gives `mode`.

    Raises:
        ValueError: see `pad`.
        TypeError: it is not a number.
    """
    is_number = isinstance(fill_value, bool | int | float | complex | np.number | np.bool)
    if mode != "constant" and not (is_number and fill_value == 0):
        raise ValueError(
            f"{caller}: fill_value is for {argument}='constant', got fill_value={fill_value!r} "
            f"with {argument}={mode!r}"
        )
    if not is_number and not isinstance(fill_value, jax.Array | np.ndarray):
        kind = type(fill_value).__name__
        raise TypeError(f"{caller}: fill_value must be a number, got {fill_value!r} ({kind})")
    if np.ndim(fill_value):
        raise ValueError(
            f"{caller}: fill_value must be a scalar, got one of shape {np.shape(fill_value)}"
        )
    needs_complex = np.iscomplexobj(fill_value) and not jnp.issubdtype(dtype, jnp.complexfloating)
    if needs_complex or (is_number and not _holds(dtype, fill_value)):
        raise ValueError(
            f"{caller}: fill_value must be a number that x's dtype {dtype.name} holds, "
            f"got {fill_value!r}"
        )


def _holds(dtype: np.dtype, value: Any) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):  # compared below
        try:
            held = np.asarray(value).astype(dtype)
        except OverflowError:
            return False
        if jnp.issubdtype(dtype, jnp.inexact):  # rounded, but not to infinity
            return bool(np.isfinite(held) == np.isfinite(value))
        return bool(held == value)
