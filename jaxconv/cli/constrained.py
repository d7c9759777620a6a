"""`jaxconv learn --constraint`: the projections of the kernel, and their order."""

import re
from collections.abc import Sequence

from jaxconv.cli.errors import CommandError
from jaxconv.learn import constraints
from jaxconv.learn.constraints import Projection

STEPS = 300
NAMES = ("non_negative", "sum_to_one", "simplex", "symmetric", "separable")


def projections(given: Sequence[str], kernel_size: tuple[int, int]) -> tuple[Projection, ...]:
    """Turn names into projections, in an order in which each preserves the ones before it.

    Args:
        given: names in `jaxconv.learn.constraints`; separable with or without `:RANK`.
        kernel_size: (h, w).

    Raises:
        CommandError: a name is unknown, given twice or not for this kernel, or no projection
            satisfies all of them.
    """
    known = f"known: {', '.join(NAMES)} (or separable:2, of rank 2)"
    names, rank = set(), 1
    for text in given:
        match = re.fullmatch(r"(\w+?)(?::(\d{1,4}))?", text.strip())
        name, after = match.groups() if match else (text, None)
        if name not in NAMES or (after is not None and name != "separable"):
            raise CommandError(f"no constraint is called {text!r}; {known}")
        if name in names:
            raise CommandError(f"--constraint {name} is given twice")
        names.add(name)
        if after is not None:
            rank = int(after)
    if "separable" in names and not 1 <= rank < max(2, min(kernel_size)):
        h, w = kernel_size
        raise CommandError(
            f"--constraint separable:{rank} is no constraint for a {h}x{w} kernel; give a rank "
            f"below {min(h, w)}"
            if rank
            else "--constraint separable:0 must have a rank of 1 or more"
        )
    if names & {"simplex", "non_negative"} and names & {"simplex", "sum_to_one"}:
        names = names - {"non_negative", "sum_to_one"} | {"simplex"}
    if "separable" in names and names & {"simplex", "sum_to_one"}:
        raise CommandError(
            "--constraint separable cannot be combined with sum_to_one or simplex: no projection "
            "satisfies both"
        )
    if "separable" in names and rank > 1 and "non_negative" in names:
        raise CommandError(
            f"--constraint separable:{rank} cannot be combined with non_negative, only "
            "separable:1 can"
        )
    found: dict[str, Projection] = {
        "symmetric": constraints.symmetric,
        "non_negative": constraints.non_negative,
        "sum_to_one": constraints.sum_to_one,
        "simplex": constraints.simplex,
        "separable": constraints.separable(max(rank, 1)),
    }
    return tuple(projection for name, projection in found.items() if name in names)
