"""The figure of a run: our time as a share of each peer's, case by case."""

from collections.abc import Mapping, Sequence
from statistics import geometric_mean
from typing import Any

from matplotlib.figure import Figure

from jaxconv.bench.peers import PEERS

_SUITES = {
    "filters": "#0072b2",
    "networks": "#d55e00",
    "learn": "#009e73",
    "models": "#cc79a7",
    "steps": "#e69f00",
    "known": "#56b4e9",
}
ROW = 0.24
"""Inches."""


def ratios(records: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> Figure:
    """Draw a row for each case with a dot for each mode, a panel for each peer, logarithmic axes.

    Args:
        records: from `jaxconv.bench.suites`.
        facts: from `jaxconv.bench.tables.machine`, for the title.

    Returns:
        A Figure, rows sorted by the mean ratio. Left of 1 we are faster; dots are empty for what
        has gradients, else filled, and smaller for bfloat16.
    """
    shown = [peer for peer in PEERS if any(peer in r["ratios"] for r in records)]
    rows = _rows(records)
    panels = max(len(shown), 1)
    figure = Figure(
        figsize=(3.6 + 3.4 * panels, 2 + ROW * len(rows)), dpi=110, layout="constrained"
    )
    cpu = facts["platform"] == "cpu"
    where = f"{facts['cores']} cores of cpu" if cpu else facts["device_kind"]
    figure.suptitle(
        f"Our time as a share of the peer's best, {facts['date']}, {where}, {facts['precision']};\n"
        "left of the line is faster"
    )
    grid = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
    for axes, peer in zip(grid, shown, strict=False):
        beside = [r for r in records if peer in r["ratios"]]
        for r in beside:
            axes.plot(r["ratios"][peer], rows[r["suite"], r["case"]], **_dot(r))
        axes.axvline(1, color="0.3", lw=1)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(axis="x", which="major", color="0.85")
        axes.grid(axis="y", color="0.93")
        mean = geometric_mean(r["ratios"][peer] for r in beside)
        axes.set_title(f"beside {peer}:\ngeometric mean {mean:.2f}", fontsize=11)
    grid[0].set_yticks(range(len(rows)), [case for _, case in rows], fontsize=10)
    grid[0].set_ylim(-1, len(rows))
    for suite in dict.fromkeys(r["suite"] for r in records):
        figure.axes[-1].plot([], [], "o", color=_SUITES[suite], label=suite)
    if shown:
        figure.axes[-1].plot([], [], "o", color="0.3", mfc="white", label="with gradients")
        figure.legend(loc="outside lower center", ncols=5, fontsize=11)
    return figure


def _rows(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    """The place of each suite's cases: the case with the largest mean ratio is at the top."""
    found: dict[tuple[str, str], list[float]] = {}
    for r in records:
        if r["ratios"]:
            found.setdefault((r["suite"], r["case"]), []).extend(r["ratios"].values())
    return {case: i for i, case in enumerate(sorted(found, key=lambda c: geometric_mean(found[c])))}


def _dot(record: Mapping[str, Any]) -> dict[str, Any]:
    colour = _SUITES[record["suite"]]
    last = record["mode"].endswith(("forward", "inference"))
    size = 4 if record["mode"].startswith("bfloat16") else 6.5
    return {"marker": "o", "color": colour, "mfc": colour if last else "white", "ms": size}
