"""When each operation of a compiled program ran, from a trace of `jax.profiler`.

XLA's CPU runtime records an event when an operation is started, which for one that other threads
finish ends early, and an event `end: NAME` when its results are ready.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax

_END = "end: "


class Event(NamedTuple):
    """An operation's start, or its end, by name; times in nanoseconds."""

    name: str
    start: float
    end: float


class Span(NamedTuple):
    """One run of an operation; times in nanoseconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What ran at each moment, summed over a trace; times in nanoseconds.

    Attributes:
        exclusive: the time of each operation; a moment with n operations gives 1/n to each.
        at_once: the time with 0, 1, 2, ... operations.
        beside: the mean number of operations, itself included, while an operation ran.
    """

    exclusive: Mapping[str, float]
    at_once: Mapping[int, float]
    beside: Mapping[str, float]

    @property
    def mean_at_once(self) -> float:
        """The mean number of operations at once, from the first start to the last end."""
        total = sum(self.at_once.values())
        return sum(n * time for n, time in self.at_once.items()) / total if total else 0.0

    @property
    def idle(self) -> float:
        """The share of the time in which no operation ran."""
        total = sum(self.at_once.values())
        return self.at_once.get(0, 0.0) / total if total else 0.0


def record(call: Callable[[], Any], calls: int) -> list[Event]:
    """Trace calls of a compiled program; return the events of its operations."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for _ in range(calls):
                call()
        return [event for file in Path(folder).rglob("*.xplane.pb") for event in _events(file)]


def _events(file: Path) -> Iterator[Event]:
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            for event in line.events:
                name = str(event.name)
                if name.startswith(_END) or any(key == "hlo_op" for key, _ in event.stats):
                    yield Event(name, event.start_ns, event.end_ns)


def spans(events: Iterable[Event], left_out: Iterable[str] = ()) -> list[Span]:
    """Return the runs of operations in the order of their starts.

    Args:
        events: in any order.
        left_out: names of operations that only hold others, such as loops.

    Returns:
        The i-th start of an operation belongs to its i-th end: an operation does not run beside
        itself. Where the numbers differ, or an end comes first, a run ends with its own event.
    """
    started, ended = defaultdict[str, list[Event]](list), defaultdict[str, list[float]](list)
    for event in events:
        if event.name.startswith(_END):
            ended[event.name.removeprefix(_END)].append(event.end)
        else:
            started[event.name].append(event)
    found: list[Span] = []
    for name in started.keys() - set(left_out):
        runs = sorted(started[name], key=lambda event: event.start)
        ends = sorted(ended[name])
        ends = ends if len(ends) == len(runs) else [run.end for run in runs]
        found += [
            Span(name, run.start, max(run.end, end)) for run, end in zip(runs, ends, strict=True)
        ]
    return sorted(found, key=lambda span: span.start)


def sweep(ran: Sequence[Span]) -> Sweep:
    """Go through the starts and ends in order, and divide each moment among what runs."""
    moments = sorted(
        moment for i, span in enumerate(ran) for moment in ((span.start, i), (span.end, i))
    )
    exclusive, running, weighted = (defaultdict[str, float](float) for _ in range(3))
    at_once = defaultdict[int, float](float)
    active: set[int] = set()
    last = moments[0][0] if moments else 0.0
    for moment, i in moments:
        elapsed, last = moment - last, moment
        if elapsed:
            at_once[len(active)] += elapsed
            for each in active:
                name = ran[each].name
                exclusive[name] += elapsed / len(active)
                running[name] += elapsed
                weighted[name] += elapsed * len(active)
        active ^= {i}  # starts, or ends
    beside = {name: weighted[name] / running[name] for name in running}
    return Sweep(exclusive=exclusive, at_once=at_once, beside=beside)
