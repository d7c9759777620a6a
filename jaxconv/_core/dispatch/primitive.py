"""The JAX primitive under every convolution: one trilinear form, three contractions.

    T(x, w, y) = sum x[n, t stride + k dilation - lo, g, i] w[k, g, i, o] y[n, t, g, o]

`conv_p` computes one of the three arrays from the other two (`contraction` names it). Each
contraction is bilinear; its transpose with respect to one operand is another contraction with the
same spec. A vmapped axis is merged into the index that its arrays share: n (x and y), i (x and w),
o (w and y), or, if all three have it, g. So every derivative and every vmap of a convolution is
again a `conv_p`.
"""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.experimental.jet import jet_rules
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from jaxconv._core.dispatch.choose import EXPORTED, PARTITIONED, plan
from jaxconv._core.dispatch.joins import JOIN_GROUP, JOINS
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.taylor import bilinear
from jaxconv._core.geometry.dtypes import accumulation_dtype, in_64_bits, is_wide, one
from jaxconv._core.geometry.explicit_axes import entries_of, on_explicit_axes
from jaxconv._core.geometry.extension import extend, fold
from jaxconv._core.geometry.precision import check_precision
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.machine import device_kind
from jaxconv._core.methods import METHODS
from jaxconv._core.partition.automatic import partitioned, stand_ins

# The operands of each contraction, in order.
OPERANDS: dict[Contraction, tuple[str, str]] = {
    "output": ("x", "w"),
    "input": ("y", "w"),
    "kernel": ("x", "y"),
}
_MAKES: dict[Contraction, str] = {"output": "y", "input": "x", "kernel": "w"}
_CONTRACTION: dict[str, Contraction] = {array: contraction for contraction, array in _MAKES.items()}

_VARIES_OVER_NOTHING = jax.typeof(0.0).manual_axis_type

# Platforms whose compilers never call `custom_partitioning` rules: jax#38196.
NOT_PARTITIONED_HERE = frozenset({"tpu"})

# Typed `Any`: its flags are set at run time.
_CONFIG: Any = jax.config

conv_p = Primitive("conv")


def contract(
    contraction: Contraction,
    a: jax.Array,
    b: jax.Array,
    spec: ConvSpec,
    *,
    dtype: Any,
    method: str = "auto",
    policy: Policy | None = None,
    precision: Any = None,
    mode: str = "zeros",
) -> jax.Array:
    """Compute one array of the trilinear form from the other two.

    Args:
        contraction: "output" (from x, w), "input" (from y, w) or "kernel" (from x, y).
        a: the first operand; x is (*batch, *space, in), y is (*batch, *space', out).
        b: the second operand; w is (*kernel, in // groups, out).
        spec: the geometry.
        dtype: the result's dtype.
        method: a method's name or "auto".
        policy: measured choices, for "auto".
        precision: as in `check_precision`; None is the value of `jax.default_matmul_precision`.
        mode: how x is extended beyond its borders, as in `jaxconv.pad`.

    Returns:
        The third array.
    """
    a, b = _match_varying_axes(a, b)
    if precision is None:  # read here: where programs are lowered it may have another value
        precision = _CONFIG.jax_default_matmul_precision
    precision = check_precision("contract", precision)
    bind = partial(
        conv_p.bind,
        contraction=contraction,
        spec=spec,
        dtype=jnp.dtype(dtype),
        method=method,
        policy=policy,
        precision=precision,
        mode=mode,
    )
    # on explicit axes the primitive gets ordinary arrays, and `entries` shard its result
    shape = _result_shape(contraction, a, b, spec)
    entries = _entries(contraction, a, b, spec)
    return _visible_to_checkify(on_explicit_axes(bind, a, b, shape=shape, entries=entries))


def _visible_to_checkify(result: jax.Array) -> jax.Array:
    """While tracing, multiply the result by one, which XLA removes again.

    `jax.experimental.checkify` looks for NaN only in results of primitives that it knows, and has
    no public way to add one.
    """
    if not (isinstance(result, Tracer) and jnp.issubdtype(result.dtype, jnp.inexact)):
        return result
    with in_64_bits(result.dtype):
        return jax.lax.mul(result, one(result.dtype))


