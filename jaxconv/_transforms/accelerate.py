"""Rewrite the convolutions of any JAX function onto this package's core, with no change of code.

The function is traced to a jaxpr; in it, and in every jaxpr inside it, each equation
`conv_general_dilated` that is one of the three contractions gives way to the equations of that
contraction. All other equations, and all types, names, donated buffers and effects, stay as traced.
"""

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import (
    ClosedJaxpr,
    Jaxpr,
    JaxprEqn,
    Literal,
    Var,
    jaxpr_as_fun,
    jaxprs_in_params,
    primitives,
)

from jaxconv._core.dispatch.choose import check_method, check_policy
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.primitive import conv_p
from jaxconv._core.geometry.messages import shown
from jaxconv._transforms.reading import perform, read
from jaxconv._transforms.tracing import trace


def accelerate(
    f: Callable[..., Any], *, method: str = "auto", policy: Policy | None = None
) -> Callable[..., Any]:
    """Return the same function with every `lax.conv_general_dilated` inside it on this core.

        accelerate(f)(*args, **kwargs) = f(*args, **kwargs)

    up to rounding, through jit, scan, while, cond, remat, custom_jvp and custom_vjp (whose rules
    are kept, and rewritten where the function they belong to has a convolution), shard_map and any
    other primitive that holds a jaxpr. grad, vmap and jit may come before or after.

    Sums stay sums: FFT is taken only if method says "fft" or "fastest". It may change more than
    rounding: errors are on the scale of whole arrays, one NaN or infinity spreads over all of one,
    exact zeros become small numbers, and causal layers see the future's rounding (`jaxconv.conv`).

    Args:
        f: any function that `jax.jit` could trace, Flax's, Equinox's and Keras's layers included.
            It is traced at every call, as `jax.make_jaxpr` does: wrap the result in `jax.jit` where
            it is called often. JAX's arrays among its arguments are traced, all else (numbers,
            strings, NumPy's arrays) is handed to it as it comes; what it returns may be any pytree.
            It must be pure, as for `jax.jit`, with two exceptions, which are kept: what it sets in
            `flax.nnx` modules and Variables among its arguments (a running mean, the count of a
            random stream; of a bound method, in its object), and what it sets in Keras's variables
            wherever they are. Linen and Equinox return their new state anyway.
        method: "auto", "fastest" (which may take FFT), or the name of a method to be used wherever
            it can serve; this core's own convolutions inside f get it too, where they say "auto".
        policy: what `jaxconv.tune` measured, handed on likewise.

    Returns:
        A function with f's signature. Convolutions that are none of the contractions stay with lax;
        `jaxconv.explain` lists them.

    Raises:
        TypeError: f cannot be called, or policy is none.
        ValueError: there is no such method; f sets an NNX Variable that it closes over or that is
            from outside of the transformation it is called in, or changes a module in more than its
            arrays.

    Example:
        >>> import jax.numpy as jnp
        >>> def f(x, w):
        ...     return jax.lax.conv(x, w, (1, 1), "SAME").sum()
        >>> x, w = jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
        >>> print(f(x, w), accelerate(f)(x, w))
        5808.0 5808.0
        >>> print([e.primitive.name for e in jax.make_jaxpr(accelerate(f))(x, w).eqns])
        ['transpose', 'transpose', 'conv', 'mul', 'transpose', 'reduce_sum']

    Source:
        "Writing custom interpreters in JAX",
        https://docs.jax.dev/en/latest/notebooks/Writing_custom_interpreters_in_Jax.html.
    """
    if not callable(f):
        raise TypeError(f"accelerate: f={shown(f)} must be a function, not {type(f).__name__}")
    rewriter = _rewriter(check_method("accelerate", method), check_policy("accelerate", policy))

    def accelerated(*args: Any, **kwargs: Any) -> Any:
        return rewriter.call(f, *args, **kwargs)

    # a callable object's attributes are its own
    return functools.update_wrapper(accelerated, f, updated=())


_Jaxpr = TypeVar("_Jaxpr", Jaxpr, ClosedJaxpr)
_Memory = weakref.WeakKeyDictionary[_Jaxpr, _Jaxpr | None]


