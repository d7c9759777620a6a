"""Measure the regret of the chosen methods on random shapes.

    regret = time of the method that "fastest" chooses / time of the fastest method

The cost rules are fitted to the features and times of the shapes of one seed, and judged by the
regret on those of another.
"""

import json
import math
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._core.dispatch.choose import candidates, refusal, select
from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.primitive import OPERANDS, contract
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import Contraction, ConvSpec, normalise
from jaxconv._core.machine import device_kind
from jaxconv._core.methods import METHODS
from jaxconv.bench import float64_answers
from jaxconv.bench.measure import compile_apart, estimate, race
from jaxconv.bench.numerics import FLOAT32

Row = dict[str, Any]

# Multiply-adds of one contraction: the least; the most; the most with fewer than FEW_CHANNELS in a
# group, where XLA's scalar loops take up to ten nanoseconds each.
LEAST_WORK, MOST_WORK, MOST_WORK_OF_FEW_CHANNELS, FEW_CHANNELS = 1e2, 2e8, 3e7, 8
# Elements of the largest array.
MOST_ELEMENTS = 2**22
# rank -> the largest size and kernel along a dimension
LARGEST_SIZES = {1: (65536, 64), 2: (1024, 64), 3: (96, 9)}
# A method whose first calls took longer than the fastest's by this factor is not timed again.
MOST_TIMES_SLOWER = 20.0
BUDGET = 0.1  # seconds for each method of a problem
# The reason with which choices are made as where the plugin is not installed.
NO_PLUGIN = "the plugin is left out"


def shape(seed: int, index: int) -> dict[str, Any]:
    """Draw one shape: x, w and the arguments of `conv`, determined by seed and index."""
    draw = np.random.default_rng((seed, index))
    while True:
        found = _drawn(draw)
        if found is not None:
            return found


