"""A warning before measurements on a machine that is not idle."""

import sys

from jaxconv._core.machine import busy_cores

MOST_BUSY = 0.25  # cores of other programs that measurements stand


def warn_of_load(command: str) -> None:
    """Say on standard error that other programs take the cores that are to be measured."""
    busy = busy_cores()
    if busy > MOST_BUSY:
        warning = f"other programs keep {busy:.1f} cores busy: what is measured will be slower"
        print(f"jaxconv {command}: {warning}, and unevenly so", file=sys.stderr)
