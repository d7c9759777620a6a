"""`jaxconv explain` and `jaxconv tune`: the convolutions of a function, and their methods."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from jaxconv._transforms.explain import explain
from jaxconv._transforms.tune import tune
from jaxconv.cli import functions
from jaxconv.cli.errors import CommandError, as_command_error
from jaxconv.cli.load import warn_of_load
from jaxconv.cli.options import Explain, Tune


def run_explain(given: Explain) -> None:
    """Print the table, or one JSON object a convolution in a list."""
    f, arguments = _named(given)
    if given.seconds is not None:
        warn_of_load("explain")
    with as_command_error():
        found = explain(f, *arguments, platform=given.platform, seconds=given.seconds)
    if not given.json:
        print(found)
        return
    rows = [
        row._asdict() | {"spec": None if row.spec is None else dataclasses.asdict(row.spec)}
        for row in found
    ]
    print(json.dumps(rows))


def run_tune(given: Tune) -> None:
    """Measure, print what was measured and write the policy."""
    if not given.output.absolute().parent.is_dir():
        folder = given.output.absolute().parent
        raise CommandError(f"cannot write {given.output}: {folder} is not a folder")
    f, arguments = _named(given)
    warn_of_load("tune")
    with as_command_error():
        policy = tune(f, *arguments, seconds=given.seconds, method=given.method)
    print(policy)
    if not policy:
        raise CommandError(f"{given.function} has no convolution to tune")
    with as_command_error():
        policy.save(given.output)
    print(f"wrote {given.output}")
    load = f"jaxconv.Policy.load({str(given.output)!r})"
    print(f"to use it: policy={load}, in jaxconv.conv, jaxconv.accelerate and the layers")


def _named(given: Explain | Tune) -> tuple[Callable[..., Any], list[Any]]:
    f, arguments = functions.function(given.function), functions.arrays(given.arrays or [])
    functions.accepted(given.function, f, arguments)
    return (functions.with_gradients(f) if given.gradients else f), arguments
