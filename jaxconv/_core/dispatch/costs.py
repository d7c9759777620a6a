"""Seconds that a method is expected to take on a CPU, as a sum of positive terms.

seconds = sum over terms of constant * term
"""

import math

from jaxconv._core.geometry.problem import Problem
from jaxconv._core.methods import METHODS


def seconds(method: str, problem: Problem) -> float:
    """Return the expected time of one call, infinite for a method without constants.

    Args:
        method: the method's name.
        problem: the reduced problem.
    """
    constants = METHODS[method].constants.get(problem.contraction)
    if constants is None:
        return math.inf
    terms = METHODS[method].terms(problem)
    return sum(constant * terms[name] for name, constant in constants.items())
