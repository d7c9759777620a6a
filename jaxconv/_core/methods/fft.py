"""FFT convolution: its cost grows with the logarithm of the kernel's size.

On a circle of N elements per axis, with x, w and y extended by zeros, and zeros inserted for stride
and dilation,

    T(x, w, y) = sum over t, k of x[t + k] w[k] y[t] = 1/N sum over f of X[f] W[-f] Y[-f]

so that each contraction is a product per frequency: Y = X W*, X = Y W and W = X Y* for real arrays,
a matrix product over the channels of a group, elementwise for planes and depthwise layers.

What differs from the other methods:

- Rounding errors are relative to the largest elements, not to those that an output depends on: the
  tests require |error| <= 4 u log2(N) |a| |b| in Euclidean norms over each plane, with u = eps of
  the dtype summed in. Where the input varies over many orders of magnitude, outputs in its dark
  parts lose digits, and exact zeros become small numbers.
- NaN and infinity spread over everything in the same transform: a channel of an image, or a block
  of it and the block at the same place in the other half of a halved axis; in `kernel`, all taps.
- Temporaries: with blocks, the kernel's spectra and a block of every channel; without, the spectra
  of x, w and y on the circle, several times the arguments if kernels are large. Blocks are read
  from x in place and written into the result; with copies of both, planes of 1024^2 to 4096^2 took
  0.66 to 1.28 of OpenCV's time instead of 0.53 to 0.79, with kernels of 31x31 and 64x64
  (2 AVX-512 cores, jax 0.10.2, 2026-11).

float16 and bfloat16 are computed in float32. Integers are refused: sums from rounded spectra would
not wrap around.
"""

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import extent, fast_length
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods.cutout import Window, cutout
from jaxconv._core.methods.fft_plan import Line, Plan, Planes, axes_of, corners, plan
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.terms import FRESH, Terms, common

# Channels that are summed one by one, fused with the product; more go to a matrix product.
UNROLLED = 8
# Smallest kernel, in entries, for which "fastest" considers FFT: below, FFT would gain little.
ENTRIES = 64

FORWARD, BACKWARD = lax.FftType.FFT, lax.FftType.IFFT


