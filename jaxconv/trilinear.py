"""The JAX primitive under every convolution: one trilinear form, three contractions.

    T(x, w, y) = sum x[n, t stride + k dilation - lo, g, i] w[k, g, i, o] y[n, t, g, o]

`conv_p` computes one of the three arrays from the other two (`contraction` names it). Each
contraction is bilinear; its transpose in one operand is another contraction with the same spec.
A vmapped axis joins the index class that its arrays share: n (x and y), i (x and w), o (w and y),
or, on all three, g. So every derivative and every vmap of a convolution is again a `conv_p`.
"""

import contextlib
import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.jet import jet_rules
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxconv.choose import EXPORTED, PARTITIONED, may_simplify, select
from jaxconv.methods import METHODS
from jaxconv.policy import Policy, Problem
from jaxconv.simplify import simplify
from jaxconv.spec import Contraction, ConvSpec
from jaxconv.taylor import bilinear

# The operands of each contraction, in order.
OPERANDS: dict[Contraction, tuple[str, str]] = {
    "output": ("x", "w"),
    "input": ("y", "w"),
    "kernel": ("x", "y"),
}
_MAKES: dict[Contraction, str] = {"output": "y", "input": "x", "kernel": "w"}
_CONTRACTION: dict[str, Contraction] = {array: contraction for contraction, array in _MAKES.items()}

_VARIES_OVER_NOTHING = jax.typeof(0.0).manual_axis_type

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
) -> jax.Array:
    """Compute one array of the form from the other two.

    Args:
        contraction: "output" (from x, w), "input" (from y, w) or "kernel" (from x, y).
        a: the first operand; x is (*batch, *space, in), y is (*batch, *space', out).
        b: the second operand; w is (*kernel, in // groups, out).
        spec: the geometry.
        dtype: the result's dtype.
        method: a method's name or "auto".
        policy: measured choices, for "auto".
        precision: as `jax.lax.Precision`.

    Returns:
        The third array.
    """
    a, b = _vary_alike(a, b)
    bind = partial(
        conv_p.bind,
        contraction=contraction,
        spec=spec,
        dtype=jnp.dtype(dtype),
        method=method,
        policy=policy,
        precision=precision,
    )
    mesh = jax.typeof(a).sharding.mesh
    if AxisType.Explicit in mesh.axis_types:
        # Inside, the partitioner sees ordinary arrays; outside, the result has the sharding that
        # the index classes give it.
        sharding = _result_sharding(contraction, a, b, spec)
        partitioned: Any = jax.sharding.auto_axes(bind, out_sharding=sharding)
        return _watched(partitioned(a, b))
    return _watched(bind(a, b))


def _watched(result: jax.Array) -> jax.Array:
    """The result times one where a program is traced, which XLA leaves out again.

    `jax.experimental.checkify` looks for NaN in what primitives that it knows make, and has no
    public way to make one known.
    """
    traced = isinstance(result, jax.core.Tracer) and jnp.issubdtype(result.dtype, jnp.inexact)
    return jax.lax.mul(result, jnp.ones((), result.dtype)) if traced else result


def _vary_alike(a, b):
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
    """The missing operand is the third array of the form: another contraction, the same spec."""
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
    """Let the mapped axis join the index class of the arrays that carry it."""
    names = OPERANDS[contraction]
    mapped = {name for name, axis in zip(names, axes, strict=True) if axis is not None}
    carriers = frozenset({*mapped, _MAKES[contraction]})
    join = _JOINS.get(carriers, _join_group)
    size = next(o.shape[a] for o, a in zip(operands, axes, strict=True) if a is not None)
    if size == 0:  # nothing to compute, and channels or groups cannot be none
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
    joined = dataclasses.replace(spec, groups=spec.groups * size) if join is _join_group else spec
    result = contract(contraction, first, second, joined, **params)
    return join.split(_MAKES[contraction], result, spec, size), 0