class _Rewriter:
    """Rewrites jaxprs: the same one always to the same one, so that compilations are kept."""

    def __init__(self, method: str, policy: Policy | None):
        self._numerics = {"method": method, "policy": policy}
        # this core's own convolutions change only where there is something to hand on
        asked = method != "auto" or policy is not None
        ours = (conv_p,) if asked else ()
        self._convolutions = (primitives.conv_general_dilated_p, *ours)
        # None where nothing changes: no entry may hold its own key alive
        self._rewritten: _Memory[Jaxpr] = weakref.WeakKeyDictionary()
        self._closed_ones: _Memory[ClosedJaxpr] = weakref.WeakKeyDictionary()

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Trace a function, rewrite it, run it and return what it returns."""
        traced = trace("accelerate", function, args, kwargs)
        return traced.rebuild(jaxpr_as_fun(self._closed(traced.jaxpr))(*traced.arrays))

    def _closed(self, closed: ClosedJaxpr) -> ClosedJaxpr:
        """The rewritten jaxpr with its constants, or the very same one, likewise."""
        if closed not in self._closed_ones:
            jaxpr = self._jaxpr(closed.jaxpr)
            same = jaxpr is closed.jaxpr
            self._closed_ones[closed] = None if same else closed.replace(jaxpr=jaxpr)
        return self._closed_ones[closed] or closed

    def _jaxpr(self, jaxpr: Jaxpr) -> Jaxpr:
        """The rewritten jaxpr, or the very same one where nothing in it changes."""
        if jaxpr not in self._rewritten:
            self._rewritten[jaxpr] = self._rewrite(jaxpr)
        return self._rewritten[jaxpr] or jaxpr

    def _rewrite(self, jaxpr: Jaxpr) -> Jaxpr | None:
        """Replace equations one by one; None if none changes."""
        equations: list[JaxprEqn] = []
        renamed: dict[Var, Any] = {}

        def atom(old: Any) -> Any:
            return old if isinstance(old, Literal) else renamed.get(old, old)

        changed = False
        for equation in jaxpr.eqns:
            replacement = self._equation(equation)
            changed |= replacement is not equation
            if isinstance(replacement, JaxprEqn):
                equations.append(replacement.replace(invars=[*map(atom, replacement.invars)]))
                continue
            inner = replacement.jaxpr
            renamed.update(zip(inner.invars, map(atom, equation.invars), strict=True))
            renamed.update(
                (var, Literal(value, var.aval))
                for var, value in zip(inner.constvars, replacement.consts, strict=True)
            )
            equations += [
                # named scopes and contexts are those of the equation that is replaced
                e.replace(
                    invars=[*map(atom, e.invars)],
                    source_info=equation.source_info,
                    ctx=equation.ctx,
                )
                for e in inner.eqns
            ]
            renamed.update(zip(equation.outvars, map(atom, inner.outvars), strict=True))
        if not changed:
            return None
        return jaxpr.replace(eqns=equations, outvars=[*map(atom, jaxpr.outvars)])

    def _equation(self, equation: JaxprEqn) -> JaxprEqn | ClosedJaxpr:
        """The same equation, one with rewritten jaxprs inside, or a jaxpr in its place."""
        if equation.primitive is primitives.conv_general_dilated_p:
            return self._convolution(equation)
        if equation.primitive in self._convolutions:  # one of ours
            said = equation.params["method"] != "auto" or equation.params["policy"] is not None
            return equation if said else equation.replace(params=equation.params | self._numerics)
        if not any(self._has_convolution(inner) for inner in jaxprs_in_params(equation.params)):
            return equation
        if equation.primitive is primitives.custom_jvp_call_p:
            return _traced(self._custom_jvp(equation), equation)
        if equation.primitive is primitives.custom_vjp_call_p:
            return _traced(self._custom_vjp(equation), equation)
        if equation.primitive.name == "shard_map":
            return _traced(self._shard_map(equation), equation)
        params = {name: self._parameter(value) for name, value in equation.params.items()}
        if all(params[name] is value for name, value in equation.params.items()):
            return equation
        return equation.replace(params=params)

    def _parameter(self, value: Any) -> Any:
        if isinstance(value, ClosedJaxpr):
            return self._closed(value)
        if isinstance(value, Jaxpr):
            return self._jaxpr(value)
        if isinstance(value, (tuple, list)):
            entries = [self._parameter(entry) for entry in value]
            if any(new is not old for new, old in zip(entries, value, strict=True)):
                named = hasattr(value, "_fields")
                return type(value)(*entries) if named else type(value)(entries)
        return value

    def _convolution(self, equation: JaxprEqn) -> JaxprEqn | ClosedJaxpr:
        lhs, rhs = (atom.aval for atom in equation.invars)
        out = equation.outvars[0].aval
        reading = read(lhs, rhs, out, equation.params)
        if isinstance(reading, str):
            return equation
        numerics = {**self._numerics, "precision": equation.params["precision"]}
        return _traced(lambda a, b: perform(reading, a, b, out, **numerics), equation)

    def _custom_jvp(self, equation: JaxprEqn) -> Callable[..., Any]:
        original = _as_function(equation)
        primal = jaxpr_as_fun(self._closed(equation.params["call_jaxpr"]))
        # the rule is what jax.jvp finds in the original
        function = jax.custom_jvp(lambda *args: primal(*args))

        def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
            moving = [not isinstance(tangent, SymbolicZero) for tangent in tangents]
            at = _restricted(original, primals, moving)
            return self.call(jax.jvp, at, _chosen(primals, moving), _chosen(tangents, moving))

        function.defjvp(rule, symbolic_zeros=equation.params["symbolic_zeros"])
        return function

    def _custom_vjp(self, equation: JaxprEqn) -> Callable[..., Any]:
        original = _as_function(equation)
        primal = jaxpr_as_fun(self._closed(equation.params["call_jaxpr"]))
        function = jax.custom_vjp(lambda *args: primal(*args))
        closed_over = equation.params["num_consts"]

        # the rules are what jax.vjp finds in the original: its pullback is a pytree of residuals
        def forward(*args: Any) -> Any:
            # the rules know nothing of what is closed over, so jax.vjp refuses it where it moves
            moving = [i >= closed_over or arg.perturbed for i, arg in enumerate(args)]
            values = [arg.value for arg in args]
            at = _restricted(original, values, moving)
            return self.call(jax.vjp, at, *_chosen(values, moving))

        def backward(pullback: Callable[..., Any], cotangents: Any) -> Any:
            cotangents = [_filled(cotangent) for cotangent in cotangents]
            return (*[None] * closed_over, *self.call(pullback, cotangents))

        function.defvjp(forward, backward, symbolic_zeros=True)
        return function

    def _shard_map(self, equation: JaxprEqn) -> Callable[..., Any]:
        params = equation.params
        body = params["jaxpr"]

        def local(*args: Any) -> list[jax.Array]:
            # rewritten in here, where the mesh's axes are bound
            return jaxpr_as_fun(self._closed(ClosedJaxpr(body, ())))(*args)

        return jax.shard_map(
            local,
            mesh=params["mesh"],
            in_specs=tuple(params["in_specs"]),
            out_specs=list(params["out_specs"]),
            axis_names=set(params["newly_manual_axes"]),
            check_vma=params["check_vma"],
        )

    def _has_convolution(self, jaxpr: Jaxpr) -> bool:
        return any(
            equation.primitive in self._convolutions
            or any(self._has_convolution(inner) for inner in jaxprs_in_params(equation.params))
            for equation in jaxpr.eqns
        )


# shared by all functions, so that one made anew finds what was rewritten, and so compiled, before
_rewriter = functools.lru_cache(maxsize=16)(_Rewriter)


def _traced(function: Callable[..., Any], equation: JaxprEqn) -> ClosedJaxpr:
    """A jaxpr to stand in an equation's place."""
    closed = jax.make_jaxpr(function)(*(atom.aval for atom in equation.invars))
    made, wanted = closed.out_avals, [var.aval for var in equation.outvars]
    assert str(made) == str(wanted), f"{made} in the place of {wanted}"
    return closed


