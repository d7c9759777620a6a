"""One batched matrix product a kernel entry, groups first.

XLA's CPU convolution computes gradients of grouped kernels (`batch_group_count`) by a scalar loop;
one batched matrix product a tap is faster. `output` and `input` by products are for programs that
XLA must partition by itself: it partitions matrix products correctly. One loop body is compiled for
all taps.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.terms import Terms, common


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """y[n, t, g, o] = sum over k of the products (x shifted by k)[n, t, g, i] w[k, g, i, o]."""
    sums = accumulation_dtype(x, w, dtype)
    x = _embed(_groups_first(x.astype(sums), spec.groups), spec)
    w = _taps_first(w.astype(sums), spec)

    def add(tap, y):
        shifted = _shift(x, _entry(tap, spec), spec)
        weights = lax.dynamic_index_in_dim(w, tap, keepdims=False)
        return y + jnp.einsum("gn...i,gio->gn...o", shifted, weights, precision=precision)

    y = jnp.zeros((*x.shape[:2], *spec.output_size, w.shape[-1]), sums)
    y = lax.fori_loop(np.int32(0), np.int32(w.shape[0]), add, y)
    return _groups_last(y).astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Add the products y[n, t, g, o] w[k, g, i, o] to the elements under kernel entry k, k by k."""
    sums = accumulation_dtype(y, w, dtype)
    y = _groups_first(y.astype(sums), spec.groups)
    w = _taps_first(w.astype(sums), spec)
    gaps = [(0, 0, 0)] * 2 + [(0, 0, s - 1) for s in spec.stride] + [(0, 0, 0)]

    def add(tap, x):
        weights = lax.dynamic_index_in_dim(w, tap, keepdims=False)
        made = jnp.einsum("gn...o,gio->gn...i", y, weights, precision=precision)
        made = lax.pad(made, jnp.zeros((), sums), gaps)
        start = _starts(_entry(tap, spec), spec)
        seen = lax.dynamic_slice(x, start, made.shape)
        return lax.dynamic_update_slice(x, seen + made, start)

    sizes = [n + lo + hi for n, (lo, hi) in zip(spec.input_size, spec.padding, strict=True)]
    x = jnp.zeros((*y.shape[:2], *sizes, w.shape[-2]), sums)
    x = lax.fori_loop(np.int32(0), np.int32(w.shape[0]), add, x)
    crop = [(0, 0, 0)] * 2 + [(-lo, -hi, 0) for lo, hi in spec.padding] + [(0, 0, 0)]
    return _groups_last(lax.pad(x, jnp.zeros((), sums), crop)).astype(dtype)


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """w[k, g, i, o] = sum over n, t of (x shifted by k)[n, t, g, i] y[n, t, g, o], k by k."""
    sums = accumulation_dtype(x, y, dtype)
    # groups first, once for all taps: (n, *space, g * c) -> (g, n, *space, c)
    x = _embed(_groups_first(x.astype(sums), spec.groups), spec)
    y = _groups_first(y.astype(sums), spec.groups)
    groups, outputs = spec.groups, y.shape[-1]
    y = y.reshape(groups, math.prod(y.shape[1:-1]), outputs)

    def product(tap):
        shifted = _shift(x, _entry(tap, spec), spec)
        shifted = shifted.reshape(groups, y.shape[1], x.shape[-1])
        return jnp.einsum("gpi,gpo->igo", shifted, y, precision=precision)

    # one compiled body for all taps: compile time does not grow with the kernel
    w = lax.map(product, jnp.arange(math.prod(spec.kernel_size), dtype=np.int32))
    # (taps, i, g, o) -> (*kernel, i, g * o)
    return w.reshape(*spec.kernel_size, w.shape[1], groups * outputs).astype(dtype)


def _embed(x: jax.Array, spec: ConvSpec) -> jax.Array:
    config = [(0, 0, 0)] * 2 + [*((lo, hi, 0) for lo, hi in spec.padding), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _groups_first(a: jax.Array, groups: int) -> jax.Array:
    """(n, *space, g * c) -> (g, n, *space, c)."""
    return jnp.moveaxis(a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups), -2, 0)


def _groups_last(a: jax.Array) -> jax.Array:
    """(g, n, *space, c) -> (n, *space, g * c)."""
    a = jnp.moveaxis(a, 0, -2)
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def _taps_first(w: jax.Array, spec: ConvSpec) -> jax.Array:
    """(*kernel, i, g * o) -> (taps, g, i, o)."""
    w = w.reshape(math.prod(spec.kernel_size), w.shape[-2], spec.groups, -1)
    return jnp.swapaxes(w, 1, 2)


def _entry(tap: jax.Array, spec: ConvSpec) -> list[jax.Array]:
    """The indices of a kernel entry, the last one counting fastest."""
    found: list[jax.Array] = []
    for size in reversed(spec.kernel_size):
        found.insert(0, tap % np.int32(size))
        tap = tap // np.int32(size)
    return found


def _starts(entry: list[jax.Array], spec: ConvSpec) -> tuple[jax.Array | np.int32, ...]:
    """Where the elements under a kernel entry begin in (g, n, *padded space, c)."""
    zero = np.int32(0)  # literals would be int64 where 64-bit types are on
    return (zero, zero, *(k * np.int32(d) for k, d in zip(entry, spec.dilation, strict=True)), zero)


def _shift(x: jax.Array, entry: list[jax.Array], spec: ConvSpec) -> jax.Array:
    """(g, n, *space', i): for each output position, the element under a kernel entry."""
    sizes = [(m - 1) * s + 1 for m, s in zip(spec.output_size, spec.stride, strict=True)]
    x = lax.dynamic_slice(x, _starts(entry, spec), (*x.shape[:2], *sizes, x.shape[-1]))
    return x[:, :, *(slice(None, None, s) for s in spec.stride)]


def product_terms(problem: Problem) -> Terms:
    """Return the terms of a batched matrix product for each entry of the kernel."""
    spec, shared = problem.spec, common(problem)
    entries = math.prod(spec.kernel_size)
    i, o, work = problem.inputs, problem.outputs, shared["work"]
    return {
        "kernel": entries,
        "kernel * groups": entries * spec.groups,
        "kernel * y * (in + out) / out": entries * shared["y"] * (i + o) / o,
        "work / min(in * out, 16)": work / min(i * o, 16),
        "work / min(in, out, 16)": work / min(i, o, 16),
    }


def _terms(problem: Problem) -> Terms:
    return {**common(problem), **product_terms(problem)}


METHOD = Method(
    name="products",
    summary="a matrix product for each entry of the kernel",
    contractions={"output": output, "input": input, "kernel": kernel},
    terms=_terms,
    constants=fitted("products"),
)
