"""Convolutions of 8-bit integers by XLA's convolutions of float32, with exact sums (CPU only).

    y = sum over parts of int32(convolution in float32 of a part of the channels)

float32 holds every integer up to 2^24. A product is at most 2^14 for int8 and 255^2 for uint8, so a
sum of up to 1024 or 258 of them is exact, in whatever order it is added. Each part has as many
channels of a group as that allows; the parts are computed one after another and added in int32. So
every bit is that of any other method.

XLA computes most convolutions of integers on CPUs by plain loops (`lax.in_loops`), which take up to
a hundred times as long as those of float32. On other platforms libraries may choose algorithms of
Winograd or by spectra, which are not exact: there it does not serve.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax as jax_lax
from jax.export import is_symbolic_dim

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.methods import lax
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.terms import Terms, common

# float32 holds every integer up to this one.
EXACT = 2**24
# Channels in a part are a multiple of so many where that is no more than the sums allow: XLA's
# products of float32 are faster then.
VECTOR = 8
EXACTLY = {"precision": jax_lax.Precision.HIGHEST, "dtype": jnp.dtype("float32")}
# Set by hand: seconds an element that is converted to float32, and an element of a part's result,
# which is converted to int32 and added (2 cores of an AMD EPYC with AVX2, jax 0.10.2, 2026-11).
CONVERTED, ADDED = 1e-9, 1e-9


def refuses(problem: Problem) -> str | None:
    """Return why a problem is not served, in one clause, or None if it is."""
    if problem.platform != "cpu":
        return "sums of float32 may not be exact on other devices than CPUs"
    if problem.dtype not in ("int8", "uint8"):
        return f"float32 holds sums of 8-bit integers, not of {problem.dtype}"
    if problem.spec.rank > 3:
        return f"floats has no rank {problem.spec.rank}"
    entries = products(problem.spec, problem.contraction)
    if is_symbolic_dim(entries):
        return "floats needs a known kernel size"
    if entries > most_products(problem.dtype, problem.dtype):
        return f"float32 does not hold sums of {entries} products of {problem.dtype}"
    return None


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Add up the convolutions of parts of the input channels."""
    del precision  # exact sums need the highest: `EXACTLY`
    sums = accumulation_dtype(x, w, dtype)

    def convolve(x, w):
        return lax.output(x, w, spec, **EXACTLY)

    most = most_products(x.dtype, w.dtype) // products(spec, "output")
    y = in_parts(convolve, x, w, groups=spec.groups, axis=-2, most=most, sums=sums)
    return y.astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Add up the transposed convolutions of parts of the output channels."""
    del precision
    sums = accumulation_dtype(y, w, dtype)
    # (*kernel, i, g * o) -> (*kernel, i, g, o)
    w = w.reshape(*w.shape[:-1], spec.groups, w.shape[-1] // spec.groups)

    def convolve(y, w):
        w = w.reshape(*w.shape[:-2], w.shape[-2] * w.shape[-1])
        return lax.input(y, w, spec, **EXACTLY)

    most = most_products(y.dtype, w.dtype) // products(spec, "input")
    x = in_parts(convolve, y, w, groups=spec.groups, axis=-1, most=most, sums=sums)
    return x.astype(dtype)


def most_products(*dtypes: str | jnp.dtype) -> int:
    """Return how many products of two integers a sum in float32 may have.

    Example:
        >>> [most_products(*pair) for pair in (("int8", "int8"), ("uint8", "uint8"))]
        [1024, 258]
    """
    ends = map(jnp.iinfo, dtypes)
    return EXACT // math.prod(max(-int(end.min), int(end.max)) for end in ends)


def products(spec: ConvSpec, contraction: Contraction) -> int:
    """Return how many products an element of the result has at most for each channel summed over.

    Under a stride an element of x meets a part of the kernel's entries.
    """
    if contraction != "input":
        return math.prod(spec.kernel_size)
    # entries j with j dilation = p modulo the stride
    return math.prod(
        -(-k // (s // math.gcd(s, d)))
        for k, s, d in zip(spec.kernel_size, spec.stride, spec.dilation, strict=True)
    )


def parts(channels: int, most: int) -> tuple[int, int]:
    """Return the number of parts, and the channels in each, zeros at the end included.

    Example:
        >>> parts(64, 113), parts(64, 28), parts(23, 11)
        ((1, 64), (3, 24), (3, 8))
    """
    number = -(-channels // most)
    size = -(-channels // number)
    if number > 1 and (whole := -(-size // VECTOR) * VECTOR) <= most:
        size = whole
    return -(-channels // size), size


def in_parts(
    convolve: Callable[[jax.Array, jax.Array], jax.Array],
    a: jax.Array,
    b: jax.Array,
    *,
    groups: int,
    axis: int,
    most: int,
    sums: jnp.dtype,
) -> jax.Array:
    """Return the sum of convolutions in float32 of parts of the channels that are summed over.

    Args:
        convolve: of two arrays of float32.
        a: (..., groups * channels), integers.
        b: integers.
        groups: of channels.
        axis: of the channels in b, negative.
        most: channels in a part.
        sums: the dtype to add the parts in.
    """
    channels = b.shape[axis]
    number, size = parts(channels, most)
    if number == 1:
        return convolve(a.astype(np.float32), b.astype(np.float32)).astype(sums)
    # (..., groups, channels): zeros at the end of each group
    a = _longer(a.reshape(*a.shape[:-1], groups, channels), -1, number * size)
    b = _longer(b, axis, number * size)

    def part(turn):
        first = turn * np.int32(size)
        of_a = jax_lax.dynamic_slice_in_dim(a, first, size, -1)
        of_b = jax_lax.dynamic_slice_in_dim(b, first, size, axis % b.ndim)
        of_a = of_a.reshape(*a.shape[:-2], groups * size)
        return convolve(of_a.astype(np.float32), of_b.astype(np.float32)).astype(sums)

    # in a loop, so that one part at a time is in memory
    made = jax.eval_shape(part, np.int32(0))
    return jax_lax.fori_loop(
        np.int32(0),
        np.int32(number),
        lambda turn, total: total + part(turn),
        jnp.zeros(made.shape, sums),
    )


def _longer(a: jax.Array, axis: int, size: int) -> jax.Array:
    config = [(0, 0, 0)] * a.ndim
    config[axis] = (0, size - a.shape[axis], 0)
    return jax_lax.pad(a, jnp.zeros((), a.dtype), config)


def _terms(problem: Problem) -> Terms:
    """Those of lax for each part, and what is converted and added."""
    summed, read, made = ("inputs", "x", "y")
    if problem.contraction == "input":
        summed, read, made = ("outputs", "y", "x")
    most = most_products(problem.dtype, problem.dtype)
    most //= products(problem.spec, problem.contraction)
    number, size = parts(getattr(problem, summed), most)
    part = problem._replace(dtype="float32", **{summed: size})
    shared = common(problem)
    return {
        **{name: number * term for name, term in lax.METHOD.terms(part).items()},
        "converted": shared[read] + shared["w"],
        "added": number * shared[made],
    }


METHOD = Method(
    name="floats",
    summary="8-bit integers by XLA's convolutions of float32, in parts whose sums are exact",
    contractions={"output": output, "input": input},
    refuses=refuses,
    terms=_terms,
    constants={
        which: {**fitted("lax")[which], "converted": CONVERTED, "added": ADDED}
        for which in ("output", "input")
    },
    symbolic_sizes=True,
)
