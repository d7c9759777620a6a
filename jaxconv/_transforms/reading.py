"""Which contraction of the trilinear form a call of `lax.conv_general_dilated` is, if any.

Written for lhs (N, C, *space) and rhs (O, I, *kernel); the axes may be in any order:

| lax's call | contraction | x | w | y |
|---|---|---|---|---|
| no `lhs_dilation`, no `batch_group_count` | `output` | lhs | rhs | result |
| `lhs_dilation`, no `window_strides` | `input` | result | flipped rhs, O and I swapped | lhs |
| `batch_group_count`, no `lhs_dilation` | `kernel` | lhs, N and C swapped | result | rhs |
| both of them, no `rhs_dilation` | `kernel` | rhs | flipped result | lhs |

The first row that fits is used, with one exception: lax's gradient of a kernel without groups (N
after C in lhs, and a rhs larger than the result) is read as if it had a `batch_group_count`.
A factor of `window_strides`, `lhs_dilation` or `rhs_dilation` without effect (a single result, a
single element) counts as 1.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params, primitives
from jax.sharding import AxisType

from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.primitive import contract, conv_p
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.shapes import extent
from jaxconv._core.geometry.spec import Contraction, ConvSpec
from jaxconv._core.machine import device_kind

_DTYPES = frozenset(
    map(
        jnp.dtype,
        (
            *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
            *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        ),
    )
)


class Reading(NamedTuple):
    """One contraction, and the permutations between lax's axes and ours.

    Attributes:
        contraction: "output", "input" or "kernel".
        spec: its geometry.
        lhs_axes: permutation of lhs to the first operand's layout.
        rhs_axes: permutation of rhs to the second operand's layout (before the flip and the
            exchange of channels that `input` needs).
        out_axes: permutation of our result to lax's layout.
        operands_swapped: whether rhs is the first operand, as in the table's last row.
    """

    contraction: Contraction
    spec: ConvSpec
    lhs_axes: tuple[int, ...]
    rhs_axes: tuple[int, ...]
    out_axes: tuple[int, ...]
    operands_swapped: bool = False


def read(lhs: Any, rhs: Any, out: Any, params: Mapping[str, Any]) -> Reading | str:
    """Return the contraction of an equation `conv_general_dilated`, or why it is not one.

    Args:
        lhs: the first operand's abstract value.
        rhs: the second operand's.
        out: the result's.
        params: the equation's parameters, checked and completed by lax.
    """
    refusal = _refusal(lhs, rhs, out, params)
    if refusal:
        return refusal
    numbers = params["dimension_numbers"]
    sizes, kernel, results = (
        tuple(array.shape[axis] for axis in axes[2:])
        for array, axes in zip(
            (lhs, rhs, out), (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec), strict=True
        )
    )
    groups, batch_groups = int(params["feature_group_count"]), int(params["batch_group_count"])
    geometry = [
        _effective(*dimension)
        for dimension in zip(
            sizes,
            kernel,
            results,
            params["window_strides"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            params["padding"],
            strict=True,
        )
    ]
    stride, spread, dilation, pads = (tuple(entry) for entry in zip(*geometry, strict=True))
    swapped = batch_groups > 1 or (groups == 1 and _is_kernel_gradient(numbers, kernel, results))
    if max(spread) == 1:
        if swapped:
            return _kernel(sizes, kernel, results, stride, dilation, pads, batch_groups, numbers)
        spec = ConvSpec(stride, dilation, pads, groups, sizes, kernel)
        return Reading("output", spec, *_plain_axes(numbers))
    if swapped and max(dilation) == 1:
        return _swapped_kernel(sizes, kernel, results, stride, spread, pads, batch_groups, numbers)
    if batch_groups > 1:
        return "batch_group_count with both lhs_dilation and rhs_dilation is not a contraction"
    if max(stride) > 1:
        return "window_strides and lhs_dilation together are not a contraction"
    # x[s] sums w[k] y[t] over t spread + k dilation - lo = s; lax pads the spread y instead
    cuts = [
        (extent(k, d) - 1 - lo, extent(k, d) - 1 - hi)
        for k, d, (lo, hi) in zip(kernel, dilation, pads, strict=True)
    ]
    spec = ConvSpec(spread, dilation, tuple(cuts), groups, results, kernel)
    return Reading("input", spec, *_plain_axes(numbers))


def perform(
    reading: Reading,
    lhs: jax.Array,
    rhs: jax.Array,
    out: Any,
    *,
    method: str = "auto",
    policy: Policy | None = None,
    precision: Any = None,
) -> jax.Array:
    """Compute the convolution of a `Reading`.

    Args:
        reading: from `read`.
        lhs: lax's first operand.
        rhs: lax's second operand.
        out: the result's abstract value.
        method: a method's name or "auto".
        policy: measured choices, for "auto".
        precision: the equation's parameter.
    """
    a = lax.transpose(lhs, reading.lhs_axes)
    b = lax.transpose(rhs, reading.rhs_axes)
    if reading.contraction == "input":
        b = _flipped_and_swapped(b, reading.spec)
    if reading.operands_swapped:
        a, b = b, a
    result = contract(
        reading.contraction,
        a,
        b,
        reading.spec,
        dtype=out.dtype,
        method=method,
        policy=policy,
        precision=precision,
    )
    if reading.operands_swapped:
        result = _flipped_and_swapped(result, reading.spec)
    result = lax.transpose(result, reading.out_axes)
    if AxisType.Explicit in out.sharding.mesh.axis_types:  # as lax's own sharding rule says
        result = jax.sharding.reshard(result, out.sharding)
    if out.weak_type:  # the carry of a loop must keep its type
        to = functools.partial(
            primitives.convert_element_type_p.bind, new_dtype=out.dtype, weak_type=True
        )
        return to(result, sharding=None)
    return result


def problem_of(equation: JaxprEqn, platform: str) -> Problem | str:
    """Return the problem of a convolution's equation, or why it is not a contraction.

    Its kind of device is that of this process's devices of the platform.

    Args:
        equation: of `conv_p` or of `conv_general_dilated`.
        platform: as in `jaxconv.Problem`.
    """
    a, b = (atom.aval for atom in equation.invars)
    out, params = equation.outvars[0].aval, equation.params
    if equation.primitive is conv_p:
        spec = params["spec"] if params["mode"] == "zeros" else params["spec"].padded
        device = {"platform": platform, "device_kind": device_kind(platform)}
        return Problem.of(params["contraction"], a, b, spec, dtype=params["dtype"], **device)
    reading = read(a, b, out, params)
    if isinstance(reading, str):
        return reading
    performed = jax.make_jaxpr(lambda a, b: perform(reading, a, b, out))(a, b)
    [ours] = _ours(performed.jaxpr)
    return problem_of(ours, platform)


def _ours(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    for equation in jaxpr.eqns:
        if equation.primitive is conv_p:
            yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from _ours(inner)


def _refusal(lhs: Any, rhs: Any, out: Any, params: Mapping[str, Any]) -> str | None:
    shapes = (*lhs.shape, *rhs.shape, *out.shape)
    if len(lhs.shape) < 3:
        return "no spatial dimensions"
    if not all(isinstance(size, (int, np.integer)) for size in shapes):
        return "symbolic sizes"
    if 0 in shapes:
        return "an empty array"
    if min(params["window_strides"]) < 1:  # lax itself refuses it when it compiles
        return "a stride that is not positive"
    for dtype in (lhs.dtype, rhs.dtype, out.dtype):
        if dtype not in _DTYPES:
            return f"dtype {dtype}"
    return None


def _effective(size, kernel, results, stride, spread, dilation, pad):
    """(stride, lhs dilation, rhs dilation, padding) without factors that have no effect."""
    stride, spread, dilation = int(stride), int(spread), int(dilation)
    lo, hi = map(int, pad)
    if size == 1:
        spread = 1
    if kernel == 1:
        dilation = 1
    if results == 1 and stride > 1:
        # with one result, and no stride, the padding must end where the kernel does
        stride = 1
        hi = extent(kernel, dilation) - extent(size, spread) - lo
    return stride, spread, dilation, (lo, hi)


def _is_kernel_gradient(numbers: Any, kernel: Sequence[int], results: Sequence[int]) -> bool:
    batch, feature = numbers.lhs_spec[:2]
    return batch > feature and math.prod(kernel) > math.prod(results)


def _kernel(sizes, kernel, results, stride, dilation, pads, groups, numbers) -> Reading:
    """Lax's rhs is y: its dilation is our stride, and the window's stride our dilation."""
    # lax's result size is our kernel size; the rest of the padding after x is cut off
    ends = [
        (lo, (m - 1) * d + extent(k, s) - n - lo)
        for n, m, k, s, d, (lo, _) in zip(
            sizes, kernel, results, stride, dilation, pads, strict=True
        )
    ]
    spec = ConvSpec(dilation, stride, tuple(ends), groups, sizes, results)
    (batch, feature, *space) = numbers.lhs_spec
    (out_feature, in_feature, *window) = numbers.rhs_spec
    (n, o, *positions) = numbers.out_spec
    return Reading(
        "kernel",
        spec,
        (feature, *space, batch),
        (in_feature, *window, out_feature),
        _inverse((*positions, n, o)),
    )


def _swapped_kernel(sizes, kernel, results, stride, spread, pads, groups, numbers) -> Reading:
    """Lax's lhs is y, dilated by our stride; its positions run backwards through our kernel."""
    ends = []
    for n, m, k, s, d, (lo, _) in zip(kernel, sizes, results, spread, stride, pads, strict=True):
        before = extent(k, d) - 1 - lo
        ends.append((before, (m - 1) * s + extent(k, d) - n - before))
    spec = ConvSpec(spread, stride, tuple(ends), groups, kernel, results)
    axes = _kernel(sizes, kernel, results, stride, spread, pads, groups, numbers)
    return axes._replace(spec=spec, operands_swapped=True)


def _plain_axes(numbers: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    (batch, feature, *space) = numbers.lhs_spec
    (out_feature, in_feature, *window) = numbers.rhs_spec
    (n, o, *positions) = numbers.out_spec
    return (
        (batch, *space, feature),
        (*window, in_feature, out_feature),
        _inverse((n, *positions, o)),
    )


def _inverse(places: Sequence[int]) -> tuple[int, ...]:
    """The permutation that puts axis j of an array at places[j]."""
    return tuple(places.index(axis) for axis in range(len(places)))


def _flipped_and_swapped(w: jax.Array, spec: ConvSpec) -> jax.Array:
    """Flip the kernel axes and swap the channels: (*kernel, a, g * b) -> (*kernel, b, g * a)."""
    size, groups = spec.kernel_size, spec.groups
    first, second = w.shape[-2], w.shape[-1] // groups
    w = jnp.flip(w, tuple(range(spec.rank))).reshape(*size, first, groups, second)
    return jnp.swapaxes(w, -3, -1).reshape(*size, second, groups * first)
