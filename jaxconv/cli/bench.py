"""`jaxconv bench`: run suites, print their table and summary, write JSON and a picture."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxconv._core.dispatch.choose import check_method
from jaxconv.bench import peers, regret, report, suites
from jaxconv.cli.problem import Problem, told_as_problem

QUICK_BUDGET, BUDGET = 0.4, 1.5


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command's options as they were given."""

    suite: str | None = None
    only: str = ""
    quick: bool = False
    method: str = "auto"
    against: str | None = None
    budget: float | None = None
    json: Path | None = None
    plot: Path | None = None
    count: int = 300
    seed: int = 0


def run(request: Request) -> bool:
    """Measure, print, write; return whether all of our values were right."""
    if request.suite == "regret":
        return _regret(request)
    chosen, options, missing = _checked(request)
    console = _console()
    for line in missing.values():
        console.print(line)
    facts = report.machine(peers.set_threads(options.peers))
    report.print_machine(console, facts)
    suites.warm_up()
    records: list[Mapping[str, Any]] = []
    for suite in chosen:
        measured = []
        for record in suites.run(suite, options):
            measured.append(record)
            # a long run tells how far it is, and leaves what it has if it is interrupted
            print(f"{suite}: {report.line(record)}", file=sys.stderr)
            _write(request, facts | {"left_out": missing}, [*records, *measured])
        if measured:
            console.print(f"[bold]{suite}[/bold]: our time, and as a share of each peer's best")
            console.print(report.table(measured))
        records += measured
    if not records:
        raise Problem(f"no case of {', '.join(chosen)} matches --only {request.only!r}")
    found = report.summary(records, plugin=report.has_plugin())
    report.print_summary(console, found)
    if request.json is not None:
        console.print(f"wrote {request.json}", soft_wrap=True)
    if request.plot is not None:
        from jaxconv.bench.figure import ratios

        ratios(records, facts).savefig(request.plot)
        console.print(f"wrote {request.plot}", soft_wrap=True)
    return not found["not_right"]


def _regret(request: Request) -> bool:
    """Measure what the chooser's answers cost, on random shapes; go on where a file ends."""
    if request.count < 1 or request.seed < 0:
        raise Problem("--count must be 1 or more, and --seed 0 or more")
    _check_folders(request)
    console, file = _console(), request.json
    facts = report.machine({"xla": peers.cores()})
    report.print_machine(console, facts)
    suites.warm_up()
    before = regret.load(file, request.seed) if file else []
    rows = regret.rows(
        request.seed,
        request.count,
        before,
        save=lambda found: regret.save(file, facts, found) if file else None,
    )
    for group, found in regret.summary(rows).items():
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        console.print(f"regret, {group}: {numbers}", soft_wrap=True)
    for row in regret.worst(rows):
        console.print(regret.described(row), markup=False, soft_wrap=True)
    wrong = [
        f"NOT RIGHT: {row['contraction']} of shape {row['index']}: {method} {reason}"
        for row in rows
        for method, reason in row["skipped"].items()
        if reason.startswith(("wrong", "failed"))
    ]
    for line in wrong:
        console.print(line, markup=False, soft_wrap=True)
    return not wrong


def _write(request: Request, facts: Mapping[str, Any], records: Sequence[Mapping]) -> None:
    if request.json is not None:
        found = report.summary(records, plugin=report.has_plugin())
        request.json.write_text(report.as_json(facts, records, found))


def _console() -> Console:
    # in a pipe there is no width to fold to
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def _check_folders(request: Request) -> None:
    for path in (request.json, request.plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise Problem(f"cannot write {path}: {path.absolute().parent} is not a folder")


def _checked(request: Request) -> tuple[list[str], suites.Options, dict[str, str]]:
    chosen: list[str] = [*suites.SUITES] if request.suite is None else request.suite.split(",")
    for suite in chosen:
        if suite not in suites.SUITES:
            raise Problem(
                f"no suite is called {suite!r}; known: {', '.join(suites.SUITES)}, and regret alone"
            )
    try:
        re.compile(request.only)
    except re.error as error:
        raise Problem(f"--only {request.only!r} is no regular expression: {error}") from error
    if request.budget is not None and request.budget <= 0:
        raise Problem(f"--budget must be above 0, got {request.budget}")
    _check_folders(request)
    with told_as_problem():
        method = check_method("bench", request.method)
        wanted = None if request.against is None else request.against.split(",")
        there, missing = peers.present(wanted)
    options = suites.Options(
        only=request.only,
        quick=request.quick,
        method=method,
        peers=there,
        budget=request.budget or (QUICK_BUDGET if request.quick else BUDGET),
    )
    return chosen, options, missing
