"""A sum over the kernel's entries ("taps") of shifted slices of the input, fused into one loop.

For kernels that see few channels at a time: planes, depthwise layers, small groups. There XLA's CPU
convolution falls to a scalar loop, while a sum of products of slices becomes one loop over the
result that the compiler vectorises along its last axis. Large kernels run as a loop over their rows
with a few rows unrolled, so that compile time does not grow with them.

The image is copied once, padded. Padding each term inside the loop instead took half of the time
for up to 9 taps of a plane (and two to four times as long for more), but XLA then rounds otherwise
where nothing is padded: an image in tiles would not equal the whole (2 AVX-512 cores, 2026-11).

Groups of several channels are computed with the groups as the last axis, which costs a transposed
copy of each array; a single group drops that axis, so that a plane's rows are the last.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import products, rows
from jaxconv._core.methods.fused_sums import LONG, Part, correlate, correlate_lines, loops
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.residues import (
    each,
    interleave,
    phases,
    reach,
    subkernel,
    turned,
)
from jaxconv._core.methods.terms import FEW, Terms, common, mostly_padding, or_elements

# Pairs of input and output channel in a group up to which running sums beat matrix products in the
# kernel's gradient: 0.4 to 0.8 of the time at 1 and 2 pairs, 1.6 at 16.
PAIRS = 4


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """y[n, t, g, o] = sum over k, i of (x shifted by k)[n, t, g, i] w[k, g, i, o]."""
    del precision  # for matrix products, and there are none here
    sums = accumulation_dtype(x, w, dtype)
    w = _split(w.astype(sums), spec.groups)
    form = _ChannelLayout(spec.groups, *w.shape[-1:-4:-2])
    y = _output(form.read(x.astype(sums)), form.weights(w), spec)
    return form.write(y).astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """The elements of each remainder modulo the stride: an unstrided correlation of y.

    Without stride there is one remainder, and the sum stops at the end of x, which halves the work
    of a 7x7 kernel on 14x14.
    """
    del precision
    sums = accumulation_dtype(y, w, dtype)
    w = jnp.swapaxes(_split(w.astype(sums), spec.groups), -3, -1)
    form = _ChannelLayout(spec.groups, *w.shape[-1:-4:-2])
    y, w = form.read(y.astype(sums)), form.weights(w)
    if math.prod(spec.stride) == 1:
        flipped = jnp.flip(w, tuple(range(1, 1 + spec.rank)))
        return form.write(_output(y, flipped, turned(spec))).astype(dtype)
    around = reach(spec)
    pads = [(0, 0, 0)] * y.ndim
    pads[2 : 2 + spec.rank] = [(q, q, 0) for q in around]
    y = lax.optimization_barrier(lax.pad(y, jnp.zeros((), sums), pads))
    size = tuple(m + q for m, q in zip(spec.output_size, around, strict=True))
    parts = {}
    for entries in each(spec):
        # entry j reads y at u - offset - j dilation: a correlation with reversed entries
        backward = tuple(
            e._replace(offset=q - e.offset - (e.number - 1) * e.dilation)
            for e, q in zip(entries, around, strict=True)
        )
        flipped = jnp.flip(subkernel(w, entries, axis=1), tuple(range(1, 1 + spec.rank)))
        phase = tuple(entry.phase for entry in entries)
        parts[phase] = correlate([Part(y, flipped, backward)], size)
    return form.write(interleave(parts, spec, axis=1)).astype(dtype)


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Running sums over rows for few channels a group, a matrix product a tap for more."""
    pairs = x.shape[-1] * y.shape[-1] // spec.groups**2
    way = rows if spec.groups > 1 and pairs <= PAIRS else products
    return way.kernel(x, y, spec, precision=precision, dtype=dtype)


class _ChannelLayout:
    """Internal channel layout: the summed channels first, the others last.

    x is read as (i, n, *space, *lanes) and w as (i, *kernel, *lanes), whose lanes broadcast to the
    result's: (g,) for one output a group, (o,) for one group, (g, o) for one input a group, and
    (o, g) otherwise.
    """

    def __init__(self, groups: int, outputs: int, inputs: int):
        self.groups, self.outputs, self.inputs = groups, outputs, inputs

    def read(self, x: jax.Array) -> jax.Array:
        """(n, *space, g * i) -> (i, n, *space, *lanes)."""
        x = jnp.moveaxis(x.reshape(*x.shape[:-1], self.groups, self.inputs), -1, 0)
        if self.groups == 1:
            x = x[..., 0]
        if self.outputs > 1:
            x = x[..., None] if self.groups == 1 or self.inputs == 1 else x[..., None, :]
        return x

    def weights(self, w: jax.Array) -> jax.Array:
        """(*kernel, i, g, o) -> (i, *kernel, *lanes)."""
        w = jnp.moveaxis(w, -3, 0)
        if self.outputs == 1:
            w = w[..., 0]
            return w[..., 0] if self.groups == 1 else w
        if self.groups == 1:
            return w[..., 0, :]
        return w if self.inputs == 1 else jnp.swapaxes(w, -1, -2)

    def write(self, y: jax.Array) -> jax.Array:
        """(n, *space, *lanes) -> (n, *space, g * o)."""
        if self.groups > 1 and self.outputs > 1 and self.inputs > 1:
            y = jnp.swapaxes(y, -1, -2)
        lanes = 0 if self.groups == self.outputs == 1 else 2
        lanes = min(lanes, (self.groups > 1) + (self.outputs > 1))
        return y.reshape(*y.shape[: y.ndim - lanes], self.groups * self.outputs)


