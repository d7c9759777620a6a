"""Check, compile and time contestants: blocks of calls in turns, medians, memory.

Contestants run in one process, one block of calls each in turn. A block begins with a pause and
with calls that are not timed: the threads of the previous contestant still spin for a while, and
its data fills the caches. On devices that work through a queue a block is one or more bursts
(`queued`).
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxconv.bench import devices, float64_answers
from jaxconv.bench.numerics import FLOAT32
from jaxconv.bench.peers import Program
from jaxconv.bench.queued import DISPATCHES, Queued, seconds_of, timed

ROUNDS = 5
LONGEST_BLOCK = 200  # calls
# Seconds of sleep, then of calls that are not timed, at the start of a block.
PAUSE, SETTLE = 0.005, 0.01
# Calls longer than this, in seconds, do without pause and settling.
LONG_CALL = 0.2
# Calls longer than this, in seconds, are timed once, while their values are checked: what a first
# call adds is a small part of them.
TIMED_ONCE = 2.0
# The slower of a peer's layouts is dropped if its first call took longer by more than this factor.
DROPPED_ABOVE = 2.0


@dataclass(kw_only=True)
class Measured:
    """The measurements of one contestant in one case.

    Attributes:
        seconds: median of the timed calls, or bursts a call; None if there are none.
        calls: number of timed calls, or bursts.
        error: largest error against float64, as a share of the largest exact magnitude.
        compile_seconds: tracing, lowering and compiling, the faster of the attempts.
        temporary_bytes: XLA's temporary buffers.
        device_bytes: the most that the device held during the first call beyond what it held
            before, None where it does not tell.
        dispatch_seconds: until the device is asked for one call; None where calls wait anyway.
        latency_seconds: of a call alone, with the way to the device and back; None likewise.
        bound_by_dispatch: whether `seconds` is the time of asking rather than the device's.
        left_out: why it was not timed.
    """

    peer: str
    seconds: float | None = None
    calls: int = 0
    error: float | None = None
    compile_seconds: float | None = None
    temporary_bytes: int | None = None
    device_bytes: int | None = None
    dispatch_seconds: float | None = None
    latency_seconds: float | None = None
    bound_by_dispatch: bool = False
    left_out: str | None = None


def contest(
    programs: Sequence[Program],
    expected: Mapping[str, np.ndarray],
    *,
    budget: float,
    compiles: int = 2,
    tolerance: float = FLOAT32.tolerance,
    bursts: bool | None = None,
) -> dict[str, Measured]:
    """Compile, check and time every program of one case.

    Args:
        programs: one for each contestant.
        expected: float64 arrays by name, compared with the arrays that a program returns.
        budget: seconds of timing for all contestants together; each is called at least once.
        compiles: how often to compile; the fastest counts.
        tolerance: largest error as a share of the largest expected magnitude.
        bursts: whether to time bursts of calls; by default where the device works through a queue.

    Returns:
        The measurements by label. A contestant with wrong values, or that raised, is not timed;
        `left_out` has the reason.
    """
    measured = {program.label: Measured(peer=program.peer) for program in programs}
    calls: dict[str, Callable[[], Any]] = {}
    bursts = devices.asynchronous() if bursts is None else bursts
    for program in programs:
        record = measured[program.label]
        try:
            call = _ready(program, record, compiles, bursts)
            began = time.perf_counter()
            results, record.device_bytes = devices.with_peak(call, on_cuda=program.on_cuda)
            first = time.perf_counter() - began
            errors = float64_answers.errors(program.values(results), expected)
        except Exception as error:  # another contestant's failure must not end the run
            record.left_out = f"failed: {type(error).__name__}: {_first_line(error)}"
            continue
        name, record.error = max(errors.items(), key=lambda item: np.nan_to_num(item[1], nan=9e99))
        if record.error <= tolerance and first > TIMED_ONCE:
            record.seconds, record.calls = first, 1
        elif record.error <= tolerance:
            calls[program.label] = call
        else:
            record.left_out = f"wrong: {name} is off by {record.error:.1e} of its largest value"
    for label, times in race(
        calls, {label: measured[label].peer for label in calls}, budget=budget
    ).items():
        if times:
            measured[label].seconds = statistics.median(times)
            measured[label].calls = len(times)
            _note_dispatch(measured[label], calls[label])
        else:
            measured[label].left_out = "slower than the peer's other way at its first call"
    return measured


def _note_dispatch(record: Measured, call: Callable[[], Any]) -> None:
    if isinstance(call, Queued):
        record.dispatch_seconds, record.latency_seconds = call.alone()
        assert record.seconds is not None
        record.bound_by_dispatch = record.seconds < DISPATCHES * record.dispatch_seconds


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _ready(
    program: Program, record: Measured, compiles: int, bursts: bool = False
) -> Callable[[], Any]:
    function = program.function
    if program.compiled:
        function, record.compile_seconds = compile_apart(function, program.arguments, compiles)
        record.temporary_bytes = temporary_bytes(function)

    def start() -> Any:
        return function(*program.arguments)

    # what runs on the host has no queue
    wait = jax.block_until_ready if program.compiled else program.wait
    if wait is None:
        return start
    return Queued(start=start, wait=wait) if bursts else lambda: wait(start())


def compile_apart(
    function: Callable[..., Any], arguments: Sequence[Any], attempts: int = 1, *, fresh: bool = True
) -> tuple[Any, float]:
    """Trace, lower and compile; return the program and the fastest attempt's time.

    Args:
        function: what `jax.jit` takes.
        arguments: its arguments.
        attempts: how often.
        fresh: whether to clear JAX's caches before each attempt.
    """
    compiled, times = None, []
    for _ in range(attempts):
        if fresh:
            jax.clear_caches()
        began = time.perf_counter()
        # a new function object each time, so that no earlier trace is found
        compiled = jax.jit(lambda *a: function(*a)).lower(*arguments).compile()
        times.append(time.perf_counter() - began)
    return compiled, min(times)


def temporary_bytes(compiled: Any) -> int | None:
    """Bytes of XLA's temporary buffers, or None where the platform does not report them."""
    analysis = compiled.memory_analysis()
    return None if analysis is None else int(analysis.temp_size_in_bytes)


