"""Functions that trace to the same program share one compilation.

`jax.jit` compiles again for every new function object, and keeps the program as long as the
function: an optimiser or a loss written inline is a new object at every call. Here a function is
traced, and its program is identified by the traced operations with their parameters, literals and
shapes. Arrays that it closes over become operands, so that other values need no new program.
Parameters that cannot be compared by value (a callback on the host) are compared by identity.
"""

import functools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun
from jax.sharding import NamedSharding, PartitionSpec, Sharding

FUNCTIONS = 16  # number of functions whose traces are kept
PROGRAMS = 64  # number of compiled programs that are kept


class Recent:
    """A thread-safe cache of the values of the keys used last."""

    def __init__(self, size: int):
        self._size = size
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> Any:
        """Return the value of a key, None if it is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: Hashable, value: Any) -> Any:
        """Keep a value and return it, or the one that another thread has kept for the key."""
        with self._lock:
            value = self._values.setdefault(key, value)
            self._values.move_to_end(key)
            if len(self._values) > self._size:
                self._values.popitem(last=False)
            return value

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._values.clear()


functions, programs = Recent(FUNCTIONS), Recent(PROGRAMS)
_structures: weakref.WeakKeyDictionary[Jaxpr, dict[bool, Hashable]] = weakref.WeakKeyDictionary()


def compiled_once(function: Callable[..., Any], *args: Any, out_shardings: Any = None) -> Any:
    """Call a pure function as a compiled program, shared by all functions with the same trace.

    `jax.jit(function)(*args)`

    It works under jit, vmap and grad too. At most `PROGRAMS` programs are kept; the one unused for
    longest is removed first, with its memory.

    Args:
        function: it need not be the same object at every call. If it is, or is a
            `functools.partial` of the same function with equal arguments, it is not traced again.
        args: pytrees of arrays.
        out_shardings: shardings of the results, in a pytree of their structure; None where, or if,
            the compiler may choose.

    Returns:
        The function's result.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxconv._core.programs import compiled_once, programs
        >>> programs.clear()
        >>> x = jnp.arange(3.0)
        >>> for shift in (1.0, 1.0, 2.0):
        ...     print(compiled_once(lambda x: x + shift, x), len(programs))
        [1. 2. 3.] 1
        [1. 2. 3.] 1
        [2. 3. 4.] 2

    Source: hash consing (Ershov, On programming of arithmetic operations, 1958).
    """
    if getattr(jax.config, "jax_disable_jit"):  # noqa: B009 - type checkers do not know it
        return function(*args)
    closed, shapes = _traced(function, args)
    leaves, consts = jax.tree.leaves(args), closed.consts
    tree = jax.tree.structure(shapes)
    # None is an absent result in `shapes`, and an unspecified sharding in `out_shardings`
    wanted = None if out_shardings is None else tuple(tree.flatten_up_to(out_shardings))
    concrete = not any(isinstance(value, Tracer) for value in (*consts, *leaves))
    key = (_structure(closed.jaxpr, concrete), wanted)
    program = programs.get(key) or programs.keep(key, _program(closed.jaxpr, wanted))
    return jax.tree.unflatten(tree, program(*_on_one_device_set(consts, leaves), *leaves))


def _traced(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[ClosedJaxpr, Any]:
    key: Hashable = function
    if isinstance(function, functools.partial):
        named = tuple(sorted(function.keywords.items()))
        key = (type(function), function.func, function.args, named)
    try:
        known = functions.get(key)
    except TypeError:  # not hashable
        key, known = None, None
    jitted = known or jax.jit(function)  # JAX keeps the traces of this object
    traced = jitted.trace(*args)
    if len(traced.jaxpr.in_avals) > len(jax.tree.leaves(args)):
        # closes over values of an outer transformation, so the trace must not be kept
        return jax.make_jaxpr(function, return_shape=True)(*args)
    if known is None and key is not None:
        functions.keep(key, jitted)
    return traced.jaxpr, traced.out_info


def _program(jaxpr: Jaxpr, out_shardings: tuple[Sharding | None, ...] | None) -> Callable[..., Any]:
    constants = ClosedJaxpr(
        jaxpr.replace(constvars=[], invars=[*jaxpr.constvars, *jaxpr.invars]),
        (),
    )
    run = jaxpr_as_fun(constants)
    return jax.jit(run) if out_shardings is None else jax.jit(run, out_shardings=[*out_shardings])


def _on_one_device_set(consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Put constants on the devices of the arguments: a program runs on one set of devices."""
    settled = (a.sharding for a in args if _is_on_devices(a) and a.committed)
    where = next(settled, None)
    if isinstance(where, NamedSharding):
        where = NamedSharding(where.mesh, PartitionSpec())

    def placed(const: Any) -> Any:
        if isinstance(const, Tracer):
            return const
        if _is_on_devices(const) and (
            where is None or const.sharding.device_set == where.device_set
        ):
            return const
        return jax.device_put(const, where)

    return [*map(placed, consts)]


