"""List every convolution inside a function with its contraction, its method and the reason."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params, primitives

from jaxconv._core.dispatch.choose import RULES, expected, select
from jaxconv._core.dispatch.library_dependent import library_dependent_p
from jaxconv._core.dispatch.primitive import conv_p
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.geometry.tables import aligned, geometry, milliseconds
from jaxconv._transforms.reading import problem_of
from jaxconv._transforms.scopes import named_modules
from jaxconv._transforms.tracing import trace
from jaxconv._transforms.tune import check_seconds, medians

# Compiled functions that sum without the primitive: name -> (method, reason)
_SUMS = {
    "correlate_in_order": ("in order", "fractions are dropped, so that the order matters"),
    "quantized_in_one_call": (
        "integers",
        "rounds, and has zero points and channels first, in the same call",
    ),
}


class Convolution(NamedTuple):
    """One convolution of a function.

    Attributes:
        where: the names of the functions, loops, Flax modules and `jax.named_scope`s around it,
            outermost first; "jvp(...)" and "transpose(...)" around those that are differentiated.
        call: "jaxconv" for a convolution of this package, "lax" for one that
            `jaxconv.accelerate` would replace.
        contraction: "output", "input" or "kernel"; "none" if it stays with lax.
        shapes: of both operands and the result, in the layout of the call.
        spec: the geometry, or None if it stays with lax, is summed in order, or is a quantized
            layer that is made in one call.
        method: the name of the chosen method; "in order" for sums of `jaxconv.compat.scipy` of
            which fractions are dropped.
        reason: why it was chosen.
        seconds: the time of a call of each method: measured, if that was asked for, or else
            expected, on a CPU alone, from the sizes.
    """

    where: str
    call: str
    contraction: str
    shapes: str
    spec: ConvSpec | None
    method: str
    reason: str
    seconds: Mapping[str, float]


class Explanation(tuple[Convolution, ...]):
    """A tuple of `Convolution`, in the order of execution, that prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        if not self:
            return "no convolution"
        rows = [("where", "call", "contraction", "shapes", "geometry", "method", "reason")]
        rows += [(*c[:4], "" if c.spec is None else geometry(c.spec), *c[5:7]) for c in self]
        if any(c.seconds for c in self):
            times = ["ms", *(milliseconds(c.seconds) for c in self)]
            rows = [(*row[:6], taken, row[6]) for row, taken in zip(rows, times, strict=True)]
        return aligned(rows)

    __repr__ = __str__


def explain(
    f: Callable[..., Any],
    /,
    *args: Any,
    platform: str | None = None,
    seconds: float | None = None,
    **kwargs: Any,
) -> Explanation:
    """List every convolution in a function with its contraction and its method.

        T(x, w, y): `output` makes y, `input` makes x, `kernel` makes w

    A call of lax is listed as `jaxconv.accelerate` would replace it, or with the reason why it
    would not. Nothing is computed, unless times are to be measured.

    Args:
        f: any function that `jax.jit` can trace; `jax.grad(f)` lists the gradients' convolutions.
        args: its arguments; each array may be a `jax.ShapeDtypeStruct`.
        platform: "cpu", "gpu", "tpu", as `jax.default_backend()` names them (CUDA and ROCm are
            "gpu"); by default that of this process.
        seconds: how long to time the methods of each convolution on this device, as `tune` does;
            by default times are those that are expected.
        kwargs: its keyword arguments (pass one named platform or seconds by `functools.partial`).

    Returns:
        A tuple of `Convolution` that prints as a table; the body of a loop is listed once.

    Raises:
        TypeError: f is not callable.
        ValueError: seconds is not positive, or given with a platform that is not this process's; f
            sets a `flax.nnx` Variable that it closes over. (Variables among its arguments
            are left as they are.)

    Example:
        >>> import jax.numpy as jnp
        >>> def f(x, w):
        ...     return jax.lax.conv(x, w, (2, 2), "SAME").sum()
        >>> x, w = jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
        >>> for row in explain(jax.grad(f, (0, 1)), x, w, platform="tpu"):
        ...     print(row.contraction, row.shapes, row.method)
        output float32[1,3,8,8] * float32[4,3,3,3] -> float32[1,4,4,4] lax
        kernel float32[1,3,8,8] * float32[1,4,4,4] -> float32[4,3,3,3] lax
        input float32[1,4,4,4] * float32[4,3,3,3] -> float32[1,3,8,8] lax
    """
    if not callable(f):
        raise TypeError(f"explain: f={shown(f)} must be a function, not {type(f).__name__}")
    here = jax.default_backend()
    if seconds is not None:
        check_seconds("explain", seconds)
        if platform not in (None, here):
            raise ValueError(
                f"explain: seconds={seconds} measures on this device, which is a {here}, not a "
                f"{platform}"
            )
    with named_modules():
        jaxpr = trace("explain", f, args, kwargs).jaxpr.jaxpr
    measured = functools.cache(functools.partial(medians, seconds=seconds)) if seconds else None
    return Explanation(_convolutions(jaxpr, platform or here, measured, ()))


