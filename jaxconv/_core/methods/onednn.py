"""oneDNN's convolutions, through the plugin of the distribution `jaxconv-onednn` (CPU only).

The plugin is loaded by its entry point at the first convolution, never at import, and its handlers
are registered when the first program calls them.
oneDNN sums in full float32, whatever `precision` is; half precision is rounded once. Where the CPU
has no instructions for it, the operands are float32 before the call.
"""

import dataclasses
import functools
import math
import threading
from collections.abc import Callable
from importlib.metadata import entry_points
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv._core.geometry.dtypes import operand_dtype
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import extent, outputs_inside
from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.methods import lax as lax_method
from jaxconv._core.methods.method import Method, fitted
from jaxconv._core.methods.terms import Terms, common


def refuses(problem: Problem) -> str | None:
    """Return why oneDNN does not serve a problem, in one clause, or None if it does."""
    loaded = plugin()
    if isinstance(loaded, str):
        return loaded
    if problem.spec.rank > 3:
        return f"oneDNN has no convolution of rank {problem.spec.rank}"
    if problem.dtype not in _SERVED:
        return f"oneDNN does not compute in {problem.dtype}"
    return None


def describe() -> str | None:
    """Return the version of oneDNN and the dtypes it computes in, or None without the plugin."""
    loaded = plugin()
    if isinstance(loaded, str):
        return None
    return f"oneDNN {loaded.version()}, {', '.join(loaded.dtypes())}"


@functools.lru_cache(maxsize=1024)
def implementation(
    contraction: Contraction, spec: ConvSpec, batch: int, inputs: int, outputs: int
) -> str:
    """Return the name of the plugin's code that would compute a contraction in float32.

    It is "" without the plugin, and for empty arrays.

    Args:
        contraction: the array to compute.
        spec: the geometry.
        batch: images.
        inputs: input channels of a group.
        outputs: output channels of a group.
    """
    loaded = plugin()
    if isinstance(loaded, str) or not batch * math.prod(spec.input_size):
        return ""
    if repeats(contraction, inputs, spec.groups * outputs, spec):
        spec, outputs = dataclasses.replace(spec, groups=spec.groups * outputs), 1
    if contraction == "kernel" and takes_unstrided(inputs, spec):
        spec = _unstrided(spec)
    spec, _ = _within_onednn(spec, gradient_of_kernel=contraction == "kernel")
    before, after = zip(*spec.padding, strict=True)
    return loaded.implementation(
        contraction,
        (batch, *spec.input_size, spec.groups * inputs),
        (*spec.kernel_size, inputs, spec.groups * outputs),
        y=(batch, *spec.output_size, spec.groups * outputs),
        stride=spec.stride,
        before=before,
        after=after,
        dilation=spec.dilation,
        groups=spec.groups,
    )


