"""Fit the constants of `jaxconv.costs` to measured times.

    jaxconv bench --suite regret --count 300 --seed 1 --json train.json
    python -m jaxconv.bench.fit train.json > jaxconv/constants.py

Several files are put together. Each method's constants minimise the sum of
rho(log(predicted / measured)) over the measured problems, rho being the soft absolute value, which
forgives the few times that other work on the machine disturbed. Constants are positive; a term that
would not be missed is left out.

The margins of `jaxconv.choose.decide` are those of least mean log(regret), where every problem's
times are predicted by constants fitted to other problems (five folds): lax's without the plugin,
then oneDNN's with it.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv.choose import decide, worth_expecting
from jaxconv.costs import terms
from jaxconv.policy import Problem
from jaxconv.spec import ConvSpec

Row = Mapping[str, Any]
# A term stays if without it the mean error of the logarithms grows by more than this.
MISSED = 0.004
FOLDS = 5
MARGINS_TRIED = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)


def problem(row: Row) -> Problem:
    """Return the problem of one row of the regret suite."""
    spec = ConvSpec(
        tuple(row["stride"]),
        tuple(row["dilation"]),
        tuple((lo, hi) for lo, hi in row["padding"]),
        row["groups"],
        tuple(row["input_size"]),
        tuple(row["kernel_size"]),
    )
    sizes = row["batch"], row["inputs"], row["outputs"]
    return Problem(row["contraction"], spec, *sizes, row["dtype"], row["platform"])


def fit(rows: Sequence[Row], method: str) -> dict[str, float]:
    """Return a method's constants for rows of one contraction, in seconds a unit of each term."""
    timed = [(problem(row), t) for row in rows if (t := _time(row, method)) is not None]
    found = [terms(method, p) for p, _ in timed]
    measured = np.log([t for _, t in timed])
    names = [name for name in found[0] if any(each.get(name, 0) > 0 for each in found)]
    matrix = np.array([[each.get(name, 0.0) for name in names] for each in found])
    best, error = _solve(matrix, measured)
    while len(names) > 1:
        # backward elimination: drop the term that is missed least
        without = [
            _solve(np.delete(matrix, index, axis=1), measured) for index in range(len(names))
        ]
        index = min(range(len(names)), key=lambda k: without[k][1])
        if without[index][1] > error + MISSED:
            break
        best, error = without[index][0], min(error, without[index][1])
        names.pop(index)
        matrix = np.delete(matrix, index, axis=1)
    return {name: float(f"{value:.2g}") for name, value in zip(names, best, strict=True)}


def _time(row: Row, method: str) -> float | None:
    return (row["once"] | row["times"]).get(method)


def _solve(matrix: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, float]:
    """Positive constants of least soft absolute error in the logarithm, and that error."""
    from scipy.optimize import least_squares

    if not (matrix.sum(axis=1) > 0).all():
        return np.zeros(matrix.shape[1]), math.inf
    scale = np.exp(measured).mean() / np.maximum(matrix.mean(axis=0), 1e-30)

    def residuals(logs: np.ndarray) -> np.ndarray:
        return np.log(matrix @ (scale * np.exp(logs))) - measured

    start = np.full(matrix.shape[1], -2.0)
    found = least_squares(residuals, start, loss="soft_l1", f_scale=0.3, max_nfev=200)
    return scale * np.exp(found.x), float(np.mean(np.abs(found.fun)))


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
                method: sum(value * terms(method, at)[name] for name, value in of.items())
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
        worth = {method: t for method, t in serving.items() if worth_expecting(method, at)}
        taken, _ = decide(worth, margins)
        measured = {method: (row["once"] | row["times"])[method] for method in serving}
        found.append(measured[taken] / min(measured.values()))
    return found


def margins(rows: Sequence[Row], expected: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the usual methods with the margins of least mean log(regret)."""
    best: dict[str, float] = {}
    for usual, without in (("lax", ("onednn",)), ("onednn", ())):
        tried = [{usual: margin} | best for margin in MARGINS_TRIED]
        best = min(tried, key=lambda m: np.log(regrets(rows, expected, m, without)).mean())
    return best


def written(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """Return the text of `jaxconv/constants.py`."""
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
        '"""Constants of `jaxconv.costs` and margins of `jaxconv.choose`, fitted to measurements.',
        "",
        f"Written by `python -m jaxconv.bench.fit` from {len(rows)} problems in float32,",
        f"{layers} of them layers of networks, the others random",
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
        "CONSTANTS: Mapping[tuple[str, str], Mapping[str, float]] = {",
    ]
    for (method, contraction), values in constants(rows).items():
        lines.append(f'    ("{method}", "{contraction}"): {{')
        lines += [f'        "{name}": {value!r},' for name, value in values.items()]
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
