"""Trace a function of any arguments to a jaxpr of their arrays, and rebuild its result."""

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr

from jaxconv._transforms import mutation


class Traced(NamedTuple):
    """One call of a function.

    Attributes:
        jaxpr: the computation.
        arrays: the arguments of the jaxpr: the arrays among the call's arguments.
        rebuild: makes the function's result from the jaxpr's results, and sets the Flax NNX and
            Keras variables that the function sets.
    """

    jaxpr: ClosedJaxpr
    arrays: list[Any]
    rebuild: Callable[[Sequence[jax.Array]], Any]


def trace(
    caller: str, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Traced:
    """Trace a call: JAX arrays become the jaxpr's arguments, all else is passed on unchanged.

    Args:
        caller: the public function's name, for the messages.
        f: a function, a method, a `functools.partial` or a callable module.
        args: its arguments; a `jax.ShapeDtypeStruct` stands for an array.
        kwargs: its keyword arguments.

    Raises:
        ValueError: f sets an NNX Variable that it closes over, or changes more of a module than its
            arrays.
    """
    unwrapped, structure = jax.tree.flatten(_unwrapped(f, args, kwargs), is_leaf=mutation.is_nnx)
    outside = mutation.SplitObjects([leaf for leaf in unwrapped if mutation.is_nnx(leaf)])
    rest = [_OBJECT if mutation.is_nnx(leaf) else leaf for leaf in unwrapped]
    leaves, split = jax.tree.flatten((rest, outside.state))
    is_array = [isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)) for leaf in leaves]
    results: list[Any] = []
    results_structure: Any = None

    def call(*arrays: jax.Array) -> list[jax.Array]:
        nonlocal results, results_structure
        given = iter(arrays)
        filled = [
            next(given) if array else leaf for leaf, array in zip(leaves, is_array, strict=True)
        ]
        rest, state = jax.tree.unflatten(split, filled)
        inside = outside.copies(state)
        copies = iter(inside.objects)
        filled = [next(copies) if leaf is _OBJECT else leaf for leaf in rest]
        function, all_args, all_kwargs = jax.tree.unflatten(structure, filled)
        returned = function(*all_args, **all_kwargs)
        changes = inside.changes(caller), [value for _, value in in_keras.values()]
        # a returned copy stands for the original
        known = inside.originals
        returned, returned_structure = jax.tree.flatten(returned, is_leaf=lambda v: id(v) in known)
        changes, changes_structure = jax.tree.flatten(changes)
        results = [*(known.get(id(leaf), leaf) for leaf in returned), *changes]
        results_structure = (returned_structure, changes_structure)
        found = [leaf for leaf in results if isinstance(leaf, jax.Array)]
        # tracers must not outlive the trace
        results = [_ARRAY if isinstance(leaf, jax.Array) else leaf for leaf in results]
        return found

    arrays = [leaf for leaf, array in zip(leaves, is_array, strict=True) if array]
    with mutation.keras_changes() as in_keras:
        try:
            closed = jax.make_jaxpr(call)(*arrays)
        except Exception as error:
            if mutation.is_trace_error(error):
                raise ValueError(_closed_over(caller)) from error
            raise
    variables = [variable for variable, _ in in_keras.values()]
    in_keras.clear()  # of tracers

    def rebuild(found: Sequence[jax.Array]) -> Any:
        given = iter(found)
        filled = [next(given) if leaf is _ARRAY else leaf for leaf in results]
        returned, changes = results_structure
        count = returned.num_leaves
        in_nnx, values = jax.tree.unflatten(changes, filled[count:])
        try:
            outside.update(in_nnx)
        except Exception as error:
            if mutation.is_trace_error(error):
                raise ValueError(_from_outside(caller)) from error
            raise
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return jax.tree.unflatten(returned, filled[:count])

    return Traced(closed, arrays, rebuild)


def _unwrapped(
    f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The same call, with the arguments that methods and partial functions hold made explicit."""
    while True:
        if isinstance(f, functools.partial):
            f, args, kwargs = f.func, (*f.args, *args), {**f.keywords, **kwargs}
        elif isinstance(f, types.MethodType):
            f, args = f.__func__, (f.__self__, *args)
        else:
            return f, args, kwargs


def _closed_over(caller: str) -> str:
    passed = "(lambda module, x: module(x))(module, x)"
    if caller != "accelerate":
        passed = "(lambda module, x: module(x), module, x)"
    return (
        f"{caller}: f sets a flax.nnx Variable that is not among its arguments; pass its module: "
        f"{caller}{passed}"
    )


def _from_outside(caller: str) -> str:
    return (
        f"{caller}: f sets a flax.nnx Variable from outside the transformation f is called in; "
        f"pass the module through the transformation: nnx.jit({caller}(f))(module, x)"
    )


_ARRAY = object()  # stands for an array among a function's results
_OBJECT = object()  # stands for an object of flax.nnx among its arguments
