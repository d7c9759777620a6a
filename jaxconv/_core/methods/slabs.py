"""A convolution of rank 3 or more as a sum of XLA's own convolutions of rank 2.

XLA's CPU convolution is tuned for rank 2 and an order of magnitude slower for higher ranks. The
leading spatial dimensions join the batch, and the kernel's leading entries are added up one at a
time, in a loop, so that one shifted slice at a time is in memory. It took 0.32 of the time of lax
(3x3x3 on 16x56x56x32; 2 AVX-512 cores, 2026-11).
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.dtypes import accumulation_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import lax as own
from jaxconv._core.methods import widened
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.terms import Terms, common, windows

# Leading dimensions are those before the last two.
PLANE = 2


def refuses(problem: Problem) -> str | None:
    """Return why not, or None: for lower ranks this would be the method lax itself."""
    if problem.spec.rank <= PLANE:
        return "slabs needs rank 3 or more"
    return own.refuses(problem)


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Sum over the leading kernel entries the rank-2 convolutions of shifted x."""
    sums, lead, plane = accumulation_dtype(x, w, dtype), spec.rank - PLANE, plane_of(spec)
    pads = [(0, 0, 0), *((lo, hi, 0) for lo, hi in spec.padding[:lead])]
    pads += [(0, 0, 0)] * (x.ndim - len(pads))
    x = lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), pads))
    shape = (x.shape[0], *spec.output_size, w.shape[-1])
    planes = widened if widened.gains(plane, w.shape[-2], x.dtype) else own

    def add(index, y):
        part, taps = x, w
        for dim, k in enumerate(index):
            m, s, d = spec.output_size[dim], spec.stride[dim], spec.dilation[dim]
            part = lax.dynamic_slice_in_dim(part, k * d, (m - 1) * s + 1, axis=1 + dim)
            part = lax.slice_in_dim(part, 0, None, stride=s, axis=1 + dim)
            taps = lax.dynamic_index_in_dim(taps, k, 0, keepdims=False)
        part = part.reshape(math.prod(part.shape[: 1 + lead]), *part.shape[1 + lead :])
        part = planes.output(part, taps, plane, precision=precision, dtype=sums)
        return y + part.reshape(shape)

    return _over_leading(add, jnp.zeros(shape, sums), spec.kernel_size[:lead]).astype(dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Add the rank-2 `input` of y and each leading kernel entry where that entry reads x."""
    sums, lead, plane = accumulation_dtype(y, w, dtype), spec.rank - PLANE, plane_of(spec)
    n, m = y.shape[0], spec.output_size[:lead]
    y = y.reshape(n * math.prod(m), *y.shape[1 + lead :])
    channels = spec.groups * w.shape[-2]
    planes = widened if widened.gains(plane, w.shape[-1], y.dtype) else own
    # as far as the kernel reads, and no further than x
    size = tuple(
        max((m - 1) * s + extent(k, d), lo + n)
        for m, k, s, d, n, (lo, _) in zip(
            m,
            spec.kernel_size,
            spec.stride,
            spec.dilation,
            spec.input_size,
            spec.padding,
            strict=False,
        )
    )
    spread = [(0, 0, 0), *((0, 0, s - 1) for s in spec.stride[:lead])]
    spread += [(0, 0, 0)] * (spec.rank - lead + 1)

    def add(index, x):
        taps = w
        for k in index:
            taps = lax.dynamic_index_in_dim(taps, k, 0, keepdims=False)
        part = planes.input(y, taps, plane, precision=precision, dtype=sums)
        part = part.reshape(n, *m, *part.shape[1:])
        part = lax.pad(part, jnp.zeros((), sums), spread)
        for dim, k in enumerate(index):
            # place the part at k d among zeros
            start, axis = k * spec.dilation[dim], 1 + dim
            before = part.shape[axis]
            zeros = [(0, 0, 0)] * part.ndim
            zeros[axis] = (size[dim] - before, size[dim] - before, 0)
            part = lax.pad(part, jnp.zeros((), sums), zeros)
            part = lax.dynamic_slice_in_dim(part, size[dim] - before - start, size[dim], axis=axis)
        return x + part

    x = jnp.zeros((n, *size, *plane.input_size, channels), sums)
    x = _over_leading(add, x, spec.kernel_size[:lead])
    crop = [(0, 0, 0)] * x.ndim
    for dim in range(lead):
        lo = spec.padding[dim][0]
        crop[1 + dim] = (-lo, spec.input_size[dim] + lo - size[dim], 0)
    return lax.pad(x, jnp.zeros((), sums), crop).astype(dtype)


def plane_of(spec: ConvSpec) -> ConvSpec:
    """The geometry of the last two dimensions."""
    return ConvSpec(
        spec.stride[-2:],
        spec.dilation[-2:],
        spec.padding[-2:],
        spec.groups,
        spec.input_size[-2:],
        spec.kernel_size[-2:],
    )


def _over_leading(add, total: jax.Array, kernel: tuple[int, ...]) -> jax.Array:
    """Fold `add(index, total)` over every leading kernel entry."""
    entries = list(itertools.product(*map(range, kernel)))
    if len(entries) == 1:
        return add(entries[0], total)
    table = jnp.asarray(np.array(entries, np.int32))
    return lax.fori_loop(
        0,
        len(entries),
        lambda count, total: add([table[count, dim] for dim in range(len(kernel))], total),
        total,
    )


def _terms(problem: Problem) -> Terms:
    """Sums of planes' convolutions, one for each entry of the kernel along the first axes."""
    spec, shared = problem.spec, common(problem)
    entries = math.prod(spec.kernel_size[:-2])
    batch = problem.batch * math.prod(spec.output_size[:-2])
    plane = plane_of(spec)
    found = windows(problem._replace(spec=plane, batch=batch))
    read = problem.inputs if problem.contraction == "output" else problem.outputs
    share = widened.SHARE if widened.gains(plane, read, jnp.dtype(problem.dtype)) else 1
    several = {f"planes: {name}": term * entries * share for name, term in found.items()}
    return {**shared, **several, "leading kernel * (x + y)": entries * (shared["x"] + shared["y"])}


def _considered(problem: Problem) -> bool:
    """Not where XLA computes planes of integers by loops over elements."""
    return not own.in_loops(problem._replace(spec=plane_of(problem.spec)))


METHOD = Method(
    name="slabs",
    summary="a convolution of rank 3 or more as a sum of planes' convolutions",
    contractions={"output": output, "input": input},
    refuses=refuses,
    terms=_terms,
    constants=fitted("slabs"),
    considered=_considered,
)
