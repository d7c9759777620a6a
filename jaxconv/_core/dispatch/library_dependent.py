"""One of two equal functions, chosen where a program is lowered: whether it may call libraries.

`jax.lax.platform_dependent` chooses by the platform alone: a program that is exported for CPUs
cannot call a library of this process, and has other functions that are fast.
"""

from collections.abc import Callable
from functools import partial

import jax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import batching, mlir

from jaxconv._core.dispatch.primitive import calls_libraries

library_dependent_p = Primitive("library_dependent")


def library_dependent(
    *arrays: jax.Array,
    library: Callable[..., jax.Array],
    default: Callable[..., jax.Array],
) -> jax.Array:
    """Return library(*arrays) in programs for one CPU of this process, else default(*arrays).

    Args:
        arrays: the arguments of both.
        library: calls a library of this process with whole arrays.
        default: returns the same array, on every platform.
    """
    programs = {
        "library": jax.make_jaxpr(library)(*arrays),
        "default": jax.make_jaxpr(default)(*arrays),
    }
    return library_dependent_p.bind(*arrays, **programs)


def _abstract(*_, library: ClosedJaxpr, default: ClosedJaxpr):
    del library
    return default.out_avals[0]


def _batch(arrays, axes, *, library: ClosedJaxpr, default: ClosedJaxpr):
    def mapped(program: ClosedJaxpr):
        return jax.vmap(_function(program), axes)

    return library_dependent(*arrays, library=mapped(library), default=mapped(default)), 0


def _lowering(ctx, *arrays, library: ClosedJaxpr, default: ClosedJaxpr):
    program = library if calls_libraries(ctx.module_context) else default
    return mlir.lower_fun(_function(program), multiple_results=False)(ctx, *arrays)


def _elsewhere(ctx, *arrays, library: ClosedJaxpr, default: ClosedJaxpr):
    del library
    return mlir.lower_fun(_function(default), multiple_results=False)(ctx, *arrays)


def _function(program: ClosedJaxpr) -> Callable[..., jax.Array]:
    return lambda *arrays: jaxpr_as_fun(program)(*arrays)[0]


def _eager(*arrays, **programs: ClosedJaxpr):
    # under `jax.disable_jit` alone, compiled as convolutions are then
    with jax.disable_jit(False):
        return jax.jit(partial(library_dependent_p.bind, **programs))(*arrays)


library_dependent_p.def_impl(_eager)
library_dependent_p.def_abstract_eval(_abstract)
batching.primitive_batchers[library_dependent_p] = _batch
mlir.register_lowering(library_dependent_p, _elsewhere)
mlir.register_lowering(library_dependent_p, _lowering, platform="cpu")
