"""Seconds that a method is expected to take on a CPU, as a sum of positive terms.

    seconds = sum over terms of constant * term

The terms of a problem, `terms`, say what grows with what. The constants of each method and
contraction are in `constants`, fitted to measured times by `python -m jaxconv.bench.fit`.
"""

import math

from jaxconv._core.dispatch.constants import CONSTANTS
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.methods.terms import terms


def seconds(method: str, problem: Problem) -> float:
    """Return the expected time of one call, infinite for a method without constants.

    Args:
        method: the method's name.
        problem: the contraction and its sizes.
    """
    constants = CONSTANTS.get((method, problem.contraction))
    if constants is None:
        return math.inf
    found = terms(method, problem)
    return sum(constant * found[name] for name, constant in constants.items())
