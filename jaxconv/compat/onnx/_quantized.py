"""Sums of products of 8-bit integers, exact, and what is made of them.

With the plugin `jaxconv-onednn` CPUs do all of it in one call, with sums in int32. Elsewhere, in
programs that are exported or for several devices, and in layers of few outputs a group, the sums
are those of convolutions of float32, which holds all integers up to 2^24, in whatever order they
are added. So many channels are convolved at a time that no sum can be larger; the parts are added
in int32:

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

from jaxconv._core.dispatch.choose import select
from jaxconv._core.dispatch.library_dependent import library_dependent
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.dtypes import constant, with_bias
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import integers

_EXACT = 2**24
_CENTRE = 128  # of uint8


def quantized(
    x: jax.Array,
    w: jax.Array,
    spec: ConvSpec,
    *,
    x_zero: jax.Array,
    w_zero: jax.Array | None,
    bias: jax.Array,
    factor: jax.Array,
    zero: jax.Array,
    dtype: jnp.dtype,
) -> jax.Array:
    """Convolve integers less their zero points, and round the sums to 8 bits.

        s[n, o, t] = bias[o] + sum over i, k of (x[n, i, t stride + k dilation - lo] - x_zero)
                                                (w[o, i, k] - w_zero[o])
        y = saturate(round(s factor) + zero)

    with x equal to x_zero outside, and `round` half to even.

    Args:
        x: (batch, in, *space), uint8 or int8.
        w: (out, in // groups, *kernel), uint8 or int8.
        spec: the geometry.
        x_zero: () in x's dtype.
        w_zero: () or (out,) in w's dtype; None is 0.
        bias: (out,) int32.
        factor: (out,) float32.
        zero: () float32.
        dtype: of y, int8 or uint8; or int32, which is s itself, wrapping around beyond it.

    Returns:
        (batch, out, *space').
    """
    # (out, in, *kernel) -> (*kernel, in, out)
    w = jnp.moveaxis(w, (0, 1), (-1, -2))
    if w_zero is not None:  # 9 bits with the sign
        each = jnp.broadcast_to(w_zero, w.shape[-1:]).astype(jnp.int16)
        w = with_bias(w.astype(jnp.int16), -each)
    x_zero, factor, zero = x_zero.astype(jnp.int32), *map(lax.stop_gradient, (factor, zero))
    arrays, how = (x, w, x_zero, bias, factor, zero), {"spec": spec, "dtype": jnp.dtype(dtype)}
    if not _by_kernel(x, w, spec):
        return _in_parts(*arrays, **how)
    by_kernel, in_parts = (partial(f, **how) for f in (_in_one_call, _in_parts))
    return library_dependent(*arrays, library=by_kernel, default=in_parts)


def _by_kernel(x: jax.Array, w: jax.Array, spec: ConvSpec) -> bool:
    """Whether the plugin's kernel is expected to be the fastest for such sums on a CPU."""
    alone = all(jax.typeof(array).sharding.mesh.size <= 1 for array in (x, w))
    sizes = (*x.shape, *w.shape, *spec.output_size)
    if not (alone and integers.serves_quantized() and all(isinstance(n, int) for n in sizes)):
        return False
    last = jax.eval_shape(partial(jnp.moveaxis, source=1, destination=-1), x)
    problem = Problem.of("output", last, w, spec, dtype=jnp.int32, platform="cpu")
    return math.prod(sizes) > 0 and select(problem._replace(dtype="int16")).method == "integers"


@partial(jax.jit, static_argnames=("spec", "dtype"))
def _in_one_call(x, w, *others, spec: ConvSpec, dtype: jnp.dtype):
    return integers.quantized(x, w, *others, spec=spec, dtype=dtype)


def _in_parts(x, w, x_zero, bias, factor, zero, *, spec: ConvSpec, dtype: jnp.dtype):
    """Convolve them with x moved to the range of int8, in parts."""
    edges = [(0, 0, 0)] * 2 + [(lo, hi, 0) for lo, hi in spec.padding]
    last = jnp.moveaxis(lax.pad(x, x_zero.astype(x.dtype), edges), 1, -1)
    centre = constant(_CENTRE if x.dtype == jnp.uint8 else 0, jnp.int32)
    largest = -jnp.iinfo(jnp.int8).min if w.dtype == jnp.int8 else jnp.iinfo(jnp.uint8).max
    w = w.astype(jnp.int32)
    sums = _convolved(
        last.astype(jnp.int32) - centre, w, spec.padded, _EXACT // (_CENTRE * largest)
    )
    of_centre = (centre - x_zero) * jnp.sum(w, axis=range(w.ndim - 1), dtype=jnp.int32)
    sums = jnp.moveaxis(with_bias(sums, of_centre + bias), -1, 1)
    if dtype == jnp.int32:
        return sums
    rounded = jnp.round(sums.astype(jnp.float32) * factor.reshape(1, -1, *(1,) * spec.rank))
    ends = jnp.iinfo(dtype)
    low, high = constant(ends.min, jnp.float32), constant(ends.max, jnp.float32)
    return jnp.clip(rounded + zero, low, high).astype(dtype)


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
