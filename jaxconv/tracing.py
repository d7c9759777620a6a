"""A function of any arguments as a jaxpr of its arrays, and the way back to what it returns."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr


class Traced(NamedTuple):
    """One call of a function.

    Attributes:
        jaxpr: what it computes.
        arrays: the arguments of the jaxpr, found among the call's.
        rebuild: from the jaxpr's results to what the function returns.
    """

    jaxpr: ClosedJaxpr
    arrays: list[Any]
    rebuild: Callable[[Sequence[jax.Array]], Any]


def trace(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Traced:
    """Trace a call: JAX's arrays become the jaxpr's arguments, all else is handed over as it is.

    Args:
        f: a function, or a module that is a pytree and can be called.
        args: its arguments; a `jax.ShapeDtypeStruct` stands for an array.
        kwargs: its keyword arguments.
    """
    leaves, structure = jax.tree.flatten((f, args, kwargs))
    is_array = [isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)) for leaf in leaves]
    results: list[Any] = []
    results_structure: Any = None

    def call(*arrays: jax.Array) -> list[jax.Array]:
        nonlocal results, results_structure
        given = iter(arrays)
        filled = [
            next(given) if array else leaf for leaf, array in zip(leaves, is_array, strict=True)
        ]
        function, all_args, all_kwargs = jax.tree.unflatten(structure, filled)
        results, results_structure = jax.tree.flatten(function(*all_args, **all_kwargs))
        found = [leaf for leaf in results if isinstance(leaf, jax.Array)]
        # tracers must not outlive the trace
        results = [_ARRAY if isinstance(leaf, jax.Array) else leaf for leaf in results]
        return found

    arrays = [leaf for leaf, array in zip(leaves, is_array, strict=True) if array]
    closed = jax.make_jaxpr(call)(*arrays)

    def rebuild(found: Sequence[jax.Array]) -> Any:
        given = iter(found)
        filled = [next(given) if leaf is _ARRAY else leaf for leaf in results]
        return jax.tree.unflatten(results_structure, filled)

    return Traced(closed, arrays, rebuild)


_ARRAY = object()  # stands for an array among a function's results
