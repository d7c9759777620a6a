"""What a function changes in place in its arguments, carried out of its trace: NNX's and Keras's.

A module of `flax.nnx` and a Keras layer over JAX hold variables and set them (the running mean of a
batch normalisation, the count of a random stream). In a trace these become arguments and results.
Neither package is imported here: objects of theirs exist only where it has been.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any


def is_nnx(value: Any) -> bool:
    """Return whether a value is a module, a Variable or another object of `flax.nnx`."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(value, (nnx.Pytree, nnx.Variable))


def is_trace_error(error: Exception) -> bool:
    """Return whether Flax says that a Variable is of another trace than the one that sets it."""
    errors = sys.modules.get("flax.errors")
    return errors is not None and isinstance(error, errors.TraceContextError)


class Split:
    """Objects of `flax.nnx` as a pytree of their arrays: one that appears twice is there once.

    Attributes:
        state: the pytree; empty if there are no objects.
    """

    def __init__(self, objects: Sequence[Any]):
        self._objects = list(objects)
        self._graph, self.state = None, None
        if self._objects:
            self._graph, self.state = _nnx().split(self._objects, graph=True)

    def inside(self, state: Any) -> "Inside":
        """Return copies of the objects that hold another state's arrays."""
        return Inside(self._objects, self._graph, state)

    def update(self, changes: Any) -> None:
        """Set in the objects what `Inside.changes` found.

        Raises:
            flax.errors.TraceContextError: they are of another trace.
        """
        if changes is None:
            return
        nnx = _nnx()
        have = dict(nnx.to_flat_state(nnx.state(self._objects, graph=True)))
        added = []
        for path, value in nnx.to_flat_state(changes):
            if isinstance(have.get(path), nnx.Variable):
                have[path].set_raw_value(_raw(value))
            else:
                added.append((path, value))
        if added:
            nnx.update(self._objects, nnx.from_flat_state(added))


class Inside:
    """The copies that a traced function is given.

    Attributes:
        objects: the copies, in the order of the originals.
        originals: from the id of a copy, or of anything in it, to what it is a copy of.
    """

    def __init__(self, outside: Sequence[Any], graph: Any, state: Any):
        self.objects: list[Any] = []
        self.originals: dict[int, Any] = {}
        self._graph, self._state, self._given = graph, state, {}
        if not outside:
            return
        nnx = _nnx()
        self.objects = nnx.merge(graph, state)
        self._given = {path: _raw(value) for path, value in nnx.to_flat_state(state)}
        pairs = zip(
            nnx.iter_graph(self.objects, graph=True),
            nnx.iter_graph(list(outside), graph=True),
            strict=True,
        )
        self.originals = {id(ours): theirs for (_, ours), (_, theirs) in pairs if is_nnx(ours)}

    def changes(self, caller: str) -> Any:
        """Return the part of the state that is not what it was; None if all is.

        Raises:
            ValueError: more than Variables changed: an attribute that is no array.
        """
        if not self.objects:
            return None
        nnx = _nnx()
        graph, state = nnx.split(self.objects, graph=True)
        changed = [
            (path, value)
            for path, value in nnx.to_flat_state(state)
            if path not in self._given or _raw(value) is not self._given[path]
        ]
        if graph != self._graph:
            # new Variables, as of `sow`, can be added outside; all else cannot be
            probe = nnx.merge(self._graph, self._state, copy=True)
            added = [(path, value) for path, value in changed if path not in self._given]
            if added:
                nnx.update(probe, nnx.from_flat_state(added))
            if nnx.graphdef(probe, graph=True) != graph:
                raise ValueError(
                    f"{caller}: f changes a flax.nnx module among its arguments in more than its "
                    "arrays (a mode, a number, a submodule); do that before the call, e.g. "
                    "module.eval()"
                )
        return nnx.from_flat_state(changed) if changed else None


@contextlib.contextmanager
def keras_changes() -> Iterator[dict[int, tuple[Any, Any]]]:
    """Keep Keras's variables as they are, and collect (variable, new value) by id instead."""
    keras = sys.modules.get("keras")
    if keras is None or not hasattr(keras, "StatelessScope") or keras.config.backend() != "jax":
        yield {}
        return
    changes: dict[int, tuple[Any, Any]] = {}

    class Collecting(keras.StatelessScope):
        def add_update(self, update: tuple[Any, Any]) -> None:
            super().add_update(update)
            changes[id(update[0])] = update

        def get_current_value(self, variable: Any) -> Any:
            value = super().get_current_value(variable)
            around = self.original_scope
            return around.get_current_value(variable) if value is None and around else value

    with Collecting(collect_losses=True):
        yield changes


def _nnx() -> Any:
    return sys.modules["flax.nnx"]


def _raw(value: Any) -> Any:
    return value.get_raw_value() if isinstance(value, _nnx().Variable) else value
