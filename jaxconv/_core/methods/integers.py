"""Convolutions of 8- and 16-bit integers by a kernel of the plugin `jaxconv-onednn` (CPU only).

    y[n, t, g, o] = sum over k, i of x[n, t stride + k dilation - lo, g, i] w[k, g, i, o]

Two neighbouring elements of x, as int16, are multiplied with two of w and the products added by one
instruction of AVX2; the sums are int32 and wrap around beyond it. So every bit is that of any other
method. oneDNN's own kernels of int8 saturate on the way where the CPU has AVX2 without VNNI.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import lax as lax_method
from jaxconv._core.methods import onednn
from jaxconv._core.methods.method import Method
from jaxconv._core.methods.terms import Terms, common

# Outputs of a group that fill a vector.
VECTOR = 8
# Set by hand: seconds a call, a product, an element of x with its padding, of y and of w (2 cores
# of an AMD EPYC with AVX2 alone, 2026-11).
CALL, PRODUCT, COPIED, MADE, PACKED = 2e-6, 6e-12, 2e-10, 2e-10, 3e-10


def refuses(problem: Problem) -> str | None:
    """Return why a problem is not served, in one clause, or None if it is."""
    loaded = onednn.plugin()
    if isinstance(loaded, str):
        return loaded
    if not hasattr(loaded, "serves_integers"):
        return "the installed jaxconv-onednn is older than the kernel of integers; install it anew"
    if not loaded.serves_integers():
        return "the kernel of integers needs a CPU with AVX2"
    if problem.spec.rank > 3:
        return f"the kernel of integers has no rank {problem.spec.rank}"
    if problem.dtype not in ("int8", "uint8", "int16"):
        return f"the kernel of integers does not compute in {problem.dtype}"
    return None


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Forward convolution."""
    shape = (x.shape[0], *spec.output_size, w.shape[-1])
    if not (x.size and w.size and math.prod(shape)):
        return jnp.zeros(shape, dtype)
    if not _exact(x, w, dtype):
        return lax_method.output(x, w, spec, precision=precision, dtype=dtype)
    call = jax.ffi.ffi_call(
        onednn.registered().INTEGERS,
        jax.ShapeDtypeStruct(shape, jnp.int32),
        vmap_method="sequential",
    )
    return call(x, w, **_geometry(spec, x)).astype(dtype)


def serves_quantized() -> bool:
    """Whether the plugin here has `quantized`."""
    return hasattr(onednn.plugin(), "QUANTIZED")


def quantized(
    x: jax.Array,
    w: jax.Array,
    x_zero: jax.Array,
    bias: jax.Array,
    factor: jax.Array,
    zero: jax.Array,
    *,
    spec: ConvSpec,
    dtype: jnp.dtype,
) -> jax.Array:
    """Convolve 8-bit integers with channels first, and round, in one call of the plugin's.

        s[n, o, t] = bias[o] + sum over i, k of (x[n, i, t stride + k dilation - lo] - x_zero)
                                                w[k, i, o]
        y = saturate(round(s factor) + zero)

    with x equal to x_zero outside, and `round` half to even.

    Args:
        x: (batch, in, *space), int8 or uint8.
        w: (*kernel, in // groups, out), int8, uint8 or int16.
        x_zero: () int32.
        bias: (out,) int32.
        factor: (out,) float32.
        zero: () float32.
        spec: the geometry, which the method `integers` serves.
        dtype: int8 or uint8 of y; or int32, which is s itself.

    Returns:
        y: (batch, out, *space').
    """

    @jax.custom_batching.custom_vmap
    def call(x, w, *others):
        shape = (x.shape[0], w.shape[-1], *spec.output_size)
        one = jax.ffi.ffi_call(
            onednn.registered().QUANTIZED,
            jax.ShapeDtypeStruct(shape, dtype),
            vmap_method="sequential",
        )
        return one(x, w, *others, **_geometry(spec, x))

    @call.def_vmap
    def _(size, batched, x, *others):
        if batched == [True, *[False] * len(others)]:
            y = call(x.reshape(-1, *x.shape[2:]), *others)
            return y.reshape(size, -1, *y.shape[1:]), True
        arrays = [
            array if mapped else jnp.broadcast_to(array, (size, *array.shape))
            for array, mapped in zip((x, *others), batched, strict=True)
        ]
        return jax.lax.map(lambda each: call(*each), arrays), True

    def counted(*_, **__):
        return call(x, w, x_zero, bias, factor, zero)

    last = jnp.moveaxis(x, 1, -1)
    return onednn.counted("output", counted)(last, w, spec, dtype=jnp.dtype("int32"))


def _geometry(spec: ConvSpec, x: jax.Array) -> dict[str, np.ndarray | np.int64]:
    return {
        "stride": np.asarray(spec.stride, np.int64),
        "dilation": np.asarray(spec.dilation, np.int64),
        "before": np.asarray([lo for lo, _ in spec.padding], np.int64),
        "groups": np.int64(spec.groups),
        "devices": np.int64(max(1, jax.typeof(x).sharding.mesh.size)),
    }


def _exact(x: jax.Array, w: jax.Array, dtype: jnp.dtype) -> bool:
    """Whether sums in int32 tell the result: it has no more bits, or they are not as large."""
    if jnp.issubdtype(dtype, jnp.integer) and dtype.itemsize <= 4:
        return True
    largest = [max(-int(ends.min), int(ends.max)) for ends in map(jnp.iinfo, (x.dtype, w.dtype))]
    products = w.size // w.shape[-1]
    return products * largest[0] * largest[1] <= jnp.iinfo(jnp.int32).max


def _terms(problem: Problem) -> Terms:
    spec, shared = problem.spec, common(problem)
    wide = spec.groups * -(-problem.outputs // VECTOR) * VECTOR
    seen = [(m - 1) * s + extent(k, d) for _, m, k, s, d, _ in spec.dimensions]
    return shared | {
        "x padded": problem.batch * math.prod(seen) * spec.groups * problem.inputs,
        "work of whole vectors": shared["work"] / max(problem.outputs, 1) * wide,
    }


def considered(problem: Problem) -> bool:
    """Return whether groups have the outputs that fill a vector: else most products are wasted."""
    return problem.outputs >= VECTOR


METHOD = Method(
    name="integers",
    summary="an own kernel in C++ for integers of 8 and 16 bits, where jaxconv-onednn is installed",
    contractions={"output": onednn.counted("output", output)},
    refuses=refuses,
    terms=_terms,
    constants={
        "output": {
            "call": CALL,
            "x padded": COPIED,
            "y": MADE,
            "w": PACKED,
            "work of whole vectors": PRODUCT,
        }
    },
    considered=considered,
    needs="Linux on x86-64, the package jaxconv-onednn and avx2",
    calls_library=True,
)