def output(
    x: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Forward convolution."""
    del precision
    if repeats("output", w.shape[-2], w.shape[-1], spec):
        x, spec = _repeated(x, w.shape[-1], spec)
    spec, outside = _within_onednn(spec)
    shape = (x.shape[0], *spec.output_size, w.shape[-1])
    return _call("output", _embed(x, outside), w, spec, shape, dtype)


def input(
    y: jax.Array, w: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Backward by data."""
    del precision
    if repeats("input", w.shape[-2], w.shape[-1], spec):
        many = dataclasses.replace(spec, groups=w.shape[-1])
        x = input(y, w, many, dtype=jnp.dtype(jnp.float32))
        return x.reshape(*x.shape[:-1], spec.groups, -1).sum(-1).astype(dtype)
    spec, outside = _within_onednn(spec)
    shape = (y.shape[0], *spec.input_size, w.shape[-2] * spec.groups)
    x = _call("input", y, w, spec, shape, dtype)
    return _embed(x, [(-lo, -hi) for lo, hi in outside])


def kernel(
    x: jax.Array, y: jax.Array, spec: ConvSpec, *, precision=None, dtype: jnp.dtype
) -> jax.Array:
    """Backward by weights."""
    del precision
    if repeats("kernel", x.shape[-1] // spec.groups, y.shape[-1], spec):
        x, spec = _repeated(x, y.shape[-1], spec)
    if _has_blind_taps(spec):
        # oneDNN 3.2 leaves those entries unwritten in bfloat16, and zero in float32
        x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    if takes_unstrided(x.shape[-1], spec):
        x, spec = _read(x, spec), _unstrided(spec)
    spec, outside = _within_onednn(spec, gradient_of_kernel=True)
    shape = (*spec.kernel_size, x.shape[-1] // spec.groups, y.shape[-1])
    return _call("kernel", _embed(x, outside), y, spec, shape, dtype)


_SERVED = ("float32", "bfloat16", "float16")

# Smallest number of kernel entries for which x is repeated.
_REPEATED_FROM = {"output": 8, "input": 10, "kernel": 8}


def counted(contraction: Contraction, method: Callable[..., jax.Array]):
    """Return a method with its number of operations: XLA counts a library's call as unknown, -1.

    The program also contains lax's convolution, in a function whose result is not used. So
    `lowered.cost_analysis()` counts its operations (and one more for the call's -1), and XLA
    removes it before anything is compiled.
    """

    def counted(a, b, spec, *, precision=None, dtype):
        if a.size and b.size:
            _operations(a, b, contraction=contraction, spec=spec, dtype=jnp.dtype(dtype))
        return method(a, b, spec, precision=precision, dtype=dtype)

    return counted


@functools.partial(jax.jit, static_argnames=("contraction", "spec", "dtype"))
def _operations(a: jax.Array, b: jax.Array, *, contraction, spec: ConvSpec, dtype: jnp.dtype):
    one = lax.slice(b, (0,) * b.ndim, (1,) * b.ndim)
    one = one.astype(dtype) if one.dtype == jnp.bool_ else one  # bool has no products
    return lax_method.METHOD.contractions[contraction](a, b, spec, dtype=dtype), lax.mul(one, one)


@functools.cache
def plugin() -> ModuleType | str:
    """Return the plugin's module, or the reason why it is not available."""
    found = entry_points(group="jaxconv.methods", name="onednn")
    if not found:
        return "the plugin jaxconv-onednn is not installed"
    try:
        return next(iter(found)).load()
    except (ImportError, OSError, AttributeError) as error:
        return f"the plugin jaxconv-onednn does not load ({error})"


def registered() -> ModuleType:
    """Return the plugin with its handlers registered, for a program that is to call it."""
    with _REGISTERING:
        return _registered()


_REGISTERING = threading.Lock()  # XLA accepts the type of their state only once


@functools.cache
def _registered() -> ModuleType:
    loaded = plugin()
    assert not isinstance(loaded, str), loaded
    loaded.register()
    return loaded


def _has_blind_taps(spec: ConvSpec) -> bool:
    """Whether some entry of the kernel meets only padding."""
    return any(
        not outputs_inside(n, m, s, tap * d - lo)
        for n, m, k, s, d, (lo, _) in spec.dimensions
        for tap in range(k)
    )


_VECTOR = 16  # channels


def takes_unstrided(inputs: int, spec: ConvSpec) -> bool:
    """Whether a gradient of the kernel must avoid code of oneDNN 3.2 that may corrupt memory.

    oneDNN then gets only the elements that the kernel reads, without stride.
    """
    strided = math.prod(spec.kernel_size) == 1 < math.prod(spec.stride)
    return strided and spec.groups == 1 and inputs < _VECTOR


def _read(x: jax.Array, spec: ConvSpec) -> jax.Array:
    """Return the elements of x that a 1x1 kernel reads."""
    x = _embed(x, list(spec.padding))
    ends = [(m - 1) * s + 1 for m, s in zip(spec.output_size, spec.stride, strict=True)]
    return lax.slice(x, (0,) * x.ndim, (x.shape[0], *ends, x.shape[-1]), (1, *spec.stride, 1))


def _unstrided(spec: ConvSpec) -> ConvSpec:
    """Return the geometry of a 1x1 kernel on the elements that it reads."""
    one = (1,) * spec.rank
    return ConvSpec(one, one, ((0, 0),) * spec.rank, spec.groups, spec.output_size, one)


def repeats(contraction: Contraction, inputs: int, outputs: int, spec: ConvSpec) -> bool:
    """Whether a channel with several outputs is repeated, once per output.

    oneDNN has fast kernels only for one output per channel. With x repeated they need 0.03 to 0.6
    of the time (0.9 for the gradient of x by 3x3), but with few kernel entries, where repeating is
    most of the work, 0.7 to 2.6 (2 AVX-512 cores, 2026-11).
    """
    multiplied = inputs == 1 and outputs > spec.groups > 1
    return multiplied and math.prod(spec.kernel_size) >= _REPEATED_FROM[contraction]


def _repeated(x: jax.Array, outputs: int, spec: ConvSpec) -> tuple[jax.Array, ConvSpec]:
    """Repeat the channels of x, once per output."""
    x = jnp.repeat(x, outputs // spec.groups, axis=-1)
    return x, dataclasses.replace(spec, groups=outputs)


def _within_onednn(
    spec: ConvSpec, *, gradient_of_kernel: bool = False
) -> tuple[ConvSpec, list[tuple[int, int]]]:
    """Return the spec with padding that oneDNN accepts, and the padding (or cut) of x before it.

    oneDNN accepts no negative padding, and its kernels are made for padding below the kernel's
    extent. Its gradient of the kernel is wrong for some padding with both stride and dilation, and
    in bfloat16 where the kernel is deeper than the volume before padding.
    """
    pads, outside, sizes = [], [], []
    for dim, (n, k, s, d, (lo, hi)) in enumerate(
        zip(
            spec.input_size, spec.kernel_size, spec.stride, spec.dilation, spec.padding, strict=True
        )
    ):
        most = extent(k, d) - 1
        if hi < 0:  # what a stride leaves out at the end need not be cut
            hi = min(0, hi + s - 1 - (n + lo + hi - extent(k, d)) % s)
        before, after = min(max(lo, 0), most), min(max(hi, 0), most)
        deep = spec.rank == 3 and dim == 0 and extent(k, d) > n
        wrong = gradient_of_kernel and (deep or (s > 1 and d > 1))
        # the second: more is cut than there is
        if wrong or n + lo + hi - before - after < 1:
            before = after = 0
        pads.append((before, after))
        outside.append((lo - before, hi - after))
        sizes.append(n + lo - before + hi - after)
    inner = ConvSpec(
        spec.stride, spec.dilation, tuple(pads), spec.groups, tuple(sizes), spec.kernel_size
    )
    return inner, outside


def _embed(x: jax.Array, outside: list[tuple[int, int]]) -> jax.Array:
    """Pad (or cut) the spatial dimensions of (n, *space, channels)."""
    if not any(map(any, outside)):
        return x
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in outside), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _call(
    contraction: str,
    a: jax.Array,
    b: jax.Array,
    spec: ConvSpec,
    shape: tuple[int, ...],
    dtype: jnp.dtype,
) -> jax.Array:
    if not (math.prod(a.shape) and math.prod(b.shape) and math.prod(shape)):
        return jnp.zeros(shape, dtype)
    loaded = registered()
    common = operand_dtype(a, b, jnp.dtype(jnp.float32))
    # for this contraction in float16 oneDNN 3.2 has only its reference loops
    if common.name not in loaded.dtypes() or (contraction == "kernel" and common == jnp.float16):
        common = jnp.dtype(jnp.float32)
    result = common if dtype == common else jnp.dtype(jnp.float32)
    before, after = zip(*spec.padding, strict=True)
    call = jax.ffi.ffi_call(
        loaded.target(contraction), jax.ShapeDtypeStruct(shape, result), vmap_method="sequential"
    )
    computed = call(
        a.astype(common),
        b.astype(common),
        stride=_integers(spec.stride),
        dilation=_integers(spec.dilation),
        before=_integers(before),
        after=_integers(after),
        groups=np.int64(spec.groups),
        # inside `shard_map` the devices of the mesh share the threads
        devices=np.int64(max(1, jax.typeof(a).sharding.mesh.size)),
    )
    return computed.astype(dtype)


def _integers(values: tuple[int, ...]) -> np.ndarray:
    return np.asarray(values, np.int64)


def _terms(problem: Problem) -> Terms:
    """Kernels of several kinds, on blocks of 16 channels; blocks that are not full are slower."""
    spec, shared = problem.spec, common(problem)
    g, i, o = spec.groups, problem.inputs, problem.outputs
    work = shared["work inside"]
    kind = "dense" if g == 1 else "depthwise" if i == o == 1 else "grouped"
    kind = "single" if g * i * o == 1 else kind
    repeated = repeats(problem.contraction, i, g * o, spec)
    kind = "repeated" if repeated else kind
    used = implementation(problem.contraction, spec, problem.batch, i, o)
    if kind in ("depthwise", "repeated") and used.startswith(("jaxconv_plane", "jaxconv_line")):
        kind = "few"  # rows of elements, regardless of the channel
    if "gemm" in used:
        kind = "product"  # of matrices; windows are copied one image at a time
    wide = {"depthwise": g, "repeated": g * o, "few": g * o}.get(kind, o)
    odd = max(spec.stride) > 1 or max(spec.dilation) > 1
    found = {
        "work inside": work,
        "x read": shared["x"] * (o if repeated else 1),
        "y": shared["y"],
        "w": shared["w"],
        "windows": problem.batch * math.prod(spec.kernel_size + spec.output_size) * g * i,
        "batch * groups": problem.batch * g,
        "work inside / min(read, 16)": work / min(i, 16),
        "work inside / min(made, 16)": work / min(wide, 16),
        "rows * kernel rows": shared["y"] / spec.output_size[-1] * math.prod(spec.kernel_size[:-1]),
        "work inside if spread": work if odd else 0.0,
        "work inside if rank > 2": work if spec.rank > 2 else 0.0,
        "work inside if rank 1": work if spec.rank == 1 else 0.0,
        "work inside if read or made % 16": work if wide % 16 or (i % 16 and wide == o) else 0.0,
    }
    return shared | {
        f"oneDNN {which}: {name}": term if which == kind else 0.0
        for which in ("single", "few", "depthwise", "repeated", "grouped", "dense", "product")
        for name, term in found.items()
    }


def _considered(problem: Problem) -> bool:
    """Not where windows neither overlap nor leave gaps and oneDNN computes x for AVX2.

    There `columns`, one matrix product, took 0.56 (2x2x2 by 2, 32^3 from 128 to 64 channels) and
    0.72 (2x2 by 2, 56^2 from 1024 to 512) of its time (2 cores of an AMD EPYC with AVX2 alone,
    2026-11).
    """
    spec = problem.spec
    if problem.contraction != "input" or spec.kernel_size != spec.stride or spec.groups > 1:
        return True
    used = implementation("input", spec, problem.batch, problem.inputs, problem.outputs)
    return used != "brgconv_strided:avx2"


METHOD = Method(
    name="onednn",
    summary="oneDNN and own kernels in C++, where jaxconv-onednn is installed",
    contractions={
        "output": counted("output", output),
        "input": counted("input", input),
        "kernel": counted("kernel", kernel),
    },
    refuses=refuses,
    terms=_terms,
    constants=fitted("onednn"),
    considered=_considered,
    details=describe,
    needs=(
        "Linux on x86-64 and the package jaxconv-onednn; avx512f or avx2 for its own kernels; "
        "avx512_bf16 or amx_bf16 to multiply bfloat16 without conversion, avx512_fp16 for float16"
    ),
    calls_library=True,
)
