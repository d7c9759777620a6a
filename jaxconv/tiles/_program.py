"""The one compiled program that every tile goes through: stored values in, stored values out.

| stored as | intensity |
|---|---|
| bool | 0 and 1 |
| uint8, uint16 | stored / largest value of the type |
| float16, float32, float64 | stored, in float32 |

The arithmetic is that of `images` and of `jaxconv apply`, bit for bit: XLA is kept from
replacing divisions by products and from joining an addition to a product, which round otherwise.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.dispatch.seamless import one_a_channel
from jaxconv._files.rasters import STORED
from jaxconv._functional.layers import conv


class Rule(NamedTuple):
    """What is fixed when the program is compiled.

    Attributes:
        rank: number of spatial dimensions.
        stride: as in `jaxconv.conv`, as are the next three.
        dilation: elements of the image between kernel entries.
        groups: parts of the channels.
        flip: whether the kernel is reversed.
        method: the method's name.
        precision: of the device's products.
        shifted: whether an offset and a divisor are applied.
        dtype: of the result, by name.
    """

    rank: int
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    flip: bool
    method: str
    precision: Any
    shifted: bool
    dtype: str


def largest(dtype: Any) -> float:
    """The stored value that stands for intensity 1."""
    dtype = np.dtype(dtype)
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0


def result_dtype(source: str, wanted: Any) -> str:
    """The dtype a result is stored in: the source's, and uint8 for bool, unless one is wanted.

    Raises:
        ValueError: no such dtype is stored, or integers are wanted of a floating-point image.
    """
    if wanted is None:
        return "uint8" if source == "bool" else source
    try:
        name = np.dtype(wanted).name
    except TypeError:
        name = repr(wanted)
    if name not in STORED[1:]:
        raise ValueError(f"apply_tiled: dtype={name} is none of {', '.join(STORED[1:])}")
    if source.startswith("float") and not name.startswith("float"):
        raise ValueError(
            f"apply_tiled: dtype={name} cannot hold the values of a {source} image; use one of "
            f"{', '.join(n for n in STORED if n.startswith('float'))}"
        )
    return name


@functools.partial(jax.jit, static_argnames="rule")
def run(
    x: jax.Array, w: jax.Array, b: jax.Array, numbers: jax.Array, valid: jax.Array, *, rule: Rule
) -> tuple[jax.Array, jax.Array]:
    """Filter one window.

    `stored = round(clip(offset + (conv(x / largest, w) + b) / divisor, 0, 1) * largest)` for
    integers; for floats without `round`, `clip` and `largest`.

    Args:
        x: (*window, in), as stored.
        w: (*kernel, in // groups, out) float32.
        b: (out,) float32.
        numbers: (4,) float32: largest of the source, offset, divisor, largest of the result.
        valid: (rank,) int32, how many of the outputs a dimension belong to the image.
        rule: what is fixed.

    Returns:
        The result (*tile, out), of its dtype or of float32 where that is another float; and how
        many of its valid values were clipped.
    """
    unit, offset, divisor, full = numbers
    x = x.astype(jnp.float32)
    x = lax.optimization_barrier(_divided(x, unit))
    y = lax.optimization_barrier(_filtered(x, w, rule)) + b
    if rule.shifted:
        y = offset + _divided(y, divisor)
    if rule.dtype not in ("uint8", "uint16"):
        return y, jnp.zeros((), jnp.int32)
    outside = (y < 0) | (y > 1)
    for axis in range(rule.rank):
        outside &= lax.broadcasted_iota(jnp.int32, y.shape, axis) < valid[axis]
    stored = jnp.rint(jnp.clip(y, 0, 1) * full).astype(rule.dtype)
    return stored, jnp.sum(outside, dtype=jnp.int32)


def _divided(x: jax.Array, by: jax.Array) -> jax.Array:
    # by a scalar, XLA would multiply with its reciprocal, which rounds twice
    return x / lax.optimization_barrier(jnp.broadcast_to(by, x.shape))


def _filtered(x: jax.Array, w: jax.Array, rule: Rule) -> jax.Array:
    call = functools.partial(
        conv,
        stride=rule.stride,
        dilation=rule.dilation,
        flip=rule.flip,
        method=rule.method,
        precision=rule.precision,
    )
    if one_a_channel(rule.groups, w.shape):
        # plane by plane, which every method is fast at
        return jnp.concatenate(
            [call(x[..., n : n + 1], w[..., n : n + 1]) for n in range(rule.groups)], axis=-1
        )
    return call(x, w, groups=rule.groups)