def _split(w: jax.Array, groups: int) -> jax.Array:
    """(*kernel, i, g * o) -> (*kernel, i, g, o)."""
    return w.reshape(*w.shape[:-1], groups, w.shape[-1] // groups)


def _output(x: jax.Array, w: jax.Array, spec: ConvSpec) -> jax.Array:
    """(n, *space', *lanes) from x (i, n, *space, *lanes) and w (i, *kernel, *lanes)."""
    parts = phases(x, spec, axis=2)
    taken = [
        Part(parts[tuple(entry.phase for entry in entries)], subkernel(w, entries, axis=1), entries)
        for entries in each(spec)
    ]
    if x.ndim == 3 and spec.kernel_size[0] >= LONG:
        return correlate_lines(taken, spec.output_size[0])
    return correlate(taken, spec.output_size)


def _terms(problem: Problem) -> Terms:
    """Running sums vectorise along the last axis: channels, or a plane's rows."""
    if problem.contraction == "kernel":
        few = problem.spec.groups > 1 and problem.inputs * problem.outputs <= PAIRS
        rows_, products_ = rows.row_terms(problem), products.product_terms(problem)
        taken, other = (rows_, products_) if few else (products_, rows_)
        return {**common(problem), **dict.fromkeys(other, 0.0), **taken}
    spec, n = problem.spec, problem.batch
    kernel, strides = math.prod(spec.kernel_size), math.prod(spec.stride)
    one = kernel == strides == problem.inputs == problem.outputs == 1
    made, read, size, source = problem.outputs, problem.inputs, spec.output_size, spec.input_size
    if problem.contraction == "input":
        made, read, size, source = read, made, source, size
    positions = math.prod(size)
    if problem.contraction == "input" and strides > 1:
        positions = math.prod(m + q for m, q in zip(source, reach(spec), strict=True)) * strides
    result = n * positions * spec.groups * made
    done = result * kernel * read / (strides if problem.contraction == "input" else 1)
    # the last axis of `_ChannelLayout`
    if made == 1:
        last = spec.groups if spec.groups > 1 else max(size[-1], 1)
    else:
        last = spec.groups if spec.groups > 1 and read > 1 else made
    row = made == spec.groups == 1
    few = not row and last <= FEW
    lanes = last * max(size[-1], 1) if few else last
    # terms that are added to the result in one pass over it, and how many passes there are
    counts = tuple(-(-k // s) for k, s in zip(spec.kernel_size, spec.stride, strict=True))
    passes = loops(counts, read, not row).passes
    moved = read > 1 and spec.groups > 1
    arrays = math.prod(source) * read + positions * made
    found = {
        "sums": done,
        "sums / min(lanes, 16)": done / min(lanes, 16),
        "sums / min(lanes, 64)": done / min(lanes, 64),
        "sums of few lanes": done if few else 0.0,
        "sums of rows": done if row else 0.0,
        "sums of moved channels": done if moved else 0.0,
        "sums in loops": done if passes > 1 else 0.0,
        "result": result,
        "result / last axis": result / last,
        "result * passes": passes * result if passes > 1 else 0.0,
        "kernel": kernel,
        "kernel * in * out": kernel * problem.inputs * problem.outputs,
        "moved channels": n * spec.groups * arrays if moved else 0.0,
        "x if strided": common(problem)["x"] if strides > 1 else 0.0,
    }
    return or_elements(problem, found, only=one)


def _considered(problem: Problem) -> bool:
    """Not where the copy of x with its padding is many times as large as all arrays."""
    return not mostly_padding(problem)


METHOD = Method(
    name="taps",
    summary="a sum of shifted slices, one for each entry of the kernel",
    contractions={"output": output, "input": input, "kernel": kernel},
    terms=_terms,
    constants=fitted("taps"),
    considered=_considered,
)
