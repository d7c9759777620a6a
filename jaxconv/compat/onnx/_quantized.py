"""Sums of products of 8-bit integers, exact, and what is made of them.

With the plugin `jaxconv-onednn` CPUs do all of it in one call, with sums in int32. Elsewhere, in
programs that are exported or for several devices, and in layers of few outputs a group, arrays of
uint8 are first moved to the range of int8, in which sums are the fastest:

    sum (x - z) (w - v) = sum x w - z sum w - v sum (x - z)

for windows that are full: x is extended by z before. CPUs convolve them by the method that is
expected to be the fastest for int8. On other devices the sums are those of convolutions of float32
in parts (`jaxconv._core.methods.floats`), rounded: XLA has no convolution of integers on GPUs.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.dispatch.choose import select
from jaxconv._core.dispatch.library_dependent import library_dependent
from jaxconv._core.dispatch.primitive import contract
from jaxconv._core.geometry.dtypes import constant, with_bias
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import floats, integers


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
    x_zero, factor, zero = x_zero.astype(jnp.int32), *map(lax.stop_gradient, (factor, zero))
    arrays, how = [x, w, x_zero, bias, factor, zero], {"spec": spec, "dtype": jnp.dtype(dtype)}
    if w_zero is not None:
        arrays.append(jnp.broadcast_to(w_zero, w.shape[-1:]).astype(jnp.int32))
    if not _by_kernel(x, w, spec):
        return _elsewhere(*arrays, **how)
    by_kernel, elsewhere = (partial(f, **how) for f in (_by_library, _elsewhere))
    return library_dependent(*arrays, library=by_kernel, default=elsewhere)


def _by_kernel(x: jax.Array, w: jax.Array, spec: ConvSpec) -> bool:
    """Whether the plugin's kernel is expected to be the fastest for such sums on a CPU."""
    alone = all(jax.typeof(array).sharding.mesh.size <= 1 for array in (x, w))
    sizes = (*x.shape, *w.shape, *spec.output_size)
    if not (alone and integers.serves_quantized() and all(isinstance(n, int) for n in sizes)):
        return False
    last = jax.eval_shape(partial(jnp.moveaxis, source=1, destination=-1), x)
    problem = Problem.of("output", last, w, spec, dtype=jnp.int32, platform="cpu")
    return math.prod(sizes) > 0 and select(problem._replace(dtype="int16")).method == "integers"


def _by_library(x, w, x_zero, bias, factor, zero, w_zero=None, *, spec: ConvSpec, dtype: jnp.dtype):
    if w_zero is not None:  # 9 bits with the sign
        w = with_bias(w.astype(jnp.int16), -w_zero.astype(jnp.int16))
    return quantized_in_one_call(x, w, x_zero, bias, factor, zero, spec=spec, dtype=dtype)


@partial(jax.jit, static_argnames=("spec", "dtype"))
def quantized_in_one_call(x, w, *others, spec: ConvSpec, dtype: jnp.dtype):
    return integers.quantized(x, w, *others, spec=spec, dtype=dtype)


def _elsewhere(x, w, x_zero, bias, factor, zero, w_zero=None, *, spec: ConvSpec, dtype: jnp.dtype):
    """Convolve them moved to the range of int8, and round."""
    edges = [(0, 0, 0)] * 2 + [(lo, hi, 0) for lo, hi in spec.padding]
    last, of_x = _moved(jnp.moveaxis(lax.pad(x, x_zero.astype(x.dtype), edges), 1, -1))
    w, of_w = _moved(w)
    x_zero, spec = x_zero - of_x, spec.padded
    words = partial(contract, "output", spec=spec, dtype=jnp.int32)
    sums = lax.platform_dependent(last, w, cpu=words, default=partial(_in_parts, spec=spec))
    sums = with_bias(sums, bias - x_zero * _kernel_sums(w))
    if w_zero is None and of_w:
        w_zero = jnp.zeros(w.shape[-1], jnp.int32)
    if w_zero is not None:
        windows = lax.platform_dependent(
            last, cpu=partial(_window_sums, spec=spec), default=partial(_window_parts, spec=spec)
        )
        windows = windows - math.prod(w.shape[:-1]) * x_zero
        # (batch, *space', groups) -> (batch, *space', out)
        windows = jnp.repeat(windows, w.shape[-1] // spec.groups, axis=-1)
        taken = jnp.expand_dims(w_zero - of_w, tuple(range(windows.ndim - 1)))
        sums = sums - taken * windows
    sums = jnp.moveaxis(sums, -1, 1)
    if dtype == jnp.int32:
        return sums
    rounded = jnp.round(sums.astype(jnp.float32) * factor.reshape(1, -1, *(1,) * spec.rank))
    ends = jnp.iinfo(dtype)
    low, high = constant(ends.min, jnp.float32), constant(ends.max, jnp.float32)
    return jnp.clip(rounded + zero, low, high).astype(dtype)


def _moved(a: jax.Array) -> tuple[jax.Array, int]:
    """Return an array of uint8 or int8 in int8, and the number that was taken from it."""
    if a.dtype == jnp.int8:
        return a, 0
    # as int8, the highest bit counts -128
    return lax.bitcast_convert_type(a ^ np.uint8(128), jnp.int8), 128


def _kernel_sums(w: jax.Array) -> jax.Array:
    """Sum (*kernel, in, out) over all but the last axis: (out,) in int32.

    As a product with ones, which XLA computes quickly of constants: a sum of 3x3 of 512 to 512
    channels took it 5 s at compile time.
    """
    w = w.reshape(math.prod(w.shape[:-1]), w.shape[-1]).astype(jnp.int32)
    return jnp.ones(w.shape[0], jnp.int32) @ w


def _window_sums(x: jax.Array, *, spec: ConvSpec) -> jax.Array:
    """Sum all of a group's channels under the kernel: (batch, *space', groups) in int32."""
    x = x.reshape(*x.shape[:-1], spec.groups, x.shape[-1] // spec.groups)
    x = jnp.sum(x, axis=-1, dtype=jnp.int32)
    ones = jnp.ones((*spec.kernel_size, 1, spec.groups), jnp.int32)
    return contract("output", x, ones, spec, dtype=jnp.int32)


def _window_parts(x: jax.Array, *, spec: ConvSpec) -> jax.Array:
    """Sum them in float32."""
    ones = jnp.ones((*spec.kernel_size, x.shape[-1] // spec.groups, spec.groups), jnp.int8)
    return _in_parts(x, ones, spec=spec)


def _in_parts(x: jax.Array, w: jax.Array, *, spec: ConvSpec) -> jax.Array:
    """Convolve int8 in parts, in float32."""
    most = floats.most_products(x.dtype, w.dtype) // floats.products(spec, "output")
    if not most:  # a kernel too large for even one channel
        return contract("output", x, w, spec, dtype=jnp.int32)

    def convolve(x, w):
        y = contract("output", x, w, spec, dtype=jnp.float32, precision=lax.Precision.HIGHEST)
        # a library's fast algorithm on a GPU may miss a whole number by a little
        return jnp.round(y)

    sums = jnp.dtype(jnp.int32)
    return floats.in_parts(convolve, x, w, groups=spec.groups, axis=-2, most=most, sums=sums)
