"""Matrix products of the windows of x, laid out as columns ("im2col").

columns[n, t, k, i] = x[n, t s + k d - lo, i], a matrix (positions, kernel entries * i), times w as
(kernel entries * i, o) is y; y times the transposed w is summed into x; the transposed
columns times y are w.

`output` and `input` are for windows that share no element of x, such as those of 1x1 kernels and of
patches: the columns are then no larger than x. They are x itself where a kernel of one entry has no
stride, and otherwise a copy, which lax does not need. XLA's own convolution runs on one core
where there are few output channels, a matrix product on two: these took 0.4 to 0.5 of lax's time on
1x1 layers of 56x56 between 64 and 256 channels, 0.8 on 14x14 from 1024 to 256, 0.6 on 2x2 patches
of 56x56x96, 0.8 on 2x2 up from 28x28x1024. Windows that overlap took 0.8 to 2.3 of lax and no less
than the other methods, so they are not offered.

`kernel` takes blocks of an image's rows one after the other, each with its own padding, so that a
block's columns are all that is in memory; a 1x1 kernel is one product over all. Beside lax it took
0.34 on a 1x1 layer, 0.62 on 3x3 of 224x224x64, 0.6 on 3x3x3 of 8x28x28x128 and 0.9 to 1.0 on
56x56x64 and 56x56x256, but 1.0 to 1.7 on 14x14x256 and 1.2 on one input channel.

All measured on 2 AVX-512 cores, 2026-11.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods.cutout import Window, cutout
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.terms import FEW, Terms, common

# Each kernel entry is a slice of its own in the compiled program.
ENTRIES = 32
# Elements of a block's matrix: no more than these or than the larger of x and y has, if that leaves
# positions enough for a product. Whole images took 1.5 to 3.4 times as long on 224x224x64,
# 56x56x256 and 3-D layers; 400,000 elements 1.4 times 800,000 on 56x56x64 (2 AVX-512 cores,
# 2026-11).
LARGEST = 1 << 20
POSITIONS = 128


def refuses(problem: Problem) -> str | None:
    """Return why not, or None: windows overlap, or a large kernel compiles too slowly."""
    spec = problem.spec
    if problem.contraction != "kernel":
        zipped = zip(spec.kernel_size, spec.dilation, spec.stride, strict=True)
        apart = all(extent(k, d) <= s for k, d, s in zipped)
        return None if apart else "windows overlap"
    entries = math.prod(spec.kernel_size)
    return None if entries <= ENTRIES else f"{entries} kernel entries, more than {ENTRIES}"


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """One product of x in the order of windows and the kernel."""
    sums, groups, inputs = accumulation_dtype(x, w, dtype), spec.groups, w.shape[-2]
    x, w, rank, batch = x.astype(sums), w.astype(sums), spec.rank, x.shape[0]
    # as many elements as the strides have, so that dimensions divide into (position, entry)
    pads = [(lo, m * s - n - lo, 0) for n, m, _, s, _, (lo, _) in spec.dimensions]
    x = lax.pad(x, jnp.zeros((), sums), [(0, 0, 0), *pads, (0, 0, 0)])
    x = x.reshape(batch, *_interleaved(spec.output_size, spec.stride), groups, inputs)
    for dim, (k, d) in enumerate(zip(spec.kernel_size, spec.dilation, strict=True)):
        x = lax.slice_in_dim(x, 0, extent(k, d), d, axis=2 * dim + 2)
    at, under = range(1, 2 * rank + 1, 2), range(2, 2 * rank + 1, 2)
    x = x.transpose(0, *at, 2 * rank + 1, *under, 2 * rank + 2)
    positions, entries = batch * math.prod(spec.output_size), math.prod(spec.kernel_size)
    x = x.reshape(positions, groups, entries * inputs)
    w = w.reshape(entries * inputs, groups, w.shape[-1] // groups)
    y = lax.dot_general(x, w, (((2,), (0,)), ((1,), (1,))), precision=precision)
    shape = (batch, *spec.output_size, groups * w.shape[-1])
    return jnp.moveaxis(y, 0, 1).reshape(shape).astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """One product of y and the kernel, placed where the kernel's entries read x."""
    sums, groups, inputs = accumulation_dtype(y, w, dtype), spec.groups, w.shape[-2]
    y, w, rank, batch = y.astype(sums), w.astype(sums), spec.rank, y.shape[0]
    entries, outputs = math.prod(spec.kernel_size), w.shape[-1] // groups
    y = y.reshape(batch * math.prod(spec.output_size), groups, outputs)
    w = w.reshape(entries * inputs, groups, outputs)
    x = lax.dot_general(y, w, (((2,), (2,)), ((1,), (1,))), precision=precision)
    x = jnp.moveaxis(x, 0, 1).reshape(batch, *spec.output_size, groups, *spec.kernel_size, inputs)
    at, under = range(1, rank + 1), range(rank + 2, 2 * rank + 2)
    x = x.transpose(0, *_interleaved(at, under), rank + 1, 2 * rank + 2)
    # a window as long as the stride
    zero, config = jnp.zeros((), sums), [(0, 0, 0)] * x.ndim
    for dim, (_, _, k, s, d, _) in enumerate(spec.dimensions):
        config[2 * dim + 2] = (0, s - extent(k, d), d - 1)
    x = lax.pad(x, zero, config)
    sizes = (m * s for m, s in zip(spec.output_size, spec.stride, strict=True))
    x = x.reshape(batch, *sizes, groups * inputs)
    cuts = [(-lo, n + lo - m * s, 0) for n, m, _, s, _, (lo, _) in spec.dimensions]
    return lax.pad(x, zero, [(0, 0, 0), *cuts, (0, 0, 0)]).astype(dtype)


