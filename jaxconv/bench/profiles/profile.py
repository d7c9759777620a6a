"""Profile a case of the suite `steps`: ours, and torch beside it; records ready for JSON."""

import resource
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax

from jaxconv.bench import measure
from jaxconv.bench.networks import steps
from jaxconv.bench.peers import OURS, Program
from jaxconv.bench.profiles import torch_operations, traces
from jaxconv.bench.profiles.kinds import KINDS, OTHER
from jaxconv.bench.profiles.operations import Operation, operations

FEWEST, MOST = 3, 30
"""Number of calls of a step that are timed, and as many that are profiled."""


def profile(
    case: steps.Step, *, method: str, peers: Sequence[str], budget: float
) -> dict[str, Any]:
    """Run a step under the profilers of JAX and, if it is a peer, of torch.

    Args:
        case: the step.
        method: of every convolution of ours.
        peers: of which only torch counts.
        budget: seconds of calls that are timed, and of as many that are profiled.

    Returns:
        Name and mode of the case, and for "jaxconv" and "torch": milliseconds, of the step, by
        kind, by operation, and of the processors; page faults; temporary bytes. All are of one
        step.
    """
    beside = [peer for peer in peers if peer == "torch"]
    ours, *torch = steps.programs(case, method=method, peers=beside, quick=True)
    found = {"case": case.name, "mode": case.mode, OURS: _ours(ours, budget)}
    return found | ({"torch": _torch(torch[0], budget)} if torch else {})


def _ours(program: Program, budget: float) -> dict[str, Any]:
    compiled, _ = measure.compile_apart(program.function, program.arguments)

    def call() -> Any:
        return jax.block_until_ready(compiled(*program.arguments))

    cost, calls = _cost(call, budget)
    known = operations(compiled.as_text())
    holders = [name for name, operation in known.items() if operation.holds_others]
    ran = traces.spans(traces.record(call, calls), holders)
    swept = traces.sweep(ran)
    rows = _rows(swept, Counter(span.name for span in ran), known, calls)
    return {
        **cost,
        "profiled milliseconds": sum(swept.at_once.values()) / calls / 1e6,
        "operations at once": swept.mean_at_once,
        "idle": swept.idle,
        "temporary bytes": measure.temporary_bytes(compiled),
        "kinds": by_kind(rows),
        "operations": rows,
    }


def _rows(
    swept: traces.Sweep, runs: Mapping[str, int], known: Mapping[str, Operation], calls: int
) -> list[dict[str, Any]]:
    rows = []
    for name, nanoseconds in swept.exclusive.items():
        operation = known.get(name, Operation(name=name, kind=OTHER, result="", computes=""))
        row = {"name": name, "kind": operation.kind, "milliseconds": nanoseconds / calls / 1e6}
        row |= {"runs": runs[name] / calls, "at once": swept.beside[name]}
        row |= {"result": operation.result, "computes": operation.computes}
        rows.append(row | {"parts": operation.parts})
    return _longest_first(rows)


def _torch(program: Program, budget: float) -> dict[str, Any]:
    def call() -> Any:
        return program.function(*program.arguments)

    cost, calls = _cost(call, budget)
    seconds, runs = torch_operations.totals(torch_operations.record(call, calls))
    rows = [
        {
            "name": name,
            "kind": kind,
            "milliseconds": 1e3 * total / calls,
            "runs": runs[name, kind] / calls,
        }
        for (name, kind), total in seconds.items()
    ]
    return {**cost, "kinds": by_kind(rows), "operations": _longest_first(rows)}


def _longest_first(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -row["milliseconds"])


def by_kind(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the milliseconds of each kind that occurs, in the order of `KINDS`."""
    sums = defaultdict[str, float](float)
    for row in rows:
        sums[row["kind"]] += row["milliseconds"]
    return {kind: sums[kind] for kind in KINDS if kind in sums}


def _cost(call: Callable[[], Any], budget: float) -> tuple[dict[str, float], int]:
    """What a step costs without a profiler, and how many steps were measured."""
    call()
    calls = min(max(int(budget / measure.estimate(call)), FEWEST), MOST)
    before = resource.getrusage(resource.RUSAGE_SELF)
    times = [measure.seconds_of(call) for _ in range(calls)]
    after = resource.getrusage(resource.RUSAGE_SELF)
    cost = {
        "milliseconds": 1e3 * statistics.median(times),
        "user milliseconds": 1e3 * (after.ru_utime - before.ru_utime) / calls,
        "system milliseconds": 1e3 * (after.ru_stime - before.ru_stime) / calls,
        "page faults": (after.ru_minflt - before.ru_minflt) / calls,
    }
    return cost, calls
