"""A sum over the kernel's entries ("taps") of shifted slices of the input.

Only the kernel's gradient so far: XLA's CPU convolution has no grouped weight gradient of its own
and falls to a scalar loop (`batch_group_count`), while one batched matrix product a tap does not.
"""

from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.dtypes import accumulation_dtype
from jaxconv.spec import ConvSpec


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """w[k, g, i, o] = sum over n, t of (x shifted by k)[n, t, g, i] y[n, t, g, o], k by k."""
    sums = accumulation_dtype(x, y, dtype)
    groups = spec.groups
    x = _embed(x.astype(sums), spec)
    y = y.astype(sums).reshape(*y.shape[:-1], groups, y.shape[-1] // groups)

    def tap(k):
        shifted = _shift(x, k, spec)
        shifted = shifted.reshape(*shifted.shape[:-1], groups, shifted.shape[-1] // groups)
        return jnp.einsum("...gi,...go->igo", shifted, y, precision=precision)

    w = jnp.stack([tap(k) for k in product(*map(range, spec.kernel_size))])
    # (taps, i, g, o) -> (*kernel, i, g * o)
    return w.reshape(*spec.kernel_size, w.shape[1], groups * w.shape[-1]).astype(dtype)


CONTRACTIONS = {"kernel": kernel}


def _embed(x: jax.Array, spec: ConvSpec) -> jax.Array:
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in spec.padding), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _shift(x: jax.Array, k: tuple[int, ...], spec: ConvSpec) -> jax.Array:
    """(n, *space', channels): for each output position, the element under kernel entry k."""
    starts = [k_ * d for k_, d in zip(k, spec.dilation, strict=True)]
    limits = [
        b + (m - 1) * s + 1 for b, m, s in zip(starts, spec.output_size, spec.stride, strict=True)
    ]
    n, channels = x.shape[0], x.shape[-1]
    return lax.slice(x, (0, *starts, 0), (n, *limits, channels), (1, *spec.stride, 1))
