"""The kernel's gradient as one batched matrix product a kernel entry, groups first.

XLA's CPU convolution has no grouped weight gradient of its own and falls to a scalar loop
(`batch_group_count`), while one batched matrix product a tap does not. One body is compiled for all
taps.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.dtypes import accumulation_dtype
from jaxconv.spec import ConvSpec


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

    def tap(k):
        shifted = _shift(x, k, spec)
        shifted = shifted.reshape(groups, y.shape[1], x.shape[-1])
        return jnp.einsum("gpi,gpo->igo", shifted, y, precision=precision)

    # one compiled body for all taps: compile time does not grow with the kernel
    taps = np.array(list(np.ndindex(*spec.kernel_size)), np.int32)
    w = lax.map(tap, jnp.asarray(taps))
    # (taps, i, g, o) -> (*kernel, i, g * o)
    return w.reshape(*spec.kernel_size, w.shape[1], groups * outputs).astype(dtype)


CONTRACTIONS = {"kernel": kernel}


def _embed(x: jax.Array, spec: ConvSpec) -> jax.Array:
    config = [(0, 0, 0)] * 2 + [*((lo, hi, 0) for lo, hi in spec.padding), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _groups_first(a: jax.Array, groups: int) -> jax.Array:
    """(n, *space, g * c) -> (g, n, *space, c)."""
    return jnp.moveaxis(a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups), -2, 0)


def _shift(x: jax.Array, k: jax.Array, spec: ConvSpec) -> jax.Array:
    """(g, n, *space', i): for each output position, the element under kernel entry k."""
    starts = [k[axis] * d for axis, d in enumerate(spec.dilation)]
    sizes = [(m - 1) * s + 1 for m, s in zip(spec.output_size, spec.stride, strict=True)]
    zero = jnp.zeros((), k.dtype)  # literals would be int64 where 64-bit types are on
    x = lax.dynamic_slice(x, (zero, zero, *starts, zero), (*x.shape[:2], *sizes, x.shape[-1]))
    return x[:, :, *(slice(None, None, s) for s in spec.stride)]
