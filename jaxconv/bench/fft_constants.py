"""Fit the constants of the FFT method's cost formula: `python -m jaxconv.bench.fft_constants`.

Random planes, depthwise layers, lines and small dense layers are run in all three contractions with
the cheapest plan of the present formula, the plan without blocks and one other random plan. The
constants minimise the relative errors over two thirds of the shapes and are tested on the rest.
"""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from scipy.optimize import nnls

from jaxconv._core.geometry.spec import ConvSpec, normalise
from jaxconv._core.methods import fft, fft_plan
from jaxconv._core.methods.fft_plan import Line, Plan, Planes

SHAPES = 60
SECONDS = 80
REPEATS = 5


def main() -> None:
    """Print the constants and the quantiles of predicted by measured time."""
    rng = np.random.default_rng(0)
    rows, times, tests, chosen = [], [], [], []
    start = time.perf_counter()
    for index, (contraction, spec, a, b) in enumerate(itertools.islice(_problems(rng), SHAPES)):
        if time.perf_counter() - start > SECONDS:
            break
        for cut, features, seconds in _measured(rng, contraction, spec, a, b):
            rows.append(features)
            times.append(seconds * 1e9)
            # by shape, so that all plans of a shape are in the same part; // 12 keeps the mix
            tests.append(index // 12 % 3 == 2)
            chosen.append(cut == 0)
    relative = np.array(rows) / np.array(times)[:, None]
    held, chosen = np.array(tests), np.array(chosen)
    constants, _ = nnls(relative[~held], np.ones((~held).sum()))  # of the relative errors
    print("constants", tuple(float(f"{c:.3g}") for c in constants))
    for name, some in (("fitted", ~held), ("predicted", held & chosen)):
        spread = np.quantile(relative[some] @ constants, (0, 0.1, 0.5, 0.9, 1))
        print(name, some.sum(), "predicted / measured at 0, 10, 50, 90, 100 %:", spread.round(2))
    present = relative[held & chosen] @ np.array(fft_plan.CONSTANTS)
    print("present constants:", np.quantile(present, (0, 0.1, 0.5, 0.9, 1)).round(2))


def _problems(rng: np.random.Generator) -> Iterator[tuple[Any, ConvSpec, Any, Any]]:
    for index in itertools.count():
        kind = index % 4
        size = int(2 ** rng.uniform(7, 11.5))
        taps = int(2 ** rng.uniform(3, 6))
        if kind == 0:
            x, w, groups = (1, size, size, 1), (taps, taps, 1, 1), 1
        elif kind == 1:
            groups = int(rng.choice([32, 64, 128]))
            side = int(rng.integers(14, 64))
            x, w = (int(rng.integers(1, 5)), side, side, groups), (taps, taps, 1, groups)
        elif kind == 2:
            x, w, groups = (1, size**2 // 4, 1), (16 * taps, 1, 1), 1
        else:
            i, o = (int(c) for c in rng.integers(2, 24, 2))
            side, groups = int(rng.integers(32, 200)), 1
            x, w = (int(rng.integers(1, 4)), side, side, i), (taps, taps, i, o)
        spec = normalise("fft_constants", x, w, padding="same", groups=groups)
        shapes = {"x": x, "w": w, "y": (*x[:-1], w[-1])}
        contraction = ("output", "input", "kernel")[index // 4 % 3]
        names = {"output": "xw", "input": "yw", "kernel": "xy"}[contraction]
        yield contraction, spec, *(rng.standard_normal(shapes[n], np.float32) for n in names)


def _measured(
    rng: np.random.Generator, contraction: Any, spec: ConvSpec, a: Any, b: Any
) -> list[tuple[int, tuple[float, ...], float]]:
    """(number of the plan, its features, its seconds) of each plan tried."""
    asked: list[tuple[tuple[Line, ...], Planes]] = []
    choices: list[Plan] = []
    original = fft.plan

    def timed(number: int) -> float:
        def chosen(lines: tuple[Line, ...], planes: Planes, *, real: bool) -> Plan:
            asked.append((lines, planes))
            if not choices:
                found = fft_plan.plans(lines, real=real)
                best = min(found, key=lambda p: fft_plan.cost(p, planes, real=real))
                choices.extend(dict.fromkeys([best, found[0], found[rng.integers(len(found))]]))
            return choices[number]

        fft.plan = chosen
        try:
            f = jax.jit(
                lambda a, b: fft.METHOD.contractions[contraction](a, b, spec, dtype=a.dtype)
            )
            jax.block_until_ready(f(a, b))
        finally:
            fft.plan = original
        laps = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            jax.block_until_ready(f(a, b))
            laps.append(time.perf_counter() - start)
        return float(np.median(laps))

    a, b = jax.device_put((a, b))
    found = [(0, timed(0))]
    found += [(number, timed(number)) for number in range(1, len(choices))]
    planes = asked[0][1]
    return [(n, fft_plan.features(choices[n], planes, real=True), s) for n, s in found]


if __name__ == "__main__":
    main()
