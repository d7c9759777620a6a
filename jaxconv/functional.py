"""The functions people call."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxconv.methods import lax as _lax
from jaxconv.methods import loops as _loops

_METHODS = {"auto": _lax.corr2d, "lax": _lax.corr2d, "loops": _loops.corr2d}


def corr2d(
    x: jax.Array, k: jax.Array, *, method: Literal["auto", "lax", "loops"] = "auto"
) -> jax.Array:
    """Cross-correlate one plane with one kernel."""
    x, k = jnp.asarray(x), jnp.asarray(k)
    for name, array in (("x", x), ("k", k)):
        if array.ndim != 2:
            raise ValueError(f"corr2d: {name} must be a plane (2-D), got {name}.shape={array.shape}")
    if k.shape[0] > x.shape[0] or k.shape[1] > x.shape[1]:
        raise ValueError(f"corr2d: kernel {k.shape} is larger than the image {x.shape}")
    if method not in _METHODS:
        raise ValueError(f"corr2d: method must be one of {sorted(_METHODS)}, got {method!r}")
    return _METHODS[method](x, k)
