"""A matrix product of rows of the image, and a sum of its shifted rows.

    z[b, p] = sum over a of w[a, b] x[t + a, p]         one product for each row t of the output
    y[t, q] = sum over b of z[b, q + b]

for planes with kernels that are large along both dimensions. The products are those of the
definition, so that NaN, infinities and zeros stay where they belong, and they run at the speed of
matrix products. The rows t to t + K - 1 of the image are neighbours in memory. Strips of an image
are placed side by side, so that a product has a few thousand columns.

The kernel's gradient is the transposed product: rows of y with every shift of a row of x.

Source: Vasudevan, Anderson and Gregg (2017), "Parallel multi channel convolution using general
matrix multiplication", whose product is one of all entries (kn2row); Cho and Brand (2017), "MEC:
memory-efficient convolution", section 3, which lowers along one dimension.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.methods.fused_sums import added
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.residues import turned
from jaxconv._core.methods.terms import Terms, common

# Columns of a product: with fewer, threads wait for each other; more do not fit the caches.
COLUMNS = 4096
# Elements that one product sums in a kernel's gradient: longer sums round more.
SUMMED = 1024
# Entries of the kernel along each dimension from which the rules consider it: of fewer a matrix
# product has too little to do.
ENTRIES = 8
# Shifts that are added up in one program; XLA compiles more of them too slowly.
WIDEST = 128


def refuses(problem: Problem) -> str | None:
    """Return why not, or None: rows must be neighbours in memory, and products fast."""
    spec = problem.spec
    if spec.rank != 2:
        return "shifts are of planes"
    if math.prod(spec.stride) * math.prod(spec.dilation) > 1:
        return "strides and dilations spread the rows"
    if spec.kernel_size[-1] > WIDEST:
        return "the kernel's rows are too long"
    if not jnp.issubdtype(problem.dtype, jnp.inexact):
        return "XLA's matrix products of integers are slow"
    return None


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """One image and group after the other, so that no result depends on the others."""
    sums = accumulation_dtype(x, w, dtype)
    images = _apart(x.astype(sums), spec.groups)
    kernels = _split(w.astype(sums), spec.groups)
    return _joined(_planes(images, kernels, spec, precision)).astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """A correlation of y with the flipped kernel, its channel axes swapped."""
    sums = accumulation_dtype(y, w, dtype)
    kernels = jnp.flip(jnp.swapaxes(_split(w.astype(sums), spec.groups), -1, -2), (1, 2))
    images = _apart(y.astype(sums), spec.groups)
    return _joined(_planes(images, kernels, turned(spec), precision)).astype(dtype)


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """w[a, b] = sum over t, q of x[t + a, q + b] y[t, q], row by row of x."""
    sums = accumulation_dtype(x, y, dtype)
    x, y = _apart(x.astype(sums), spec.groups), _apart(y.astype(sums), spec.groups)
    n, groups, inputs = x.shape[:3]
    outputs, (down, across) = y.shape[2], spec.kernel_size
    strips, height = _whole_strips(spec)
    # (n, g, rows, i, strips, columns) and (n, g, rows, o, strips * columns)
    x = _side_by_side(x, spec, strips, height)
    y = jnp.moveaxis(y.reshape(n, groups, outputs, strips, height, -1), -2, 2)
    y = y.reshape(n, groups, height, outputs, -1)
    y = lax.optimization_barrier(jnp.pad(y, [(0, 0)] * 2 + [(down - 1,) * 2] + [(0, 0)] * 2))
    columns = spec.output_size[-1]
    rows = height + down - 1
    entries = jnp.arange(down)[:, None, None, None]

    def add(position, w):
        image, group, row = position // rows // groups, position // rows % groups, position % rows
        seen = _take(x, (image, group, row))  # (i, strips, columns)
        seen = _every_shift(seen, across, columns)
        answers = _take(y, (image, group), row, down)  # the last of the kernel's rows first
        found = lax.dot_general(
            lax.optimization_barrier(answers).reshape(down * outputs, -1),
            seen.reshape(across * inputs, -1),
            (((1,), (1,)), ((), ())),
            precision=precision,
        ).reshape(down, outputs, across, inputs)
        # rows beyond y were multiplied too; their products are not part of the sum
        answered = row + entries - (down - 1)
        found = jnp.where((answered >= 0) & (answered < height), found, 0)
        here = lax.dynamic_index_in_dim(w, group, 0, keepdims=False)
        return lax.dynamic_update_index_in_dim(w, here + found, group, 0)

    w = jnp.zeros((groups, down, outputs, across, inputs), sums)
    w = lax.fori_loop(0, n * groups * rows, add, w)
    # (g, a, o, b, i) -> (a, b, i, g, o)
    w = jnp.flip(w, 1).transpose(1, 3, 4, 0, 2)
    return w.reshape(down, across, inputs, groups * outputs).astype(dtype)


def reads(contraction: Contraction, spec: ConvSpec) -> tuple[int, int]:
    """Return the columns of one product, and the number of products an image and a group."""
    if contraction == "kernel":
        number, height = _whole_strips(spec)
        return number * spec.output_size[1], height + spec.kernel_size[0] - 1
    spec = turned(spec) if contraction == "input" else spec
    number, height = _strips(spec, COLUMNS)
    return number * (spec.output_size[1] + spec.kernel_size[1] - 1), height


def _strips(spec: ConvSpec, columns: int) -> tuple[int, int]:
    """The number of strips of the output for so many columns, and the rows of one."""
    rows, wide = spec.output_size
    # a strip is at least as high as the kernel: each reads so many rows twice
    most = max(1, rows // max(spec.kernel_size[0], 1))
    number = max(1, min(most, columns // max(wide + spec.kernel_size[1] - 1, 1)))
    return number, -(-rows // number)


def _whole_strips(spec: ConvSpec) -> tuple[int, int]:
    """The same for a kernel's gradient, where no strip may have rows beyond y."""
    most, _ = _strips(spec, SUMMED)
    rows = spec.output_size[0]
    number = next(number for number in range(most, 0, -1) if rows % number == 0)
    return number, rows // number


