"""The kernel's gradient as one matrix product an image, of what the kernel entries see and y.

w[k, i, o] = sum over n, t of (x shifted by k)[n, t, i] y[n, t, o] is, for each image, the product
of a matrix (positions, kernel entries * i), "im2col", and y as (positions, o). Images come one
after the other, so that a single one's matrix is in memory. A 1x1 kernel is one product over all.

Beside lax it took 0.17 to 0.78 on 1x1 layers and 0.4 on 3x3 of 56x56x64 and 28x28x128, but 1.0 on
14x14x256, 1.65 on 7x7x512 and 1.8 on 3 input channels (2 AVX-512 cores, 2026-11).
"""

import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.dtypes import accumulation_dtype
from jaxconv.methods.residues import phases, tap
from jaxconv.spec import ConvSpec

# Each kernel entry is a slice of its own in the compiled program.
ENTRIES = 32


def refuses(contraction: str, spec: ConvSpec, dtype: jnp.dtype) -> str | None:
    """Say why not, or None: large kernels would take long to compile."""
    del contraction, dtype
    entries = math.prod(spec.kernel_size)
    return None if entries <= ENTRIES else f"{entries} kernel entries, more than {ENTRIES}"


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Sum the images' products."""
    sums = accumulation_dtype(x, y, dtype)
    groups, inputs, outputs = spec.groups, x.shape[-1] // spec.groups, y.shape[-1] // spec.groups
    parts = phases(x.astype(sums), spec, axis=1)
    y = y.astype(sums)
    entries = list(itertools.product(*map(range, spec.kernel_size)))

    def image(parts, y):
        """From x's parts (n, *space, g * i), y (n, *space', g * o) to (g, o, entries * i)."""
        positions = math.prod(y.shape[:-1])
        columns = []
        for k in entries:
            phase, starts = tap(k, spec)
            column = parts[phase]
            for dim, (start, m) in enumerate(zip(starts, spec.output_size, strict=True)):
                column = lax.slice_in_dim(column, start, start + m, axis=1 + dim)
            columns.append(column.reshape(positions, groups, inputs))
        y = y.reshape(positions, groups, outputs)
        # batched over groups, summed over positions
        dimensions = (((0,), (0,)), ((1,), (1,)))
        return lax.dot_general(y, jnp.concatenate(columns, -1), dimensions, precision=precision)

    if len(entries) == 1 or y.shape[0] == 0:
        w = image(parts, y)
    else:
        zeros = jnp.zeros((groups, outputs, len(entries) * inputs), sums)

        def step(n, w):
            one = {
                phase: lax.dynamic_slice_in_dim(part, n, 1, axis=0) for phase, part in parts.items()
            }
            return w + image(one, lax.dynamic_slice_in_dim(y, n, 1, axis=0))

        w = lax.fori_loop(0, y.shape[0], step, zeros)
    # (g, o, entries * i) -> (entries, i, g, o) -> (*kernel, i, g * o)
    w = w.reshape(groups, outputs, len(entries), inputs).transpose(2, 3, 0, 1)
    return w.reshape(*spec.kernel_size, inputs, groups * outputs).astype(dtype)


CONTRACTIONS = {"kernel": kernel}
