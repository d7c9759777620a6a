"""State that a function sets in place: variables of Flax NNX modules and of Keras layers.

Both hold variables and set them (the running mean of a batch normalisation, the count of a random
stream). In a trace the old values become arguments and the new values become results. Neither
package is imported here: its objects exist only if it has been imported already.
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
    """Return whether Flax reports that a Variable was set in another trace than its own."""
    errors = sys.modules.get("flax.errors")
    return errors is not None and isinstance(error, errors.TraceContextError)


class SplitObjects:
    """Objects of `flax.nnx` and the pytree of their arrays, without duplicates.

    Attributes:
        state: the pytree; empty if there are no objects.
    """

    def __init__(self, objects: Sequence[Any]):
        self._objects = list(objects)
        self._graph, self.state = None, None
        if self._objects:
            self._graph, self.state = _nnx().split(self._objects, graph=True)

    def copies(self, state: Any) -> "TracedCopies":
        """Return copies of the objects with the arrays of another state."""
        return TracedCopies(self._objects, self._graph, state)

    def update(self, changes: Any) -> None:
        """Set the values of `TracedCopies.changes` in the objects.

        Raises:
            flax.errors.TraceContextError: an object belongs to another trace.
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


class TracedCopies:
    """The copies of `flax.nnx` objects that a function is traced with.

    Attributes:
        objects: the copies, in the order of the originals.
        originals: maps the id of each copy, and of each object in it, to the original.
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
        """Return the part of the state that has changed, or None.

        Raises:
            ValueError: an attribute changed that is not a Variable.
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
            # new Variables, such as those of `sow`, can be added to the originals; nothing else can
            probe = nnx.merge(self._graph, self._state, copy=True)
            added = [(path, value) for path, value in changed if path not in self._given]
            if added:
                nnx.update(probe, nnx.from_flat_state(added))
            if nnx.graphdef(probe, graph=True) != graph:
                raise ValueError(
                    f"{caller}: f changes more than the arrays of a flax.nnx module among its "
                    "arguments (a mode, a number, a submodule); do that before the call, e.g. "
                    "module.eval()"
                )
        return nnx.from_flat_state(changed) if changed else None


@contextlib.contextmanager
def keras_changes() -> Iterator[dict[int, tuple[Any, Any]]]:
    """Leave Keras variables unchanged, and collect (variable, new value) by id instead."""
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
            outer = self.original_scope
            return outer.get_current_value(variable) if value is None and outer else value

    with Collecting(collect_losses=True):
        yield changes


def _nnx() -> Any:
    return sys.modules["flax.nnx"]


def _raw(value: Any) -> Any:
    return value.get_raw_value() if isinstance(value, _nnx().Variable) else value
