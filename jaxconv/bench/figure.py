"""The figure of a run: our time as a share of each peer's, case by case."""

from collections.abc import Mapping, Sequence
from statistics import geometric_mean
from typing import Any

from matplotlib.figure import Figure

from jaxconv.bench.peers import PEERS
from jaxconv.bench.tables import title

_SUITES = {
    "filters": "#0072b2",
    "networks": "#d55e00",
    "learn": "#009e73",
    "models": "#cc79a7",
    "steps": "#e69f00",
}


def ratios(records: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> Figure:
    """Draw a panel for each peer with a dot for each case, sorted, on a logarithmic axis.

    Args:
        records: from `jaxconv.bench.suites`.
        facts: from `jaxconv.bench.tables.machine`, for the title.

    Returns:
        A Figure. Left of 1 we are faster; dots are empty for what has gradients, else filled.
    """
    shown = [peer for peer in PEERS if any(peer in r["ratios"] for r in records)]
    longest = max((sum(p in r["ratios"] for r in records) for p in shown), default=0)
    figure = Figure(
        figsize=(6.2 * max(len(shown), 1), 2 + 0.16 * longest), dpi=110, layout="constrained"
    )
    figure.suptitle(
        f"Our time as a share of the peer's best, {facts['date']}, {facts['cores']} cores of "
        f"{facts['platform']}; left of the line is faster"
    )
    for axes, peer in zip(
        figure.subplots(1, max(len(shown), 1), squeeze=False)[0], shown, strict=False
    ):
        beside = [r for r in records if peer in r["ratios"]]
        beside.sort(key=lambda r: r["ratios"][peer])
        for place, r in enumerate(beside):
            colour = _SUITES[r["suite"]]
            face = colour if r["mode"].endswith(("forward", "inference")) else "white"
            axes.plot(r["ratios"][peer], place, "o", color=colour, mfc=face, ms=4.5)
        axes.axvline(1, color="0.3", lw=1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(beside)), [title(r) for r in beside], fontsize=6)
        axes.set_ylim(-1, len(beside))
        axes.grid(axis="x", which="major", color="0.85")
        mean = geometric_mean(r["ratios"][peer] for r in beside)
        axes.set_title(f"beside {peer}: geometric mean {mean:.2f}", fontsize=10)
    for suite in dict.fromkeys(r["suite"] for r in records):
        figure.axes[-1].plot([], [], "o", color=_SUITES[suite], label=suite)
    if shown:
        figure.axes[-1].plot([], [], "o", color="0.3", mfc="white", label="with gradients")
        figure.legend(loc="outside lower center", ncols=5, fontsize=9)
    return figure