def _interleaved(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for pair in zip(first, second, strict=True) for size in pair)


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Sum the blocks' products."""
    sums = accumulation_dtype(x, y, dtype)
    groups, inputs, outputs = spec.groups, x.shape[-1] // spec.groups, y.shape[-1] // spec.groups
    x, y = x.astype(sums), y.astype(sums)
    taps = list(np.ndindex(*spec.kernel_size))
    entries = len(taps)
    size = _block(spec, entries * x.shape[-1], min(LARGEST, max(x.size, y.size)))

    def block(image, corner):
        """The products of a block of y: (g, o, entries * i)."""
        of_x = {0: Window(image, 1, 0, max(x.shape[0] - 1, 0))}
        of_y = dict(of_x)
        for axis, (first, b, m, k, s, d, (lo, _)) in enumerate(
            zip(
                corner,
                size,
                spec.output_size,
                spec.kernel_size,
                spec.stride,
                spec.dilation,
                spec.padding,
                strict=True,
            ),
            1,
        ):
            of_y[axis] = Window(first, b, 0, m - b)
            start = first * np.int32(s) - np.int32(lo)
            of_x[axis] = Window(start, (b - 1) * s + extent(k, d), -lo, (m - b) * s - lo)
        seen, made = cutout(x, of_x), cutout(y, of_y)
        positions = math.prod(made.shape[1:-1])
        columns = [_under(seen, k, made.shape, spec) for k in taps]
        columns = [column.reshape(positions, groups, inputs) for column in columns]
        # batched over groups, summed over positions
        return lax.dot_general(
            made.reshape(positions, groups, outputs),
            jnp.concatenate(columns, -1),
            (((0,), (0,)), ((1,), (1,))),
            precision=precision,
        )

    if entries == 1 and not any(lo or hi for lo, hi in spec.padding):
        seen = _under(x, taps[0], y.shape, spec)
        w = lax.dot_general(
            y.reshape(-1, groups, outputs),
            seen.reshape(-1, groups, inputs),
            (((0,), (0,)), ((1,), (1,))),
            precision=precision,
        )
    else:
        counts = [m // b for m, b in zip(spec.output_size, size, strict=True)]

        def step(turn, w):
            corner = []
            for count, b in zip(reversed(counts), reversed(size), strict=True):
                corner.append(turn % np.int32(count) * np.int32(b))
                turn = turn // np.int32(count)
            return w + block(turn, corner[::-1])

        w = jnp.zeros((groups, outputs, entries * inputs), sums)
        turns = y.shape[0] * math.prod(counts)
        w = lax.fori_loop(np.int32(0), np.int32(turns), step, w)
    # (g, o, entries * i) -> (entries, i, g, o) -> (*kernel, i, g * o)
    w = w.reshape(groups, outputs, entries, inputs).transpose(2, 3, 0, 1)
    return w.reshape(*spec.kernel_size, inputs, groups * outputs).astype(dtype)


def _block(spec: ConvSpec, a_position: int, most: int) -> tuple[int, ...]:
    """Positions of y in a block, a dimension: all that fit, but enough for a matrix product.

    Dimensions are divided one after the other, each into equal parts.
    """
    size = list(spec.output_size)
    for dim, m in enumerate(spec.output_size):
        rest = math.prod(size[dim + 1 :])
        parts = [b for b in range(1, m + 1) if m % b == 0 and (b * rest >= POSITIONS or b == m)]
        fit = [b for b in parts if b * rest * a_position <= most]
        size[dim] = max(fit, default=min(parts))
        if fit or size[dim] > 1:
            break
    return tuple(size)


def _under(x: jax.Array, k: tuple[int, ...], made: tuple[int, ...], spec: ConvSpec) -> jax.Array:
    """What kernel entry k sees of padded x (n, *space, c), for y of shape `made`."""
    starts = [at * d for at, d in zip(k, spec.dilation, strict=True)]
    ends = [
        start + (m - 1) * s + 1 for start, m, s in zip(starts, made[1:-1], spec.stride, strict=True)
    ]
    return lax.slice(x, (0, *starts, 0), (x.shape[0], *ends, x.shape[-1]), (1, *spec.stride, 1))


def _terms(problem: Problem) -> Terms:
    """One matrix product of windows, which are x as it is for unstrided kernels of one entry.

    Gradients of kernels copy windows image by image.
    """
    spec, shared = problem.spec, common(problem)
    i, o, g, work = problem.inputs, problem.outputs, spec.groups, shared["work"]
    copied = shared["y"] / max(o, 1) * i * math.prod(spec.kernel_size)
    if problem.contraction == "kernel":
        return {
            **shared,
            "windows": copied,
            "work if dilated": work if max(spec.dilation) > 1 else 0.0,
            "batch": problem.batch,
            "batch * groups": problem.batch * g,
        }
    copied = copied if math.prod(spec.stride) > 1 or any(map(any, spec.padding)) else 0.0
    entries = math.prod(spec.kernel_size)
    read, made = (entries * i, o) if problem.contraction == "output" else (o, entries * i)
    positions = problem.batch * math.prod(spec.output_size)
    found = {
        "columns": copied,
        "columns / min(in, 16)": copied / min(max(i, 1), 16),
        "positions": positions * g,
        "positions if few read": positions * g if read < FEW else 0.0,
        "work if few read": work if read < FEW else 0.0,
        "work / min(made, 64)": work / min(max(made, 1), 64),
        "work / min(read, 16)": work / min(max(read, 1), 16),
        "work / min(positions, 64)": work / min(max(positions, 1), 64),
    }
    # XLA makes a loop over elements of products of single elements, and has own code for tiny ones
    kind = "elementwise" if read == made == 1 else "dense" if g == 1 else "grouped"
    return shared | {
        f"{which} product: {name}": term if which == kind else 0.0
        for which in ("elementwise", "dense", "grouped")
        for name, term in found.items()
    }


def _considered(problem: Problem) -> bool:
    """Constants are of float32: products of integers took twice lax's time, not half of it."""
    return problem.contraction == "kernel" or jnp.issubdtype(problem.dtype, jnp.inexact)


METHOD = Method(
    name="columns",
    summary="one matrix product of windows laid out as columns (im2col)",
    contractions={"output": output, "input": input, "kernel": kernel},
    refuses=refuses,
    terms=_terms,
    constants=fitted("columns"),
    considered=_considered,
)
