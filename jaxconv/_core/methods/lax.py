"""XLA's own convolution, `lax.conv_general_dilated`, written for each contraction.

`input` is a convolution of the stride-dilated y with the flipped kernel, its channel axes swapped;
`kernel` is a convolution that swaps batch and channels, and stride and dilation.

Where XLA's own handling of padding or dilation is not safe (jax 0.10.2), arrays are sliced and
dilated before XLA gets them.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

from jaxconv._core.geometry.dtypes import accumulation_dtype, operand_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import Size, below, extent
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.terms import Terms, mostly_padding, or_elements, windows


def refuses(problem: Problem) -> str | None:
    """Return why XLA's convolution does not serve a problem, or None if it does.

    Source: https://github.com/jax-ml/jax/issues/7637
    """
    if problem.platform == "gpu" and not jnp.issubdtype(problem.dtype, jnp.inexact):
        return "XLA has no convolution of integers on GPUs"
    return None


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Plain convolution."""
    x, w, sums = _operands(x, w, dtype)
    x, pads = cut(x, spec.padding)
    x, w = map(_row_major, (x, w))
    y = lax.conv_general_dilated(
        x,
        w,
        window_strides=spec.stride,
        padding=pads,
        rhs_dilation=spec.dilation,
        dimension_numbers=_dimensions(spec.rank),
        feature_group_count=spec.groups,
        precision=precision,
        preferred_element_type=sums,
    )
    return y.astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Convolution of y, spread by the stride, with the flipped kernel."""
    y, w, sums = _operands(y, w, dtype)
    spatial = tuple(range(spec.rank))
    # (*kernel, i, g * o) -> (*kernel, i, g, o) -> (*kernel, o, g, i) -> (*kernel, o, g * i)
    i, groups = w.shape[-2], spec.groups
    w = jnp.flip(w, spatial).reshape(*spec.kernel_size, i, groups, w.shape[-1] // groups)
    w = jnp.swapaxes(w, -3, -1)
    w = w.reshape(*spec.kernel_size, w.shape[-3], groups * i)
    pads = []
    for n, m, k, s, d, (lo, _) in spec.dimensions:
        before = extent(k, d) - 1 - lo
        # the spread y has (m - 1) s + 1 elements; the result must have n
        pads.append((before, n + extent(k, d) - 1 - ((m - 1) * s + 1) - before))
    spread = spec.stride
    if spec.is_symbolic or dilates_first(spec):
        gaps = [(0, 0, 0), *((0, 0, s - 1) for s in spread), (0, 0, 0)]
        # behind a barrier, lest XLA makes it a dilation again
        y = lax.optimization_barrier(lax.pad(y, jnp.zeros((), y.dtype), gaps))
        spread = (1,) * spec.rank
    y, pads = cut(y, pads, spread)
    y, w = map(_row_major, (y, w))
    x = lax.conv_general_dilated(
        y,
        w,
        window_strides=(1,) * spec.rank,
        padding=pads,
        lhs_dilation=spread,
        rhs_dilation=spec.dilation,
        dimension_numbers=_dimensions(spec.rank),
        feature_group_count=groups,
        precision=precision,
        preferred_element_type=sums,
    )
    return x.astype(dtype)


def dilates_first(spec: ConvSpec) -> bool:
    """Whether y is spread before XLA's convolution, which may abort the process (jax 0.10.2)."""
    sizes = zip(spec.kernel_size, spec.stride, spec.output_size, strict=True)
    return (2, 2) in zip(spec.kernel_size, spec.stride, strict=True) and any(
        k > m for k, _, m in sizes
    )


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Convolution of x with y as its kernel: batch is summed over, channels are the batch."""
    x, y, sums = _operands(x, y, dtype)
    rank = spec.rank
    pads = [
        # the result must have k elements
        (lo, (k - 1) * d + (m - 1) * s + 1 - n - lo)
        for n, m, k, s, d, (lo, _) in spec.dimensions
    ]
    x, pads = cut(x, pads)
    spatial = tuple(range(1, rank + 1))
    w = lax.conv_general_dilated(
        x,
        y,
        window_strides=spec.dilation,
        padding=pads,
        rhs_dilation=spec.stride,
        dimension_numbers=lax.ConvDimensionNumbers(
            lhs_spec=(rank + 1, 0, *spatial),
            rhs_spec=(rank + 1, 0, *spatial),
            out_spec=(rank, rank + 1, *range(rank)),
        ),
        batch_group_count=spec.groups,
        precision=precision,
        preferred_element_type=sums,
    )
    return w.astype(dtype)


def cut(
    a: jax.Array, pads: Sequence[tuple[Size, Size]], spread: Sequence[int] | None = None
) -> tuple[jax.Array, Sequence[tuple[Size, Size]]]:
    """Return what negative padding leaves of (n, *space, c), and the padding that is left.

    Padding of no known number, by symbolic sizes, is done here: lax's convolution takes none.

    Args:
        a: the array.
        pads: (before, after) a dimension.
        spread: distance of its elements once they are spread; side by side by default.
    """
    if any(is_symbolic_dim(side) for pair in pads for side in pair):
        config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in pads), (0, 0, 0)]
        return lax.pad(a, jnp.zeros((), a.dtype), config), [(0, 0)] * len(pads)
    if all(lo >= 0 and hi >= 0 for lo, hi in pads):
        return a, pads
    kept, left = [slice(None)], []
    for n, (lo, hi), s in zip(a.shape[1:-1], pads, spread or (1,) * len(pads), strict=True):
        before, after = (-(min(side, 0) // s) for side in (lo, hi))
        if not below(n, before + after + 1):
            kept.append(slice(before, n - after))
            left.append((lo + before * s, hi + after * s))
        else:
            kept.append(slice(0, 0))
            left.append((max(n - 1, 0) * s + min(n, 1) + lo + hi, 0))
    return a[tuple(kept)], left


def _row_major(a: jax.Array) -> jax.Array:
    """Return an operand of planes of int8 in the memory layout that XLA's CPU library needs.

    XLA lets transposed arrays keep their elements where they are, and then has loops alone for
    int8: 3x3 on 56^2 with 64 channels, given channels first, took 51 ms in place of 4.3 (2 cores of
    an AMD EPYC with AVX2, jax 0.10.2, 2026-11).
    """
    if a.dtype != jnp.int8 or a.ndim != 4:
        return a

    def flattened(a):
        return lax.optimization_barrier(a.reshape(-1)).reshape(a.shape)

    return lax.platform_dependent(a, cpu=flattened, default=lambda a: a)


def _operands(a: jax.Array, b: jax.Array, dtype: jnp.dtype):
    """Both operands in one dtype, and the dtype to sum in."""
    sums = accumulation_dtype(a, b, dtype)
    common = operand_dtype(a, b, sums)
    return a.astype(common), b.astype(common), sums


def _dimensions(rank: int) -> lax.ConvDimensionNumbers:
    spatial = tuple(range(1, rank + 1))
    return lax.ConvDimensionNumbers(
        lhs_spec=(0, rank + 1, *spatial),
        rhs_spec=(rank + 1, rank, *range(rank)),
        out_spec=(0, rank + 1, *spatial),
    )


def _terms(problem: Problem) -> Terms:
    """Windows and their product, or a loop over elements."""
    return or_elements(problem, windows(problem), only=_is_elementwise(problem))


def _is_elementwise(problem: Problem) -> bool:
    """Whether XLA makes a loop over elements of a convolution: of entries that meet one channel."""
    spec, entries = problem.spec, math.prod(problem.spec.kernel_size)
    if problem.inputs * problem.outputs > 1:
        return False
    if spec.groups == 1:
        return entries <= 2
    return entries == math.prod(spec.stride) == 1 and problem.contraction != "kernel"


def in_loops(problem: Problem) -> bool:
    """Whether XLA computes a convolution of integers on CPUs by its own loops.

    It gives planes of int8 to the library YNN if they have more than 16 channels and are not spread
    or enlarged. YNN multiplies four channels at a time, and is as slow as loops where channels are
    no multiple of four. XLA's products of matrices are as fast for integers of 16 and 32 bits as
    other methods; those of 8 bits take 2 to 3 times as long as products of float32. Beside the
    methods taps and floats the loops took up to 40 times as long for planes and 15 for lines (2
    cores of an AMD EPYC with AVX2, jax 0.10.2, 2026-11).

    Args:
        problem: the contraction and its sizes; of gradients of kernels nothing is known.

    Source: IsConvolutionOpSupportedByYnn in xla/backends/cpu/ynn_support.cc
    """
    spec, contraction = problem.spec, problem.contraction
    integers = jnp.issubdtype(problem.dtype, jnp.integer)
    if problem.platform != "cpu" or contraction == "kernel" or not integers:
        return False
    i, o, strides = problem.inputs, problem.outputs, math.prod(spec.stride)
    sizes = [(n, m, k) for n, m, k, *_ in spec.dimensions]
    if contraction == "input":
        i, o, sizes = o, i, [(m, n, k) for n, m, k in sizes]
    if problem.dtype == "int8" and spec.rank == 2 and i % 4 == 0:
        spread = contraction == "input" and strides > 1
        enlarged = any(below(n, m) or below(n, k) for n, m, k in sizes)
        if not (spread or enlarged) and max(i, o) * spec.groups > 16:
            return False
    product = spec.groups == strides == 1 and all(k == 1 for k in spec.kernel_size)
    padded = any(side != 0 for pair in spec.padding for side in pair)
    return not product or padded or jnp.dtype(problem.dtype).itemsize == 1


def _considered(problem: Problem) -> bool:
    """Not where XLA has loops over integers, whose time the constants do not tell.

    They are considered where other methods would copy mostly padding. XLA's gradient of a grouped
    kernel is not: it lets a NaN of one group reach others under a stride.
    """
    if problem.contraction == "kernel":
        return problem.spec.groups == 1
    return not in_loops(problem) or mostly_padding(problem)


METHOD = Method(
    name="lax",
    summary="XLA's own convolution",
    contractions={"output": output, "input": input, "kernel": kernel},
    refuses=refuses,
    terms=_terms,
    constants=fitted("lax"),
    considered=_considered,
    symbolic_sizes=True,
)
