"""Sums of products of 8-bit integers, exact.

With the plugin `jaxconv-onednn` CPUs sum products of int16 in int32. Elsewhere, in programs that
are exported, and in layers of few outputs a group, the sums are those of convolutions of float32,
which holds all integers up to 2^24, in whatever order they are added. So many channels are
convolved at a time that no sum can be larger; the parts are added in int32:

    sum over i of x_i w_i = sum over parts of int32(sum over the part's channels of x_i w_i)

uint8 is first moved to the range of int8, which makes parts four times as large:

    sum (x - z) w = sum (x - 128) w + (128 - z) sum w

for windows that are full: x is extended by z before.
"""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.dispatch.choose import refusal
from jaxconv._core.dispatch.library_dependent import library_dependent
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.dtypes import constant, with_bias
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import integers

_EXACT = 2**24
_CENTRE = 128  # of uint8


def exact_sums(
    x: jax.Array, w: jax.Array, spec: ConvSpec, x_zero: jax.Array, w_zero: jax.Array | None
) -> jax.Array:
    """Convolve integers less their zero points.

        y[n, o, t] = sum over i, k of (x[n, i, t stride + k dilation - lo] - x_zero)
                                      (w[o, i, k] - w_zero[o])

    with x equal to x_zero outside.

    Args:
        x: (batch, in, *space), uint8 or int8.
        w: (out, in // groups, *kernel), uint8 or int8.
        spec: the geometry.
        x_zero: () in x's dtype.
        w_zero: () or (out,) in w's dtype; None is 0.

    Returns:
        (batch, out, *space'), int32, wrapping around beyond it.
    """
    edges = [(0, 0, 0)] * 2 + [(lo, hi, 0) for lo, hi in spec.padding]
    x = jnp.moveaxis(lax.pad(x, x_zero, edges), 1, -1)
    # (out, in, *kernel) -> (*kernel, in, out)
    w = jnp.moveaxis(w, (0, 1), (-1, -2))
    arrays = (x, w, x_zero, *(() if w_zero is None else (jnp.broadcast_to(w_zero, w.shape[-1:]),)))
    in_words, in_parts = (partial(sums, spec=spec.padded) for sums in (_in_words, _in_parts))
    problem = Problem.of("output", x, w, spec.padded, dtype=jnp.int32, platform="cpu")
    if integers.considered(problem) and not refusal(problem._replace(dtype="int16"), "integers"):
        y = library_dependent(*arrays, library=in_words, default=in_parts)
    else:
        y = in_parts(*arrays)
    return jnp.moveaxis(y, -1, 1)


def _in_words(
    x: jax.Array, w: jax.Array, x_zero: jax.Array, w_zero: jax.Array | None = None, *, spec
):
    """Convolve integers less their zero points, of at most 9 bits with the sign, as int16."""
    x = x.astype(jnp.int16) - x_zero.astype(jnp.int16)
    if w_zero is not None:
        w = with_bias(w.astype(jnp.int16), -w_zero.astype(jnp.int16))
    return contract("output", x, w, spec, dtype=jnp.int32)


def _in_parts(
    x: jax.Array, w: jax.Array, x_zero: jax.Array, w_zero: jax.Array | None = None, *, spec
):
    """Convolve them with x moved to the range of int8, in parts."""
    centre = constant(_CENTRE if x.dtype == jnp.uint8 else 0, jnp.int32)
    largest = -jnp.iinfo(jnp.int8).min if w.dtype == jnp.int8 else jnp.iinfo(jnp.uint8).max
    w = w.astype(jnp.int32)
    if w_zero is not None:
        w, largest = with_bias(w, -w_zero.astype(jnp.int32)), jnp.iinfo(jnp.uint8).max
    y = _convolved(x.astype(jnp.int32) - centre, w, spec, _EXACT // (_CENTRE * largest))
    moved = centre - x_zero.astype(jnp.int32)
    return with_bias(y, moved * jnp.sum(w, axis=range(w.ndim - 1), dtype=jnp.int32))


def _convolved(x: jax.Array, w: jax.Array, spec: ConvSpec, most: int) -> jax.Array:
    """Convolve integers, with at most `most` products in a sum of float32."""
    entries, channels = math.prod(spec.kernel_size), w.shape[-2]
    if entries > most:  # a kernel too large for even one channel
        return contract("output", x, w, spec, dtype=jnp.int32)
    parts = math.ceil(channels * entries / most)
    # (..., groups, channels of a group)
    x = x.reshape(*x.shape[:-1], spec.groups, channels).astype(jnp.float32)
    w = w.astype(jnp.float32)
    ends = [channels * n // parts for n in range(parts + 1)]
    total = None
    for first, last in itertools.pairwise(ends):
        part = x[..., first:last].reshape(*x.shape[:-2], spec.groups * (last - first))
        y = contract(
            *("output", part, w[..., first:last, :], spec),
            dtype=jnp.float32,
            precision=lax.Precision.HIGHEST,
        )
        # a library's fast algorithm on a GPU may miss a whole number by a little
        y = jnp.round(y).astype(jnp.int32)
        total = y if total is None else total + y
    assert total is not None
    return total
