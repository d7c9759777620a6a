"""Fit the constants of the methods' cost terms to measured times.

    jaxconv bench --suite regret --count 300 --seed 1 --json train.json
    python -m jaxconv.bench.method_times layers.json
    python -m jaxconv.bench.fit train.json layers.json > jaxconv/_core/methods/constants/cpu.json

The same on another device gives the constants of its kind, in a file of its own. From then on
"auto" and "fastest" choose by them on such devices; before that they take lax there. A CPU with
AVX2 and without AVX-512 is such a kind too; without a file of its own it has the constants of all.

The rows of all files are used together. Each method's constants minimise the weighted sum of
|log(predicted / measured)| over the measured problems, which is robust to outliers; layers and
planes have larger weights, times far from the fastest smaller ones. Constants are positive; terms
that improve the fit too little are left out.

The margins of `choose.decide` minimise the mean log(regret), with the same weights, where each
problem's times are predicted by constants fitted to other problems (five folds): first lax's margin
without the plugin, then oneDNN's with it. Of margins that are equally good, lax's is the one that
chooses lax most often, so that few layers become slower than without us; oneDNN's is the one that
chooses oneDNN least often, since XLA can fuse, export and partition its own operations.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from jaxconv._core.dispatch.choose import decide
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.machine import kind_of
from jaxconv._core.methods import METHODS
from jaxconv._core.methods.measured import CPU
from jaxconv.bench import regret

Row = Mapping[str, Any]
# A term is eliminated if the mean error of the logarithms then grows by no more than this.
ELIMINATION_TOLERANCE = 0.0007
# The weight of a time is this power of (fastest / time): slow methods need not be predicted well.
SLOW_WEIGHT_POWER = 0.2
# The weight of a layer of a network, or of a plane of an image's size; random problems have 1.
LAYER_WEIGHT = 3.0
# Steps of the solver; the smallest share of the measured time that it predicts; the error of the
# logarithm up to which its loss is quadratic (Huber's delta); the range that errors are clipped to
# in one step.
ITERATIONS, SMALLEST_RATIO, HUBER_DELTA, STEP_RANGE = 25, 1e-6, 0.15, (-2.0, 0.7)
FOLDS = 5
# Means of log(regret) that differ by less than this count as equal.
TIE_TOLERANCE = 0.003
MARGINS_TRIED = tuple(round(0.05 * step, 2) for step in range(20, 3, -1))


def problem(row: Row) -> Problem:
    """Return the problem of one row of the regret suite as methods get it."""
    found = regret.problem_of(row)
    return found.reduced if found.platform == "cpu" else found


def fit(rows: Sequence[Row], method: str) -> dict[str, float]:
    """Return a method's constants for rows of one contraction, in seconds per unit of each term."""
    timed = [(problem(row), t, row) for row in rows if (t := _time(row, method)) is not None]
    found = [METHODS[method].terms(p) for p, _, _ in timed]
    measured = np.array([t for _, t, _ in timed])
    fastest = np.array([min((row["once"] | row["times"]).values()) for _, _, row in timed])
    weights = (fastest / measured) ** SLOW_WEIGHT_POWER
    weights *= [_weight(row) for _, _, row in timed]
    names = [name for name in found[0] if any(each.get(name, 0) > 0 for each in found)]
    # one unit of each term as a share of the measured time
    matrix = np.array([[each.get(name, 0.0) for name in names] for each in found])
    matrix /= measured[:, np.newaxis]
    best, error = _solve(matrix, weights)
    kept = best > 0
    names = [name for name, keep in zip(names, kept, strict=True) if keep]
    matrix, best = matrix[:, kept], best[kept]
    while len(names) > 1:
        # backward elimination: drop the term without which the error is smallest
        without = [
            _solve(np.delete(matrix, index, axis=1), weights, np.delete(best, index))
            for index in range(len(names))
        ]
        index = min(range(len(names)), key=lambda k: without[k][1])
        if without[index][1] > error + ELIMINATION_TOLERANCE:
            break
        best, error = without[index][0], min(error, without[index][1])
        names.pop(index)
        matrix = np.delete(matrix, index, axis=1)
    return {name: float(f"{value:.2g}") for name, value in zip(names, best, strict=True) if value}


def _weight(row: Row) -> float:
    return LAYER_WEIGHT if "layer" in row else 1.0


def _time(row: Row, method: str) -> float | None:
    return (row["once"] | row["times"]).get(method)


