"""Calls of a device that works through a queue: its own time, apart from that of asking it.

A call returns before it has run. Timed one by one, a short one is mostly the way to the device and
back. So calls are queued in bursts, and the burst's time is divided by their number. A device that
is done before the host has asked for the next call has to wait: such a time is not the device's.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Seconds that a burst should last, so that one way to the device and back is a small part of it,
# and its largest number of calls.
BURST, LONGEST_BURST = 0.02, 200
# Calls, each alone, of which the medians are dispatch and latency.
ALONE = 5
# A call is bound by dispatch if it takes less than this many times as long as to ask for it.
DISPATCHES = 1.2


@dataclass(frozen=True, kw_only=True)
class Queued:
    """A call of such a device; called, it waits for its result.

    Attributes:
        start: asks for the result, and returns it before it is there.
        wait: waits for a result, and so for all that were asked for before; returns it.
    """

    start: Callable[[], Any]
    wait: Callable[[Any], Any]

    def __call__(self) -> Any:
        """Ask for the result, and wait for it."""
        return self.wait(self.start())

    def burst(self, calls: int) -> float:
        """Seconds of a call in a burst; earlier results are dropped, so that memory is reused."""
        began = time.perf_counter()
        result = None
        for _ in range(calls):
            result = self.start()
        self.wait(result)
        return (time.perf_counter() - began) / calls

    def alone(self) -> tuple[float, float]:
        """Seconds until an idle device has been asked, and until the result is there: medians."""
        asked, done = [], []
        for _ in range(ALONE):
            began = time.perf_counter()
            result = self.start()
            asked.append(time.perf_counter() - began)
            self.wait(result)
            done.append(time.perf_counter() - began)
        return statistics.median(asked), statistics.median(done)


def timed(call: Callable[[], Any], calls: int, expected: float) -> list[float]:
    """Seconds of calls, one by one or, of a `Queued`, in bursts: as many numbers as there are.

    Args:
        call: waits for its results.
        calls: how many in all, at least.
        expected: seconds of one.
    """
    if not isinstance(call, Queued):
        return [seconds_of(call) for _ in range(calls)]
    size = min(max(round(BURST / max(expected, 1e-9)), 1), LONGEST_BURST)
    return [call.burst(size) for _ in range(max(round(calls / size), 1))]


def seconds_of(call: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call, which must wait for its results."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