def _match_varying_axes(a, b):
    """Inside `shard_map`, mark both operands as varying over the union of their mesh axes."""
    varying = [jax.typeof(array).manual_axis_type.varying for array in (a, b)]
    missing = [(varying[0] | varying[1]) - axes for axes in varying]
    return [
        jax.lax.pcast(array, tuple(sorted(axes)), to="varying") if axes else array
        for array, axes in zip((a, b), missing, strict=True)
    ]


def _result_shape(contraction, a, b, spec: ConvSpec) -> tuple[int, ...]:
    rank = spec.rank
    if contraction == "kernel":
        return (*spec.kernel_size, a.shape[-1] // spec.groups, b.shape[-1])
    batch = a.shape[: -rank - 1]
    if contraction == "output":
        return (*batch, *spec.output_size, b.shape[-1])
    return (*batch, *spec.input_size, b.shape[-2] * spec.groups)


def _abstract(a, b, *, contraction, spec, dtype, **_):
    shape = _result_shape(contraction, a, b, spec)
    sharding = _named(a.sharding.mesh, [None] * len(shape))
    return a.update(shape=shape, dtype=dtype, weak_type=False, sharding=sharding)


def _jvp(primals, tangents, **params):
    """D c(a, b) = c(da, b) + c(a, db)."""
    a, b = primals
    da, db = tangents
    result = contract(a=a, b=b, **params)
    terms = []
    if type(da) is not ad.Zero:
        terms.append(contract(a=da, b=b, **params))
    if type(db) is not ad.Zero:
        terms.append(contract(a=a, b=db, **params))
    if not terms:
        return result, ad.Zero(jax.typeof(result).to_tangent_aval())
    return result, terms[0] if len(terms) == 1 else terms[0] + terms[1]


def _transpose(cotangent, a, b, *, contraction: Contraction, spec: ConvSpec, dtype, **numerics):
    """Compute the missing operand: it is the third array of another contraction, with this spec."""
    del dtype
    operands = (a, b)
    missing = next(n for n, array in enumerate(operands) if ad.is_undefined_primal(array))
    target = operands[missing].aval
    if type(cotangent) is ad.Zero:
        result = ad.Zero(target.to_tangent_aval())
    else:
        arrays = dict(zip(OPERANDS[contraction], operands, strict=True))
        arrays[_MAKES[contraction]] = cotangent
        other = _CONTRACTION[OPERANDS[contraction][missing]]
        first, second = (arrays[name] for name in OPERANDS[other])
        result = contract(other, first, second, spec, dtype=target.dtype, **numerics)
    return (result, None) if missing == 0 else (None, result)


def _batch(operands, axes, *, contraction: Contraction, spec: ConvSpec, **params):
    """Merge the mapped axis into the index shared by the arrays that have it."""
    names = OPERANDS[contraction]
    mapped = {name for name, axis in zip(names, axes, strict=True) if axis is not None}
    carriers = frozenset({*mapped, _MAKES[contraction]})
    join = JOINS.get(carriers, JOIN_GROUP)
    size = next(o.shape[a] for o, a in zip(operands, axes, strict=True) if a is not None)
    if size == 0:  # nothing to compute, and the numbers of channels and groups cannot be 0
        first, second = (
            array if axis is None else jax.eval_shape(partial(jnp.sum, axis=axis), array)
            for array, axis in zip(operands, axes, strict=True)
        )
        shape = _result_shape(contraction, first, second, spec)
        return jnp.zeros((0, *shape), params["dtype"]), 0
    first, second = (
        array if axis is None else join.merge(name, jnp.moveaxis(array, axis, 0), spec)
        for name, array, axis in zip(names, operands, axes, strict=True)
    )
    joined = dataclasses.replace(spec, groups=spec.groups * size) if join is JOIN_GROUP else spec
    result = contract(contraction, first, second, joined, **params)
    return join.split(_MAKES[contraction], result, spec, size), 0


def _entries(contraction, a, b, spec: ConvSpec) -> list[Any]:
    """Return the partition entries of the result, one per axis.

    Batch, space and the channels of the result keep the entries they have in the operands; axes
    that are summed over are reduced.
    """
    names = OPERANDS[contraction]
    entries = {name: entries_of(array) for name, array in zip(names, (a, b), strict=True)}
    if contraction == "kernel":
        inputs = None if spec.groups > 1 else entries["x"][-1]
        return [*[None] * spec.rank, inputs, entries["y"][-1]]
    if contraction == "output":
        channel = entries["w"][-1]
    else:
        channel = entries["w"][-2] if spec.groups == 1 else entries["y"][-1]
    return [*entries[names[0]][:-1], channel]


def _named(mesh, entries) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*entries))


