"""Where the time of a step in torch goes, by the profiler of torch."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from jaxconv.bench.profiles import kinds

# The first pattern that matches a whole name without "aten::" counts.
_PATTERNS = {
    r".*conv.*backward.*": kinds.BACKWARD,
    r".*conv.*": kinds.FORWARD,
    r".*norm.*backward.*": kinds.NORM_BACKWARD,
    r".*norm.*": kinds.NORM,
    r".*pool.*": kinds.POOLING,
    r"(add|b|badd)?mm|matmul|.*linear": kinds.MATRIX,
    r"(sum|mean|amax|max)": kinds.REDUCTION,
    r"(copy_|clone|cat|contiguous|_to_copy)": kinds.COPY,
    r"(pad|.*_pad.*|slice_backward|.*slice.*)": kinds.SLICE,
    r"(add|sub|mul|div|pow|square|neg|sigmoid|silu|relu|gelu|clamp_min|threshold|where)"
    r"(_|_backward)?": kinds.ELEMENTWISE,
}
_OPTIMIZER = "Optimizer."


class Ran(NamedTuple):
    """One run of an operator: its name, those of its callers, and its own seconds without calls."""

    name: str
    callers: tuple[str, ...]
    seconds: float


def record(call: Callable[[], Any], calls: int) -> list[Ran]:
    """Profile calls of a step; return the operators that ran."""
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(calls):
            call()
    return [
        Ran(event.name, tuple(_callers(event)), 1e-6 * event.self_cpu_time_total)
        for event in profiler.events() or ()
    ]


def _callers(event: Any) -> Iterator[str]:
    while (event := event.cpu_parent) is not None:
        yield event.name


def kind(name: str, callers: Iterable[str] = ()) -> str:
    """Return the kind of an operator: "optimizer" for all it calls, else by its own name."""
    if any(each.startswith(_OPTIMIZER) for each in (name, *callers)):
        return kinds.OPTIMIZER
    if not name.startswith("aten::"):  # the engine of autograd
        return kinds.OTHER
    operator = name.removeprefix("aten::")
    matching = (kind for pattern, kind in _PATTERNS.items() if re.fullmatch(pattern, operator))
    return next(matching, kinds.OTHER)


def totals(ran: Iterable[Ran]) -> tuple[dict[tuple[str, str], float], Counter[tuple[str, str]]]:
    """Return the seconds and the number of runs by (name, kind)."""
    seconds, runs = defaultdict[tuple[str, str], float](float), Counter[tuple[str, str]]()
    for each in ran:
        key = each.name, kind(each.name, each.callers)
        seconds[key] += each.seconds
        runs[key] += 1
    return seconds, runs
