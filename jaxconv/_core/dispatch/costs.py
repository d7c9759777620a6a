"""Seconds that a method is expected to take on a device, as a sum of positive terms.

seconds = factor * sum over terms of constant * term

where the factor is 1 on the machine of the constants, and on other devices than CPUs.
"""

import math

from jaxconv._core.dispatch.profile import MachineProfile
from jaxconv._core.geometry.problem import Problem
from jaxconv._core.methods import METHODS
from jaxconv._core.methods.measured import BY_DEVICE, CPU, Measured


def measured(problem: Problem) -> Measured | None:
    """Return what was measured on the kind of device of a problem, or None."""
    return BY_DEVICE.get(CPU if problem.platform == "cpu" else problem.device_kind)


def seconds(method: str, problem: Problem, profile: MachineProfile | None = None) -> float:
    """Return the expected time of one call, infinite for a method without constants.

    Args:
        method: the method's name.
        problem: as the method gets it: on CPUs the reduced one.
        profile: of the CPU, or None for that of the constants.
    """
    if problem.platform == "cpu":
        constants = METHODS[method].constants.get(problem.contraction)
    else:
        found, profile = measured(problem), None
        constants = found and found.seconds.get(method, {}).get(problem.contraction)
    if constants is None:
        return math.inf
    terms = METHODS[method].terms(problem)
    total = sum(constant * terms[name] for name, constant in constants.items())
    return total if profile is None else profile.factor(method, problem) * total
