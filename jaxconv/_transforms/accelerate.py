"""Replace the convolutions inside any JAX function by this package's, with no change of its code.

The function is traced to a jaxpr. In it, and in every jaxpr inside it, each equation
`conv_general_dilated` that is one of the three contractions is replaced by the equations of that
contraction. All other equations, and all types, names, donated buffers and effects, stay as traced.
"""

from __future__ import annotations

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

from jaxconv._core.dispatch.arguments import check_method, check_policy
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.primitive import conv_p
from jaxconv._core.geometry.messages import shown
from jaxconv._transforms.reading import perform, read
from jaxconv._transforms.tracing import trace


def accelerate(
    f: Callable[..., Any], *, method: str = "auto", policy: Policy | None = None
) -> Callable[..., Any]:
    """Return the same function with every `lax.conv_general_dilated` in it computed by jaxconv.

        accelerate(f)(*args, **kwargs) = f(*args, **kwargs)

    up to rounding, also inside jit, scan, while, cond, remat, shard_map, custom_jvp and custom_vjp
    (whose rules are kept, and rewritten if the function they belong to has a convolution), and any
    other primitive that holds a jaxpr. grad, vmap and jit may come before or after.

    FFT is used only with method "fft" or "fastest". It may change more than rounding: errors are on
    the scale of the whole array, one NaN or infinity spreads over the whole array, exact zeros
    become small numbers, and a causal layer's result depends on the rounding of later samples.

    Args:
        f: any function that `jax.jit` can trace, layers of Flax, Equinox and Keras included. It is
            traced at every call, as by `jax.make_jaxpr`: wrap the result in `jax.jit` if it is
            called often. JAX arrays among its arguments are traced; all other arguments (numbers,
            strings, NumPy arrays) are passed on unchanged; it may return any pytree. It must be
            pure, as for `jax.jit`, except that it may set two kinds of state: `flax.nnx` modules
            and Variables among its arguments (a running mean, the count of a random stream; of a
            bound method, in its object), and Keras variables, wherever they are. Linen and Equinox
            layers return their new state.
        method: "auto", "fastest" (which may use FFT), or the name of a method to use wherever it
            can; jaxconv's own convolutions inside f get it too, if their method is "auto".
        policy: a result of `jaxconv.tune` or `jaxconv calibrate`, for the same convolutions.

    Returns:
        A function with f's signature. Convolutions that are not one of the three contractions stay
        with lax; `jaxconv.explain` lists them.

    Raises:
        TypeError: f is not callable, or policy is not a Policy.
        ValueError: method is unknown; f sets an NNX Variable that it closes over or that comes from
            outside the transformation in which f is called; f changes more of a module than its
            arrays.

    Example:
        >>> import jax.numpy as jnp
        >>> def f(x, w):
        ...     return jax.lax.conv(x, w, (1, 1), "SAME").sum()
        >>> x, w = jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
        >>> print(f(x, w), accelerate(f)(x, w))
        5808.0 5808.0
        >>> names = [e.primitive.name for e in jax.make_jaxpr(accelerate(f))(x, w).eqns]
        >>> names.count("conv"), names.count("conv_general_dilated")
        (1, 0)

    Source:
        "Writing custom interpreters in JAX",
        https://docs.jax.dev/en/latest/notebooks/Writing_custom_interpreters_in_Jax.html.
    """
    if not callable(f):
        raise TypeError(f"accelerate: f={shown(f)} must be a function, not {type(f).__name__}")
    rewriter = _rewriter(check_method("accelerate", method), check_policy("accelerate", policy))

    def accelerated(*args: Any, **kwargs: Any) -> Any:
        return rewriter.call(f, *args, **kwargs)

    # updated=(): the attributes of a callable object are not copied
    return functools.update_wrapper(accelerated, f, updated=())


_Jaxpr = TypeVar("_Jaxpr", Jaxpr, ClosedJaxpr)
_Memory = weakref.WeakKeyDictionary[_Jaxpr, _Jaxpr | None]


