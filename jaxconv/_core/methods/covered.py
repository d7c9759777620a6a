"""A sum over the elements of the input, where every output's kernel covers the whole input.

    y[n, t, g, o] = sum over u, i of w[u - t + lo, i, g, o] x[n, u, g, i]

For unstrided kernels so large, on images so small and padded so wide, that no entry of the kernel
that meets an element is cut off: the kernel takes the part of the image, and slides. There are as
many terms as the image has elements, no zeros to multiply, and no padded copy. The tail of a
network with large kernels has such layers: depthwise 13x13 on 7x7 has 49 terms where `taps` has
169; it took 0.3 of its time (2 AVX-512 cores, 2026-11).
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods.fused_sums import UNROLLED, added
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.terms import Terms, common

# Channels from which the rules consider it: fewer do not fill vectors.
LANES = 16


def refuses(problem: Problem) -> str | None:
    """Return why not, or None: an output does not see all of x, or there are too many terms."""
    spec = problem.spec
    if math.prod(spec.stride) * math.prod(spec.dilation) > 1:
        return "a stride or dilation skips entries"
    if any(lo < m - 1 or lo + n > k for n, m, k, _, _, (lo, _) in spec.dimensions):
        return "an output does not see all of x"
    summed = math.prod(spec.input_size if problem.contraction == "output" else spec.output_size)
    return None if summed <= UNROLLED else f"{summed} terms, more than {UNROLLED}"


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Add up the elements of x, each times the kernel around it: backward from the last output."""
    del precision  # for matrix products, and there are none here
    sums = accumulation_dtype(x, w, dtype)
    x = x.astype(sums).reshape(*x.shape[:-1], spec.groups, -1)
    # (*kernel, i, g * o) -> (i, *kernel, g, o)
    w = jnp.moveaxis(w.astype(sums).reshape(*w.shape[:-1], spec.groups, -1), -3, 0)
    first = [lo - (m - 1) for _, m, _, _, _, (lo, _) in spec.dimensions]
    y = lax.rev(_sum(x, w, first, 1, spec.output_size), range(1, 1 + spec.rank))
    return y.reshape(*y.shape[:-2], -1).astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Add up the elements of y, each times the part of the kernel that lies on x."""
    del precision
    sums = accumulation_dtype(y, w, dtype)
    y = y.astype(sums).reshape(*y.shape[:-1], spec.groups, -1)
    # (*kernel, i, g * o) -> (o, *kernel, g, i)
    w = jnp.moveaxis(w.astype(sums).reshape(*w.shape[:-1], spec.groups, -1), (-1, -3), (0, -1))
    x = _sum(y, w, [lo for lo, _ in spec.padding], -1, spec.input_size)
    return x.reshape(*x.shape[:-2], -1).astype(dtype)


def _sum(
    a: jax.Array, w: jax.Array, first: Sequence[int], step: int, size: Sequence[int]
) -> jax.Array:
    """(n, *size, g, made): the sum over p, r of a[n, p, g, r] w[r, first + step p + .., g, made].

    Args:
        a: (n, *space, g, read).
        w: (read, *kernel, g, made).
        first: where the slice of w begins that the first element of a meets.
        step: 1 or -1, how it moves from an element of a to the next.
        size: of the slices.
    """
    space = a.shape[1:-2]

    def channel(a, w):
        """The sum over p, for a (n, *space, g) and w (*kernel, g, made)."""
        terms = []
        for place in np.ndindex(*space):
            starts = [f + step * p for f, p in zip(first, place, strict=True)]
            ends = [start + n for start, n in zip(starts, size, strict=True)]
            seen = lax.slice(w, (*starts, 0, 0), (*ends, *w.shape[-2:]))
            past = (a.shape[0], *(p + 1 for p in place), a.shape[-1])
            element = lax.slice(a, (0, *place, 0), past)
            terms.append(seen * element[..., None])
        return added(terms)

    if w.shape[0] == 1:
        return channel(a[..., 0], w[0])

    def add(r, total):
        one = lax.dynamic_index_in_dim(a, r, -1, keepdims=False)
        return total + channel(one, lax.dynamic_index_in_dim(w, r, 0, keepdims=False))

    total = jnp.zeros((a.shape[0], *size, *w.shape[-2:]), a.dtype)
    return lax.fori_loop(np.int32(0), np.int32(w.shape[0]), add, total)


def _terms(problem: Problem) -> Terms:
    """One pass over the result for each channel that is summed, with all elements in it."""
    spec = problem.spec
    summed, result, read = math.prod(spec.input_size), problem.outputs, problem.inputs
    size = math.prod(spec.output_size)
    if problem.contraction == "input":
        summed, size, result, read = size, summed, read, result
    made = problem.batch * size * spec.groups * result
    return {
        **common(problem),
        "sums": made * summed * read,
        "kernel of sums": summed * read * spec.groups * result,
    }


def _considered(problem: Problem) -> bool:
    """Constants are of depthwise layers whose channels fill vectors."""
    return problem.inputs == problem.outputs == 1 and problem.spec.groups >= LANES


METHOD = Method(
    name="covered",
    summary="a sum over the input's elements, where every output's kernel covers all of it",
    contractions={"output": output, "input": input},
    refuses=refuses,
    terms=_terms,
    constants=fitted("covered"),
    considered=_considered,
)
