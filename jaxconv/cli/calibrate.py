"""`jaxconv calibrate`: measure this machine, and write a policy with its profile."""

import sys
import time

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from jaxconv._core.dispatch.policy import Policy
from jaxconv._core.dispatch.profile import MachineProfile
from jaxconv.bench import calibrate, suites, tables
from jaxconv.cli.errors import CommandError, as_command_error
from jaxconv.cli.load import warn_of_load
from jaxconv.cli.options import Calibrate

INTERVAL = 30.0  # seconds between lines of progress


def run(given: Calibrate) -> None:
    """Measure, write and print."""
    began = time.perf_counter()
    if not given.seconds > 0:
        raise CommandError(f"--seconds must be above 0, got {given.seconds}")
    if not given.output.absolute().parent.is_dir():
        folder = given.output.absolute().parent
        raise CommandError(f"cannot write {given.output}: {folder} is not a folder")
    if jax.default_backend() != "cpu":
        raise CommandError(
            f"profiles are of CPUs, and JAX's default here is {jax.default_backend()}: set "
            "JAX_PLATFORMS=cpu"
        )
    warn_of_load("calibrate")
    suites.warm_up()
    measured = calibrate.measure(began + given.seconds - time.perf_counter(), _report(given))
    with as_command_error():
        profile = calibrate.profile(measured)
        Policy(profile=profile).save(given.output)
    console = Console(highlight=False)
    tables.print_machine(console, tables.machine())
    console.print(
        f"measured over expected time, from {profile.problems} problems; the smallest and the "
        "largest of four kinds of layers:",
        soft_wrap=True,
    )
    console.print(_table(profile))
    if len({row.factor for row in profile.factors}) == 1:
        console.print(
            "no method differs from the others by more than noise: choices stay as they are",
            soft_wrap=True,
        )
    console.print(f"wrote {given.output}", soft_wrap=True)
    load = f"jaxconv.Policy.load({str(given.output)!r})"
    console.print(
        f"to use it: policy={load}, in jaxconv.conv, jaxconv.accelerate and the layers",
        soft_wrap=True,
    )


def _report(given: Calibrate):
    printed = 0.0

    def report(number: int, seconds: float) -> None:
        nonlocal printed
        if seconds - printed >= INTERVAL:
            printed = seconds
            line = f"{number} problems, {seconds:.0f} of {given.seconds:.0f} s"
            print(f"jaxconv calibrate: {line}", file=sys.stderr)

    return report


def _table(profile: MachineProfile) -> Table:
    """Methods by contractions."""
    contractions = ("output", "input", "kernel")
    made = Table("method", *contractions, box=box.SIMPLE_HEAD)
    for method, of in profile.as_dict()["factors"].items():
        cells = []
        for contraction in contractions:
            factors = sorted(of.get(contraction, {}).values())
            ends = [f"{factor:.2f}" for factor in factors[:1] + factors[-1:]]
            cells.append(" to ".join(dict.fromkeys(ends)) or "-")
        made.add_row(method, *cells)
    return made
