"""Which method computes a contraction, decided from static facts only, with the reason."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxconv.methods import CALLS_OUT, METHODS, REFUSES
from jaxconv.spec import Contraction, ConvSpec


class Choice(NamedTuple):
    """A method's name and why it was taken."""

    method: str
    reason: str


def check_method(caller: str, method: Any) -> str:
    """Return `method` if there is one of that name.

    Raises:
        ValueError: there is none.
    """
    names = ["auto", *METHODS]
    if method not in names:
        raise ValueError(f"{caller}: method={method!r} is none of {', '.join(map(repr, names))}")
    return method


def select(
    contraction: Contraction,
    spec: ConvSpec,
    platform: str,
    method: str = "auto",
    *,
    dtype: jnp.dtype | None = None,
    alone: str | None = None,
) -> Choice:
    """Return the method for one contraction on one platform.

    Args:
        contraction: the array that is left out of the form.
        spec: the geometry.
        platform: "cpu", or anything else, which takes XLA's own convolution.
        method: "auto", or the name of a method that is to be used wherever it offers the
            contraction.
        dtype: what the method would work in, `jaxconv.dtypes.working_dtype`; float32 if None.
        alone: why the program can call no library of this process, or None if it can.

    Example:
        >>> spec = ConvSpec((1,), (1,), ((0, 0),), 4, (8,), (3,))
        >>> select("output", spec, "cpu").method, select("kernel", spec, "cpu").method
        ('lax', 'taps')
    """
    if method != "auto":
        if contraction not in METHODS[method]:
            return Choice("lax", f"{method} does not offer this contraction")
        reason = _refusal(method, contraction, spec, platform, dtype, alone)
        return Choice("lax", reason) if reason else Choice(method, "asked for")
    if platform == "cpu" and contraction == "kernel" and spec.groups > 1:
        return Choice("taps", "XLA's CPU convolution takes a scalar loop for batch_group_count")
    return Choice("lax", "XLA's own convolution")


def _refusal(method, contraction, spec, platform, dtype, alone) -> str | None:
    if method in CALLS_OUT and (alone or platform != "cpu"):
        return alone or f"{method} is for CPUs"
    refuses = REFUSES.get(method)
    return refuses(contraction, spec, jnp.dtype(dtype or jnp.float32)) if refuses else None
