"""Kernels of our own for depthwise layers on GPUs and TPUs, written in Pallas.

Depthwise: one input channel in each group, so that there are no sums over channels. On TPUs lax is
estimated far above what memory needs (docs/methods.md). All three contractions are kernels, for
lines and planes, in float32 and bfloat16; sums are float32, bfloat16 is rounded once. GPUs have the
kernels of `pallas_triton`, TPUs those of `pallas_mosaic`; elsewhere the latter run in Pallas'
interpreter, to compare results. A channel with several outputs is repeated.

No rule takes this method before its times are measured on a device; `jaxconv.tune` measures them.
"""

import functools
import importlib.util
import math

import jax
import jax.numpy as jnp

from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import pallas_mosaic, pallas_triton
from jaxconv._core.methods.method import Method
from jaxconv._core.methods.pallas_plan import backward, forward

# A block of a TPU holds what a kernel spans at least, and what a stride skips.
MOST_SPANNED = 4096
MOST_STRIDE = 16
# Entries of a kernel's gradient on TPUs: 5 KiB of sums each, beside the blocks (`pallas_blocks`).
MOST_SUMS = 1024
# Of all images; on GPUs they are numbered by 32 bits, and the last tile may reach beyond them.
MOST_POSITIONS = 1 << 30
_DTYPES = ("float32", "bfloat16")


def output(
    x: jax.Array,
    w: jax.Array,
    spec: ConvSpec,
    *,
    precision=None,
    dtype: jnp.dtype,
    platform: str = "cpu",
) -> jax.Array:
    """One sum over the kernel's entries for each output."""
    del precision  # for matrix products
    x = _repeated(_served(x), w.shape[-1])
    w = _without_inputs(_served(w))
    y = _computed("correlate", _as_planes(x), w, forward(spec), dtype, platform)
    return y.reshape(x.shape[0], *spec.output_size, w.shape[-1])


def input(
    y: jax.Array,
    w: jax.Array,
    spec: ConvSpec,
    *,
    precision=None,
    dtype: jnp.dtype,
    platform: str = "cpu",
) -> jax.Array:
    """For each element of x, one sum over the entries that meet it."""
    del precision
    many = w.shape[-1] // spec.groups
    made = dtype if many == 1 else jnp.dtype(jnp.float32)
    w = _without_inputs(_served(w))
    x = _computed("correlate", _as_planes(_served(y)), w, backward(spec), made, platform)
    # (n, rows, columns, g * o) -> (n, *space, g, o)
    x = x.reshape(y.shape[0], *spec.input_size, spec.groups, many)
    return (x[..., 0] if many == 1 else x.sum(-1)).astype(dtype)


def kernel(
    x: jax.Array,
    y: jax.Array,
    spec: ConvSpec,
    *,
    precision=None,
    dtype: jnp.dtype,
    platform: str = "cpu",
) -> jax.Array:
    """For each entry, one sum over the positions."""
    del precision
    x = _repeated(_served(x), y.shape[-1])
    y = _as_planes(_served(y))
    w = _computed("gradient", _as_planes(x), y, forward(spec), dtype, platform)
    return w.reshape(*spec.kernel_size, 1, y.shape[-1])


def refuses(problem: Problem) -> str | None:
    """Return why the kernels do not serve a problem, in one clause, or None if they do.

    Example:
        >>> spec = ConvSpec((1,) * 3, (1,) * 3, ((0, 0),) * 3, 2, (4,) * 3, (3,) * 3)
        >>> refuses(Problem("output", spec, 1, 1, 1, "float32", "gpu"))
        'pallas has no kernels of rank 3'
    """
    spec = problem.spec
    if spec.rank > 2:
        return f"pallas has no kernels of rank {spec.rank}"
    if problem.dtype not in _DTYPES:
        return f"pallas does not compute in {problem.dtype}"
    if problem.inputs != 1:
        return "pallas has kernels for one input channel in each group alone"
    if math.prod(map(extent, spec.kernel_size, spec.dilation)) > MOST_SPANNED:
        return f"pallas has no kernels that span more than {MOST_SPANNED:,} positions"
    if max(spec.stride) > MOST_STRIDE:
        return f"pallas has no kernels of strides above {MOST_STRIDE}"
    gradient = problem.platform == "tpu" and problem.contraction == "kernel"
    if gradient and math.prod(spec.kernel_size) > MOST_SUMS:
        return f"pallas has no gradients of more than {MOST_SUMS:,} entries on TPUs"
    if problem.platform == "gpu":
        positions = problem.batch * max(math.prod(spec.input_size), math.prod(spec.output_size))
        if positions > MOST_POSITIONS:
            return f"pallas counts no more than {MOST_POSITIONS:,} positions on GPUs"
        if not _has_triton():
            return "this version of JAX has no Pallas for GPUs through Triton"
    return None


@functools.cache
def _has_triton() -> bool:
    """Whether JAX has the module: 0.12 says that a later version will not."""
    return importlib.util.find_spec("jax.experimental.pallas.triton") is not None


def _kernels(platform: str):
    return pallas_triton if platform == "gpu" else pallas_mosaic


def _computed(kind: str, a: jax.Array, b: jax.Array, sides, dtype: jnp.dtype, platform: str):
    """Return what a kernel makes of its operands; on other platforms, in the interpreter."""
    compute = getattr(_kernels(platform), kind)
    # Mosaic has no 64-bit integers, which indices otherwise are under `jax.enable_x64`
    with jax.enable_x64(False):
        return compute(a, b, sides, dtype=dtype, interpret=platform not in ("gpu", "tpu"))


def _served(array: jax.Array) -> jax.Array:
    """The array in a dtype that the kernels read."""
    return array if array.dtype.name in _DTYPES else array.astype(jnp.float32)


def _repeated(x: jax.Array, outputs: int) -> jax.Array:
    """Repeat the channels of x, once for each output of theirs."""
    many = outputs // x.shape[-1]
    return x if many == 1 else jnp.repeat(x, many, axis=-1)


def _as_planes(array: jax.Array) -> jax.Array:
    """(n, columns, c) -> (n, 1, columns, c)."""
    return array if array.ndim == 4 else array[:, None]


def _without_inputs(w: jax.Array) -> jax.Array:
    """(*kernel, 1, c) -> (rows, columns, c)."""
    return w.reshape(*(w.shape[:-2] if w.ndim == 4 else (1, *w.shape[:-2])), w.shape[-1])


METHOD = Method(
    name="pallas",
    summary="depthwise kernels of our own for GPUs and TPUs, written in Pallas",
    contractions={"output": output, "input": input, "kernel": kernel},
    refuses=refuses,
    platforms=frozenset({"gpu", "tpu"}),
    not_exported=frozenset({"gpu"}),
    details=lambda: "on GPUs and TPUs; elsewhere interpreted, and taken by name alone",
)