def _is_on_devices(value: Any) -> bool:
    return isinstance(value, jax.Array) and not isinstance(value, Tracer)


# Calls with custom rules for transformations, and the parameter that has the function they call.
# Outside transformations only that function matters.
_CALLED = {
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vmap_call": "call",
}


def _structure(jaxpr: Jaxpr, concrete: bool) -> Hashable:
    """Return a key that is equal for equal programs."""
    # the key holds no jaxpr, so that the weak reference to this one can end
    known = _structures.setdefault(jaxpr, {})
    if concrete not in known:
        known[concrete] = _of_jaxpr(jaxpr, concrete)
    return known[concrete]


def _of_jaxpr(jaxpr: Jaxpr, concrete: bool) -> Hashable:
    numbers: dict[Any, int] = {}

    def defined(variables: Sequence[Any]) -> Hashable:
        return tuple((numbers.setdefault(v, len(numbers)), v.aval) for v in variables)

    def used(atom: Any) -> Hashable:
        return (atom.aval, _of(atom.val, concrete)) if isinstance(atom, Literal) else numbers[atom]

    def equation(e: JaxprEqn) -> Hashable:
        params = e.params
        called = _CALLED.get(e.primitive.name) if concrete else None
        if called in params:
            params = {called: params[called]}
        inputs = tuple(map(used, e.invars))
        return e.primitive, _of(params, concrete), e.ctx, inputs, defined(e.outvars)

    heads = defined(jaxpr.constvars), defined(jaxpr.invars)
    return heads, tuple(map(equation, jaxpr.eqns)), tuple(map(used, jaxpr.outvars))


def _of(value: Any, concrete: bool) -> Hashable:
    """Return a key for a parameter: by value if possible, otherwise by identity."""
    kind = type(value)
    match value:
        case ClosedJaxpr():
            return kind, _of_jaxpr(value.jaxpr, concrete), _of(tuple(value.consts), concrete)
        case Jaxpr():
            return kind, _of_jaxpr(value, concrete)
        case tuple() | list():
            return kind, tuple(_of(entry, concrete) for entry in value)
        case dict():
            return kind, tuple((name, _of(entry, concrete)) for name, entry in value.items())
        case float() | complex():
            return kind, repr(value)  # -0.0 is not 0.0, and NaN equals NaN
        case Tracer():
            return _ByIdentity(value)
        case jax.Array() if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return kind, value.dtype, _of(jax.random.key_data(value), concrete)
        case jax.Array() if not value.is_fully_replicated:
            return _ByIdentity(value)
        case np.ndarray() | np.generic() | jax.Array():
            array = np.asarray(value)
            return kind, array.dtype, array.shape, array.tobytes()
    try:
        hash(value)
    except TypeError:
        return _ByIdentity(value)
    return kind, value  # True is not 1


class _ByIdentity:
    """Equal only for the same object, which it keeps alive, so that its id is not reused."""

    def __init__(self, value: Any):
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)