def _extend_and_run(a, b, *, contraction, spec, dtype, mode, **how):
    """Extend x as the mode says, and run the chosen method on one device."""
    if mode == "zeros":
        return _run_method(a, b, contraction=contraction, spec=spec, dtype=dtype, **how)
    pairs = dict(zip(range(-spec.rank - 1, -1), spec.padding, strict=True))
    if contraction != "input":
        a = extend(a, pairs=pairs, mode=mode)
        return _run_method(a, b, contraction=contraction, spec=spec.padded, dtype=dtype, **how)
    # margins are added before the one rounding
    sums = accumulation_dtype(a, b, dtype)
    x = _run_method(a, b, contraction=contraction, spec=spec.padded, dtype=sums, **how)
    return fold(x, pairs=pairs, mode=mode).astype(dtype)


def _run_method(
    a, b, *, contraction, spec, dtype, method, policy, precision, platform, reason=None
):
    """Run the chosen method on arrays of any number of batch axes.

    `reason` is why the program cannot call a library of this process, or None.
    """
    shape = _result_shape(contraction, a, b, spec)
    if 0 in (*a.shape, *b.shape):  # empty sums
        return jnp.zeros(shape, dtype)
    kind = "" if reason == EXPORTED else device_kind(platform)
    problem = Problem.of(contraction, a, b, spec, dtype=dtype, platform=platform, device_kind=kind)
    choice, reduction = plan(problem, method, policy, ffi_unavailable_reason=reason)
    a, b = (
        array if name == "w" else _one_batch_axis(array, spec.rank)
        for name, array in zip(OPERANDS[contraction], (a, b), strict=True)
    )
    if reduction:
        spec = reduction.spec
        a, b = (
            reduction.shrink(name, array)
            for name, array in zip(OPERANDS[contraction], (a, b), strict=True)
        )
    with in_64_bits(a.dtype, b.dtype, dtype):
        compute = METHODS[choice.method].on(platform, contraction)
        result = compute(a, b, spec, precision=precision, dtype=dtype)
        if reduction:
            return reduction.grow(_MAKES[contraction], result, shape)
        return result.reshape(shape)


def _partitioned(a, b, *, contraction, spec, dtype, mode, devices, **how):
    """Let every device of a mesh compute its part."""

    def convolve(contraction, a, b, spec, dtype):
        return _run_method(a, b, contraction=contraction, spec=spec, dtype=dtype, **how)

    form = {"contraction": contraction, "spec": spec, "mode": mode, "dtype": dtype}
    shape = _result_shape(contraction, a, b, spec)
    return partitioned(a, b, **form, shape=shape, convolve=convolve, devices=devices)


def _whole_space(a, b, *, contraction, spec, devices, **how):
    """Leave the partitioning to XLA, in a form that it partitions correctly.

    It partitions correctly dense convolutions whose spatial dimensions are not sharded, and sums of
    slices and matrix products with any sharding.
    """
    if spec.groups > 1:
        return _extend_and_run(a, b, contraction=contraction, spec=spec, reason=PARTITIONED, **how)
    mesh, names = (
        AbstractMesh((len(devices),), ("device",), axis_types=(AxisType.Auto,)),
        (*OPERANDS[contraction], _MAKES[contraction]),
    )

    def whole(name, array):
        open_axes = [PartitionSpec.UNCONSTRAINED] * array.ndim
        first = 0 if name == "w" else array.ndim - spec.rank - 1
        open_axes[first : first + spec.rank] = [None] * spec.rank
        sharding = NamedSharding(mesh, PartitionSpec(*open_axes))
        return jax.lax.with_sharding_constraint(array, sharding)

    with in_64_bits(a.dtype, b.dtype, how["dtype"]):
        a, b = map(whole, names[:2], (a, b))
        made = _extend_and_run(a, b, contraction=contraction, spec=spec, **how)
        return whole(names[2], made)


