"""Fit the constants of `costs` to measured times.

    jaxconv bench --suite regret --count 300 --seed 1 --json train.json
    python -m jaxconv.bench.method_times layers.json
    python -m jaxconv.bench.fit train.json layers.json > jaxconv/_core/dispatch/constants.py

Several files are put together. Each method's constants minimise the weighted sum of
|log(predicted / measured)| over the measured problems, which forgives the few times that other work
on the machine disturbed; layers and planes weigh more, times far from the fastest less. Constants
are positive; a term that would not be missed is left out.

The margins of `choose.decide` are those of least mean log(regret), weighted alike, where
every problem's times are predicted by constants fitted to other problems (five folds): lax's
without the plugin, then oneDNN's with it. Of margins that are as good lax's is the one that keeps
most to lax, so that few layers take longer than they do without us, and oneDNN's the one that is
left soonest, for what XLA can fuse, export and partition.
"""

import argparse
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._core.dispatch.choose import decide
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.geometry.spec import ConvSpec
from jaxconv._core.methods import METHODS

Row = Mapping[str, Any]
# A term stays if without it the mean error of the logarithms grows by more than this.
MISSED = 0.0007
# A time counts with this power of fastest / time: where a method is hopeless, it need not be known
# how hopeless.
MATTERS = 0.2
# A layer of a network, or a plane as images are, counts as so many random problems.
KNOWN = 3.0
# Steps of the solver; the least share of the measured time that it predicts; errors of the
# logarithm up to which its loss is quadratic; errors that one step believes, too low and too high.
ITERATIONS, FLOOR, SOFT, STEP = 25, 1e-6, 0.15, (-2.0, 0.7)
FOLDS = 5
# Means of log(regret) that differ by less are the same.
ALIKE = 0.003
MARGINS_TRIED = tuple(round(0.05 * step, 2) for step in range(20, 3, -1))


def problem(row: Row) -> Problem:
    """Return the problem of one row of the regret suite, as methods get it."""
    spec = ConvSpec(
        tuple(row["stride"]),
        tuple(row["dilation"]),
        tuple((lo, hi) for lo, hi in row["padding"]),
        row["groups"],
        tuple(row["input_size"]),
        tuple(row["kernel_size"]),
    )
    sizes = row["batch"], row["inputs"], row["outputs"]
    return Problem(row["contraction"], spec, *sizes, row["dtype"], row["platform"]).reduced


def fit(rows: Sequence[Row], method: str) -> dict[str, float]:
    """Return a method's constants for rows of one contraction, in seconds a unit of each term."""
    timed = [(problem(row), t, row) for row in rows if (t := _time(row, method)) is not None]
    found = [METHODS[method].terms(p) for p, _, _ in timed]
    measured = np.array([t for _, t, _ in timed])
    fastest = np.array([min((row["once"] | row["times"]).values()) for _, _, row in timed])
    matters = (fastest / measured) ** MATTERS
    matters *= [_weight(row) for _, _, row in timed]
    names = [name for name in found[0] if any(each.get(name, 0) > 0 for each in found)]
    # shares of the measured time that a unit of each term would be
    matrix = np.array([[each.get(name, 0.0) for name in names] for each in found])
    matrix /= measured[:, np.newaxis]
    best, error = _solve(matrix, matters)
    kept = best > 0
    names = [name for name, keep in zip(names, kept, strict=True) if keep]
    matrix, best = matrix[:, kept], best[kept]
    while len(names) > 1:
        # backward elimination: drop the term that is missed least
        without = [
            _solve(np.delete(matrix, index, axis=1), matters, np.delete(best, index))
            for index in range(len(names))
        ]
        index = min(range(len(names)), key=lambda k: without[k][1])
        if without[index][1] > error + MISSED:
            break
        best, error = without[index][0], min(error, without[index][1])
        names.pop(index)
        matrix = np.delete(matrix, index, axis=1)
    return {name: float(f"{value:.2g}") for name, value in zip(names, best, strict=True) if value}


def _weight(row: Row) -> float:
    return KNOWN if "layer" in row else 1.0


def _time(row: Row, method: str) -> float | None:
    return (row["once"] | row["times"]).get(method)


