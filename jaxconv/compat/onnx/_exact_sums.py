"""Sums of products of 8-bit integers, exact.

Arrays of uint8 are first moved to the range of int8, for which methods have the fastest exact sums:

    sum (x - z) (w - v) = sum x w - z sum w - v sum x + z v sum 1

for windows that are full: x is extended by z before.

CPUs take a method for integers (`jaxconv.conv`'s choice). On other devices the sums are those of
convolutions of float32 in parts, rounded and added in int32 (the method `floats`): XLA has no
convolution of integers on GPUs.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.dtypes import with_bias, zero
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import floats


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
    x, spec = jnp.moveaxis(_moved(lax.pad(x, x_zero, edges)), 1, -1), spec.padded
    unsigned = w.dtype == jnp.uint8
    # (out, in, *kernel) -> (*kernel, in, out)
    w = jnp.moveaxis(_moved(w), (0, 1), (-1, -2))
    x_zero = _moved(x_zero).astype(jnp.int32)
    if w_zero is None and unsigned:  # 0, which is moved too
        w_zero = zero(jnp.uint8)
    words = partial(contract, "output", spec=spec, dtype=jnp.int32)
    y = lax.platform_dependent(x, w, cpu=words, default=partial(_in_parts, spec=spec))
    y = with_bias(y, -x_zero * _kernel_sums(w))
    if w_zero is not None:
        of_x = lax.platform_dependent(
            x, cpu=partial(_window_sums, spec=spec), default=partial(_window_parts, spec=spec)
        )
        # (n, *space', groups) -> (n, *space', out)
        of_x = jnp.repeat(of_x, w.shape[-1] // spec.groups, -1) - math.prod(w.shape[:-1]) * x_zero
        y = y - _moved(w_zero).astype(jnp.int32) * of_x
    return jnp.moveaxis(y, -1, 1)


def _moved(a: jax.Array) -> jax.Array:
    """Return integers of uint8 less 128 in int8, those of int8 as they are."""
    if a.dtype == jnp.int8:
        return a
    return lax.bitcast_convert_type(a ^ np.uint8(128), jnp.int8)


def _kernel_sums(w: jax.Array) -> jax.Array:
    """Sum (*kernel, in, out) over all but the last axis: (out,) in int32.

    As a product with ones, which XLA computes quickly of constants: it took 5 s at compile time to
    sum 3x3 of 512 to 512 channels.
    """
    w = w.reshape(math.prod(w.shape[:-1]), w.shape[-1]).astype(jnp.int32)
    return jnp.ones(w.shape[0], jnp.int32) @ w


def _window_sums(x: jax.Array, *, spec: ConvSpec) -> jax.Array:
    """Sum all of a group's channels under the kernel: (n, *space', groups)."""
    x = x.reshape(*x.shape[:-1], spec.groups, x.shape[-1] // spec.groups)
    x = jnp.sum(x, axis=-1, dtype=jnp.int32)
    ones = jnp.ones((*spec.kernel_size, 1, spec.groups), jnp.int32)
    return contract("output", x, ones, spec, dtype=jnp.int32)


def _window_parts(x: jax.Array, *, spec: ConvSpec) -> jax.Array:
    """Sum them in float32."""
    ones = jnp.ones((*spec.kernel_size, x.shape[-1] // spec.groups, spec.groups), jnp.int8)
    return _in_parts(x, ones, spec=spec)


def _in_parts(x: jax.Array, w: jax.Array, *, spec: ConvSpec) -> jax.Array:
    most = floats.most_products(x.dtype, w.dtype) // floats.products(spec, "output")
    if not most:  # a kernel too large for even one channel
        return contract("output", x, w, spec, dtype=jnp.int32)

    def convolve(x, w):
        y = contract("output", x, w, spec, dtype=jnp.float32, precision=lax.Precision.HIGHEST)
        # a library's fast algorithm on a GPU may miss a whole number by a little
        return jnp.round(y)

    return floats.in_parts(
        convolve, x, w, groups=spec.groups, axis=-2, most=most, sums=jnp.dtype(jnp.int32)
    )
