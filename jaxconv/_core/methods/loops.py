"""The definition, compiled: one `fori_loop` over the output positions, in all three contractions.

Compile time does not grow with the image or the kernel. It is for reading and comparison, not for
speed.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods.method import Method


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """y[n, t, g, o] = sum over k, i of window_t[n, k, g, i] w[k, g, i, o], one t at a time."""
    sums = accumulation_dtype(x, w, dtype)
    x = _embed(_split(x.astype(sums), spec.groups), spec)
    w = _split(w.astype(sums), spec.groups)  # (*kernel, i, g, o)
    axes = _kernel_axes(spec)

    def position(p, y):
        window = _window(x, p, spec)  # (n, *kernel, g, i)
        value = jnp.einsum(f"N{axes}gi,{axes}igo->Ngo", window, w, precision=precision)
        return lax.dynamic_update_index_in_dim(y, value, p, axis=1)

    positions = math.prod(spec.output_size)
    y = jnp.zeros((x.shape[0], positions, spec.groups, w.shape[-1]), sums)
    y = lax.fori_loop(0, positions, position, y)
    y = _join(y).reshape(x.shape[0], *spec.output_size, spec.groups * w.shape[-1])
    return y.astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Add w[k, g, i, o] y[n, t, g, o] to the window of x under output t, one t at a time."""
    sums = accumulation_dtype(y, w, dtype)
    y = _flat_positions(_split(y.astype(sums), spec.groups), spec)
    w = _split(w.astype(sums), spec.groups)
    axes = _kernel_axes(spec)

    def position(p, x):
        at = lax.dynamic_index_in_dim(y, p, axis=1, keepdims=False)  # (n, g, o)
        values = jnp.einsum(f"Ngo,{axes}igo->N{axes}gi", at, w, precision=precision)
        return _add_window(x, p, values, spec)

    n, channels = y.shape[0], w.shape[-3]
    x = jnp.zeros((n, *_embedded_size(spec), spec.groups, channels), sums)
    x = lax.fori_loop(0, math.prod(spec.output_size), position, x)
    return _join(_extract(x, spec)).astype(dtype)


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """w[k, g, i, o] = sum over t of window_t[n, k, g, i] y[n, t, g, o], one t at a time."""
    sums = accumulation_dtype(x, y, dtype)
    x = _embed(_split(x.astype(sums), spec.groups), spec)
    y = _flat_positions(_split(y.astype(sums), spec.groups), spec)
    axes = _kernel_axes(spec)

    def position(p, w):
        at = lax.dynamic_index_in_dim(y, p, axis=1, keepdims=False)
        window = _window(x, p, spec)
        return w + jnp.einsum(f"N{axes}gi,Ngo->{axes}igo", window, at, precision=precision)

    w = jnp.zeros((*spec.kernel_size, x.shape[-1], spec.groups, y.shape[-1]), sums)
    w = lax.fori_loop(0, math.prod(spec.output_size), position, w)
    return _join(w).astype(dtype)


def _kernel_axes(spec: ConvSpec) -> str:
    """One einsum letter a kernel dimension."""
    return "".join(chr(ord("A") + d + (d >= ord("N") - ord("A"))) for d in range(spec.rank))


def _split(a: jax.Array, groups: int) -> jax.Array:
    """(..., g * c) -> (..., g, c)."""
    return a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups)


def _join(a: jax.Array) -> jax.Array:
    """(..., g, c) -> (..., g * c)."""
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])


def _flat_positions(y: jax.Array, spec: ConvSpec) -> jax.Array:
    """(n, *space', g, o) -> (n, positions, g, o)."""
    return y.reshape(y.shape[0], math.prod(spec.output_size), *y.shape[-2:])


def _embedded_size(spec: ConvSpec) -> tuple[int, ...]:
    return tuple(n + lo + hi for n, (lo, hi) in zip(spec.input_size, spec.padding, strict=True))


def _embed(x: jax.Array, spec: ConvSpec) -> jax.Array:
    """Pad (or crop) the spatial dimensions of (n, *space, g, i)."""
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in spec.padding), (0, 0, 0), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _extract(x: jax.Array, spec: ConvSpec) -> jax.Array:
    """Undo `_embed`: crop what was padded, put zeros where it cropped."""
    config = [(0, 0, 0), *((-lo, -hi, 0) for lo, hi in spec.padding), (0, 0, 0), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _start(p, spec: ConvSpec):
    """Corner of the window of flat output position p in the embedded x."""
    positions = jnp.unravel_index(p, spec.output_size)
    return [0, *(t * s for t, s in zip(positions, spec.stride, strict=True)), 0, 0]


def _window(x: jax.Array, p, spec: ConvSpec) -> jax.Array:
    """(n, *kernel, g, i): the elements that output position p sees."""
    spans = map(extent, spec.kernel_size, spec.dilation)
    window = lax.dynamic_slice(x, _start(p, spec), (x.shape[0], *spans, *x.shape[-2:]))
    return window[:, *(slice(None, None, d) for d in spec.dilation)]


def _add_window(x: jax.Array, p, values: jax.Array, spec: ConvSpec) -> jax.Array:
    """Add values (n, *kernel, g, i) to the elements that output position p sees."""
    dilated = [(0, 0, 0), *((0, 0, d - 1) for d in spec.dilation), (0, 0, 0), (0, 0, 0)]
    values = lax.pad(values, jnp.zeros((), values.dtype), dilated)
    start = _start(p, spec)
    window = lax.dynamic_slice(x, start, values.shape)
    return lax.dynamic_update_slice(x, window + values, start)


METHOD = Method(
    name="loops",
    summary="the definition: one loop over the output positions",
    contractions={"output": output, "input": input, "kernel": kernel},
    rules=frozenset(),
)
