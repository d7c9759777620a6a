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

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.dtypes import accumulation_dtype
from jaxconv.methods import products, rows
from jaxconv.methods.residues import Residue, each, interleave, phases, reach, subkernel
from jaxconv.spec import ConvSpec

# Terms of one fused sum; more are looped over, because compile time grows with them.
UNROLLED = 64
# Terms that a turn of such a loop adds where rows allow. With 9 and 15 of them XLA's loop ran at a
# quarter of the speed that it had with 18 to 45 (planes of 2048 x 2048, 2 cores of AVX-512 x86,
# jax 0.10.2, 2026-11), and every turn is a pass over the result.
TOGETHER = 48
# Pairs of input and output channel in a group up to which running sums beat matrix products in the
# kernel's gradient: 0.4 to 0.8 of the time at 1 and 2 pairs, 1.6 at 16.
PAIRS = 4


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """y[n, t, g, o] = sum over k, i of (x shifted by k)[n, t, g, i] w[k, g, i, o]."""
    del precision  # there is no matrix product whose precision could be lowered
    sums = accumulation_dtype(x, w, dtype)
    w = _split(w.astype(sums), spec.groups)
    form = _Form(spec.groups, *w.shape[-1:-4:-2])
    y = _output(form.read(x.astype(sums)), form.weights(w), spec)
    return form.write(y).astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """The elements of each remainder modulo the stride: an unstrided correlation of y.

    Without stride there is one, which ends where x does: of 7x7 on 14x14 that is half of the work.
    """
    del precision
    sums = accumulation_dtype(y, w, dtype)
    w = jnp.swapaxes(_split(w.astype(sums), spec.groups), -3, -1)
    form = _Form(spec.groups, *w.shape[-1:-4:-2])
    y, w = form.read(y.astype(sums)), form.weights(w)
    if math.prod(spec.stride) == 1:
        flipped = jnp.flip(w, tuple(range(1, 1 + spec.rank)))
        return form.write(_output(y, flipped, _turned(spec))).astype(dtype)
    around = reach(spec)
    pads = [(0, 0, 0)] * y.ndim
    pads[2 : 2 + spec.rank] = [(q, q, 0) for q in around]
    y = lax.optimization_barrier(lax.pad(y, jnp.zeros((), sums), pads))
    size = tuple(m + q for m, q in zip(spec.output_size, around, strict=True))
    parts = {}
    for entries in each(spec):
        # entry j reads y at u - offset - j dilation: a correlation with the entries reversed
        turned = tuple(
            e._replace(offset=q - e.offset - (e.number - 1) * e.dilation)
            for e, q in zip(entries, around, strict=True)
        )
        flipped = jnp.flip(subkernel(w, entries, axis=1), tuple(range(1, 1 + spec.rank)))
        phase = tuple(entry.phase for entry in entries)
        parts[phase] = _correlate(None, y, flipped, turned, size)
    return form.write(interleave(parts, spec, axis=1)).astype(dtype)


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Running sums over rows for few channels a group, a matrix product a tap for more."""
    pairs = x.shape[-1] * y.shape[-1] // spec.groups**2
    way = rows if spec.groups > 1 and pairs <= PAIRS else products
    return way.kernel(x, y, spec, precision=precision, dtype=dtype)


CONTRACTIONS = {"output": output, "input": input, "kernel": kernel}


class _Form:
    """Where the channels of the arrays stand inside: the summed ones first, the others last.

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
    parts, y = phases(x, spec, axis=2), None
    for entries in each(spec):
        part = parts[tuple(entry.phase for entry in entries)]
        y = _correlate(y, part, subkernel(w, entries, axis=1), entries, spec.output_size)
    assert y is not None
    return y