def _drawn(draw: np.random.Generator) -> dict[str, Any] | None:
    rank = int(draw.choice([1, 2, 3], p=[0.25, 0.6, 0.15]))
    largest, widest = LARGEST_SIZES[rank]
    kernel = _tuple(draw, rank, 1, widest)
    size = _tuple(draw, rank, 4, largest)
    groups, inputs, outputs = _channels(draw)
    stride = int(draw.choice([1, 2, 3, 4], p=[0.7, 0.2, 0.05, 0.05]))
    dilation = int(draw.choice([1, 2, 4], p=[0.8, 0.1, 0.1]))
    span = [(k - 1) * dilation for k in kernel]
    pads = {
        "none": [(0, 0) for _ in span],
        "half": [(s // 2, s - s // 2) for s in span],
        "causal": [(s, 0) for s in span],
    }[str(draw.choice(["none", "half", "causal"], p=[0.25, 0.65, 0.1]))]
    batch = _log_uniform(draw, 1, 32)
    x, w = (batch, *size, groups * inputs), (*kernel, inputs, groups * outputs)
    if any(n + sum(p) <= s for n, p, s in zip(size, pads, span, strict=True)):
        return None
    arguments = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups}
    spec = normalise("regret", x, w, **arguments)
    y = (batch, *spec.output_size, groups * outputs)
    work = math.prod(y) * math.prod(kernel) * inputs
    few = min(inputs, outputs) < FEW_CHANNELS
    most = MOST_WORK_OF_FEW_CHANNELS if few else MOST_WORK
    if not LEAST_WORK <= work <= most or max(map(math.prod, (x, w, y))) > MOST_ELEMENTS:
        return None
    return {"x": x, "w": w, "y": y, "arguments": arguments, "work": work}


def _channels(draw: np.random.Generator) -> tuple[int, int, int]:
    """Number of groups, and input and output channels of each."""
    kind = str(draw.choice(["dense", "grouped", "depthwise", "plane"], p=[0.4, 0.2, 0.3, 0.1]))
    match kind:
        case "plane":
            return 1, 1, 1
        case "depthwise":
            return _log_uniform(draw, 2, 1024), 1, int(draw.choice([1, 2], p=[0.9, 0.1]))
        case "grouped":
            return _log_uniform(draw, 2, 64), _log_uniform(draw, 1, 64), _log_uniform(draw, 1, 64)
        case _:
            return 1, _log_uniform(draw, 1, 1024), _log_uniform(draw, 1, 1024)


def _log_uniform(draw: np.random.Generator, low: int, high: int) -> int:
    return round(math.exp(draw.uniform(math.log(low), math.log(high))))


def _tuple(draw: np.random.Generator, rank: int, low: int, high: int) -> tuple[int, ...]:
    """Sizes, mostly the same along all dimensions, as in real kernels and images."""
    if draw.random() < 0.7:
        return (_log_uniform(draw, low, high),) * rank
    return tuple(_log_uniform(draw, low, high) for _ in range(rank))


def problem(seed: int, index: int) -> tuple[Problem, dict[str, np.ndarray]]:
    """Return one contraction of one shape (in turn, by index) and its float32 arrays."""
    drawn = shape(seed, index)
    draw = np.random.default_rng(index)
    arrays = {name: draw.standard_normal(drawn[name], np.float32) for name in "xwy"}
    spec = normalise("regret", drawn["x"], drawn["w"], **drawn["arguments"])
    contractions: tuple[Contraction, ...] = ("output", "input", "kernel")
    contraction = contractions[index % 3]
    a, b = (arrays[name] for name in OPERANDS[contraction])
    platform = jax.default_backend()
    device = {"platform": platform, "device_kind": device_kind(platform)}
    found = Problem.of(contraction, a, b, spec, dtype=jnp.float32, **device)
    return found, {name: arrays[name] for name in OPERANDS[contraction]}


def measure(
    problem: Problem, arrays: Mapping[str, np.ndarray], methods: Sequence[str] | None = None
) -> Row:
    """Time every method that can compute a problem; return a row with the one "fastest" chooses."""
    methods = candidates("fastest", problem.platform) if methods is None else methods
    operands = [jnp.asarray(a) for a in arrays.values()]
    expected = {"result": _exact(problem, *arrays.values())}
    calls: dict[str, Callable[[], Any]] = {}
    skipped: dict[str, str] = {}
    compiling: dict[str, float] = {}
    for method in methods:
        reason = refusal(problem, method)
        if reason is not None:
            skipped[method] = reason
            continue
        try:
            call, compiling[method] = compiled(problem, method, operands)
            (error,) = float64_answers.errors({"result": np.asarray(call())}, expected).values()
        except Exception as failure:  # one method's failure must not end the run
            skipped[method] = f"failed: {type(failure).__name__}: {str(failure)[:200]}"
            continue
        if not error <= FLOAT32.tolerance:
            skipped[method] = f"wrong: off by {error:.1e} of the largest value"
            continue
        calls[method] = call
    medians, once = times(calls)
    return _features(problem) | {
        "times": medians,
        "once": once,
        "compile": compiling,
        "skipped": skipped,
        "chosen": select(problem, "fastest").method,
        "chosen without plugin": select(
            problem, "fastest", ffi_unavailable_reason=NO_PLUGIN
        ).method,
    }


def compiled(
    problem: Problem, method: str, operands: Sequence[jax.Array]
) -> tuple[Callable[[], Any], float]:
    """Compile a problem by one method: a call that waits for its result, and the seconds it took.

    Args:
        problem: the contraction and its sizes.
        method: the method's name.
        operands: of the contraction, in order.
    """

    def run(a: jax.Array, b: jax.Array) -> jax.Array:
        return contract(problem.contraction, a, b, problem.spec, dtype=problem.dtype, method=method)

    program, seconds = compile_apart(run, operands, fresh=False)
    return lambda: jax.block_until_ready(program(*operands)), seconds


def times(
    calls: Mapping[str, Callable[[], Any]], budget: float | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """Return medians of the methods that come near the fastest, and first times of all others.

    Args:
        calls: by method; each waits for its result.
        budget: seconds for each method, `BUDGET` if None.
    """
    once = {method: estimate(call) for method, call in calls.items()}
    best = min(once.values(), default=0.0)
    near = {
        method: call for method, call in calls.items() if once[method] <= MOST_TIMES_SLOWER * best
    }
    peers = {method: method for method in near}
    share = BUDGET if budget is None else budget
    raced = race(near, peers, budget=share * max(len(near), 1), rounds=3, settle=0.002)
    far = {method: seconds for method, seconds in once.items() if method not in near}
    return {method: statistics.median(taken) for method, taken in raced.items()}, far


def _exact(problem: Problem, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return float64_answers.contract(problem.contraction, a, b, problem.spec)


def _features(problem: Problem) -> Row:
    spec = problem.spec
    return {
        "contraction": problem.contraction,
        "rank": spec.rank,
        "batch": problem.batch,
        "groups": spec.groups,
        "inputs": problem.inputs,
        "outputs": problem.outputs,
        "input_size": list(spec.input_size),
        "output_size": list(spec.output_size),
        "kernel_size": list(spec.kernel_size),
        "stride": list(spec.stride),
        "dilation": list(spec.dilation),
        "padding": [list(pair) for pair in spec.padding],
        "dtype": problem.dtype,
        "platform": problem.platform,
        "device_kind": problem.device_kind,
    }


def rows(
    seed: int, count: int, before: Sequence[Row] = (), *, save: Callable[[list[Row]], None]
) -> list[Row]:
    """Measure shapes 0 to count - 1 of a seed, except those in `before`."""
    found = list(before)
    there = {row["index"] for row in found}
    for index in range(count):
        if index in there:
            continue
        found.append({"seed": seed, "index": index} | measure(*problem(seed, index)))
        save(found)
    return [row for row in found if row["index"] < count]


def load(path: Path, seed: int) -> list[Row]:
    """Read the rows of an earlier run with the same seed; none if there is no file."""
    if not path.exists():
        return []
    return [row for row in json.loads(path.read_text())["rows"] if row["seed"] == seed]


def save(path: Path, facts: Mapping[str, Any], found: Sequence[Row]) -> None:
    """Write all rows, or leave the file unchanged."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps({"machine": facts, "rows": list(found)}) + "\n")
    os.replace(temporary, path)


def problem_of(row: Mapping[str, Any]) -> Problem:
    """Return the problem of one row."""
    spec = ConvSpec(
        tuple(row["stride"]),
        tuple(row["dilation"]),
        tuple((lo, hi) for lo, hi in row["padding"]),
        row["groups"],
        tuple(row["input_size"]),
        tuple(row["kernel_size"]),
    )
    sizes = row["batch"], row["inputs"], row["outputs"]
    device = row["platform"], row.get("device_kind", "")
    return Problem(row["contraction"], spec, *sizes, row["dtype"], *device)


def regret(row: Row, *, plugin: bool = True, policy: Policy | None = None) -> float | None:
    """Return the chosen method's time over the fastest's; None if fewer than two were timed.

    Args:
        row: from `measure`.
        plugin: whether to include the oneDNN plugin's method.
        policy: chooses in place of the rules at the time when the row was measured.
    """
    every = row["once"] | row["times"]
    if not plugin:
        calling = _calling_libraries()
        every = {method: seconds for method, seconds in every.items() if method not in calling}
    if policy is None:
        chosen = row["chosen" if plugin else "chosen without plugin"]
    else:
        reason = None if plugin else NO_PLUGIN
        choice = select(problem_of(row), "fastest", policy, ffi_unavailable_reason=reason)
        chosen = choice.method
    if len(every) < 2:
        return None
    return every[chosen] / min(every.values()) if chosen in every else math.inf


def _calling_libraries() -> set[str]:
    return {name for name, method in METHODS.items() if method.calls_library}


def summary(found: Sequence[Row], policy: Policy | None = None) -> dict[str, Any]:
    """Return quantiles of the regret: of all rows, by contraction, and without the plugin.

    Args:
        found: rows from `measure`.
        policy: as in `regret`.
    """
    groups: dict[str, list[Row]] = {"all": list(found)}
    for row in found:
        groups.setdefault(row["contraction"], []).append(row)
    every = {name: [regret(row, policy=policy) for row in of] for name, of in groups.items()}
    if any(_calling_libraries() & (row["once"] | row["times"]).keys() for row in found):
        without = [regret(row, plugin=False, policy=policy) for row in found]
        every["all, without the plugin"] = without
    return {name: _quantiles(sorted(r for r in of if r is not None)) for name, of in every.items()}


def _quantiles(ordered: Sequence[float]) -> dict[str, float]:
    if not ordered:
        return {"problems": 0}
    return {
        "problems": len(ordered),
        "median": statistics.median(ordered),
        # nearest rank
        "95th percentile": ordered[math.ceil(0.95 * len(ordered)) - 1],
        "max": ordered[-1],
    }


def worst(found: Sequence[Row], number: int = 10) -> list[Row]:
    """Return the rows of largest regret, the largest first."""
    return sorted(found, key=lambda row: -(regret(row) or 0.0))[:number]


def described(row: Row) -> str:
    """Return one row as one line of text."""
    every = row["once"] | row["times"]
    times = ", ".join(f"{m} {1e3 * t:.3g}" for m, t in sorted(every.items(), key=lambda i: i[1]))
    return (
        f"{regret(row) or math.nan:.2f}  {row['contraction']:6} n={row['batch']} "
        f"x={row['input_size']} k={row['kernel_size']} stride={row['stride'][0]} "
        f"dilation={row['dilation'][0]} {row['inputs']}->{row['outputs']} in {row['groups']} "
        f"groups: took {row['chosen']}; ms: {times}"
    )
