"""Names of Flax NNX modules in a trace, as linen gives its own: which layer an operation is of."""

import contextlib
import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax

_PATCHING = threading.RLock()
_CALL = "__call__"


@contextlib.contextmanager
def named_modules() -> Iterator[None]:
    """While it lasts, every call of an NNX module in this thread is a `jax.named_scope`.

    Its name is the path of attributes from the module around it ("blocks/0/conv"), or that of its
    class for the outermost one.
    """
    nnx = sys.modules.get("flax.nnx")
    if nnx is None:
        yield
        return
    scopes = _Scopes(nnx)
    with _PATCHING:
        calls = {kind: kind.__dict__[_CALL] for kind in _kinds(nnx.Module)}
        for kind, call in calls.items():
            setattr(kind, _CALL, scopes.around(call))
        try:
            yield
        finally:
            for kind, call in calls.items():
                setattr(kind, _CALL, call)


def _kinds(module: type) -> Iterator[type]:
    """The classes of modules that define a call."""
    for kind in {module, *_subclasses(module)}:
        if _CALL in kind.__dict__:
            yield kind


def _subclasses(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


class _Scopes:
    """The paths of modules, and those whose calls are being traced, outermost first."""

    def __init__(self, nnx: Any):
        self._nnx = nnx
        # each with its module, as the id of one that is gone may be another's, but not kept alive:
        # a module may hold tracers
        self._paths: dict[int, tuple[weakref.ref[Any], tuple[str, ...]]] = {}
        self._open: list[Any] = []
        self._thread = threading.get_ident()

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a module's call in a scope."""

        @functools.wraps(call)
        def scoped(module: Any, *args: Any, **kwargs: Any) -> Any:
            inherited = self._open and self._open[-1] is module  # a call by super()
            if inherited or threading.get_ident() != self._thread:
                return call(module, *args, **kwargs)
            outer = self._path(self._open[-1]) if self._open else ()
            if not self._knows(module):
                self._note(module, (*outer, type(module).__name__))
            path = self._path(module)
            inside = path[: len(outer)] == outer
            self._open.append(module)
            try:
                with jax.named_scope("/".join(path[len(outer) :] if inside else path)):
                    return call(module, *args, **kwargs)
            finally:
                self._open.pop()

        return scoped

    def _knows(self, module: Any) -> bool:
        return id(module) in self._paths and self._paths[id(module)][0]() is module

    def _path(self, module: Any) -> tuple[str, ...]:
        return self._paths[id(module)][1]

    def _note(self, module: Any, path: tuple[str, ...]) -> None:
        for below, found in self._nnx.iter_modules(module):
            if not self._knows(found):
                self._paths[id(found)] = weakref.ref(found), (*path, *map(str, below))