def _one_batch_axis(array, rank: int):
    batch, rest = array.shape[: -rank - 1], array.shape[-rank - 1 :]
    return array.reshape(math.prod(batch), *rest)


def _lowering(ctx, a, b, *, platform, **params):
    module = ctx.module_context
    reason = _ffi_unavailable_reason(module)
    if reason == PARTITIONED and _partitions_itself(module):
        devices = stand_ins(module.axis_context.num_devices)
        context = mlir.ShardingContext(len(devices), devices)
        ctx = ctx.replace(module_context=module.replace(axis_context=context))
        dtypes = *(aval.dtype for aval in ctx.avals_in), params["dtype"]
        if platform in NOT_PARTITIONED_HERE or (
            any(map(is_wide, dtypes)) and not _wide_everywhere()
        ):
            compute = partial(_whole_space, platform=platform, devices=devices)
        else:
            compute = partial(_partitioned, platform=platform, devices=devices)
    else:
        compute = partial(_extend_and_run, platform=platform, reason=reason)
    # methods are written for one device: inside `shard_map` the initial values of their loops are
    # not marked as varying over mesh axes, so the operands are not either
    alike = [aval.update(manual_axis_type=_VARIES_OVER_NOTHING) for aval in ctx.avals_in]
    lower = mlir.lower_fun(compute, multiple_results=False)
    return lower(ctx.replace(avals_in=alike), a, b, **params)


def _wide_everywhere() -> bool:
    """Whether 64 bits are on in every thread: partitioning rules are traced in a thread of XLA."""
    with ThreadPoolExecutor(1) as other:
        return other.submit(lambda: _CONFIG.jax_enable_x64).result()


def _default_lowering(ctx, a, b, **params):
    """Lower for any other platform, by its name."""
    platforms = ctx.platforms or ctx.module_context.platforms
    return _lowering(ctx, a, b, platform=platforms[0], **params)


def _ffi_unavailable_reason(module) -> str | None:
    """Why the program being lowered cannot call a library of this process, or None."""
    axes = module.axis_context
    if hasattr(axes, "mesh"):  # inside `shard_map`, each device runs its own call
        shared = [size for axis, size in axes.mesh.shape.items() if axis not in axes.manual_axes]
        devices = math.prod(shared)
    else:
        devices = getattr(axes, "num_devices", 1)
    if devices > 1:
        return PARTITIONED
    return EXPORTED if _is_exported(module) else None


def calls_libraries(module) -> bool:
    """Whether the program being lowered may call libraries on whole arrays: here, on one CPU."""
    return _ffi_unavailable_reason(module) is None


def _partitions_itself(module) -> bool:
    """Whether this process compiles the program, and XLA partitions it over all of its devices.

    Inside a `shard_map` over some axes of a mesh, XLA does not report how it numbers the devices of
    the other axes.
    """
    return isinstance(module.axis_context, mlir.ShardingContext) and not _is_exported(module)


def _is_exported(module) -> bool:
    return module.lowering_parameters.for_export or len(module.platforms) > 1


@partial(
    jax.jit,
    static_argnames=("contraction", "spec", "dtype", "method", "policy", "precision", "mode"),
)
def _compiled(a, b, **params):
    return conv_p.bind(a, b, **params)


def _eager(a, b, **params):
    # compiled even under `jax.disable_jit`: the primitive has no other implementation
    with jax.disable_jit(False):
        return _compiled(a, b, **params)


conv_p.def_impl(_eager)
conv_p.def_abstract_eval(_abstract)
ad.primitive_jvps[conv_p] = _jvp
ad.primitive_transposes[conv_p] = _transpose
batching.primitive_batchers[conv_p] = _batch
jet_rules[conv_p] = partial(bilinear, contract)
mlir.register_lowering(conv_p, _default_lowering)
# policies have the name in `Device.platform`: "gpu" for CUDA, ROCm and oneAPI
for _platform in ("cpu", "gpu", "tpu"):
    mlir.register_lowering(conv_p, partial(_lowering, platform=_platform), platform=_platform)