class _Join:
    """How an axis in front of an array enters one of its channel axes, and leaves it again."""

    def __init__(self, place):
        self._place = place  # array's name -> (axis it enters, whether groups stay in front of it)

    def merge(self, name, array, spec):
        axis, inside_groups = self._place[name]
        size, shape = array.shape[0], array.shape[1:]
        groups = spec.groups if inside_groups else 1
        # (v, ..., g * c, ...) -> (..., g, v, c, ...) -> (..., g * v * c, ...)
        at = len(shape) + axis
        split = (*shape[:at], groups, shape[at] // groups, *shape[at + 1 :])
        array = jnp.moveaxis(array.reshape(size, *split), 0, at + 1)
        return array.reshape(*shape[:at], size * shape[at], *shape[at + 1 :])

    def split(self, name, array, spec, size):
        axis, inside_groups = self._place[name]
        groups = spec.groups if inside_groups else 1
        at = array.ndim + axis
        channels = array.shape[at] // (groups * size)
        array = array.reshape(*array.shape[:at], groups, size, channels, *array.shape[at + 1 :])
        array = jnp.moveaxis(array, at + 1, 0)
        shape = array.shape
        return array.reshape(*shape[: at + 1], groups * channels, *shape[at + 3 :])


class _JoinBatch:
    """The n class: any number of batch axes is allowed, so the axis stays where it is."""

    def merge(self, name, array, spec):
        del name, spec
        return array

    def split(self, name, array, spec, size):
        del name, spec, size
        return array


_join_group = _Join({"x": (-1, False), "w": (-1, False), "y": (-1, False)})
_JOINS = {
    frozenset("xy"): _JoinBatch(),
    frozenset("xw"): _Join({"x": (-1, True), "w": (-2, False)}),
    frozenset("wy"): _Join({"w": (-1, True), "y": (-1, True)}),
}


def _result_sharding(contraction, a, b, spec: ConvSpec) -> NamedSharding:
    """Sharding of the result on a mesh with explicit axes: each index class keeps its own.

    Batch axes keep theirs, a channel axis that survives keeps its, and what is summed over is
    reduced. Spatial dimensions must be whole.
    """
    name_a, name_b = OPERANDS[contraction]
    specs = {name_a: jax.typeof(a).sharding.spec, name_b: jax.typeof(b).sharding.spec}
    rank = spec.rank
    for name, entries in specs.items():
        spatial = entries[:rank] if name == "w" else entries[-rank - 1 : -1]
        if any(entry is not None for entry in spatial):
            raise ValueError(
                f"conv: {name} is sharded along a spatial dimension ({entries}) on a mesh with "
                "explicit axes; use jax.sharding.reshard to make those dimensions whole"
            )
    if contraction == "kernel":
        entries = (*[None] * rank, None if spec.groups > 1 else specs["x"][-1], specs["y"][-1])
    else:
        batch = specs[name_a][: -rank - 1]
        if contraction == "output":
            channel = specs["w"][-1]
        else:
            channel = specs["w"][-2] if spec.groups == 1 else specs["y"][-1]
        entries = (*batch, *[None] * rank, channel)
    return _named(jax.typeof(a).sharding.mesh, _without_repeats(entries))


def _named(mesh, entries) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*entries))


def _without_repeats(entries):
    """A mesh axis may shard one dimension only: the first keeps it."""
    used: set[str] = set()
    kept = []
    for entry in entries:
        axes = set(entry if isinstance(entry, tuple) else (entry,)) - {None}
        kept.append(None if axes & used else entry)
        used |= axes
    return kept


def _compute(a, b, *, contraction, spec, dtype, method, policy, precision, platform, alone=None):
    """Run the chosen method on arrays with exactly one batch axis."""
    problem = Problem.of(contraction, a, b, spec, dtype=dtype, platform=platform)
    chosen = select(problem, method, policy, alone=alone).method
    shape = _result_shape(contraction, a, b, spec)
    a, b = (
        array if name == "w" else _one_batch_axis(array, spec.rank)
        for name, array in zip(OPERANDS[contraction], (a, b), strict=True)
    )
    simple = simplify(spec) if may_simplify(platform, alone) else None
    if simple:
        spec = simple.spec
        a, b = (
            simple.shrink(name, array)
            for name, array in zip(OPERANDS[contraction], (a, b), strict=True)
        )
    # lowered after `with jax.enable_x64():` around a part of a program is left, 64 bits stay 64
    wide = any(
        (d.itemsize > 4 and d.kind in "iuf") or d.itemsize > 8 for d in (a.dtype, b.dtype, dtype)
    )
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        result = METHODS[chosen][contraction](a, b, spec, precision=precision, dtype=dtype)
        return simple.grow(_MAKES[contraction], result, shape) if simple else result.reshape(shape)


def _one_batch_axis(array, rank: int):
    batch, rest = array.shape[: -rank - 1], array.shape[-rank - 1 :]
    return array.reshape(math.prod(batch), *rest)


def _lowering(ctx, a, b, *, platform, alone=None, **params):
    compute = partial(_compute, platform=platform, alone=alone)
    # methods are written for one device: inside `shard_map` what they compute varies over the
    # mesh as a whole, and what their loops start from need not say so
    alike = [aval.update(manual_axis_type=_VARIES_OVER_NOTHING) for aval in ctx.avals_in]
    lower = mlir.lower_fun(compute, multiple_results=False)
    return lower(ctx.replace(avals_in=alike), a, b, **params)


def _cpu_lowering(ctx, a, b, **params):
    return _lowering(ctx, a, b, platform="cpu", alone=_alone(ctx.module_context), **params)


def _alone(module) -> str | None:
    """Why the program being lowered can call no library of this process, or None if it can."""
    if module.lowering_parameters.for_export or len(module.platforms) > 1:
        return EXPORTED
    axes = module.axis_context
    if hasattr(axes, "mesh"):  # inside `shard_map`, each device runs its own call
        shared = [size for axis, size in axes.mesh.shape.items() if axis not in axes.manual_axes]
        devices = math.prod(shared)
    else:
        devices = getattr(axes, "num_devices", 0)
    return None if devices == 1 else PARTITIONED


@partial(jax.jit, static_argnames=("contraction", "spec", "dtype", "method", "policy", "precision"))
def _compiled(a, b, **params):
    return conv_p.bind(a, b, **params)


def _eager(a, b, **params):
    # even where the user's functions run uncompiled: this is the primitive's one implementation
    with jax.disable_jit(False):
        return _compiled(a, b, **params)


conv_p.def_impl(_eager)
conv_p.def_abstract_eval(_abstract)
ad.primitive_jvps[conv_p] = _jvp
ad.primitive_transposes[conv_p] = _transpose
batching.primitive_batchers[conv_p] = _batch
jet_rules[conv_p] = partial(bilinear, contract)
mlir.register_lowering(conv_p, partial(_lowering, platform="other"))
mlir.register_lowering(conv_p, _cpu_lowering, platform="cpu")
