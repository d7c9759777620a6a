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
    y = call(
        x,
        w,
        stride=np.asarray(spec.stride, np.int64),
        dilation=np.asarray(spec.dilation, np.int64),
        before=np.asarray([lo for lo, _ in spec.padding], np.int64),
        groups=np.int64(spec.groups),
        devices=np.int64(max(1, jax.typeof(x).sharding.mesh.size)),
    )
    return y.astype(dtype)


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