def _solve(
    matrix: np.ndarray, weights: np.ndarray, start: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Positive constants with the least mean absolute error of the logarithm, and that error.

    `matrix @ constants` is predicted over measured time. Gauss-Newton on its logarithm: each step
    solves a least-squares problem in positive constants, reweighted so that it minimises absolute
    values, and is shortened until the error decreases.
    """
    if not (matrix.sum(axis=1) > 0).all():
        return np.zeros(matrix.shape[1]), math.inf
    terms_here = matrix.shape[1]
    scale = matrix.max(axis=0)
    matrix = matrix / scale
    if start is None:  # each term has an equal part in its median problem
        middle = [np.median(column[column > 0]) for column in matrix.T]
        found = 1 / (np.array(middle) * terms_here)
    else:
        found = start * scale

    def logs(of: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(matrix @ of, SMALLEST_RATIO))

    def mean(errors: np.ndarray) -> float:
        return float(np.average(np.abs(errors), weights=weights))

    error = mean(logs(found))
    for _ in range(ITERATIONS):
        off = logs(found)
        scaled = np.sqrt(weights / np.maximum(np.abs(off), HUBER_DELTA))
        slopes = matrix / np.exp(off)[:, np.newaxis] * scaled[:, np.newaxis]
        wanted = (1 - np.clip(off, *STEP_RANGE)) * scaled
        aim, _ = nnls(slopes, wanted, maxiter=200 * terms_here)
        for part in (1.0, 0.5, 0.25, 0.1):
            tried = found + part * (aim - found)
            tried_error = mean(logs(tried))
            if tried_error < error:
                break
        else:
            break
        found, error = tried, tried_error
    return found / scale, error


def constants(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, float]]:
    """Return the constants of every method timed in the rows."""
    found = {}
    for contraction in ("output", "input", "kernel"):
        of = [row for row in rows if row["contraction"] == contraction]
        for method in sorted({name for row in of for name in row["once"] | row["times"]}):
            found[method, contraction] = fit(of, method)
    return found


def predicted(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Return each row's predicted times by method, from constants fitted to other rows."""
    found: list[dict[str, float]] = [{} for _ in rows]
    for fold in range(FOLDS):
        fitted = constants([row for k, row in enumerate(rows) if k % FOLDS != fold])
        for k in range(fold, len(rows), FOLDS):
            row, at = rows[k], problem(rows[k])
            found[k] = {
                method: sum(value * METHODS[method].terms(at)[name] for name, value in of.items())
                for (method, contraction), of in fitted.items()
                if contraction == row["contraction"] and _time(row, method) is not None
            }
    return found


def regrets(
    rows: Sequence[Row],
    expected: Sequence[Mapping[str, float]],
    margins: Mapping[str, float],
    without: Sequence[str] = (),
) -> list[float]:
    """Return each row's regret: the time of the decided method over that of the fastest."""
    found = []
    for row, times in zip(rows, expected, strict=True):
        serving = {method: t for method, t in times.items() if method not in without}
        at = problem(row)
        worth = {method: t for method, t in serving.items() if METHODS[method].considered(at)}
        taken, _ = decide(worth, margins)
        measured = {method: (row["once"] | row["times"])[method] for method in serving}
        found.append(measured[taken] / min(measured.values()))
    return found


def margins(rows: Sequence[Row], expected: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the default methods with the margins that minimise the mean log(regret)."""
    best: dict[str, float] = {}
    steps: list[tuple[str, tuple[str, ...]]] = [("lax", ("onednn",))]
    if any("onednn" in times for times in expected):
        steps.append(("onednn", ()))
    for usual, without in steps:
        tried = [{usual: margin} | best for margin in MARGINS_TRIED]
        logs = [np.log(regrets(rows, expected, m, without)) for m in tried]
        means = [np.average(of, weights=[_weight(row) for row in rows]) for of in logs]
        least = min(means) + TIE_TOLERANCE
        tied = [m for m, mean in zip(tried, means, strict=True) if mean <= least]
        best = tied[-1] if usual == "lax" else tied[0]
    return best


def written(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """Return the text of a file of `jaxconv/_core/methods/constants`."""
    versions = machine["versions"]
    layers = sum("layer" in row for row in rows)
    expected = predicted(rows)
    chosen = margins(rows, expected)
    on_cpu = machine["platform"] == "cpu"
    judged = {" with the plugin": regrets(rows, expected, chosen)}
    judged[" without the plugin"] = regrets(rows, expected, chosen, ("onednn",))
    judged = judged if on_cpu else {"": judged[" without the plugin"]}
    quantiles = [
        f"{np.median(of):.2f} and {np.quantile(of, 0.95):.2f}{which}"
        for which, of in judged.items()
    ]
    device = (
        f"{machine['cores']} cores, {' '.join(machine['cpu_flags'])}"
        if on_cpu
        else machine["device_kind"]
    )
    about = (
        f"Written by python -m jaxconv.bench.fit from {len(rows)} problems in float32, {layers} of "
        f"them of layers and planes, the others random ({device}, {machine['date']}, jax "
        f"{versions['jax']}). Regret in cross-validation, median and 95th percentile: "
        f"{', '.join(quantiles)}."
    )
    seconds: dict[str, dict[str, Mapping[str, float]]] = {}
    for (method, contraction), values in constants(rows).items():
        seconds.setdefault(method, {})[contraction] = values
    cpu = f"{CPU} {kind_of(machine['cpu_flags'])}".strip() if on_cpu else ""
    measured = {"device": cpu or machine["device_kind"]}
    if on_cpu:
        flags = " ".join(machine["cpu_flags"])
        measured |= {"cpu flags": flags, "cores": str(machine["cores"])}
    measured |= {"date": machine["date"], "jax": versions["jax"]}
    content = {"about": [about], "measured": measured, "margins": chosen, "seconds": seconds}
    return json.dumps(content, indent=1) + "\n"


def main() -> None:
    """Print the constants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", type=Path, help="JSON files of the regret suite")
    read = [json.loads(path.read_text()) for path in parser.parse_args().files]
    kinds = {(each["machine"]["platform"], each["machine"]["device_kind"]) for each in read}
    if len(kinds) > 1:
        parser.error(f"the files are of several kinds of devices: {sorted(kinds)}")
    print(written([row for each in read for row in each["rows"]], read[0]["machine"]), end="")


if __name__ == "__main__":
    main()
