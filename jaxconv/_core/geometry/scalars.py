"""Checks of arguments that are one number or one of two words, before anything is traced."""

from numbers import Integral, Real
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxconv._core.geometry.messages import shown


def check_number(caller: str, name: str, value: Any, *, traced: bool) -> None:
    """Check that an argument is one finite number of 0 or more.

    Args:
        caller: the public function's name, for messages.
        name: the argument's name.
        value: the argument.
        traced: whether it may be traced.

    Raises:
        TypeError: it is not a real number.
        ValueError: it is an array of several, negative, NaN or infinite.
    """
    known: Any = not isinstance(value, Tracer)
    if not (known or traced):
        _refuse_tracer(caller, name, "a fixed number", value)
    if known and not (isinstance(value, Real) or is_real(getattr(value, "dtype", object))):
        raise TypeError(f"{caller}: {name}={shown(value)} must be a number")
    shape = getattr(value, "shape", ())
    if shape:
        several = "; for several use jax.vmap" if traced else ""
        raise ValueError(f"{caller}: {name} must be one number, got shape {shape}{several}")
    if known and not 0 <= float(value) < np.inf:
        raise ValueError(f"{caller}: {name}={shown(value)} must be 0 or more, and finite")


def check_count(caller: str, name: str, value: Any) -> None:
    """Check that an argument is an integer of 1 or more.

    Raises:
        TypeError: it is traced.
        ValueError: it is not such an integer.
    """
    _refuse_tracer(caller, name, "a fixed integer", value)
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{caller}: {name} must be an integer of 1 or more, got {shown(value)}")


def check_flag(caller: str, name: str, value: Any) -> None:
    """Check that an argument is True or False.

    Raises:
        TypeError: it is not, or it is traced.
    """
    _refuse_tracer(caller, name, "True or False", value)
    if not isinstance(value, (bool, np.bool)):
        raise TypeError(f"{caller}: {name}={shown(value)} must be True or False")


def _refuse_tracer(caller: str, name: str, wanted: str, value: Any) -> None:
    if isinstance(value, Tracer):
        raise TypeError(
            f"{caller}: {name} must be {wanted}, but is traced here; under jax.jit name it in "
            "static_argnames"
        )


def is_real(dtype: Any) -> bool:
    """Whether numbers of a dtype are real."""
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer))
