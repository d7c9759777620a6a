"""A strided `input` as one unstrided convolution whose channels are the positions in a stride.

x at p = u s + r sees the kernel's entries r, r + s, .. only. With these as a kernel of their own a
remainder r, and all remainders side by side as output channels, y is convolved once and the result
interleaved. Kernels that the stride does not divide gain entries of zero, under which a NaN or
infinity of y reaches what does not see it: where the result is not finite it is lax's.

It pays where x has few channels, as images have: XLA's own method adds each product to x one at a
time, and its matrices are too narrow. Beside lax it took 0.16 (11x11 s4 of 3 channels) and 0.73 to
0.8 (7x7 s2 of 3), but 1.2 to 1.6 on 3x3 s2 of 64 and 256 channels (2 AVX-512 cores, 2026-11).
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.geometry.dtypes import accumulation_dtype, operand_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import lax as own
from jaxconv._core.methods.lax import cut
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.terms import Terms, common, windows


def refuses(problem: Problem) -> str | None:
    """Return why not, or None: without stride this would be the method lax itself."""
    if max(problem.spec.stride) == 1:
        return "phases needs a stride above 1"
    return own.refuses(problem)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Convolve y with the remainders' kernels, then interleave."""
    x = _interleaved(y, w, spec, precision, dtype)
    if _divides(spec) or not jnp.issubdtype(dtype, jnp.inexact):
        return x
    finite = jnp.isfinite(x)
    # element by element, so that what is finite keeps its rounding whatever lies beside it
    return lax.cond(
        finite.all(),
        lambda: x,
        lambda: jnp.where(finite, x, own.input(y, w, spec, precision=precision, dtype=dtype)),
    )


def _divides(spec: ConvSpec) -> bool:
    """Whether the remainders have equally many entries of the kernel each, and no zeros."""
    return all(s == 1 or (k % s == 0 and d == 1) for _, _, k, s, d, _ in spec.dimensions)


def _interleaved(y: jax.Array, w: jax.Array, spec: ConvSpec, precision, dtype) -> jax.Array:
    sums = accumulation_dtype(y, w, dtype)
    common = operand_dtype(y, w, sums)
    y, w = y.astype(common), w.astype(common)
    rank, strides, groups, inputs = spec.rank, spec.stride, spec.groups, w.shape[-2]
    # under a stride the kernel's own dilation is written out
    dilation = tuple(d if s == 1 else 1 for s, d in zip(strides, spec.dilation, strict=True))
    counts, config = [], []
    for k, s, d in zip(spec.kernel_size, strides, spec.dilation, strict=True):
        size = k if s == 1 else extent(k, d)
        counts.append(-(-size // s))
        config.append((0, counts[-1] * s - size, 0 if s == 1 else d - 1))
    w = lax.pad(w, jnp.zeros((), w.dtype), [*config, (0, 0, 0), (0, 0, 0)])
    # (*kernel, i, g * o) -> (q0, s0, q1, s1, .., i, g, o) -> (*q, o, g, *s, i)
    split = [size for pair in zip(counts, strides, strict=True) for size in pair]
    w = w.reshape(*split, inputs, groups, w.shape[-1] // groups)
    w = jnp.flip(w, tuple(range(0, 2 * rank, 2)))
    within = range(1, 2 * rank, 2)
    w = w.transpose(*range(0, 2 * rank, 2), 2 * rank + 2, 2 * rank + 1, *within, 2 * rank)
    w = w.reshape(*counts, w.shape[rank], groups * math.prod(strides) * inputs)

    pads, blocks, crop = [], [], [(0, 0, 0)]
    for n, m, s, q, d, (lo, _) in zip(
        spec.input_size, spec.output_size, strides, counts, dilation, spec.padding, strict=True
    ):
        first, last = lo // s, -(-(lo + n) // s)  # u from first to last - 1 holds all of x
        pads.append(((q - 1) * d - first, last - m))
        blocks.append(last - first)
        crop.append((first * s - lo, lo + n - last * s, 0))
    y, pads = cut(y, pads)
    spatial = tuple(range(1, rank + 1))
    x = lax.conv_general_dilated(
        y,
        w,
        window_strides=(1,) * rank,
        padding=pads,
        rhs_dilation=dilation,
        dimension_numbers=lax.ConvDimensionNumbers(
            lhs_spec=(0, rank + 1, *spatial),
            rhs_spec=(rank + 1, rank, *range(rank)),
            out_spec=(0, rank + 1, *spatial),
        ),
        feature_group_count=groups,
        precision=precision,
        preferred_element_type=sums,
    )
    # (n, *u, g, *s, i) -> (n, u0, s0, u1, s1, .., g * i)
    x = x.reshape(y.shape[0], *blocks, groups, *strides, inputs)
    order = [axis for d in range(rank) for axis in (1 + d, 2 + rank + d)]
    x = x.transpose(0, *order, 1 + rank, 2 + 2 * rank)
    sizes = (b * s for b, s in zip(blocks, strides, strict=True))
    x = x.reshape(y.shape[0], *sizes, groups * inputs)
    return lax.pad(x, jnp.zeros((), sums), [*crop, (0, 0, 0)]).astype(dtype)


def _terms(problem: Problem) -> Terms:
    """Lax's convolution of y with as many channels as there are phases, which are interleaved."""
    spec = problem.spec
    strides = math.prod(spec.stride)
    kernel = tuple(
        -(-(k if s == 1 else extent(k, d)) // s)
        for k, s, d in zip(spec.kernel_size, spec.stride, spec.dilation, strict=True)
    )
    dilation = tuple(d if s == 1 else 1 for s, d in zip(spec.stride, spec.dilation, strict=True))
    reach = (extent(k, d) - 1 for k, d in zip(kernel, dilation, strict=True))
    padding = tuple((r // 2, r - r // 2) for r in reach)
    ones = (1,) * spec.rank
    inner = ConvSpec(ones, dilation, padding, spec.groups, spec.output_size, kernel)
    sizes = problem.batch, problem.outputs, problem.inputs * strides
    found = windows(Problem("output", inner, *sizes, problem.dtype, problem.platform))
    shared = common(problem)
    inner = {f"inner: {name}": term for name, term in found.items()}
    return {**shared, **inner, "x if strided": shared["x"] if strides > 1 else 0.0}


def _considered(problem: Problem) -> bool:
    """Not for integers: XLA computes what is spread so by loops over elements."""
    return jnp.issubdtype(problem.dtype, jnp.inexact)


METHOD = Method(
    name="phases",
    summary="a strided input as one unstrided convolution, interleaved",
    contractions={"input": input},
    refuses=refuses,
    terms=_terms,
    constants=fitted("phases"),
    considered=_considered,
)