def _planes(
    images: jax.Array, kernels: jax.Array, spec: ConvSpec, precision: jax.lax.PrecisionLike
) -> jax.Array:
    """(n, g, o, *space') of images (n, g, i, *space) and kernels (g, *kernel, i, o)."""
    n, groups = images.shape[:2]
    one = functools.partial(_plane, spec=spec, precision=precision)
    if n * groups == 1:
        return one(images[0, 0], kernels[0])[None, None]

    def place(position):
        image = _take(images, (position // groups, position % groups))
        return one(image, _take(kernels, (position % groups,)))

    found = lax.map(place, jnp.arange(n * groups))
    return found.reshape(n, groups, *found.shape[1:])


def _plane(
    x: jax.Array, w: jax.Array, *, spec: ConvSpec, precision: jax.lax.PrecisionLike
) -> jax.Array:
    """(o, *space') of one image x (i, *space) and kernel w (*kernel, i, o)."""
    down, across, inputs, outputs = w.shape
    number, height = _strips(spec, COLUMNS)
    x = _side_by_side(x, spec, number, height)
    x = lax.optimization_barrier(x).reshape(height + down - 1, inputs, -1)
    # (a, b, i, o) -> (a i, o b)
    w = lax.optimization_barrier(w.transpose(0, 2, 3, 1).reshape(down * inputs, -1))
    size = spec.output_size[-1]

    def row(t, y):
        seen = lax.dynamic_slice_in_dim(x, t, down, 0).reshape(down * inputs, -1)
        # XLA computes products of this form by Eigen, which was faster here than YNNPACK
        made = lax.dot_general(w, seen, (((0,), (0,)), ((), ())), precision=precision)
        made = lax.optimization_barrier(made).reshape(outputs, across, number, -1)
        made = added([made[:, b, :, b : b + size] for b in range(across)])
        return lax.dynamic_update_slice_in_dim(y, made[:, :, None], t, 2)

    y = jnp.zeros((outputs, number, height, size), x.dtype)
    y = lax.fori_loop(0, height, row, y).reshape(outputs, number * height, size)
    return y[:, : spec.output_size[0]]


def _side_by_side(x: jax.Array, spec: ConvSpec, number: int, height: int) -> jax.Array:
    """(..., rows, i, strips, columns) from x (..., i, *space), padded."""
    (down, across), (lo, left) = spec.kernel_size, (lo for lo, _ in spec.padding)
    rows, columns = number * height + down - 1, spec.output_size[-1] + across - 1
    pads = [(0, 0, 0)] * (x.ndim - 2)
    pads += [(lo, rows - x.shape[-2] - lo, 0), (left, columns - x.shape[-1] - left, 0)]
    x = lax.pad(x, jnp.zeros((), x.dtype), pads)
    first = [strip * height for strip in range(number)]
    x = jnp.stack([x[..., t : t + height + down - 1, :] for t in first], -2)
    return jnp.moveaxis(x, -3, -4)


def _every_shift(row: jax.Array, number: int, columns: int) -> jax.Array:
    """(b, ...) with `row[..., b : b + columns]`: copies of memory, where a stack is computed."""

    def shift(b, found):
        part = lax.dynamic_slice_in_dim(row, b, columns, row.ndim - 1)
        return lax.dynamic_update_index_in_dim(found, part, b, 0)

    return lax.fori_loop(0, number, shift, jnp.zeros((number, *row.shape[:-1], columns), row.dtype))


def _take(array: jax.Array, index: tuple, start=None, size: int = 1) -> jax.Array:
    """`array[index]`, or `array[index, start : start + size]`, for traced places."""
    places = [*index] if start is None else [*index, start]
    taken = [1] * len(index) if start is None else [*[1] * len(index), size]
    rest = array.shape[len(places) :]
    found = lax.dynamic_slice(array, [*places, *[0] * len(rest)], [*taken, *rest])
    return found.reshape(*taken[len(index) :], *rest)


def _apart(a: jax.Array, groups: int) -> jax.Array:
    """(n, *space, g * c) -> (n, g, c, *space)."""
    a = a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups)
    return jnp.moveaxis(a, (-2, -1), (1, 2))


def _joined(a: jax.Array) -> jax.Array:
    """Undo `_apart`."""
    a = jnp.moveaxis(a, (1, 2), (-2, -1))
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def _split(w: jax.Array, groups: int) -> jax.Array:
    """(*kernel, i, g * o) -> (g, *kernel, i, o)."""
    return jnp.moveaxis(w.reshape(*w.shape[:-1], groups, w.shape[-1] // groups), -2, 0)


def _terms(problem: Problem) -> Terms:
    """A matrix product for each group and row of the result, or of x in a kernel's gradient."""
    spec, read, made = problem.spec, problem.inputs, problem.outputs
    if spec.rank == 2:
        (columns, height), (down, across) = reads(problem.contraction, spec), spec.kernel_size
    else:  # it serves planes alone
        columns = height = down = across = math.inf
    if problem.contraction == "input":
        read, made = made, read
    products = problem.batch * spec.groups * height
    return common(problem) | {
        "products": products,
        "work of products": products * columns * down * read * across * made,
        "rows read": products * columns * down * read,
        "rows made": products * columns * across * made,
        "kernel of products": products * down * read * across * made,
        "rows shifted": products * across,
    }


def _considered(problem: Problem) -> bool:
    return min(problem.spec.kernel_size) >= ENTRIES


METHOD = Method(
    name="shifts",
    summary="a matrix product for each row of the image, and sums of shifted rows",
    contractions={"output": output, "input": input, "kernel": kernel},
    refuses=refuses,
    terms=_terms,
    constants=fitted("shifts"),
    considered=_considered,
)