class _Rewriter:
    """Rewrites jaxprs, and remembers each result, so that JAX does not compile it again."""

    def __init__(self, method: str, policy: Policy | None):
        self._numerics = {"method": method, "policy": policy}
        # jaxconv's own convolutions change only if a method or a policy is to be set in them
        ours = (conv_p,) if method != "auto" or policy is not None else ()
        self._convolutions = (primitives.conv_general_dilated_p, *ours)
        # None where nothing changes: a value that is its own key would keep the key alive
        self._rewritten: _Memory[Jaxpr] = weakref.WeakKeyDictionary()
        self._rewritten_closed: _Memory[ClosedJaxpr] = weakref.WeakKeyDictionary()

    def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Trace a function, rewrite it, run it and return its result."""
        traced = trace("accelerate", function, args, kwargs)
        return traced.rebuild(jaxpr_as_fun(self._closed(traced.jaxpr))(*traced.arrays))

    def _closed(self, closed: ClosedJaxpr) -> ClosedJaxpr:
        """The rewritten jaxpr with its constants, or the same object if nothing in it changes."""
        if closed not in self._rewritten_closed:
            jaxpr = self._jaxpr(closed.jaxpr)
            same = jaxpr is closed.jaxpr
            self._rewritten_closed[closed] = None if same else closed.replace(jaxpr=jaxpr)
        return self._rewritten_closed[closed] or closed

    def _jaxpr(self, jaxpr: Jaxpr) -> Jaxpr:
        """The rewritten jaxpr, or the same object if nothing in it changes."""
        if jaxpr not in self._rewritten:
            self._rewritten[jaxpr] = self._rewrite(jaxpr)
        return self._rewritten[jaxpr] or jaxpr

    def _rewrite(self, jaxpr: Jaxpr) -> Jaxpr | None:
        """Replace equations one by one; None if no equation changes."""
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
                # the named scopes and the context stay those of the replaced equation
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
        """The same equation, the same with rewritten jaxprs inside, or a jaxpr to replace it."""
        if equation.primitive is primitives.conv_general_dilated_p:
            return self._convolution(equation)
        if equation.primitive in self._convolutions:  # one of ours
            method, policy = equation.params["method"], equation.params["policy"]
            if method != "auto" or policy is not None:  # the caller has chosen
                return equation
            return equation.replace(params=equation.params | self._numerics)
        if not any(self._has_convolution(inner) for inner in jaxprs_in_params(equation.params)):
            return equation
        if equation.primitive is primitives.custom_jvp_call_p:
            return _as_jaxpr(self._custom_jvp(equation), equation)
        if equation.primitive is primitives.custom_vjp_call_p:
            return _as_jaxpr(self._custom_vjp(equation), equation)
        if equation.primitive.name == "shard_map":
            return _as_jaxpr(self._shard_map(equation), equation)
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
        return _as_jaxpr(lambda a, b: perform(reading, a, b, out, **numerics), equation)

    def _custom_jvp(self, equation: JaxprEqn) -> Callable[..., Any]:
        original = _as_function(equation)
        primal = jaxpr_as_fun(self._closed(equation.params["call_jaxpr"]))
        # the rule: jax.jvp of the original, which has the user's rule
        function = jax.custom_jvp(lambda *args: primal(*args))

        def rule(primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
            varied = [not isinstance(tangent, SymbolicZero) for tangent in tangents]
            at = _restricted(original, primals, varied)
            return self.call(jax.jvp, at, _selected(primals, varied), _selected(tangents, varied))

        function.defjvp(rule, symbolic_zeros=equation.params["symbolic_zeros"])
        return function

    def _custom_vjp(self, equation: JaxprEqn) -> Callable[..., Any]:
        original = _as_function(equation)
        primal = jaxpr_as_fun(self._closed(equation.params["call_jaxpr"]))
        function = jax.custom_vjp(lambda *args: primal(*args))
        closed_over = equation.params["num_consts"]

        # the rules: jax.vjp of the original, whose pullback is a pytree of residuals
        def forward(*args: Any) -> Any:
            # the user's rules have no derivative for closed-over values: jax.vjp raises for those
            # that are perturbed, and the others are held fixed
            varied = [i >= closed_over or arg.perturbed for i, arg in enumerate(args)]
            values = [arg.value for arg in args]
            at = _restricted(original, values, varied)
            return self.call(jax.vjp, at, *_selected(values, varied))

        def backward(pullback: Callable[..., Any], cotangents: Any) -> Any:
            cotangents = [_filled(cotangent) for cotangent in cotangents]
            return (*[None] * closed_over, *self.call(pullback, cotangents))

        function.defvjp(forward, backward, symbolic_zeros=True)
        return function

    def _shard_map(self, equation: JaxprEqn) -> Callable[..., Any]:
        params = equation.params
        body = params["jaxpr"]

        def local(*args: Any) -> list[jax.Array]:
            # rewritten inside shard_map, where the mesh's axes are bound
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


# shared by all functions, so that a second accelerate(f) finds what the first one rewrote and JAX
# compiled
_rewriter = functools.lru_cache(maxsize=16)(_Rewriter)


def _as_jaxpr(function: Callable[..., Any], equation: JaxprEqn) -> ClosedJaxpr:
    """A jaxpr to replace an equation: it takes and returns arrays of the same types."""
    closed = jax.make_jaxpr(function)(*(atom.aval for atom in equation.invars))
    made, wanted = closed.out_avals, [var.aval for var in equation.outvars]
    # as strings, which leave out a mesh whose axes are all Auto: it may be that of one side only
    if str(made) != str(wanted):
        raise RuntimeError(
            f"accelerate: the replacement of {equation.primitive} returns {made}, not {wanted}: "
            "this is a bug in jaxconv, please report it"
        )
    return closed


def _as_function(equation: JaxprEqn) -> Callable[..., Any]:
    """A function that binds one `custom_jvp_call` or `custom_vjp_call`, its rules included."""
    invars: list[Any] = [Var(atom.aval) for atom in equation.invars]
    outvars: list[Any] = [Var(atom.aval) for atom in equation.outvars]
    bound = equation.replace(invars=invars, outvars=outvars)
    # the primal's jaxpr has the same arguments and results
    jaxpr = equation.params["call_jaxpr"].jaxpr.replace(
        constvars=[], invars=invars, outvars=outvars, eqns=[bound], effects=equation.effects
    )
    return jaxpr_as_fun(ClosedJaxpr(jaxpr, ()))


def _filled(cotangent: Any) -> Any:
    if not isinstance(cotangent, SymbolicZero):
        return cotangent
    aval: Any = cotangent.aval
    zeros = np.zeros if aval.dtype == jax.dtypes.float0 else jnp.zeros
    return zeros(aval.shape, aval.dtype)


def _selected(values: Sequence[Any], keep: Sequence[bool]) -> list[Any]:
    return [value for value, kept in zip(values, keep, strict=True) if kept]


def _restricted(
    function: Callable[..., Any], values: Sequence[Any], free: Sequence[bool]
) -> Callable[..., Any]:
    """The function of its free arguments, the others held at values."""

    def of_some(*some: Any) -> Any:
        given = iter(some)
        return function(*(next(given) if f else v for v, f in zip(values, free, strict=True)))

    return of_some
