"""A profile as tables: time by kind beside torch's, and the longest operations."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from jaxconv.bench.peers import OURS
from jaxconv.bench.profiles.kinds import KINDS

LONGEST = 15
"""Number of operations that are printed."""


def print_profile(console: Console, found: Mapping[str, Any]) -> None:
    """Print one case: what a step costs, its time by kind, its longest operations."""
    sides = [side for side in (OURS, "torch") if side in found]
    console.print(f"[bold]{found['case']}, {found['mode']}[/bold]")
    for side in sides:
        console.print(f"{side}: {_cost(found[side])}", markup=False, soft_wrap=True)
    console.print(_by_kind(found, sides))
    for side in sides:
        console.print(f"the {LONGEST} longest operations of {side}")
        console.print(_longest(found[side]))


def _cost(side: Mapping[str, Any]) -> str:
    user, system = side["user milliseconds"], side["system milliseconds"]
    words = [
        f"{side['milliseconds']:.1f} ms a step",
        f"{user:.1f} ms of user and {system:.1f} ms of system time "
        f"({(user + system) / side['milliseconds']:.2f} cores busy)",
        f"{side['page faults']:.0f} page faults",
    ]
    if "idle" in side:
        words += [
            f"{side['operations at once']:.2f} operations at once, none in {side['idle']:.1%} of "
            f"the time",
            f"{(side['temporary bytes'] or 0) / 1e6:.1f} MB of temporary memory",
        ]
    return ", ".join(words)


def _by_kind(found: Mapping[str, Any], sides: list[str]) -> Table:
    made = Table("kind", box=box.SIMPLE_HEAD)
    for side in sides:
        made.add_column(f"{side}, ms", justify="right")
    occurring = [kind for kind in KINDS if any(kind in found[side]["kinds"] for side in sides)]
    for kind in occurring:
        shown = (found[side]["kinds"].get(kind) for side in sides)
        made.add_row(kind, *("-" if time is None else f"{time:.2f}" for time in shown))
    made.add_section()
    made.add_row("together", *(f"{sum(found[side]['kinds'].values()):.2f}" for side in sides))
    return made


def _longest(side: Mapping[str, Any]) -> Table:
    """The longest operations; what XLA knows of them is missing in torch's."""
    traced = "idle" in side
    made = Table("operation", "kind", box=box.SIMPLE_HEAD)
    for column in ("ms", "runs", *(("parts", "at once") if traced else ())):
        made.add_column(column, justify="right")
    for column in ("result", "computes") if traced else ():
        made.add_column(column)
    for row in side["operations"][:LONGEST]:
        cells = [row["name"], row["kind"], f"{row['milliseconds']:.2f}", f"{row['runs']:.3g}"]
        if traced:
            cells += ["-" if row["parts"] is None else str(row["parts"]), f"{row['at once']:.2f}"]
            cells += [row["result"], row["computes"]]
        made.add_row(*cells)
    return made