def _solve(
    matrix: np.ndarray, matters: np.ndarray, start: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Positive constants of least absolute error in the logarithm, and the mean of that error.

    `matrix @ constants` is predicted over measured. Gauss-Newton on its logarithm: each step is a
    linear problem in positive constants, weighted so that squares stand for absolute values, and
    goes as far as it makes the error smaller.
    """
    from scipy.optimize import nnls

    if not (matrix.sum(axis=1) > 0).all():
        return np.zeros(matrix.shape[1]), math.inf
    terms_here = matrix.shape[1]
    scale = matrix.max(axis=0)
    matrix = matrix / scale
    if start is None:  # every term has an equal part in the problem that is in the middle for it
        middle = [np.median(column[column > 0]) for column in matrix.T]
        found = 1 / (np.array(middle) * terms_here)
    else:
        found = start * scale

    def logs(of: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(matrix @ of, FLOOR))

    def mean(errors: np.ndarray) -> float:
        return float(np.average(np.abs(errors), weights=matters))

    error = mean(logs(found))
    for _ in range(ITERATIONS):
        off = logs(found)
        weights = np.sqrt(matters / np.maximum(np.abs(off), SOFT))
        slopes = matrix / np.exp(off)[:, np.newaxis] * weights[:, np.newaxis]
        wanted = (1 - np.clip(off, *STEP)) * weights
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
    """Return the constants of every method that the rows have times of."""
    found = {}
    for contraction in ("output", "input", "kernel"):
        of = [row for row in rows if row["contraction"] == contraction]
        for method in sorted({name for row in of for name in row["once"] | row["times"]}):
            found[method, contraction] = fit(of, method)
    return found


def predicted(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Return each row's expected times by method, from constants fitted to other rows."""
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
    """Return time of the method that is decided for over time of the fastest, row by row."""
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
    """Return the usual methods with margins of about the least mean log(regret)."""
    best: dict[str, float] = {}
    for usual, without in (("lax", ("onednn",)), ("onednn", ())):
        tried = [{usual: margin} | best for margin in MARGINS_TRIED]
        logs = [np.log(regrets(rows, expected, m, without)) for m in tried]
        means = [np.average(of, weights=[_weight(row) for row in rows]) for of in logs]
        alike = [m for m, mean in zip(tried, means, strict=True) if mean <= min(means) + ALIKE]
        best = alike[-1] if usual == "lax" else alike[0]
    return best


def written(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """Return the text of `jaxconv/_core/dispatch/constants.py`."""
    versions = machine["versions"]
    layers = sum("layer" in row for row in rows)
    expected = predicted(rows)
    chosen = margins(rows, expected)
    quantiles = [
        f"{np.median(of):.2f} and {np.quantile(of, 0.95):.2f} {which} the plugin"
        for which, of in (
            ("with", regrets(rows, expected, chosen)),
            ("without", regrets(rows, expected, chosen, ("onednn",))),
        )
    ]
    lines = [
        '"""Constants of `costs` and margins of `choose`, fitted to measurements.',
        "",
        f"Written by `python -m jaxconv.bench.fit` from {len(rows)} problems in float32,",
        f"{layers} of them of layers and planes, the others random",
        f"({machine['cores']} cores, {' '.join(machine['cpu_flags'])}, {machine['date']},",
        f"jax {versions['jax']}). Regret of problems that were left out of the fit in turn, median",
        f"and 95th percentile: {' '.join(quantiles[:1])},",
        f"{quantiles[1]}.",
        '"""',
        "",
        "from collections.abc import Mapping",
        "",
        "# What is taken unless another is expected to need less than this part of its time.",
        f"MARGINS: Mapping[str, float] = {json.dumps(chosen)}",
        "",
        "# Seconds a unit of each term, by method and contraction.",
        "# fmt: off",
        "CONSTANTS: Mapping[tuple[str, str], Mapping[str, float]] = {",
    ]
    for (method, contraction), values in constants(rows).items():
        lines.append(f'    ("{method}", "{contraction}"): {{')
        # names have blanks, at which no line may break
        pairs = [f'"{name}":~{value!r},'.replace(" ", "~") for name, value in values.items()]
        filled = textwrap.wrap(" ".join(pairs), 92, break_on_hyphens=False)
        lines += [f"        {line}".replace("~", " ") for line in filled]
        lines.append("    },")
    return "\n".join([*lines, "}", ""])


def main() -> None:
    """Print the constants' module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", type=Path, help="what the regret suite wrote")
    read = [json.loads(path.read_text()) for path in parser.parse_args().files]
    print(written([row for each in read for row in each["rows"]], read[0]["machine"]), end="")


if __name__ == "__main__":
    main()
