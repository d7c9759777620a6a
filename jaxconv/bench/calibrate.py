"""Measure within a few minutes how the times of a machine differ from those of the constants.

    jaxconv calibrate --output machine.json

The problems are random ones of the regret suite, and small layers of networks and others that few
random shapes are like, each by every method that may be chosen for it. Of the ratios of measured to expected time the profile keeps medians: of
the machine, then of each method beside the machine, of each contraction beside the method, and of
each kind of layer beside the contraction. The fewer ratios there are for one of the last three, the
nearer it is kept to the one before it:

    log(factor) = machine + method + contraction + kind
    each of the last three = n / (n + PRIOR) * median of what those before it leave of log(ratio)
"""

import datetime
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
# Ratios that are as good as knowing nothing but the factor of the level above.
PRIOR = 3.0

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


def factors(found: Sequence[Ratio]) -> tuple[Factor, ...]:
    """Return a factor for each method, contraction and kind, from the ratios that were measured.

    Args:
        found: at least one.
    """
    left = [(row, math.log(row.ratio)) for row in found]
    machine = statistics.median(log for _, log in left)
    left = [(row, log - machine) for row, log in left]
    levels: list[dict[tuple[str, ...], float]] = []
    for fields in (1, 2, 3):  # of a `Ratio`: method; and contraction; and kind
        groups: dict[tuple[str, ...], list[float]] = {}
        for row, log in left:
            groups.setdefault(row[:fields], []).append(log)
        level = {
            key: len(logs) / (len(logs) + PRIOR) * statistics.median(logs)
            for key, logs in groups.items()
        }
        left = [(row, log - level[row[:fields]]) for row, log in left]
        levels.append(level)
    result = []
    for name, method in METHODS.items():
        for contraction, which in itertools.product(method.constants, KINDS):
            key = (name, contraction, which)
            log = machine + sum(
                level.get(key[:fields], 0.0) for fields, level in enumerate(levels, 1)
            )
            result.append(Factor(*key, float(f"{math.exp(log):.3g}")))
    return tuple(result)


def profile(measured: Sequence[Sequence[Ratio]]) -> MachineProfile:
    """Return the profile of this machine.

    Args:
        measured: the ratios of each problem, from `measure`.

    Raises:
        ValueError: there are none.
    """
    found = [ratio for of_problem in measured for ratio in of_problem]
    if not found:
        raise ValueError("calibrate: no method could be timed")
    return MachineProfile(
        factors=factors(found),
        facts=tuple(conditions().items()),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        problems=len(measured),
    )