def race(
    calls: Mapping[str, Callable[[], Any]],
    peers: Mapping[str, str],
    *,
    budget: float,
    rounds: int = ROUNDS,
    settle: float = SETTLE,
) -> dict[str, list[float]]:
    """Time calls in turns; return seconds by label, none for the slower layouts of a peer.

    Args:
        calls: by label; each waits for its results.
        peers: the peer of each label; layouts of one peer compete at the first call.
        budget: seconds for all together.
        rounds: number of turns.
        settle: seconds of calls that are not timed at the start of a block.
    """
    once = {label: estimate(call) for label, call in calls.items()}
    best: dict[str, float] = {}
    for label, seconds in once.items():
        best[peers[label]] = min(seconds, best.get(peers[label], math.inf))
    times: dict[str, list[float]] = {label: [] for label in calls}
    running = [label for label in calls if once[label] <= DROPPED_ABOVE * best[peers[label]]]
    share = budget / max(len(running), 1)
    for turn in range(rounds):
        for label in running:
            if turn * once[label] > share:
                continue
            block = min(max(int(share / rounds / once[label]), 1), LONGEST_BLOCK)
            if once[label] < LONG_CALL:
                _settle(calls[label], settle)
            times[label] += timed(calls[label], block, once[label])
    return times


def _settle(call: Callable[[], Any], seconds: float) -> None:
    time.sleep(PAUSE)
    until = time.perf_counter() + seconds
    call()
    while time.perf_counter() < until:
        call()


def estimate(call: Callable[[], Any]) -> float:
    """Seconds of a call, roughly: the fastest of three unless it is long."""
    # the first call may still place buffers and start threads
    first = seconds_of(call)
    return first if first > LONG_CALL else min(first, seconds_of(call), seconds_of(call))
