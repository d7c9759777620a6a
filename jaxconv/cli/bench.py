"""`jaxconv bench`: run suites, print their table and summary, write JSON and a figure."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from rich.console import Console

from jaxconv._core.dispatch.arguments import check_method
from jaxconv._core.dispatch.policy import Policy
from jaxconv.bench import devices, each_method, numerics, peers, regret, suites, tables
from jaxconv.cli.errors import CommandError, as_command_error
from jaxconv.cli.load import warn_of_load
from jaxconv.cli.options import Bench

QUICK_BUDGET, BUDGET = 0.4, 1.5


def run(given: Bench) -> bool:
    """Measure or profile, print and write; return whether all of our values were right."""
    devices.share_memory()
    if given.profile and given.suite != "steps":
        raise CommandError("--profile is for --suite steps alone")
    if given.profile and given.method == each_method.EVERY:
        raise CommandError("--profile takes one method, not every")
    if given.suite == "regret":
        return _regret(given)
    if given.policy is not None:
        raise CommandError("--policy needs --suite regret")
    chosen, options, missing = _checked(given)
    console = _console()
    facts = tables.machine(peers.set_threads(options.peers), options.precision)
    tables.print_machine(console, facts)
    for line in missing.values():
        console.print(line)
    warn_of_load("bench")
    with numerics.applied(options.precision, options.peers):
        if given.profile:
            _profile(given, console, facts, options)
            return True
        return _measure(given, console, facts | {"left_out": missing}, chosen, options)


def _measure(
    given: Bench,
    console: Console,
    facts: Mapping[str, Any],
    chosen: Sequence[str],
    options: suites.Options,
) -> bool:
    """Run the suites; return whether all of our values were right."""
    suites.warm_up()
    records: list[Mapping[str, Any]] = []
    for suite in chosen:
        measured = []
        for record in suites.SUITES[suite](options):
            measured.append(record)
            # a long run shows its progress, and an interrupted one leaves what it has measured
            print(f"{suite}: {tables.line(record)}", file=sys.stderr)
            _write(given, facts, [*records, *measured])
        if measured:
            console.print(f"[bold]{suite}[/bold]: our time, and as a share of each peer's best")
            console.print(tables.table(measured))
            if line := tables.dispatched(measured):
                console.print(line, soft_wrap=True)
        records += measured
    if not records:
        raise CommandError(f"no case of {', '.join(chosen)} matches --only {given.only!r}")
    found = _summary(facts, records)
    tables.print_summary(console, found)
    if given.json is not None:
        console.print(f"wrote {given.json}", soft_wrap=True)
    if given.plot is not None:
        from jaxconv.bench.figure import ratios

        ratios(records, facts).savefig(given.plot)
        console.print(f"wrote {given.plot}", soft_wrap=True)
    return not found["not_right"]


def _profile(
    given: Bench, console: Console, facts: Mapping[str, Any], options: suites.Options
) -> None:
    """Print where the time of each chosen step goes; values are not checked."""
    from jaxconv.bench.profiles.printed import print_profile
    from jaxconv.bench.profiles.profile import profile

    if given.plot is not None:
        raise CommandError("--profile draws no figure: leave --plot out")
    profiles = []
    for case in suites.chosen_steps(options):
        ways = {"method": options.method, "peers": options.peers, "budget": options.budget}
        profiles.append(profile(case, **ways))
        print_profile(console, profiles[-1])
        if given.json is not None:
            found = {"machine": facts, "profiles": profiles}
            given.json.write_text(json.dumps(found, indent=1) + "\n")
    if not profiles:
        raise CommandError(f"no case of steps matches --only {given.only!r}")
    if given.json is not None:
        console.print(f"wrote {given.json}", soft_wrap=True)


def _regret(given: Bench) -> bool:
    """Measure the regret of the chosen methods on random shapes, but those in the JSON file."""
    if given.count < 1 or given.seed < 0:
        raise CommandError("--count must be 1 or more, and --seed 0 or more")
    if given.precision != numerics.FLOAT32.name:
        raise CommandError("--suite regret measures in float32: leave --precision out")
    _check_folders(given)
    with as_command_error():
        policy = None if given.policy is None else Policy.load(given.policy)
    console, file = _console(), given.json
    facts = tables.machine()
    tables.print_machine(console, facts)
    warn_of_load("bench")
    suites.warm_up()
    before = regret.load(file, given.seed) if file else []
    with numerics.applied(numerics.FLOAT32):
        rows = regret.rows(
            given.seed,
            given.count,
            before,
            save=lambda found: regret.save(file, facts, found) if file else None,
        )
    _print_regret(console, "regret", regret.summary(rows))
    if policy is not None:
        _print_regret(console, f"regret with {given.policy}", regret.summary(rows, policy))
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


def _print_regret(console: Console, what: str, groups: Mapping[str, Any]) -> None:
    for group, found in groups.items():
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        console.print(f"{what}, {group}: {numbers}", soft_wrap=True)


def _write(given: Bench, facts: Mapping[str, Any], records: Sequence[Mapping]) -> None:
    if given.json is not None:
        given.json.write_text(tables.as_json(facts, records, _summary(facts, records)))


def _summary(facts: Mapping[str, Any], records: Sequence[Mapping]) -> dict[str, Any]:
    return tables.summary(records, plugin=tables.has_plugin(), platform=facts["platform"])


def _console() -> Console:
    # a pipe has no width to wrap at
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def _check_folders(given: Bench) -> None:
    for path in (given.json, given.plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise CommandError(f"cannot write {path}: {path.absolute().parent} is not a folder")


def _checked(given: Bench) -> tuple[list[str], suites.Options, dict[str, str]]:
    chosen = _suites(given)
    try:
        re.compile(given.only)
    except re.error as error:
        raise CommandError(f"--only {given.only!r} is not a regular expression: {error}") from error
    if given.budget is not None and given.budget <= 0:
        raise CommandError(f"--budget must be above 0, got {given.budget}")
    _check_folders(given)
    with as_command_error():
        every = given.method == each_method.EVERY
        method = given.method if every else check_method("bench", given.method)
        wanted = None if given.against is None else given.against.split(",")
        there, missing = peers.present(wanted)
    options = suites.Options(
        only=given.only,
        quick=given.quick,
        method=method,
        peers=there,
        precision=numerics.precision_of(given.precision),
        budget=given.budget or (QUICK_BUDGET if given.quick else BUDGET),
    )
    return chosen, options, missing


def _suites(given: Bench) -> list[str]:
    with as_command_error():
        precision = numerics.precision_of(given.precision)
    narrow = precision is not numerics.FLOAT32 or given.method == each_method.EVERY
    if given.suite is None:
        usual = suites.usual(jax.default_backend())
        return [suite for suite in usual if suite in suites.IN_EVERY_PRECISION or not narrow]
    chosen = given.suite.split(",")
    for suite in chosen:
        if suite not in suites.SUITES:
            raise CommandError(
                f"--suite {suite!r} is unknown; known: {', '.join(suites.SUITES)}, and regret alone"
            )
        if narrow and suite not in suites.IN_EVERY_PRECISION:
            raise CommandError(
                f"--suite {suite} runs in float32, and by one method: --precision and --method "
                f"every are for {', '.join(suites.IN_EVERY_PRECISION)}"
            )
    return chosen