def _as_function(equation: JaxprEqn) -> Callable[..., Any]:
    """A function that binds one `custom_jvp_call` or `custom_vjp_call`, its rules included."""
    invars: list[Any] = [Var(atom.aval) for atom in equation.invars]
    outvars: list[Any] = [Var(atom.aval) for atom in equation.outvars]
    alone = equation.replace(invars=invars, outvars=outvars)
    # the primal's jaxpr has the same arguments and results
    jaxpr = equation.params["call_jaxpr"].jaxpr.replace(
        constvars=[], invars=invars, outvars=outvars, eqns=[alone], effects=equation.effects
    )
    return jaxpr_as_fun(ClosedJaxpr(jaxpr, ()))


def _filled(cotangent: Any) -> Any:
    if not isinstance(cotangent, SymbolicZero):
        return cotangent
    aval: Any = cotangent.aval
    zeros = np.zeros if aval.dtype == jax.dtypes.float0 else jnp.zeros
    return zeros(aval.shape, aval.dtype)


def _chosen(values: Sequence[Any], keep: Sequence[bool]) -> list[Any]:
    return [value for value, kept in zip(values, keep, strict=True) if kept]


def _restricted(
    function: Callable[..., Any], values: Sequence[Any], free: Sequence[bool]
) -> Callable[..., Any]:
    """The function of some of its arguments, the others held at values."""

    def of_some(*some: Any) -> Any:
        given = iter(some)
        return function(*(next(given) if f else v for v, f in zip(values, free, strict=True)))

    return of_some
