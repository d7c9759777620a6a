"""Measure within a few minutes how the times of a machine differ from those of the constants.

    jaxconv calibrate --output machine.json

The problems are random ones of the regret suite, and small layers of networks and others that few
random shapes are like, each by every method that may be chosen for it. The ratios of measured to
expected times are taken apart:

    log(ratio) = problem + method + kind of layer + contraction + what is left

where the second to fourth are the method's, and what is left has the median 0 (Tukey's median
polish). A choice compares methods on one problem: whatever slows all of them is in the first term.
A part of which it is not certain that it is not 0 counts as 0, so that noise moves no choice.
"""

import datetime
import itertools
import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.dispatch.choose import candidates, refusal
from jaxconv._core.dispatch.costs import seconds
from jaxconv._core.dispatch.primitive import OPERANDS
from jaxconv._core.dispatch.profile import KINDS, Factor, MachineProfile, conditions, kind
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction
from jaxconv._core.methods import METHODS
from jaxconv.bench import cases, regret

# Of the random shapes: a seed of its own, so that profiles can be judged by those of other seeds.
SEED = 1_000_003
BUDGET = 0.03  # seconds for each method of a problem
# A method is not measured where it is expected to take this many times as long as the fastest.
HOPELESS = 10.0
# A part of the logarithm counts if its median is this many standard errors from 0: of 2.5, 3, 3.5
# and 4 that with the lowest regret, fitted to one half of 171 problems of a busy machine and judged
# by the other, with the times as measured and with those of some methods multiplied (2 cores of an
# Intel Xeon at 2.5 GHz, jax 0.10.2, 2026-11-28).
STANDARD_ERRORS = 3.5
LEAST = 3  # ratios: the median of fewer may be that of an outlier
SWEEPS = 10  # of the median polish
# Standard error of a median of n normal values with deviation 1, times the square root of n; the
# deviation as a multiple of the median of absolute values.
MEDIAN_ERROR, MEDIAN_DEVIATION = 1.25, 1.48

# What the parts of a method belong to, from a factor's method, contraction and kind.
PARTS: tuple[Callable[[str, str, str], Hashable], ...] = (
    lambda method, contraction, kind: method,
    lambda method, contraction, kind: (method, kind),
    lambda method, contraction, kind: (method, contraction, None),
)
# For methods that are chosen for few random shapes: large kernels, volumes, strides.
OTHERS = tuple(
    cases.Layer(name="", x=x, w=w, padding="same", stride=stride)
    for x, w, stride in (
        ((1, 256, 256, 1), (31, 31, 1, 1), 1),
        ((1, 16384, 1), (512, 1, 1), 1),
        ((1, 64, 64, 8), (15, 15, 8, 8), 1),
        ((1, 16, 28, 28, 16), (3, 3, 3, 16, 16), 1),
        ((2, 56, 56, 32), (3, 3, 32, 32), 2),
    )
)

Measurable = tuple[Problem, Mapping[str, np.ndarray]]


class Ratio(NamedTuple):
    """Measured over expected time of one problem by one method."""

    method: str
    contraction: str
    kind: str
    ratio: float


def problems() -> Iterator[Measurable]:
    """Yield problems and their operands without end: while layers are left, every other is one."""
    layers = [*(layer for layer in cases.LAYERS if layer.quick), *OTHERS]
    contractions: tuple[Contraction, ...] = ("output", "input", "kernel")
    for turn in itertools.count():
        yield regret.problem(SEED, turn)
        lap, index = divmod(turn, len(layers))
        if lap < len(contractions):
            yield _of_layer(layers[index], contractions[(index + lap) % len(contractions)])


def _of_layer(layer: cases.Layer, contraction: Contraction) -> Measurable:
    x, y = (layer.y, layer.x) if layer.transposed else (layer.x, layer.y)
    shapes, draw = {"x": x, "w": layer.w, "y": y}, np.random.default_rng(0)
    arrays = {
        name: draw.standard_normal(shapes[name], np.float32) for name in OPERANDS[contraction]
    }
    a, b = arrays.values()
    platform = jax.default_backend()
    found = Problem.of(contraction, a, b, layer.spec, dtype=jnp.float32, platform=platform)
    return found, arrays


