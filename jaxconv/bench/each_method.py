"""Our programs under `--method every`: "auto", and each method that serves in its place."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxconv._core.dispatch.choose import candidates
from jaxconv._transforms.explain import explain
from jaxconv.bench.peers import OURS, Program

EVERY = "every"


def programs(make: Callable[[str], Program], method: str) -> list[Program]:
    """Return our program, and if `method` is "every" one for each method that "fastest" may take.

    Each of these is a contestant of its own, named "jaxconv METHOD". A method that serves none of
    the program's contractions on this platform is left out; for those that it does not serve, lax
    is used, as the column of methods says.

    Args:
        make: our program with a method.
        method: the method's name, "auto", "fastest" or "every".
    """
    if method != EVERY:
        return [make(method)]
    found = [make("auto")]
    for name in candidates("fastest", jax.default_backend()):
        program = make(name)
        taken = methods(program.function, program.arguments).values()
        if any(name in names.split() for names in taken):
            label = f"{OURS} {name}"
            found.append(dataclasses.replace(program, peer=label, label=label))
    return found


def methods(function: Callable[..., Any], arguments: Sequence[Any]) -> dict[str, str]:
    """Return the chosen methods of each contraction in a function, on this platform."""
    taken: dict[str, set[str]] = {}
    for found in explain(function, *arguments, platform=jax.default_backend()):
        taken.setdefault(found.contraction, set()).add(found.method)
    return {contraction: " ".join(sorted(names)) for contraction, names in taken.items()}
