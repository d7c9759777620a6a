"""List every convolution inside a function with its contraction, its method and the reason."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params, primitives

from jaxconv._core.dispatch.choose import select
from jaxconv._core.dispatch.primitive import conv_p
from jaxconv._core.geometry.messages import shown
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._transforms.reading import problem_of
from jaxconv._transforms.scopes import named_modules
from jaxconv._transforms.tracing import trace


class Convolution(NamedTuple):
    """One convolution of a function.

    Attributes:
        where: the names of the functions, loops, Flax modules and `jax.named_scope`s around it,
            outermost first; "jvp(...)" and "transpose(...)" around those that are differentiated.
        call: "jaxconv" for a convolution of this package, "lax" for one that
            `jaxconv.accelerate` would replace.
        contraction: "output", "input" or "kernel"; "none" if it stays with lax.
        shapes: of both operands and the result, in the layout of the call.
        spec: the geometry, or None if it stays with lax.
        method: the name of the chosen method.
        reason: why it was chosen.
    """

    where: str
    call: str
    contraction: str
    shapes: str
    spec: ConvSpec | None
    method: str
    reason: str


class Explanation(tuple[Convolution, ...]):
    """A tuple of `Convolution`, in the order of execution, that prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        if not self:
            return "no convolution"
        rows = [("where", "call", "contraction", "shapes", "geometry", "method", "reason")]
        rows += [(*c[:4], _geometry(c.spec), *c[5:]) for c in self]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    __repr__ = __str__


def explain(
    f: Callable[..., Any], /, *args: Any, platform: str | None = None, **kwargs: Any
) -> Explanation:
    """List every convolution in a function with its contraction and its method.

        T(x, w, y): `output` makes y, `input` makes x, `kernel` makes w

    A call of lax is listed as `jaxconv.accelerate` would replace it, or with the reason why it
    would not. Nothing is computed.

    Args:
        f: any function that `jax.jit` can trace; `jax.grad(f)` lists the gradients' convolutions.
        args: its arguments; each array may be a `jax.ShapeDtypeStruct`.
        platform: "cpu", "gpu", "tpu", as `jax.default_backend()` names them (CUDA and ROCm are
            "gpu"); by default that of this process.
        kwargs: its keyword arguments (pass one named platform by `functools.partial`).

    Returns:
        A tuple of `Convolution` that prints as a table; the body of a loop is listed once.

    Raises:
        TypeError: f is not callable.
        ValueError: f sets a `flax.nnx` Variable that it closes over. (Variables among its arguments
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
    with named_modules():
        jaxpr = trace("explain", f, args, kwargs).jaxpr.jaxpr
    return Explanation(_convolutions(jaxpr, platform or jax.default_backend(), ()))


def _convolutions(jaxpr: Jaxpr, platform: str, outer: tuple[str, ...]) -> Iterator[Convolution]:
    for equation in jaxpr.eqns:
        scopes = str(equation.source_info.name_stack)
        around = (*outer, scopes) if scopes else outer
        if equation.primitive in (conv_p, primitives.conv_general_dilated_p):
            yield _explained(equation, platform, "/".join(around))
            continue
        for inner in jaxprs_in_params(equation.params):
            yield from _convolutions(inner, platform, (*around, _name(equation)))


def _explained(equation: JaxprEqn, platform: str, where: str) -> Convolution:
    a, b = (atom.aval for atom in equation.invars)
    out = equation.outvars[0].aval
    shapes = f"{_shape(a)} * {_shape(b)} -> {_shape(out)}"
    ours = equation.primitive is conv_p
    call = "jaxconv" if ours else "lax"
    problem = problem_of(equation, platform)
    if isinstance(problem, str):
        return Convolution(where, call, "none", shapes, None, "lax", f"stays with lax: {problem}")
    requested = (equation.params["method"], equation.params["policy"]) if ours else ()
    choice = select(problem, *requested)
    return Convolution(where, call, problem.contraction, shapes, problem.spec, *choice)


def _name(equation: JaxprEqn) -> str:
    """The name of a function or loop, or else that of its primitive."""
    primitive, params = equation.primitive.name, equation.params
    if primitive == "scan":
        return f"scan[{params['length']}]"
    return str(params.get("name", primitive))


def _shape(aval: Any) -> str:
    return f"{aval.dtype}[{','.join(map(str, aval.shape))}]"


def _geometry(spec: ConvSpec | None) -> str:
    """The arguments that differ from the defaults of `conv`."""
    if spec is None:
        return ""
    parts = []
    if max(spec.stride) > 1:
        parts.append(f"stride={spec.stride}")
    if max(spec.dilation) > 1:
        parts.append(f"dilation={spec.dilation}")
    if any(any(pair) for pair in spec.padding):
        parts.append(f"padding={spec.padding}")
    if spec.groups > 1:
        parts.append(f"groups={spec.groups}")
    return " ".join(parts) or "plain"