def refuses(problem: Problem) -> str | None:
    """Return why this method cannot serve, or None: it serves every geometry.

    Example:
        >>> spec = ConvSpec((1,), (1,), ((0, 0),), 1, (8,), (3,))
        >>> refuses(Problem("output", spec, 1, 1, 1, "int32", "cpu"))
        'FFT never serves integers'
    """
    return None if jnp.issubdtype(problem.dtype, jnp.inexact) else "FFT never serves integers"


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Correlate as if without stride, and keep every stride-th output."""
    sums = accumulation_dtype(x, w, dtype)
    x = _planes(x.astype(sums), spec)
    w = _kernels(w.astype(sums), spec)
    y = _correlate(x, w, axes_of(spec), precision)
    y = y[..., *(slice(None, None, s) for s in spec.stride)]
    return _channels_last(y).astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Correlate y, with zeros for the stride, with the flipped kernel, its channel axes swapped."""
    sums = accumulation_dtype(y, w, dtype)
    y = _spread(_planes(y.astype(sums), spec), spec.stride)
    w = jnp.swapaxes(_kernels(w.astype(sums), spec), 1, 2)
    w = jnp.flip(w, tuple(range(3, w.ndim)))
    lines = []
    for n, m, k, (lo, _) in zip(
        spec.input_size, y.shape[3:], w.shape[3:], spec.padding, strict=True
    ):
        before = k - 1 - lo
        lines.append(Line(m, before, n - 1 + k - m - before, k))
    return _channels_last(_correlate(y, w, tuple(lines), precision)).astype(dtype)


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Sum the products of the spectra over images and blocks, and transform back once."""
    del precision  # no matrix product here
    sums = accumulation_dtype(x, y, dtype)
    x = _planes(x.astype(sums), spec)
    y = _spread(_planes(y.astype(sums), spec), spec.stride)
    w = _correlate_sum(x, y, axes_of(spec))
    w = w[..., *(slice(None, None, d) for d in spec.dilation)]
    # (g, i, o, *kernel) -> (*kernel, i, g, o) -> (*kernel, i, g * o)
    w = jnp.moveaxis(w, (1, 0, 2), (-3, -2, -1))
    return w.reshape(*w.shape[:-2], w.shape[-2] * w.shape[-1]).astype(dtype)


def _correlate(x: jax.Array, w: jax.Array, lines: tuple[Line, ...], precision: Any) -> jax.Array:
    """y[n, g, o, t] = sum over i, k of x[n, g, i, t + k - lo] w[g, i, o, k]."""
    (n, g, i), o = x.shape[:3], w.shape[2]
    sizes = tuple(line.outputs for line in lines)
    if not x.size:
        return jnp.zeros((n, g, o, *sizes), x.dtype)
    real = not jnp.iscomplexobj(x)
    cut = plan(lines, Planes.of(n, g, i, o), real=real)
    los = [line.lo for line in lines]
    if cut.whole:
        x = _forward(_placed(x, cut.lengths, los))
        spectrum = _multiply(x, _reflected(w, cut.lengths), precision)
        return _leading(_backward(spectrum, cut.lengths, real=real), sizes)

    kernels = _complex(_placed(w, cut.lengths), FORWARD)
    places = _halves(cut, sizes)
    # the last blocks start early, so that they end with the array
    starts = corners(
        [min(c * step, m - step) for c in range(count)]
        for step, count, m in zip(cut.steps, cut.counts, _own(cut, sizes), strict=True)
    )

    def turn(p, y):
        corner = _corner(starts, p)
        blocks = [
            _cutout(
                x,
                [c + at - lo for c, at, lo in zip(corner, place, los, strict=True)],
                cut.lengths,
                starts + place - los,
            )
            for place in places
        ]
        # backward, then forward: so the product needs no conjugate
        z = _complex(_multiply(_complex(_joined(blocks), BACKWARD), kernels, precision), FORWARD)
        z = _leading(z, cut.steps)
        for place, part in zip(places, (z,) if len(places) == 1 else (z.real, z.imag), strict=True):
            at = [c + first for c, first in zip(corner, place, strict=True)]
            start = [np.int32(0)] * 3 + at  # literals would be int64 where 64-bit types are on
            y = lax.dynamic_update_slice(y, part, start, allow_negative_indices=False)
        return y

    return lax.fori_loop(0, len(starts), turn, _carried((n, g, o, *sizes), x))


def _correlate_sum(x: jax.Array, y: jax.Array, lines: tuple[Line, ...]) -> jax.Array:
    """w[g, i, o, k] = sum over n, t of x[n, g, i, t + k - lo] y[n, g, o, t]."""
    (n, g, i), o = x.shape[:3], y.shape[2]
    sizes = tuple(line.kernel for line in lines)
    if not x.size:
        return jnp.zeros((g, i, o, *sizes), x.dtype)
    real = not jnp.iscomplexobj(x)
    cut = plan(lines, Planes.of(n, g, i, o), real=real)
    lengths, los = cut.lengths, [line.lo for line in lines]
    if cut.whole:
        x, y = _forward(_placed(x, lengths, los)), _reflected(y, lengths)
        total = jnp.sum(x[:, :, :, None] * y[:, :, None], 0)  # fused with the product
        return _leading(_backward(total, lengths, real=real), sizes)

    sizes_of_y = tuple(line.outputs for line in lines)
    halves, own = _halves(cut, sizes_of_y, overlapping=False), _own(cut, sizes_of_y)
    starts = corners([s * c for c in range(m)] for s, m in zip(cut.steps, cut.counts, strict=True))
    # one row per image and block
    places = corners([range(n), range(len(starts))])

    def turn(p, total):
        image, block = _corner(places, p)
        corner = _corner(starts, block)
        seen, made = [], []
        for place in halves:
            at = [c + first for c, first in zip(corner, place, strict=True)]
            where = [c - lo for c, lo in zip(at, los, strict=True)]
            seen.append(_cutout(x, where, lengths, starts + place - los, image))
            some = _cutout(y, at, cut.steps, starts + place, image)
            made.append(_placed(_before(some, corner, own), lengths))
        a = _complex(_joined(seen), BACKWARD)
        # (a + ia') (b - ib') has ab + a'b' as its real part
        b = _complex(_joined(made, sign=-1), FORWARD)
        return total + a[0, :, :, None] * b[0, :, None]

    total = lax.fori_loop(0, len(places), turn, _carried((g, i, o, *lengths), x, spectrum=True))
    w = _leading(_complex(total, FORWARD), sizes)
    return w.real if real else w


def _planes(a: jax.Array, spec: ConvSpec) -> jax.Array:
    """(n, *space, g * c) -> (n, g, c, *space): transforms run along the minor axes."""
    a = a.reshape(*a.shape[:-1], spec.groups, a.shape[-1] // spec.groups)
    return jnp.moveaxis(a, (-2, -1), (1, 2))


def _channels_last(a: jax.Array) -> jax.Array:
    """(n, g, c, *space) -> (n, *space, g * c)."""
    a = jnp.moveaxis(a, (1, 2), (-2, -1))
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def _kernels(w: jax.Array, spec: ConvSpec) -> jax.Array:
    """(*kernel, i, g * o) -> (g, i, o, *kernel), spread by the dilation."""
    w = w.reshape(*w.shape[:-1], spec.groups, w.shape[-1] // spec.groups)
    return _spread(jnp.moveaxis(w, (-2, -3, -1), (0, 1, 2)), spec.dilation)


def _spread(a: jax.Array, steps: tuple[int, ...]) -> jax.Array:
    """Put steps - 1 zeros between neighbours."""
    config = [(0, 0, 0)] * 3 + [(0, 0, s - 1) for s in steps]
    return lax.pad(a, jnp.zeros((), a.dtype), config)


def _placed(a: jax.Array, sizes: Sequence[int], los: Sequence[int] = ()) -> jax.Array:
    """Give the spatial axes these sizes, with `los` zeros before (negative: cut off)."""
    los = los or [0] * len(sizes)
    ends = [(lo, size - n - lo, 0) for lo, size, n in zip(los, sizes, a.shape[3:], strict=True)]
    return lax.pad(a, jnp.zeros((), a.dtype), [(0, 0, 0)] * 3 + ends)


def _own(cut: Plan, sizes: Sequence[int]) -> list[int]:
    """Return the outputs per axis of one half."""
    return [cut.half if axis == cut.halved else m for axis, m in enumerate(sizes)]


def _halves(cut: Plan, sizes: Sequence[int], *, overlapping: bool = True) -> np.ndarray:
    """Return the first output of each half, (1 or 2, rank).

    If the number is odd, the halves share one output (`overlapping`), or the second ends beyond.
    """
    first = np.zeros((1 if cut.halved is None else 2, len(sizes)), np.int32)
    if cut.halved is not None:
        first[1, cut.halved] = sizes[cut.halved] - cut.half if overlapping else cut.half
    return first


def _joined(parts: Sequence[jax.Array], *, sign: int = 1) -> jax.Array:
    """Return one array, or two as the real and imaginary parts of one."""
    return parts[0] if len(parts) == 1 else lax.complex(parts[0], sign * parts[1])


def _cutout(
    a: jax.Array,
    starts: Sequence[jax.Array],
    sizes: Sequence[int],
    possible: np.ndarray,
    image: jax.Array | None = None,
) -> jax.Array:
    """Return a window of the spatial axes of (n, g, c, *space), zero outside, of one or all images.

    `possible` has every start that can occur, (count, rank).
    """
    windows = {0: Window(image, 1, 0, a.shape[0] - 1)} if image is not None else {}
    ends = zip(possible.min(0).tolist(), possible.max(0).tolist(), strict=True)
    for axis, (start, size, (least, most)) in enumerate(zip(starts, sizes, ends, strict=True), 3):
        windows[axis] = Window(start, size, least, most)
    return cutout(a, windows)


def _before(a: jax.Array, corner: Sequence[jax.Array], ends: Sequence[int]) -> jax.Array:
    """Set elements at `ends` or beyond to zero, in a block that begins at `corner`."""
    for axis, (start, end) in enumerate(zip(corner, ends, strict=True), 3):
        at = lax.broadcasted_iota(np.int32, a.shape, axis)
        a = lax.select(at < end - start, a, jnp.zeros_like(a))
    return a


def _leading(a: jax.Array, sizes: Sequence[int]) -> jax.Array:
    """Return the first elements of the spatial axes."""
    return lax.slice(a, [0] * a.ndim, (*a.shape[:3], *sizes))


def _corner(starts: np.ndarray, p: jax.Array) -> list[jax.Array]:
    """Return row p as scalars."""
    row = lax.dynamic_index_in_dim(starts, p, keepdims=False, allow_negative_indices=False)
    return [lax.index_in_dim(row, axis, keepdims=False) for axis in range(starts.shape[1])]


def _complex(a: jax.Array, kind: lax.FftType) -> jax.Array:
    """Transform the spatial axes, with complex arithmetic: all frequencies are returned."""
    a = a if jnp.iscomplexobj(a) else lax.complex(a, jnp.zeros_like(a))
    return _beyond_three(lax.fft(a, kind, a.shape[3:][-3:]), kind, a.shape[3:])


def _forward(a: jax.Array) -> jax.Array:
    """Transform the spatial axes; for a real array the last one has half of the frequencies."""
    if jnp.iscomplexobj(a):
        return _complex(a, FORWARD)
    lengths = a.shape[3:]
    return _beyond_three(lax.fft(a, lax.FftType.RFFT, lengths[-3:]), FORWARD, lengths)


def _backward(a: jax.Array, lengths: tuple[int, ...], *, real: bool) -> jax.Array:
    """Undo `_forward`."""
    if not real:
        return _complex(a, BACKWARD)
    return lax.fft(_beyond_three(a, BACKWARD, lengths), lax.FftType.IRFFT, lengths[-3:])


def _beyond_three(a: jax.Array, kind: lax.FftType, lengths: tuple[int, ...]) -> jax.Array:
    """Transform the axes before the last three: XLA transforms at most three at once."""
    for axis in range(3, 3 + len(lengths) - 3):
        moved = lax.fft(jnp.moveaxis(a, axis, -1), kind, lengths[axis - 3 : axis - 2])
        a = jnp.moveaxis(moved, -1, axis)
    return a


def _reflected(a: jax.Array, lengths: tuple[int, ...]) -> jax.Array:
    """Return the spectrum with every frequency negated."""
    return _forward(_placed(a.conj(), lengths)).conj()


def _multiply(x: jax.Array, w: jax.Array, precision: Any) -> jax.Array:
    """Sum over i of x[n, g, i, f] w[g, i, o, f]."""
    i = x.shape[2]
    if i <= UNROLLED:
        # (n, g, 1, f) by (1, g, o, f)
        terms = (
            lax.index_in_dim(x, c, 2) * lax.index_in_dim(w, c, 1, keepdims=False)[None]
            for c in range(i)
        )
        return functools.reduce(operator.add, terms)
    (n, g, _), o, frequencies = x.shape[:3], w.shape[2], x.shape[3:]
    x, w = x.reshape(n, g, i, -1), w.reshape(g, i, o, -1)
    y = jnp.einsum("ngif,giof->ngof", x, w, precision=precision)
    return y.reshape(n, g, o, *frequencies)


def _carried(shape: tuple[int, ...], like: jax.Array, *, spectrum: bool = False) -> jax.Array:
    """Return zeros for a loop to carry, marked as varying over the mesh axes of `like`."""
    axes = tuple(sorted(jax.typeof(like).manual_axis_type.varying))
    zeros = jnp.zeros(shape, np.result_type(like.dtype, np.complex64) if spectrum else like.dtype)
    return lax.pcast(zeros, axes, to="varying") if axes else zeros


def _terms(problem: Problem) -> Terms:
    """Transforms of inputs, results and kernels, and products of spectra."""
    spec, n, i, o = problem.spec, problem.batch, problem.inputs, problem.outputs
    circles, blocks = [], []
    for size, kernel, dilation, (lo, hi) in zip(
        spec.input_size, spec.kernel_size, spec.dilation, spec.padding, strict=True
    ):
        span = extent(kernel, dilation)
        circle = fast_length(max(size + max(lo, hi), span, 1))
        circles.append(circle)
        blocks.append(min(circle, 8 * span))
    points, block = math.prod(circles), math.prod(blocks)
    planes = n * spec.groups * (i + o)
    kernels = spec.groups * i * o * block
    summed = {"output": i, "input": o, "kernel": 1}[problem.contraction]
    shared = common(problem)
    return shared | {
        # a single plane has the layout of the transforms already
        "x + y moved": shared["x"] + shared["y"] if spec.groups * i * o > 1 else 0.0,
        "transforms": planes * points * math.log2(max(block, 2)),
        "transforms of kernels": kernels * math.log2(max(block, 2)),
        "fresh kernels": kernels if kernels >= FRESH else 0.0,
        "spectra": n * spec.groups * i * o * points,
        "spectra if summed > 8": n * spec.groups * i * o * points if summed > UNROLLED else 0.0,
        "rows of planes": planes * points / circles[-1],
    }


def _considered(problem: Problem) -> bool:
    return math.prod(problem.spec.kernel_size) >= ENTRIES


METHOD = Method(
    name="fft",
    summary="products of spectra",
    contractions={"output": output, "input": input, "kernel": kernel},
    refuses=refuses,
    terms=_terms,
    constants=fitted("fft"),
    # errors are on the scale of whole arrays, NaN spreads, every output depends on all of the input
    rules=frozenset({"fastest"}),
    considered=_considered,
)