def _turned(spec: ConvSpec) -> ConvSpec:
    """The geometry without stride that reads y, with the kernel flipped, to make x."""
    pads = []
    for n, m, k, d, (lo, _) in zip(
        spec.input_size,
        spec.output_size,
        spec.kernel_size,
        spec.dilation,
        spec.padding,
        strict=True,
    ):
        before = (k - 1) * d - lo
        pads.append((before, n + (k - 1) * d - m - before))
    return ConvSpec(
        spec.stride, spec.dilation, tuple(pads), spec.groups, spec.output_size, spec.kernel_size
    )


def _correlate(
    total: jax.Array | None,
    x: jax.Array,
    w: jax.Array,
    entries: Sequence[Residue],
    size: tuple[int, ...],
) -> jax.Array:
    """Add an unstrided correlation to `total`.

    Args:
        total: (n, *size, *lanes), or None for zero.
        x: (i, n, *space, *lanes).
        w: (i, *kernel, *lanes).
        entries: where the taps lie.
        size: spatial shape of the result.
    """
    rank = len(size)
    channels, counts = w.shape[0], w.shape[1 : 1 + rank]
    looped, each_channel = loops(counts, channels)
    rows = 1  # of the last looped dimension that are added up in one turn
    if looped and not each_channel:
        row = looped - 1
        rows = min(counts[row], max(1, TOGETHER // (channels * math.prod(counts[looped:]))))
        whole = counts[row] // rows * rows
        if whole < counts[row]:  # the rows that are left over after them
            first, last = jnp.split(w, [whole], axis=1 + row)
            entry = entries[row]
            after = entry._replace(offset=entry.offset + whole * entry.dilation)
            total = _correlate(total, x, first, entries, size)
            return _correlate(total, x, last, (*entries[:row], after, *entries[looped:]), size)

    def taps(total, x, w, starts):
        """Add the unrolled taps of w, the first along each dimension at `starts` in x."""
        for i in range(x.shape[0]):
            for tap in itertools.product(*map(range, w.shape[1:][:rank])):
                shifted = x[i]
                for dim, k in enumerate(tap):
                    start = starts[dim] + k * entries[dim].dilation
                    shifted = lax.slice_in_dim(shifted, start, start + size[dim], axis=1 + dim)
                weight = w[i, *tap]
                if weight.ndim:  # of lanes, not a single number
                    weight = lax.broadcast_to_rank(weight, shifted.ndim)
                term = shifted * weight
                total = term if total is None else total + term
        return total

    starts = [entry.offset for entry in entries]
    if looped == 0 and not each_channel:
        fused = taps(total, x, w, starts)
        assert fused is not None  # a kernel has an entry at least
        return fused

    def step(position, total):
        part, weights = x, w
        if each_channel:
            part, weights = (
                lax.dynamic_index_in_dim(a, position % channels, 0) for a in (part, weights)
            )
            position = position // channels
        for dim in reversed(range(looped)):
            taken = rows if dim == looped - 1 else 1
            turns, dilation = counts[dim] // taken, entries[dim].dilation
            k, position = position % turns * taken, position // turns
            start, more = entries[dim].offset + k * dilation, (taken - 1) * dilation
            part = lax.dynamic_slice_in_dim(part, start, size[dim] + more, axis=2 + dim)
            weights = lax.dynamic_slice_in_dim(weights, k, taken, axis=1 + dim)
        return taps(total, part, weights, [0] * looped + starts[looped:])

    if total is None:
        lanes = jnp.broadcast_shapes(x.shape[2 + rank :], w.shape[1 + rank :])
        total = jnp.zeros((x.shape[1], *size, *lanes), x.dtype)
    steps = math.prod(counts[:looped]) // rows * (channels if each_channel else 1)
    return lax.fori_loop(0, steps, step, total)


def loops(counts: Sequence[int], channels: int) -> tuple[int, bool]:
    """How many leading kernel dimensions to loop over, and whether over the channels too."""
    for unrolled in (channels, 1):
        for looped in range(len(counts)):
            if math.prod(counts[looped:]) * unrolled <= UNROLLED:
                return looped, unrolled < channels
    return len(counts), True
