"""Compare the times of this build's programs with another's, on one machine, in turns.

    python -m jaxconv.bench.builds PYTHONPATH_OF_THE_OTHER [REGEX]

The argument is the other build's `PYTHONPATH`: the folder of its plugin, if any, and its checkout.
Each build has a process of its own; a case is compiled in both, its results are compared, and short
bursts of calls alternate. The fastest call of all bursts counts. REGEX selects cases by "suite:
case, mode".
"""

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxconv.bench import cases, contestants, models, plane_programs, torch_blocks
from jaxconv.bench.peers import Program

BURSTS = 6
SECONDS = 0.08
# Largest difference of the sums of magnitudes of the results, as a share.
TOLERANCE = 1e-3


def programs() -> Iterator[tuple[str, Any]]:
    """Yield the name of each case, and a function that makes its program."""
    ways: dict[str, Any] = {"method": "auto", "peers": ()}
    for layer in cases.LAYERS:
        for mode in cases.MODES:
            make = functools.partial(contestants.programs, layer, mode, **ways)
            yield f"networks: {layer.name}, {mode}", make
    for model in torch_blocks.MODELS:
        yield f"models: {model.name}, step", functools.partial(models.programs, model, **ways)
    for plane in cases.PLANES:
        yield (
            f"filters: {plane.name}, forward",
            functools.partial(plane_programs.programs, plane, **ways),
        )


def serve() -> None:
    """Answer a case's name with its results' magnitudes, and "burst" with the seconds of a call."""
    made = dict(programs())
    call = None
    for line in sys.stdin:
        request = line.strip()
        if request == "burst" and call is not None:
            print(json.dumps(_burst(call)), flush=True)
            continue
        program: Program = made[request]()[0]
        compiled = jax.jit(program.function).lower(*program.arguments).compile()
        call = functools.partial(_finished, compiled, program.arguments)
        values = program.values(call()).values()
        print(json.dumps([float(np.abs(value).sum(dtype=float)) for value in values]), flush=True)


def _finished(compiled: Any, arguments: Any) -> Any:
    return jax.block_until_ready(compiled(*arguments))


def _burst(call: Any) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


class Build:
    """A process that runs the programs of one build."""

    def __init__(self, path: str):
        # -P: do not import from this file's own folder
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__, "serve"],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, request: str) -> Any:
        """Send one line, and return the decoded answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(request, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def main(other: str, pattern: str = "") -> None:
    """Print each case's times and, by suite and mode, geometric means of the ratios."""
    builds = [Build(os.pathsep.join(sys.path[:1])), Build(other)]
    ratios: dict[str, list[float]] = {}
    for name, _ in programs():
        if not re.search(pattern, name):
            continue
        ours, theirs = (build.ask(name) for build in builds)
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, err_msg=name)
        bursts = [[build.ask("burst") for build in builds] for _ in range(BURSTS)]
        now, before = np.min(bursts, axis=0)
        suite = f"{name.split(':')[0]}, {name.split(', ')[-1]}"
        ratios.setdefault(suite, []).append(now / before)
        print(f"{now / before:6.3f}  {now * 1e3:9.3f} {before * 1e3:9.3f} ms  {name}", flush=True)
    for suite, found in ratios.items():
        mean = np.exp(np.mean(np.log(found)))
        print(f"{suite}: {mean:.3f} in the mean of {len(found)}, {max(found):.3f} at most")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main(*sys.argv[1:])
