"""The one compiled program that filters every tile: from stored values to stored values.

| stored as | intensity |
|---|---|
| bool | 0 and 1 |
| uint8, uint16, uint32 | stored / largest value of the type, which is 2**32 for uint32 in float32 |
| int8, int16, int32 | stored / 2**7, 2**15 or 2**31: from -1 to almost 1 |
| float16, float32, float64 | stored, in float32 |

The arithmetic is that of NumPy's on float32, operation by operation: barriers keep XLA from
replacing divisions by products and from fusing an addition with a product, which round differently.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.dispatch.seamless import one_a_channel
from jaxconv._core.geometry.division import divided
from jaxconv._files.rasters import INTEGERS, STORED, filtered_dtype
from jaxconv._functional.convolution import conv


class Rule(NamedTuple):
    """The static arguments of the program.

    Attributes:
        rank: number of spatial dimensions.
        stride: as in `jaxconv.conv`, as are the next three.
        dilation: elements of the image between kernel entries.
        groups: number of groups of channels.
        flip: whether the kernel is reversed.
        method: the method's name.
        precision: of the device's products.
        shifted: whether a linear map is applied to the response.
        clip: whether floating-point results too are clipped to 0 to 1.
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
    clip: bool
    dtype: str


def largest(dtype: Any) -> float:
    """The stored value that stands for intensity 1; for signed integers the first beyond them."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu":
        return 1.0
    return float(np.iinfo(dtype).max) + (dtype.kind == "i")


def limits(dtype: str) -> tuple[float, float]:
    """The least and the largest intensity that an integer type stores, in float32."""
    kind, unit = np.iinfo(dtype), np.float32(largest(dtype))
    high = np.float32(kind.max) / unit
    while int(high * unit) > kind.max:  # the float32 below is not beyond the type
        high = np.nextafter(high, np.float32(0))
    return float(np.float32(kind.min) / unit), float(high)


def result_dtype(source: str, wanted: Any) -> str:
    """The dtype, by name, in which a result is stored.

    Args:
        source: the image's.
        wanted: None for `filtered_dtype(source)`.

    Raises:
        ValueError: no such dtype is stored, or integers are wanted for a floating-point image.
    """
    if wanted is None:
        return filtered_dtype(source)
    try:
        name = np.dtype(wanted).name
    except TypeError:
        name = repr(wanted)
    if name not in STORED[1:]:
        raise ValueError(f"apply_tiled: dtype={name} must be one of {', '.join(STORED[1:])}")
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

    `stored = round(clip(offset + (conv(x / largest, w) + b - low) / divisor, 0, 1) * largest)` for
    unsigned integers; signed ones are clipped to -1 to 1, unless the rule says `clip`; for floats
    without `round` and `largest`, and `clip` only if the rule says so.

    Args:
        x: (*window, in), as stored.
        w: (*kernel, in // groups, out) float32.
        b: (out,) float32.
        numbers: (5,) float32: largest of the source, low, offset, divisor, largest of the result.
        valid: (rank,) int32, the number of outputs along each dimension that belong to the image.
        rule: static.

    Returns:
        The result (*tile, out), of its dtype, or float32 for other floating dtypes; and the number
        of its valid values that were clipped.
    """
    unit, low, offset, divisor, full = numbers
    x = x.astype(jnp.float32)
    x = lax.optimization_barrier(divided(x, unit))
    y = lax.optimization_barrier(_filtered(x, w, rule)) + b
    if rule.shifted:
        y = offset + divided(y - low, divisor)
    integers = rule.dtype in INTEGERS
    if not integers and not rule.clip:
        return y, jnp.zeros((), jnp.int32)
    least, most = limits(rule.dtype) if integers else (0.0, 1.0)
    least = 0.0 if rule.clip else least
    outside = (y < least) | (y > most)
    for axis in range(rule.rank):
        outside &= lax.broadcasted_iota(jnp.int32, y.shape, axis) < valid[axis]
    y = jnp.clip(y, least, most)
    if integers:
        y = jnp.rint(y * full).astype(rule.dtype)
    return y, jnp.sum(outside, dtype=jnp.int32)


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
        # plane by plane, where every method is fast
        return jnp.concatenate(
            [call(x[..., n : n + 1], w[..., n : n + 1]) for n in range(rule.groups)], axis=-1
        )
    return call(x, w, groups=rule.groups)
