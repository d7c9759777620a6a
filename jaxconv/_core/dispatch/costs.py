"""Seconds that a method is expected to take on a CPU, as a sum of positive terms.

seconds = factor * sum over terms of constant * term

where the factor is 1 on the machine of the constants.
"""

import math

from jaxconv._core.dispatch.profile import MachineProfile
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.methods import METHODS


def seconds(method: str, problem: Problem, profile: MachineProfile | None = None) -> float:
    """Return the expected time of one call, infinite for a method without constants.

    Args:
        method: the method's name.
        problem: the reduced problem.
        profile: of the machine, or None for that of the constants.
    """
    constants = METHODS[method].constants.get(problem.contraction)
    if constants is None:
        return math.inf
    terms = METHODS[method].terms(problem)
    total = sum(constant * terms[name] for name, constant in constants.items())
    return total if profile is None else profile.factor(method, problem) * total