def ratios(problem: Problem, arrays: Mapping[str, np.ndarray]) -> list[Ratio]:
    """Time a problem by the methods that may be chosen for it.

    Args:
        problem: the contraction and its sizes.
        arrays: its operands, in order.
    """
    reduced = problem.reduced
    expected = {
        method: seconds(method, reduced)
        for method in candidates("fastest")
        if refusal(problem, method) is None and METHODS[method].considered(reduced)
    }
    best = min(expected.values())
    operands = [jnp.asarray(array) for array in arrays.values()]
    calls: dict[str, Callable[[], object]] = {}
    for method, of_method in expected.items():
        if of_method > HOPELESS * best:
            continue
        try:
            call, _ = regret.compiled(problem, method, operands)
            call()
        except Exception:  # one method's failure must not end the run
            continue
        calls[method] = call
    medians, _ = regret.times(calls, BUDGET)
    where = problem.contraction, kind(reduced)
    return [Ratio(method, *where, taken / expected[method]) for method, taken in medians.items()]


def measure(
    limit: float, on_problem: Callable[[int, float], None] | None = None
) -> list[list[Ratio]]:
    """Return the ratios of as many problems as there is time for, at least of one.

    No problem is begun that would end too late if it took as long as the longest before it.

    Args:
        limit: seconds for all together.
        on_problem: called after each with the number of problems and the seconds since the start.
    """
    began = time.perf_counter()
    found: list[list[Ratio]] = []
    longest = passed = 0.0
    for problem, arrays in problems():
        found.append(ratios(problem, arrays))
        now = time.perf_counter() - began
        longest, passed = max(longest, now - passed), now
        if on_problem is not None:
            on_problem(len(found), passed)
        if passed + longest > limit:
            break
    return found


def factors(measured: Sequence[Sequence[Ratio]]) -> tuple[Factor, ...]:
    """Return a factor for each method, contraction and kind, from the ratios that were measured.

    Args:
        measured: the ratios of each problem, at least one of each.
    """
    rows = [ratio for of_problem in measured for ratio in of_problem]
    logs = np.log([row.ratio for row in rows])
    problem = np.repeat(np.arange(len(measured)), [len(of_problem) for of_problem in measured])
    alone = np.repeat([len(of) < 2 for of in measured], [len(of) for of in measured])
    keys = [[belongs(*row[:3]) for row in rows] for belongs in PARTS]
    parts = [np.zeros(len(rows)) for _ in PARTS]
    of_problem, found = np.zeros(len(measured)), [{} for _ in PARTS]
    # the medians of the problems are taken from the same ratios
    freedom = max(1 - len(measured) / len(rows), 1 / len(rows))
    for _ in range(SWEEPS):
        left = logs - sum(parts)
        for index in range(len(measured)):
            of_problem[index] = np.median(left[problem == index])
        for part, of_rows in enumerate(keys):
            left = logs - of_problem[problem] - sum(parts) + parts[part]
            groups: dict[Hashable, list[int]] = {}
            for index in np.flatnonzero(~alone):  # a single method has nothing beside it
                groups.setdefault(of_rows[index], []).append(int(index))
            by_key = {key: left[indices] for key, indices in groups.items()}
            found[part] = _certain(by_key, STANDARD_ERRORS / math.sqrt(freedom))
            parts[part] = np.array([found[part].get(key, 0.0) for key in of_rows])
    machine = float(np.median(of_problem))
    made = []
    for name, method in METHODS.items():
        for contraction, which in itertools.product(method.constants, KINDS):
            key = name, contraction, which
            own = (of.get(belongs(*key), 0.0) for belongs, of in zip(PARTS, found, strict=True))
            made.append(Factor(*key, float(f"{math.exp(machine + sum(own)):.3g}")))
    return tuple(made)


def _certain(groups: Mapping[Hashable, np.ndarray], errors: float) -> dict[Hashable, float]:
    """Medians of the groups, 0 where they are not this many standard errors from 0."""
    medians = {key: float(np.median(of)) for key, of in groups.items() if len(of) >= LEAST}
    off = [np.abs(groups[key] - median) for key, median in medians.items()]
    off = np.concatenate(off) if off else np.zeros(1)
    off = off[off > 0]  # a median's own distance from itself says nothing
    deviation = MEDIAN_DEVIATION * float(np.median(off)) if len(off) else 0.0
    return {
        key: median
        if abs(median) > errors * MEDIAN_ERROR * deviation / math.sqrt(len(groups[key]))
        else 0.0
        for key, median in medians.items()
    }


def profile(measured: Sequence[Sequence[Ratio]]) -> MachineProfile:
    """Return the profile of this machine.

    Args:
        measured: the ratios of each problem, from `measure`.

    Raises:
        ValueError: there are none.
    """
    timed = [of_problem for of_problem in measured if of_problem]
    if not timed:
        raise ValueError("calibrate: no method could be timed")
    return MachineProfile(
        factors=factors(timed),
        facts=tuple(conditions().items()),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        problems=len(timed),
    )