def _convolutions(
    jaxpr: Jaxpr,
    platform: str,
    measured: Callable[..., dict[str, float]] | None,
    outer: tuple[str, ...],
) -> Iterator[Convolution]:
    for equation in jaxpr.eqns:
        scopes = str(equation.source_info.name_stack)
        around = (*outer, scopes) if scopes else outer
        if equation.primitive in (conv_p, primitives.conv_general_dilated_p):
            yield _explained(equation, platform, measured, "/".join(around))
            continue
        if equation.params.get("name") in _SUMS:
            x, w, *_ = (atom.aval for atom in equation.invars)
            shapes = _product(x, w, equation.outvars[0].aval)
            where = "/".join(around)
            method, reason = _SUMS[equation.params["name"]]
            yield Convolution(where, "jaxconv", "output", shapes, None, method, reason, {})
            continue
        params = equation.params
        if equation.primitive is library_dependent_p:
            params = {"": params["library" if platform == "cpu" else "default"]}
        elif params.get("branches_platforms"):  # of `jax.lax.platform_dependent`
            params = {"": params["branches"][_branch(params["branches_platforms"], platform)]}
        for inner in jaxprs_in_params(params):
            yield from _convolutions(inner, platform, measured, (*around, _name(equation)))


def _branch(branches: Sequence[Sequence[str] | None], platform: str) -> int:
    """Return the first branch that has the platform by any of its names, or else the default."""
    names = {platform, *(("cuda", "rocm") if platform == "gpu" else ())}
    named = (n for n, found in enumerate(branches) if found and names & {*found})
    return next(named, len(branches) - 1)


def _explained(
    equation: JaxprEqn,
    platform: str,
    measured: Callable[..., dict[str, float]] | None,
    where: str,
) -> Convolution:
    a, b = (atom.aval for atom in equation.invars)
    out = equation.outvars[0].aval
    shapes = _product(a, b, out)
    ours = equation.primitive is conv_p
    call = "jaxconv" if ours else "lax"
    problem = problem_of(equation, platform)
    if isinstance(problem, str):
        reason = f"stays with lax: {problem}"
        return Convolution(where, call, "none", shapes, None, "lax", reason, {})
    method, policy = (equation.params[n] for n in ("method", "policy")) if ours else ("auto", None)
    choice = select(problem, method, policy)
    rule = method if method in RULES else "auto"
    times = measured(problem, rule=rule) if measured else expected(problem, rule, policy)
    return Convolution(where, call, problem.contraction, shapes, problem.spec, *choice, times)


def _name(equation: JaxprEqn) -> str:
    """The name of a function or loop, or else that of its primitive."""
    primitive, params = equation.primitive.name, equation.params
    if primitive == "scan":
        return f"scan[{params['length']}]"
    return str(params.get("name", primitive))


def _product(a: Any, b: Any, out: Any) -> str:
    return f"{_shape(a)} * {_shape(b)} -> {_shape(out)}"


def _shape(aval: Any) -> str:
    return f"{aval.dtype}[{','.join(map(str, aval.shape))}]"
