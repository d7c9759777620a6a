"""Checks of the arguments that convolutions share, beyond those of their geometry."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.dispatch.choose import RULES
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.geometry import extension
from jaxconv._core.geometry.precision import check_precision
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import METHODS

PADDING_MODES = tuple(mode for mode in extension.MODES if mode != "constant")


def check_method(caller: str, method: Any) -> str:
    """Return `method` if there is one of that name.

    Raises:
        ValueError: no method has that name.
    """
    names = [*RULES, *METHODS]
    if method not in names:
        raise ValueError(
            f"{caller}: method={method!r} must be one of {', '.join(map(repr, names))}"
        )
    return method


def check_policy(caller: str, policy: Any) -> Policy | None:
    """Return `policy` if it is one, or None.

    Raises:
        TypeError: it is something else.
    """
    if policy is not None and not isinstance(policy, Policy):
        raise TypeError(
            f"{caller}: policy must be a jaxconv.Policy or None, not "
            f"{type(policy).__name__}; jaxconv.tune makes one"
        )
    return policy


def check_padding_mode(
    caller: str, x_shape: tuple[int, ...], spec: ConvSpec, padding_mode: str
) -> None:
    """Raise ValueError unless `padding_mode` is one and x has the elements that it reads."""
    if padding_mode not in PADDING_MODES:
        raise ValueError(
            f"{caller}: padding_mode={padding_mode!r} must be one of "
            f"{', '.join(map(repr, PADDING_MODES))}"
            f"{extension.name_here(padding_mode, PADDING_MODES)}"
        )
    if padding_mode == "zeros":  # any width: `normalise` has checked that a window is left
        return
    space = range(len(x_shape) - spec.rank - 1, len(x_shape) - 1)
    pairs = dict(zip(space, spec.padding, strict=True))
    extension.check_sizes(caller, x_shape, pairs, mode=padding_mode, argument="padding_mode")


def check_numerics(
    caller: str, method: str, policy: Policy | None, precision: Any
) -> dict[str, Any]:
    """Check method, policy and precision; return them as keyword arguments of `contract`."""
    return {
        "method": check_method(caller, method),
        "policy": check_policy(caller, policy),
        "precision": check_precision(caller, precision),
    }


def flipped(caller: str, w: jax.Array, flip: Any) -> jax.Array:
    """Return w, reversed in every spatial dimension if `flip` is True."""
    if not isinstance(flip, bool | np.bool):
        raise TypeError(f"{caller}: flip={flip!r} must be True or False")
    return jnp.flip(w, tuple(range(w.ndim - 2))) if flip else w
